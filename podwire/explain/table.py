"""A report as the table people read: one line a step, grouped by node, one fate, why, what helps.

Columns: number, stage, object, result, detail; rewrites show as ``before → after``. At most 100
columns unless a name is longer than its column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from podwire.dataplane.verdict import GOOD_FATES, Fate, Hop, Step
from podwire.explain.report import LookupReport, Report

_MAX_OBJECT_WIDTH = 26
_NOTE = re.compile(r"ct #\d+|mtu .*|p \d.*")
"""What a rewrite's detail adds to the rewrite itself."""
_COMMENT = re.compile(r'--comment "([^"]*)"|--comment (\S+)')


def render(report: Report, *, ascii_only: bool = False, verbose: bool = False) -> str:
    """The whole table. Chains that were entered and left without effect show when ``verbose``."""
    lines = [_header(report)]
    if report.lookup is not None:
        lines += _lookup(report.lookup)
    numbered, ends_at = _numbered(report, verbose=verbose)
    form = _Form.of([step for _, _, step in numbered])
    host = None
    for number, hop, step in numbered:
        if hop is not host:
            host = hop
            lines.append(hop.node or "wire")
        lines.append(form.line(number, step))
    lines.append(_fate(report, ends_at))
    lines += _footer(report)
    text = "\n".join(lines)
    if ascii_only:
        text = text.replace("→", "->").replace("✓", "OK").replace("✗", "NO")
    return text


def _effective(steps: Sequence[Step]) -> list[Step]:
    """Without returns, jumps into chains in which nothing happened, and copies of a flood."""
    kept = _one_copy([step for step in steps if step.result != "return"])
    while True:
        fewer = [
            step
            for step, following in zip(kept, [*kept[1:], None], strict=True)
            if step.result != "jump"
            or (following is not None and following.object == step.detail.partition(" ")[0])
        ]
        if len(fewer) == len(kept):
            return kept
        kept = fewer


def _one_copy(steps: Sequence[Step]) -> list[Step]:
    """Without the copies that a flooding bridge made and nobody wanted."""
    kept: list[Step] = []
    flooding = False
    for step in steps:
        flooding = step.result == "flood" or (flooding and step.stage == "link")
        if step.result != "ignore" and not (flooding and step.stage == "link"):
            kept.append(step)
    return kept


def _header(report: Report) -> str:
    flow = report.flow
    source = f"{report.source} {flow.src}:{flow.src_port}"
    destination = f"{report.destination} {flow.dst}:{flow.dst_port}"
    if not flow.dst:  # its name was not resolved: no packet was sent
        source, destination = (
            f"{report.source} {flow.src}",
            f"{report.destination}:{flow.dst_port}",
        )
    if flow.protocol == "icmp":
        source, destination = f"{report.source} {flow.src}", f"{report.destination} {flow.dst}"
    at = f"rv {report.resource_version}   t+{report.time_s:.3f}s"
    return f"{report.protocol.upper()} {source} > {destination}   {at}"


def _lookup(lookup: LookupReport) -> list[str]:
    lines = [f"lookup {lookup.name}"]
    for asked in lookup.asked:
        answer = " ".join(asked.answers) if asked.answers else asked.rcode or asked.fate.value
        via = f"{asked.server} ({asked.answered_by})" if asked.answered_by else asked.server
        lines.append(f"  {asked.type:<5} {asked.name:<48} {answer:<16} from {via}")
    if lookup.error:
        lines.append(f"  error {lookup.error}")
    elif lookup.source != "dns":
        lines.append(f"  {' '.join(lookup.addresses)} from {lookup.source}")
    return lines


@dataclass(frozen=True, slots=True)
class _Form:
    """The widths of the columns of one table."""

    stage: int
    object: int
    result: int

    @classmethod
    def of(cls, steps: Sequence[Step]) -> _Form:
        return cls(
            max((len(step.stage) for step in steps), default=0),
            min(max((len(step.object) for step in steps), default=0), _MAX_OBJECT_WIDTH),
            max((len(step.result) for step in steps), default=0),
        )

    def line(self, number: int, step: Step) -> str:
        """One aligned line."""
        head = f"{number:>3} {step.stage:<{self.stage}} {step.object:<{self.object}}"
        return f"{head} {step.result:<{self.result}} {_details(step)}".rstrip()


def _details(step: Step) -> str:
    details = []
    if step.before is not None and step.after is not None:
        details.append(_rewrite(step))
        note = _NOTE.search(step.detail)
        if note is not None:
            details.append(note.group())
    elif step.detail:
        details.append(step.detail)
    comment = _COMMENT.search(step.rule)
    if comment is not None and not step.detail:
        details.append(f"({comment.group(1) or comment.group(2)})")
    return "  ".join(details)


def _numbered(report: Report, *, verbose: bool) -> tuple[list[tuple[int, Hop, Step]], int]:
    """The steps to show, numbered, and the number of the one at which the walk ends."""
    shown: list[tuple[int, Hop, Step]] = []
    original = ends_at = 0
    for hop in report.hops:
        kept = hop.steps if verbose else _effective(hop.steps)
        for step in hop.steps:
            original += 1
            if any(step is one for one in kept):
                shown.append((len(shown) + 1, hop, step))
            if original == report.cause.step:
                ends_at = len(shown)
    return shown, ends_at


def _rewrite(step: Step) -> str:
    """Only the half of the flow that changed."""
    before, after = step.before, step.after
    assert before is not None
    assert after is not None
    parts = []
    if (before.src, before.src_port) != (after.src, after.src_port):
        parts.append(f"{before.src}:{before.src_port} → {after.src}:{after.src_port}")
    if (before.dst, before.dst_port) != (after.dst, after.dst_port):
        parts.append(f"{before.dst}:{before.dst_port} → {after.dst}:{after.dst_port}")
    return "  ".join(parts)


def _fate(report: Report, ends_at: int) -> str:
    mark = "✓" if report.fate in GOOD_FATES else "?" if report.fate is Fate.UNKNOWN else "✗"
    where = ""
    if report.hops and report.hops[-1].node:
        where = f" at {report.hops[-1].node}"
        if ends_at and report.fate not in GOOD_FATES:
            where += f" step {ends_at}"
    return f"{mark} {report.fate.value}{where}"


def _footer(report: Report) -> list[str]:
    lines = []
    if report.branches:
        counts: dict[str, int] = {}
        for branch in report.branches:
            counts[branch.fate.value] = counts.get(branch.fate.value, 0) + 1
        good = sum(1 for branch in report.branches if branch.fate in GOOD_FATES)
        total = len(report.branches)
        told = f"{good} of {total} DELIVERED"
        if Fate.EXITS_CLUSTER.value in counts:
            told = f"{good} of {total} DELIVERED or EXITS_CLUSTER"
        bad = ", ".join(
            f"{n} {fate}" for fate, n in sorted(counts.items()) if Fate(fate) not in GOOD_FATES
        )
        lines.append(f"  branches: {told}{f' ({bad})' if bad else ''}")
    if report.cause.summary:
        lines.append(f"  because   {report.cause.summary}")
    if report.nearest is not None:
        found = report.nearest
        told = f"{found.change}  (tried: {found.fate})" if found.change else "none found"
        lines.append(f"  nearest   {told}")
    lines.append(f"  replay    {report.replay}")
    return lines
