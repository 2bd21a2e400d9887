"""``POST /apis/podwire.dev/v1alpha1/traces``: walk a packet and say why.

The handler turns names into a namespace, an address and a port, has the fabric walk forks, and
joins the walks with objects through ``explain``. Nothing it does leaves a mark on the live cluster.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import V
from podwire.apiserver import places
from podwire.apiserver.lookups import Lookups, Unanswered
from podwire.apiserver.places import Target, usage
from podwire.apiserver.sources import GATEWAY, Source, Sources
from podwire.client.api import Client
from podwire.client.counters import Fabric, KubeletStreams
from podwire.dataplane.commands import CommandError
from podwire.dataplane.verdict import (
    GOOD_FATES,
    Branch,
    Fate,
    Flow,
    Hop,
    WalkAnswer,
    WalkRequest,
)
from podwire.explain.candidate import Candidate
from podwire.explain.candidates import candidates
from podwire.explain.cause import cause
from podwire.explain.ends import numbered
from podwire.explain.objects import Objects, WhatIf
from podwire.explain.report import (
    DEFAULT_SIZE_BYTES,
    BranchReport,
    Cause,
    LookupReport,
    Nearest,
    Report,
    TraceSpec,
)

_MAX_CANDIDATES = 12
MIN_SIZE_BYTES, MAX_SIZE_BYTES = 28, 65535
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, where it starts and goes, and the cluster as it is."""

    spec: TraceSpec
    source: Source
    target: Target
    objects: Objects
    revision: str

    def request(self, address: str) -> WalkRequest:
        """The packet to walk, to an address."""
        source, spec = self.source, self.spec
        return WalkRequest(
            node=source.node,
            netns=source.netns,
            protocol=spec.protocol,
            src=source.address if source.node == GATEWAY else "",
            src_port=spec.source_port,
            dst=address,
            dst_port=self.target.port,
            draw=spec.draw,
            size_bytes=spec.size_bytes,
        )


class Tracer:
    """Answers traces for one cluster."""

    def __init__(
        self,
        client: Client,
        fabric: Fabric,
        kubelets: KubeletStreams,
        whatif: WhatIf,
        elapsed_s: Callable[[], float],
    ) -> None:
        self._client = client
        self._fabric = fabric
        self._sources = Sources(fabric, kubelets)
        self._lookups = Lookups(fabric, kubelets)
        self._whatif = whatif
        self._elapsed_s = elapsed_s

    async def trace(self, spec: TraceSpec) -> Report:
        """The report. Raises ApiError for what cannot be resolved to a place (400, 404)."""
        objects, revision = await self._objects()
        source = await self._sources.find(spec, objects)
        asked = _Question(spec, source, places.target(spec, objects), objects, revision)
        address, lookup = asked.target.address, None
        if asked.target.name:
            lookup, failed = await self._lookups.lookup(source, asked.target.name)
            if not lookup.addresses:
                return await self._unresolved(asked, lookup, failed)
            address = _preferred(lookup)
        request = asked.request(address)
        try:
            answer = await self._fabric.walk(request)
        except LookupError as error:
            raise ApiError("ServiceUnavailable", f"{source.label}: {error}") from error
        worst = _worth_explaining(answer)
        nearest = None
        if worst.fate not in GOOD_FATES and worst.fate is not Fate.UNKNOWN:
            nearest = await self._nearest(request, answer, worst, objects)
        return _report(asked, request, answer, worst, nearest, lookup, self._elapsed_s())

    async def _objects(self) -> tuple[Objects, str]:
        async def items(kind: Kind[V]) -> tuple[list[V], str]:
            listed = await self._client.list(kind)
            return listed.items, listed.resource_version

        pods, revision = await items(kinds.POD)
        services, _ = await items(kinds.SERVICE)
        slices, _ = await items(kinds.ENDPOINT_SLICE)
        nodes, _ = await items(kinds.NODE)
        namespaces, _ = await items(kinds.NAMESPACE)
        policies, _ = await items(kinds.NETWORK_POLICY)
        found = Objects(
            tuple(pods), tuple(services), tuple(slices), tuple(nodes), tuple(namespaces),
            tuple(policies),
        )  # fmt: skip
        return found, revision

    # -- what would help

    async def _nearest(
        self, request: WalkRequest, first: WalkAnswer, branch: Branch, objects: Objects
    ) -> Nearest:
        """Try candidates on forks: single ones, then pairs where one got the packet further."""
        request = msgspec.structs.replace(request, src_port=first.src_port, draw=first.draw)
        asked = Flow(
            protocol=request.protocol, src=first.src, dst=request.dst, dst_port=request.dst_port
        )
        tried = 0
        further: list[tuple[Candidate, Branch]] = []
        for candidate in _single_then_pairs(branch, objects, asked, further):
            if tried >= _MAX_CANDIDATES:
                break
            tried += 1
            answer = await self._try(request, candidate, objects)
            if answer is None:
                continue
            worst = _worth_explaining(answer)
            if worst.fate in GOOD_FATES:
                return Nearest(change=candidate.change, fate=answer.drawn.fate, tried=tried)
            if worst.fate is not branch.fate:
                further.append((candidate, worst))
        return Nearest(tried=tried)

    async def _try(
        self, request: WalkRequest, candidate: Candidate, objects: Objects
    ) -> WalkAnswer | None:
        """The walk after an edit, compiled by the agents' own cores; None when it cannot be made.

        A command that a kernel refuses (a route through a device that is down) is no way out.
        """
        edits = list(candidate.edits)
        if candidate.objects is not objects:
            edits += self._whatif(candidate.objects)
        changed = msgspec.structs.replace(
            request,
            edits=edits,
            wire_edits=list(candidate.wires),
            dst_port=candidate.port or request.dst_port,
            protocol=candidate.protocol or request.protocol,
            size_bytes=candidate.size_bytes or request.size_bytes,
        )
        try:
            return await self._fabric.walk(changed)
        except CommandError:
            return None

    # -- names that do not resolve

    async def _unresolved(
        self, asked: _Question, lookup: LookupReport, failed: Unanswered | None
    ) -> Report:
        spec, objects = asked.spec, asked.objects
        hops: list[Hop] = []
        nearest: Nearest | None = None
        if failed is None:
            reason = _no_such_name(lookup, asked.source)
            nearest = await self._other_name(asked)
        elif failed.branch.fate in GOOD_FATES:
            reason = Cause(summary="no DNS server answered in time")
        else:
            branch = failed.branch
            inner = cause(branch, objects)
            summary = f"the question to DNS ends {branch.fate.value}: {inner.summary}"
            reason = msgspec.structs.replace(inner, summary=summary)
            hops = numbered(branch.hops)
            nearest = await self._nearest(failed.request, failed.answer, branch, objects)
        return Report(
            source=asked.source.label,
            destination=asked.target.label,
            protocol=spec.protocol,
            flow=Flow(
                protocol=spec.protocol,
                src=asked.source.address,
                dst="",
                dst_port=asked.target.port,
            ),
            resource_version=asked.revision,
            time_s=self._elapsed_s(),
            fate=Fate.NAME_UNRESOLVED,
            lookup=lookup,
            branches=[],
            hops=hops,
            places=_places(asked, hops, failed.branch if failed else None),
            cause=reason,
            nearest=nearest,
            replay=_replay(spec, spec.source_port, spec.draw),
            draw=spec.draw or 0.0,
        )

    async def _other_name(self, asked: _Question) -> Nearest:
        """A Service that may have been meant: looked up and walked to like any destination."""
        tried = 0
        port = f":{asked.target.port}" if asked.target.port else ""
        for name in _similar_names(asked):
            if tried >= _MAX_CANDIDATES:
                break
            tried += 1
            lookup, _ = await self._lookups.lookup(asked.source, name)
            if not lookup.addresses:
                continue
            answer = await self._fabric.walk(asked.request(_preferred(lookup)))
            if _worth_explaining(answer).fate in GOOD_FATES:
                return Nearest(change=f"ask {name}{port}", fate=answer.drawn.fate, tried=tried)
        return Nearest(tried=tried)


def _single_then_pairs(
    branch: Branch, objects: Objects, asked: Flow, further: list[tuple[Candidate, Branch]]
) -> Iterator[Candidate]:
    """Candidates for a branch, then each that got the packet ``further`` with one more edit."""
    yield from candidates(branch, objects, asked)
    for first, stopped in list(further):
        for second in candidates(stopped, first.objects, asked):
            yield Candidate(
                f"{first.change}; and {second.change}",
                second.objects,
                first.wires + second.wires,
                first.edits + second.edits,
                second.port or first.port,
                second.protocol or first.protocol,
                second.size_bytes or first.size_bytes,
            )


def _preferred(lookup: LookupReport) -> str:
    """The address a client takes first: IPv4, as nothing here speaks IPv6 between pods."""
    return next((a for a in lookup.addresses if ":" not in a), lookup.addresses[0])


def _no_such_name(lookup: LookupReport, source: Source) -> Cause:
    codes = ", ".join(dict.fromkeys(a.rcode for a in lookup.asked if a.rcode))
    count = len(dict.fromkeys(a.name for a in lookup.asked))
    names = f" for {'each of ' if count > 1 else ''}{count} name{'s' if count > 1 else ''}"
    summary = f"{lookup.error} ({codes}{names})" if codes else lookup.error
    if not source.pod:
        summary += f"; {source.label} asks no CoreDNS: it knows no names of the cluster"
    return Cause(summary=summary)


def _similar_names(asked: _Question) -> list[str]:
    """``name.namespace`` of Services of that name elsewhere, then of those with similar names."""
    first, _, rest = asked.target.name.partition(".")
    namespace = rest.partition(".")[0] or asked.source.namespace
    services = asked.objects.services
    same = [s for s in services if s.metadata.name == first]
    near = [s.metadata.name for s in services if s.metadata.namespace == namespace]
    close = difflib.get_close_matches(first, near, n=3)
    return [f"{s.metadata.name}.{s.metadata.namespace}" for s in same] + [
        name if namespace == asked.source.namespace else f"{name}.{namespace}" for name in close
    ]


# ---------------------------------------------------------------- the report


def _worth_explaining(answer: WalkAnswer) -> Branch:
    """The drawn branch, unless it is good and another is not."""
    drawn = answer.drawn
    if drawn.fate not in GOOD_FATES:
        return drawn
    bad = [b for b in answer.branches if b.fate not in GOOD_FATES]
    return next((b for b in bad if b.fate is not Fate.UNKNOWN), bad[0] if bad else drawn)


def _draw_of(answer: WalkAnswer, branch: Branch) -> float:
    """A draw that leads down a branch: branches lie side by side in [0, 1), in their order."""
    before = 0.0
    for other in answer.branches:
        if other is branch:
            break
        before += other.probability
    return before + branch.probability / 2


def _report(
    asked: _Question,
    request: WalkRequest,
    answer: WalkAnswer,
    worst: Branch,
    nearest: Nearest | None,
    lookup: LookupReport | None,
    elapsed_s: float,
) -> Report:
    drawn, spec = answer.drawn, asked.spec
    reason = cause(worst, asked.objects)
    if worst is not drawn:
        where = _end(worst) or "?"
        see = f"see it with --draw {_draw_of(answer, worst):.6f}"
        summary = f"another branch ({where}) ends {worst.fate.value}: {reason.summary}; {see}"
        reason = msgspec.structs.replace(reason, summary=summary, step=0)
    hops = numbered(drawn.hops)
    steps = sum(len(hop.steps) for hop in hops)
    icmp = spec.protocol == "icmp"
    return Report(
        source=asked.source.label,
        destination=asked.target.label,
        protocol=spec.protocol,
        flow=Flow(
            protocol=spec.protocol,
            src=answer.src,
            src_port=0 if icmp else answer.src_port,
            dst=request.dst,
            dst_port=0 if icmp else request.dst_port,
        ),
        resource_version=asked.revision,
        time_s=elapsed_s,
        fate=drawn.fate,
        lookup=lookup,
        branches=[
            BranchReport(
                fate=b.fate,
                probability=round(b.probability, 6),
                drawn=b.drawn,
                node=b.node,
                destination=_end(b),
            )
            for b in answer.branches
        ],
        hops=hops,
        reply_hops=numbered(drawn.reply_hops, steps + 1),
        places=_places(asked, hops, drawn),
        cause=reason,
        nearest=nearest,
        replay=_replay(spec, answer.src_port, answer.draw),
        draw=answer.draw,
    )


def _end(branch: Branch) -> str:
    """The address (and port) that a branch went to."""
    flow = branch.flow
    if flow is None:
        return ""
    return flow.dst if flow.protocol == "icmp" else f"{flow.dst}:{flow.dst_port}"


def _places(asked: _Question, hops: list[Hop], branch: Branch | None) -> dict[str, str]:
    """Whose the network namespaces of a walk are: the source's, and the one where it ended."""
    found: dict[str, str] = {}
    flow = branch.flow if branch is not None else None
    ends = (flow.dst, flow.src) if flow is not None else ()
    other = next(
        (
            pod
            for pod in map(asked.objects.pod_at, ends)
            if pod is not None and pod.key != asked.source.label
        ),
        None,
    )
    for hop in hops:
        for step in hop.steps:
            if step.netns and other is not None and hop.node == other.spec.node_name:
                found[step.netns] = f"pod {other.key}"
    if asked.source.netns:
        found[asked.source.netns] = f"pod {asked.source.label}"
    return found


def _replay(spec: TraceSpec, source_port: int, draw: float | None) -> str:
    words = ["podwire", "trace", spec.source, spec.destination]
    if spec.namespace != "default":
        words += ["-n", spec.namespace]
    if spec.destination_namespace:
        words += ["--destination-namespace", spec.destination_namespace]
    if spec.protocol != "tcp":
        words += ["--protocol", spec.protocol]
    if spec.size_bytes != DEFAULT_SIZE_BYTES:
        words += ["--size", str(spec.size_bytes)]
    if source_port:
        words += ["--sport", str(source_port)]
    if draw is not None:
        words += ["--draw", f"{draw:.6f}"]
    return " ".join(words)


Handler = Callable[[TraceSpec], Awaitable[Report]]


def decode_spec(body: bytes) -> TraceSpec:
    """The spec of a posted Trace object. Raises ApiError 400."""
    try:
        decoded: Any = msgspec.json.decode(body)
        spec = decoded.get("spec", decoded) if isinstance(decoded, dict) else decoded
        found = msgspec.convert(spec, TraceSpec)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ApiError("BadRequest", f"spec: {error}") from error
    if found.protocol not in {"tcp", "udp", "icmp"}:
        raise usage(f"protocol {found.protocol!r} is not modelled; use tcp, udp or icmp")
    if not MIN_SIZE_BYTES <= found.size_bytes <= MAX_SIZE_BYTES:
        raise usage(f"sizeBytes must be {MIN_SIZE_BYTES} to {MAX_SIZE_BYTES}")
    if not 0 <= found.source_port <= MAX_PORT:
        raise usage(f"sourcePort must be 0 to {MAX_PORT}")
    if found.draw is not None and not 0 <= found.draw < 1:
        raise usage("draw must be in [0, 1)")
    return found
