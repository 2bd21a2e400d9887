"""A report as the table people read: one line a step, grouped by place, one fate, why, what helps.

Columns: number, stage, object, result, detail; rewrites show as ``before → after``. A place is a
node's own namespace (``node-1``) or a pod's on it (``node-1  pod shop/web``). Numbers are those of
``-o json``: steps without effect are left out unless verbose, so numbers may jump.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podwire.dataplane.verdict import GOOD_FATES, Fate, Flow, Hop, Step
from podwire.explain.report import LookupReport, Report

_MAX_OBJECT_WIDTH = 26
_MAX_NAME_WIDTH = 48
_WIDTH = 110
_NOTE = re.compile(r"ct #\d+|mtu .*|p \d.*")
"""What a rewrite's detail adds to the rewrite itself."""
_COMMENT = re.compile(r'--comment "([^"]*)"|--comment (\S+)')
_ISOLATED = re.compile(r"podwire:isolated \S+ by (\S+)")
_ASCII = {"→": "->", "✓": "OK", "✗": "NO", "…": "..."}


def render(report: Report, *, ascii_only: bool = False, verbose: bool = False) -> str:
    """The whole table. Steps without effect show when ``verbose``."""
    lines = [_header(report)]
    if report.lookup is not None:
        lines += _lookup(report.lookup)
    there = list(_shown(report.hops, verbose=verbose))
    back: list[tuple[Hop, Step]] = []
    if report.reply_hops and (verbose or _ends_in_reply(report)):
        back = list(_shown(report.reply_hops, verbose=verbose))
    form = _Form.of([step for _, step in there + back])
    if report.fate is Fate.NAME_UNRESOLVED and there:
        lines.append("the question to DNS")
    lines += _places(there, form, report)
    if back:
        lines.append("the way back")
        lines += _places(back, form, report)
    lines.append(_fate(report))
    lines += _footer(report)
    text = "\n".join(line.rstrip() for line in lines)
    if ascii_only:
        for sign, plain in _ASCII.items():
            text = text.replace(sign, plain)
        text = text.encode("ascii", "backslashreplace").decode()
    return text


# ---------------------------------------------------------------- above the steps


def _header(report: Report) -> str:
    flow = report.flow
    source = (
        flow.src
        if report.source == "outside"
        else f"{report.source} {_at(flow.src, flow.src_port)}"
    )
    if not flow.dst:
        port = f":{flow.dst_port}" if flow.dst_port else ""
        destination = f"{report.destination}{port}"
    elif report.destination == flow.dst:
        destination = _at(flow.dst, flow.dst_port)
    else:
        destination = f"{report.destination} {_at(flow.dst, flow.dst_port)}"
    at = f"   rv {report.resource_version}   t+{report.time_s:.3f}s"
    if not report.resource_version:
        at = ""  # of dumps: there is no cluster
    if report.source == flow.src:
        source = _at(flow.src, flow.src_port)
    url = f"   {report.url}" if report.url else ""
    return f"{report.protocol.upper()} {source} > {destination}{url}{at}"


def _at(address: str, port: int) -> str:
    return f"{address}:{port}" if port else address


def _lookup(lookup: LookupReport) -> list[str]:
    lines = [f"lookup {lookup.name}"]
    widest = max((len(asked.name) for asked in lookup.asked), default=0)
    width = min(widest, _MAX_NAME_WIDTH)
    told = [_answer(asked.answers, asked.rcode, asked.fate.value) for asked in lookup.asked]
    answers = max((len(text) for text in told), default=0)
    for asked, answer in zip(lookup.asked, told, strict=True):
        via = f"{asked.server} ({asked.answered_by})" if asked.answered_by else asked.server
        name = asked.name
        lines.append(f"  {asked.type:<5} {name:<{width}}  {answer:<{min(answers, 24)}}  from {via}")
    if lookup.error:
        lines.append(f"  error {lookup.error}")
    elif lookup.source != "dns":
        lines.append(f"  {' '.join(lookup.addresses)} from {lookup.source}")
    return lines


def _answer(answers: list[str], rcode: str, fate: str) -> str:
    if answers:
        return " ".join(answers)
    return "no address" if rcode == "NOERROR" else rcode or fate


# ---------------------------------------------------------------- the steps


def _shown(hops: Sequence[Hop], *, verbose: bool) -> Iterator[tuple[Hop, Step]]:
    for hop in hops:
        for step in hop.steps if verbose else _effective(hop.steps):
            yield hop, step


def _effective(steps: Sequence[Step]) -> list[Step]:
    """Without returns, cleared marks, jumps to no effect, and copies of a flood."""
    kept = _one_copy([step for step in steps if step.result != "return" and not _clears(step)])
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


def _clears(step: Step) -> bool:
    return step.result == "mark" and step.detail.startswith("MARK and ")


def _one_copy(steps: Sequence[Step]) -> list[Step]:
    """Without the copies that a flooding bridge made and nobody wanted."""
    kept: list[Step] = []
    flooding = False
    for step in steps:
        flooding = step.result == "flood" or (flooding and step.stage == "link")
        if step.result != "ignore" and not (flooding and step.stage == "link"):
            kept.append(step)
    return kept


def _places(shown: Sequence[tuple[Hop, Step]], form: _Form, report: Report) -> Iterator[str]:
    place = ""
    for hop, step in shown:
        if hop.node:
            whose = report.places.get(step.netns, "a pod") if step.netns else ""
            here = f"{hop.node}  {whose}" if whose else hop.node
            if here != place:
                place = here
                yield here
        else:
            place = ""
        yield form.line(step, wire=not hop.node)


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

    def line(self, step: Step, *, wire: bool) -> str:
        """One aligned line; wires between nodes begin with ``~``."""
        number = f"~{step.n:>2}" if wire else f"{step.n:>3}"
        head = f"{number} {step.stage:<{self.stage}} {step.object:<{self.object}}"
        return f"{head} {step.result:<{self.result}} {_details(step)}"


def _details(step: Step) -> str:
    details = []
    if step.before is not None and step.after is not None:
        details.append(_rewrite(step, step.before, step.after))
        note = _NOTE.search(step.detail)
        if note is not None:
            details.append(note.group())
    elif step.detail:
        details.append(step.detail)
    comment = _COMMENT.search(step.rule)
    if comment is not None and not step.detail:
        text = comment.group(1) or comment.group(2)
        found = _ISOLATED.search(text)
        details.append(f"isolated by {found.group(1)}" if found else f"({text})")
    return "  ".join(details)


def _rewrite(step: Step, before: Flow, after: Flow) -> str:
    """Only the half of the flow that changed; of a tunnel, the packet inside or around."""
    if step.stage == "decap":
        return f"inner {after}"
    if step.stage == "encap":
        return f"{after.src} → {after.dst} {after.protocol}/{after.dst_port}"
    parts = []
    if (before.src, before.src_port) != (after.src, after.src_port):
        parts.append(f"{_at(before.src, before.src_port)} → {_at(after.src, after.src_port)}")
    if (before.dst, before.dst_port) != (after.dst, after.dst_port):
        parts.append(f"{_at(before.dst, before.dst_port)} → {_at(after.dst, after.dst_port)}")
    return "  ".join(parts)


# ---------------------------------------------------------------- below the steps


def _ends_in_reply(report: Report) -> bool:
    return report.cause.step > sum(len(hop.steps) for hop in report.hops)


def _fate(report: Report) -> str:
    mark = "✓" if report.fate in GOOD_FATES else "?" if report.fate is Fate.UNKNOWN else "✗"
    hops = report.reply_hops if _ends_in_reply(report) else report.hops
    node = next(
        (h.node for h in hops if any(s.n == report.cause.step for s in h.steps)),
        report.hops[-1].node if report.hops else "",
    )
    where = f" at {node}" if node else ""
    if report.cause.step and report.fate not in GOOD_FATES:
        where += f" step {report.cause.step}"
    return f"{mark} {report.fate.value}{where}"


def _footer(report: Report) -> list[str]:
    lines = []
    if report.branches:
        lines.append(f"  branches: {_branches(report)}")
    if report.cause.summary:
        lines += _wrapped("  because   ", report.cause.summary)
    if report.nearest is not None:
        found = report.nearest
        none = f"none found  ({found.tried} tried)" if found.tried else "none found"
        lines.append(
            f"  nearest   {found.change}  (tried: {found.fate})"
            if found.change
            else f"  nearest   {none}"
        )
    lines.append(f"  replay    {report.replay}")
    return lines


def _branches(report: Report) -> str:
    counts: dict[str, int] = {}
    for branch in report.branches:
        counts[branch.fate.value] = counts.get(branch.fate.value, 0) + 1
    good = sum(1 for branch in report.branches if branch.fate in GOOD_FATES)
    told = f"{good} of {len(report.branches)} DELIVERED"
    if Fate.EXITS_CLUSTER.value in counts:
        told += " or EXITS_CLUSTER"
    bad = ", ".join(
        f"{n} {fate}" for fate, n in sorted(counts.items()) if Fate(fate) not in GOOD_FATES
    )
    return f"{told} ({bad})" if bad else told


def _wrapped(first: str, text: str) -> list[str]:
    """A long sentence over several lines, aligned; words (names, rules) are never cut."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
