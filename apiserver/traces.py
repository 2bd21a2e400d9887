"""``POST /apis/podwire.dev/v1alpha1/traces``: walk a packet and say why.

The handler turns names into a namespace, an address and a port, has the fabric walk forks, and
joins the walks with objects through ``explain``. Nothing it does leaves a mark on the live cluster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import V
from podwire.api.views import Pod
from podwire.apiserver import places
from podwire.apiserver.places import Target, is_address, usage
from podwire.client import dnswire, resolver
from podwire.client.api import Client
from podwire.client.counters import Fabric, KubeletStreams, Resolver
from podwire.dataplane.verdict import (
    GOOD_FATES,
    Branch,
    Fate,
    Flow,
    WalkAnswer,
    WalkRequest,
)
from podwire.explain.candidates import candidates
from podwire.explain.cause import cause
from podwire.explain.objects import Objects, WhatIf
from podwire.explain.report import (
    Asked,
    BranchReport,
    Cause,
    LookupReport,
    Nearest,
    Report,
    TraceSpec,
)

_DNS_TIMEOUT_S = 5.0
_MAX_CANDIDATES = 12
GATEWAY = "gateway"
"""The host from which an address outside the cluster is taken to send."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the packet starts."""

    label: str
    node: str
    netns: str
    address: str
    namespace: str
    pod: str = ""


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
        self._kubelets = kubelets
        self._whatif = whatif
        self._elapsed_s = elapsed_s

    async def trace(self, spec: TraceSpec) -> Report:
        """The report. Raises ApiError for what cannot be resolved to a place (400, 404)."""
        objects, revision = await self._objects()
        source = await self._source(spec, objects)
        target = places.target(spec, objects)
        lookup = None
        if target.name:
            lookup, failed = await self._lookup(source, target.name)
            if not lookup.addresses:
                return self._unresolved(spec, source, target, lookup, failed, revision, objects)
            v4 = [a for a in lookup.addresses if ":" not in a]
            target = replace(target, address=(v4 or lookup.addresses)[0])
        request = WalkRequest(
            node=source.node,
            netns=source.netns,
            protocol=spec.protocol,
            src=source.address if source.node == GATEWAY else "",
            src_port=spec.source_port,
            dst=target.address,
            dst_port=target.port,
            draw=spec.draw,
            size_bytes=spec.size_bytes,
        )
        answer = await self._fabric.walk(request)
        worst = _worth_explaining(answer)
        reason = cause(worst, objects)
        nearest = None
        if worst.fate not in GOOD_FATES and worst.fate is not Fate.UNKNOWN:
            nearest = await self._nearest(request, answer, worst, objects)
        return _report(
            spec, source, target, answer, worst, reason, nearest, lookup, revision,
            self._elapsed_s(),
        )  # fmt: skip

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

    # -- the source

    async def _source(self, spec: TraceSpec, objects: Objects) -> Source:
        kind, name = places.kind_and_name(spec.source)
        if kind == "node":
            if not any(node.metadata.name == name for node in objects.nodes):
                raise places.not_found("nodes", name)
            return await self._from_node(f"node/{name}", name, spec.namespace)
        if kind == "":
            return await self._from_address(name, objects, spec)
        pod = places.pod_of(kind, name, spec.namespace, objects)
        return await self._from_pod(pod)

    async def _from_pod(self, pod: Pod) -> Source:
        if not pod.status.pod_ip:
            phase = pod.status.phase or "Pending"
            raise ApiError(
                "BadRequest",
                f"pod {pod.key} has no address yet (phase {phase}): kubectl describe pod "
                f"{pod.metadata.name} -n {pod.metadata.namespace}",
            )
        meta = pod.metadata
        where = await self._kubelets.resolver(pod.spec.node_name, meta.namespace, meta.name)
        return Source(
            pod.key, pod.spec.node_name, where.netns, pod.status.pod_ip, meta.namespace, meta.name
        )

    async def _from_node(self, label: str, node: str, namespace: str) -> Source:
        info = await self._fabric.node(node)
        return Source(label, node, "", info.address, namespace)

    async def _from_address(self, text: str, objects: Objects, spec: TraceSpec) -> Source:
        if not is_address(text):
            raise usage(
                f"source {text!r}: use pod/NAME, deploy/NAME, svc/NAME, node/NAME or an address"
            )
        pod = objects.pod_at(text)
        if pod is not None:
            return await self._from_pod(pod)
        node = objects.node_at(text)
        if node is not None:
            return await self._from_node(
                f"node/{node.metadata.name}", node.metadata.name, spec.namespace
            )
        return Source(text, GATEWAY, "", text, spec.namespace)

    # -- the name

    async def _lookup(self, source: Source, name: str) -> tuple[LookupReport, Branch | None]:
        """Resolve as the source would, each question on a fork."""
        where = await self._resolver(source)
        conf = resolver.parse_resolv_conf(where.resolv_conf)
        asked: list[Asked] = []
        failed: list[Branch] = []

        async def exchange(
            questions: tuple[dnswire.Question, ...],
        ) -> list[dnswire.Message | None]:
            answers = []
            for number, question in enumerate(questions):
                answers.append(await self._ask(source, conf, question, number, asked, failed))
            return answers

        lookup = resolver.Lookup(name, conf=conf, hosts=resolver.Hosts(where.hosts))
        result = await resolver.run(lookup, exchange)
        report = LookupReport(
            name=name,
            source=result.source,
            asked=asked,
            addresses=list(result.addresses),
            canonical=result.canonical,
            error=resolver.strerror(result.error) if result.error else "",
        )
        return report, failed[-1] if failed else None

    async def _resolver(self, source: Source) -> Resolver:
        if source.pod:
            return await self._kubelets.resolver(source.node, source.namespace, source.pod)
        conf = await self._fabric.read_file(source.node, "/etc/resolv.conf")
        hosts = await self._fabric.read_file(source.node, "/etc/hosts")
        return Resolver(source.node, "", source.address, conf.decode(), hosts.decode())

    async def _ask(
        self,
        source: Source,
        conf: resolver.ResolvConf,
        question: dnswire.Question,
        number: int,
        asked: list[Asked],
        failed: list[Branch],
    ) -> dnswire.Message | None:
        for server in conf.nameservers:
            payload = dnswire.query(question.name, question.type, number + 1)
            answer, reply = await self._fabric.ask_datagram(
                source.node, source.netns, server, 53, payload, _DNS_TIMEOUT_S
            )
            branch = answer.drawn
            message = dnswire.decode(reply) if reply is not None else None
            if message is None:
                failed.append(branch)
            asked.append(
                Asked(
                    name=question.name,
                    type=dnswire.type_name(question.type),
                    server=server,
                    answered_by=branch.flow.dst if branch.flow and reply is not None else "",
                    rcode=dnswire.rcode_name(message.rcode) if message is not None else "",
                    answers=[dnswire.data_text(r) for r in message.answer] if message else [],
                    fate=branch.fate,
                )
            )
            if message is not None:
                return message
        return None

    # -- what would help

    async def _nearest(
        self, request: WalkRequest, first: WalkAnswer, branch: Branch, objects: Objects
    ) -> Nearest:
        """Try candidates on forks: each is compiled by the agents' own cores, then walked."""
        tried = 0
        for candidate in candidates(branch, objects):
            if tried >= _MAX_CANDIDATES:
                break
            tried += 1
            edits = [] if candidate.objects is objects else list(self._whatif(candidate.objects))
            answer = await self._fabric.walk(
                msgspec.structs.replace(
                    request,
                    src_port=first.src_port,
                    draw=first.draw,
                    edits=edits,
                    wire_edits=list(candidate.wires),
                )
            )
            if all(b.fate in GOOD_FATES for b in answer.branches):
                return Nearest(change=candidate.change, fate=answer.drawn.fate, tried=tried)
        return Nearest(tried=tried)

    def _unresolved(
        self,
        spec: TraceSpec,
        source: Source,
        target: Target,
        lookup: LookupReport,
        failed: Branch | None,
        revision: str,
        objects: Objects,
    ) -> Report:
        if failed is not None and failed.fate not in GOOD_FATES:
            inner = cause(failed, objects)
            summary = f"the question to DNS ends {failed.fate.value}: {inner.summary}"
            reason = Cause(summary=summary, objects=inner.objects, step=inner.step, rule=inner.rule)
        elif failed is not None:
            reason = Cause(summary="no DNS server answered in time")
        else:
            codes = ", ".join(dict.fromkeys(a.rcode for a in lookup.asked if a.rcode))
            reason = Cause(summary=f"{lookup.error} ({codes})" if codes else lookup.error)
        return Report(
            source=source.label,
            destination=target.label,
            protocol=spec.protocol,
            flow=Flow(protocol=spec.protocol, src=source.address, dst="", dst_port=target.port),
            resource_version=revision,
            time_s=self._elapsed_s(),
            fate=Fate.NAME_UNRESOLVED,
            lookup=lookup,
            branches=[],
            hops=failed.hops if failed is not None else [],
            cause=reason,
            nearest=None,
            replay=_replay(spec, spec.source_port, spec.draw),
            draw=spec.draw or 0.0,
        )


# ---------------------------------------------------------------- the report


def _worth_explaining(answer: WalkAnswer) -> Branch:
    """The drawn branch, unless it is good and another is not."""
    drawn = answer.drawn
    if drawn.fate not in GOOD_FATES:
        return drawn
    return next((b for b in answer.branches if b.fate not in GOOD_FATES), drawn)


def _report(
    spec: TraceSpec,
    source: Source,
    target: Target,
    answer: WalkAnswer,
    worst: Branch,
    reason: Cause,
    nearest: Nearest | None,
    lookup: LookupReport | None,
    revision: str,
    elapsed_s: float,
) -> Report:
    drawn = answer.drawn
    if worst is not drawn:
        where = worst.flow.dst if worst.flow else "?"
        reason = msgspec.structs.replace(
            reason, summary=f"another branch ({where}) ends {worst.fate.value}: {reason.summary}"
        )
    return Report(
        source=source.label,
        destination=target.label,
        protocol=spec.protocol,
        flow=Flow(
            protocol=spec.protocol,
            src=answer.src,
            src_port=answer.src_port,
            dst=target.address,
            dst_port=target.port,
        ),
        resource_version=revision,
        time_s=elapsed_s,
        fate=drawn.fate,
        lookup=lookup,
        branches=[
            BranchReport(
                fate=b.fate,
                probability=round(b.probability, 6),
                drawn=b.drawn,
                node=b.node,
                destination=f"{b.flow.dst}:{b.flow.dst_port}" if b.flow else "",
            )
            for b in answer.branches
        ],
        hops=drawn.hops,
        cause=reason,
        nearest=nearest,
        replay=_replay(spec, answer.src_port, answer.draw),
        draw=answer.draw,
    )


def _replay(spec: TraceSpec, source_port: int, draw: float | None) -> str:
    words = ["podwire", "trace", spec.source, spec.destination]
    if spec.namespace != "default":
        words += ["-n", spec.namespace]
    if spec.destination_namespace:
        words += ["--destination-namespace", spec.destination_namespace]
    if spec.protocol != "tcp":
        words += ["--protocol", spec.protocol]
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
    if found.draw is not None and not 0 <= found.draw < 1:
        raise usage("draw must be in [0, 1)")
    return found
