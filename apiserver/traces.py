"""``POST /apis/podwire.dev/v1alpha1/traces``: walk a packet and say why.

The handler turns names into a namespace, an address and a port, has the fabric walk forks, and
joins the walks with objects through ``explain``. Nothing it does leaves a mark on the live cluster.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.api.view import V
from podwire.apiserver import places
from podwire.apiserver.ingresses import IngressTracer, with_ingresses
from podwire.apiserver.lookups import Lookups, Unanswered
from podwire.apiserver.nearest import MAX_CANDIDATES, Search
from podwire.apiserver.places import usage
from podwire.apiserver.reports import Question, places_of, report
from podwire.apiserver.sources import Source, Sources
from podwire.client.api import Client
from podwire.client.counters import Fabric, KubeletStreams
from podwire.dataplane.cost import total
from podwire.dataplane.verdict import (
    GOOD_FATES,
    Fate,
    Flow,
    Hop,
)
from podwire.explain.cause import cause
from podwire.explain.compose import replay, worth_explaining
from podwire.explain.ends import numbered
from podwire.explain.objects import Objects, WhatIf
from podwire.explain.report import (
    Cause,
    LookupReport,
    Nearest,
    Report,
    TraceSpec,
)

MIN_SIZE_BYTES, MAX_SIZE_BYTES = 28, 65535
MAX_PORT = 65535


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
        self._search = Search(fabric, whatif)
        self._ingresses = IngressTracer(fabric, self._sources, self._search)
        self._elapsed_s = elapsed_s

    async def trace(self, spec: TraceSpec) -> Report:
        """The report. Raises ApiError for what cannot be resolved to a place (400, 404)."""
        objects, revision = await self._objects()
        source = await self._sources.find(spec, objects)
        if places.is_ingress(spec.destination):
            objects = await with_ingresses(self._client, objects)
            found = await self._ingresses.trace(spec, source, objects, revision)
            return msgspec.structs.replace(found, time_s=self._elapsed_s())
        if spec.url:
            raise usage("a url is asked of ingress/NAME only")
        asked = Question(spec, source, places.target(spec, objects), objects, revision)
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
        worst = worth_explaining(answer)
        nearest = None
        if worst.fate not in GOOD_FATES and worst.fate is not Fate.UNKNOWN:
            nearest = await self._search.find(request, answer, worst, objects)
        return report(asked, request, answer, worst, nearest, lookup, self._elapsed_s())

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

    # -- names that do not resolve

    async def _unresolved(
        self, asked: Question, lookup: LookupReport, failed: Unanswered | None
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
            nearest = await self._search.find(failed.request, failed.answer, branch, objects)
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
            cost=total(hop.cost for hop in hops),
            places=places_of(asked, hops, failed.branch if failed else None),
            cause=reason,
            nearest=nearest,
            replay=replay(spec, spec.source_port, spec.draw),
            draw=spec.draw or 0.0,
        )

    async def _other_name(self, asked: Question) -> Nearest:
        """A Service that may have been meant: looked up and walked to like any destination."""
        tried = 0
        port = f":{asked.target.port}" if asked.target.port else ""
        for name in _similar_names(asked):
            if tried >= MAX_CANDIDATES:
                break
            tried += 1
            lookup, _ = await self._lookups.lookup(asked.source, name)
            if not lookup.addresses:
                continue
            answer = await self._fabric.walk(asked.request(_preferred(lookup)))
            if worth_explaining(answer).fate in GOOD_FATES:
                return Nearest(change=f"ask {name}{port}", fate=answer.drawn.fate, tried=tried)
        return Nearest(tried=tried)


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


def _similar_names(asked: Question) -> list[str]:
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


Handler = Callable[[TraceSpec], Awaitable[Report]]


def decode_spec(body: bytes) -> TraceSpec:
    """The spec of a posted Trace object. Raises ApiError 400."""
    try:
        posted: Any = decoded(body, object)
        spec = posted.get("spec", posted) if isinstance(posted, dict) else posted
        found = msgspec.convert(spec, TraceSpec)
    except ValueError as error:
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
