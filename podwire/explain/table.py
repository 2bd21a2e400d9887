"""A report as the table people read: one line a step, grouped by place, one fate, why, what helps.

Columns: number, stage, object, result, detail; rewrites show as ``before → after``. A place is a
node's own namespace (``node-1``) or a pod's on it (``node-1  pod shop/web``). Numbers are those of
``-o json``: steps without effect are left out unless verbose, so numbers may jump. What a kernel
spends on the way to a step (``[1,204 rules]``) is told where all of them are. An object longer than
an iptables chain can be (nftables' are) is cut in its middle, unless the table may be wide.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podwire.dataplane.verdict import GOOD_FATES, Fate, Flow, Hop, Step
from podwire.explain.report import LookupReport, Report

_MAX_OBJECT_WIDTH = 28
_WIDTH = 110
_NOTE = re.compile(r"ct #\d+|mtu .*|p \d.*")
"""What a rewrite's detail adds to the rewrite itself."""
_COMMENT = re.compile(r'--comment "([^"]*)"|--comment (\S+)')
_ISOLATED = re.compile(r"podwire:isolated \S+ by (\S+)")
_ASCII = {"→": "->", "✓": "OK", "✗": "NO", "…": "..."}


def render(
    report: Report, *, ascii_only: bool = False, verbose: bool = False, wide: bool = False
) -> str:
    """The whole table. Steps without effect show when ``verbose``; names are whole if ``wide``."""
    lines = [_header(report)]
    if report.lookup is not None:
        lines += _lookup(report.lookup)
    there = list(_shown(report.hops, verbose=verbose))
    back: list[tuple[Hop, Step]] = []
    if report.reply_hops and (verbose or _ends_in_reply(report)):
        back = list(_shown(report.reply_hops, verbose=verbose))
    steps = [step for _, step in there + back]
    form = _Form.of(steps, gap="..." if ascii_only else "…", wide=wide)
    if report.fate is Fate.NAME_UNRESOLVED and there:
        lines.append("the question to DNS")
    lines += _places(there, form, report, costs=verbose)
    if back:
        lines.append("the way back")
        lines += _places(back, form, report, costs=verbose)
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
    told = [_answer(asked.answers, asked.rcode, asked.fate.value) for asked in lookup.asked]
    names = max((len(asked.name) for asked in lookup.asked), default=0)
    answers = max((len(text) for text in told), default=0)
    for asked, answer in zip(lookup.asked, told, strict=True):
        via = f"{asked.server} ({asked.answered_by})" if asked.answered_by else asked.server
        lines.append(f"  {asked.type:<5} {asked.name:<{names}}  {answer:<{answers}}  from {via}")
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


def _places(
    shown: Sequence[tuple[Hop, Step]], form: _Form, report: Report, *, costs: bool
) -> Iterator[str]:
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
        line = form.line(step, wire=not hop.node)
        if costs and step.cost is not None:
            line = f"{line.rstrip()}  [{', '.join(step.cost.counted())}]"
        yield line


@dataclass(frozen=True, slots=True)
class _Form:
    """The widths of the columns of one table."""

    number: int
    stage: int
    object: int
    result: int
    gap: str
    """What stands in a name for its middle."""

    @classmethod
    def of(cls, steps: Sequence[Step], *, gap: str, wide: bool) -> _Form:
        longest = max((len(step.object) for step in steps), default=0)
        return cls(
            max(3, len(str(max((step.n for step in steps), default=0)))),
            max((len(step.stage) for step in steps), default=0),
            longest if wide else min(longest, _MAX_OBJECT_WIDTH),
            max((len(step.result) for step in steps), default=0),
            gap,
        )

    def line(self, step: Step, *, wire: bool) -> str:
        """One aligned line; wires between nodes begin with ``~``."""
        number = f"~{step.n:>{self.number - 1}}" if wire else f"{step.n:>{self.number}}"
        head = f"{number} {step.stage:<{self.stage}} {self._fitting(step.object):<{self.object}}"
        return f"{head} {step.result:<{self.result}} {_details(step)}"

    def _fitting(self, name: str) -> str:
        """A name in the column's width: its two ends tell more than its middle."""
        if len(name) <= self.object:
            return name
        left = self.object - len(self.gap)
        return f"{name[: left - left // 2]}{self.gap}{name[len(name) - left // 2 :]}"


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
    if report.cost:
        back = f"; back {report.reply_cost}" if report.reply_cost else ""
        lines += _wrapped("  cost      ", f"{report.cost}{back}")
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
