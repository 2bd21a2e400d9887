"""Traces to an Ingress: the walk to the controller, its decision, the walks to each endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.views import Ingress, Pod, Service
from podwire.apiserver import places
from podwire.apiserver.nearest import Search, nearest
from podwire.apiserver.places import Target
from podwire.apiserver.reports import Question, report
from podwire.apiserver.sources import Source, Sources
from podwire.client.api import Client
from podwire.client.counters import Fabric
from podwire.dataplane.commands import CommandError
from podwire.dataplane.cost import total
from podwire.dataplane.verdict import GOOD_FATES, Branch, Fate, Flow, Hop, WalkAnswer, WalkRequest
from podwire.explain import ingress as l7
from podwire.explain.candidate import Candidate
from podwire.explain.candidates import candidates
from podwire.explain.cause import cause
from podwire.explain.compose import worth_explaining
from podwire.explain.objects import Objects
from podwire.explain.report import Cause, Nearest, Report, TraceSpec
from podwire.l7.certs import key_pair
from podwire.l7.route import Decision
from podwire.l7.table import Upstream

_PORTS = {"http": 80, "https": 443}


async def with_ingresses(client: Client, objects: Objects) -> Objects:
    """The objects with what an Ingress controller reads beside them."""
    ingresses = (await client.list(kinds.INGRESS)).items
    classes = (await client.list(kinds.INGRESS_CLASS)).items
    certificates: dict[str, tuple[str, ...]] = {}
    if any(ingress.spec.tls for ingress in ingresses):
        for secret in (await client.list(kinds.SECRET)).items:
            if secret.type != "kubernetes.io/tls":
                continue
            try:
                certificates[secret.key] = key_pair(secret).names
            except ValueError:
                continue  # the controller logs it and serves the fake certificate
    return replace(
        objects,
        ingresses=tuple(ingresses),
        classes=tuple(classes),
        certificates=certificates,
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """A URL on its way through the controller, for one set of objects."""

    service: Service
    """The controller's."""
    url: l7.Url
    decision: Decision
    controllers: dict[str, Source]
    """The controller pods that the walk reached, by address."""
    candidate: Candidate | None = None


class IngressTracer:
    """Follows a URL from a source to the endpoints behind an Ingress."""

    def __init__(self, fabric: Fabric, sources: Sources, search: Search) -> None:
        self._fabric = fabric
        self._sources = sources
        self._search = search

    async def trace(
        self, spec: TraceSpec, source: Source, objects: Objects, revision: str
    ) -> Report:
        """The report. Raises ApiError 400, 404, 503."""
        asked = _asked(spec, objects)
        url = _url(spec, asked)
        service = l7.controller(objects)
        if service is None:
            raise ApiError(
                "NotFound",
                "no Ingress controller serves this cluster: podwire up --ingress nginx",
            )
        address, port = _door(service, asked, url.scheme, objects)
        label = f"ingress/{asked.metadata.name}"
        question = Question(spec, source, Target(label, address, port), objects, revision)
        request = question.request(address)
        try:
            first = await self._fabric.walk(request)
        except LookupError as error:
            raise ApiError("ServiceUnavailable", f"{source.label}: {error}") from error
        controllers = await self._controllers(first, objects)
        asking = _Request(service, url, l7.decision(objects, url), controllers)
        answer = await self._through(first, asking)
        worst = worth_explaining(answer)
        reason = _why(worst, asking, asked, objects)
        help_ = None
        if worst.fate not in GOOD_FATES and worst.fate is not Fate.UNKNOWN:
            if _reached(worst):
                help_ = await self._nearest(question, first, asking, worst)
            else:
                help_ = await self._search.find(request, first, worst, objects)
        found = report(question, request, answer, worst, help_, None, 0.0, reason)
        whose = {c.netns: f"pod {c.label}" for c in controllers.values()}
        return msgspec.structs.replace(found, url=str(url), places={**found.places, **whose})

    async def _controllers(self, first: WalkAnswer, objects: Objects) -> dict[str, Source]:
        found: dict[str, Source] = {}
        for branch in first.branches:
            pod = _arrived(branch, objects)
            if pod is not None and pod.status.pod_ip not in found:
                found[pod.status.pod_ip] = await self._sources.of_pod(pod)
        return found

    # -- the way on

    async def _through(self, first: WalkAnswer, asking: _Request) -> WalkAnswer:
        """All branches: those that reached a controller go on as it decides."""
        branches: list[Branch] = []
        before = 0.0
        for branch in first.branches:
            where = asking.controllers.get(branch.flow.dst) if branch.flow is not None else None
            if branch.fate is not Fate.DELIVERED or where is None:
                branches.append(branch)
            else:
                share = (first.draw - before) / branch.probability if branch.drawn else -1.0
                branches += await self._onward(branch, where, asking, share)
            before += branch.probability
        return WalkAnswer(
            branches=branches, src=first.src, src_port=first.src_port, draw=first.draw
        )

    async def _onward(
        self, branch: Branch, where: Source, asking: _Request, share: float
    ) -> list[Branch]:
        """What becomes of the requests that one controller gets.

        ``share`` in [0, 1) picks the drawn endpoint, negative: none is.
        """
        made = asking.decision
        inside = Hop(node=where.node, steps=l7.steps(made, asking.url, where.netns))
        there = [*branch.hops, inside]
        refused = l7.fate(made)
        if refused is not None or made.upstream is None:
            return [
                msgspec.structs.replace(
                    branch, fate=refused or Fate.L7_DENIED, hops=there, reply_hops=[],
                    node=where.node, netns=where.netns, reply_cost=None,
                )
            ]  # fmt: skip
        endpoints = made.upstream.endpoints
        drawn = min(int(share * len(endpoints)), len(endpoints) - 1) if share >= 0 else -1
        found = []
        for i in range(len(endpoints)):
            answer = await self._to_endpoint(where, made.upstream, i, asking.candidate)
            end = answer.drawn
            good = end.fate in GOOD_FATES
            back = [end.reply_cost, branch.reply_cost] if good else [end.reply_cost]
            found.append(
                Branch(
                    fate=end.fate,
                    hops=[*there, *end.hops],
                    reply_hops=[*end.reply_hops, *branch.reply_hops] if good else end.reply_hops,
                    drawn=i == drawn,
                    probability=branch.probability / len(endpoints),
                    draws=[*branch.draws, *end.draws],
                    node=end.node,
                    netns=end.netns,
                    flow=end.flow,
                    latency_ns=branch.latency_ns + end.latency_ns,
                    cost=total([branch.cost, end.cost]) or None,
                    reply_cost=total(back) or None,
                )
            )
        return found

    async def _to_endpoint(
        self, where: Source, upstream: Upstream, index: int, candidate: Candidate | None
    ) -> WalkAnswer:
        """The walk from a controller to one endpoint. Raises CommandError for an edit refused."""
        endpoint = upstream.endpoints[index]
        request = WalkRequest(
            node=where.node, netns=where.netns, dst=endpoint.address, dst_port=endpoint.port,
            draw=0.0,
        )  # fmt: skip
        if candidate is None:
            return await self._fabric.walk(request)
        answer = await self._search.walk(request, candidate, candidate.objects)
        if answer is None:
            raise CommandError("the edit cannot be made")
        return answer

    # -- what would help

    async def _nearest(
        self, question: Question, first: WalkAnswer, asking: _Request, worst: Branch
    ) -> Nearest:
        """Edits that let the controller decide otherwise, or the packets arrive."""
        asked = _asked(question.spec, question.objects)

        def propose(branch: Branch, so_far: Candidate) -> Iterator[Candidate]:
            url = l7.parse_url(so_far.url) if so_far.url else asking.url
            made = l7.decision(so_far.objects, url)
            if l7.fate(made) is not None:
                return l7.candidates(made, url, asked, so_far.objects)
            door = Flow(protocol="tcp", src=first.src, dst="", dst_port=0)
            return candidates(branch, so_far.objects, door)

        attempt = partial(self._attempt, question, first, asking)
        return await nearest(propose, attempt, worst, question.objects)

    async def _attempt(
        self, question: Question, first: WalkAnswer, asking: _Request, candidate: Candidate
    ) -> WalkAnswer | None:
        """Both walks again, with edited objects or for another URL."""
        objects, edited = question.objects, candidate.objects
        url = l7.parse_url(candidate.url) if candidate.url else asking.url
        if not _same_network(objects, edited):
            compiled = tuple(self._search.compiled(edited))
            candidate = replace(candidate, edits=(*candidate.edits, *compiled))
        candidate = replace(candidate, port=0, protocol="")
        address, port = _door(asking.service, _asked(question.spec, objects), url.scheme, objects)
        request = msgspec.structs.replace(
            question.request(address), dst_port=port, src_port=first.src_port, draw=first.draw
        )
        there = await self._search.walk(request, candidate, edited)
        if there is None:
            return None
        again = replace(
            asking,
            url=url,
            decision=l7.decision(edited, url),
            controllers=await self._controllers(there, objects),
            candidate=candidate,
        )
        try:
            return await self._through(there, again)
        except CommandError:
            return None


def _same_network(one: Objects, other: Objects) -> bool:
    """Whether the node agents would program the same for both."""
    return (
        one.services is other.services
        and one.slices is other.slices
        and one.policies is other.policies
        and one.pods is other.pods
    )


def _asked(spec: TraceSpec, objects: Objects) -> Ingress:
    _, name = places.kind_and_name(spec.destination)
    namespace = spec.destination_namespace or spec.namespace
    found = objects.ingress(namespace, name)
    if found is None:
        raise places.not_found("ingresses.networking.k8s.io", name)
    if spec.protocol != "tcp":
        raise places.usage(f"an Ingress is asked by tcp, not {spec.protocol}")
    return found


def _url(spec: TraceSpec, asked: Ingress) -> l7.Url:
    if not spec.url:
        return l7.first_url(asked)
    try:
        return l7.parse_url(spec.url)
    except ValueError as error:
        raise places.usage(str(error)) from error


def _door(service: Service, asked: Ingress, scheme: str, objects: Objects) -> tuple[str, int]:
    """Where the outside knocks: a node's address and the NodePort for the scheme.

    The node is the one that the Ingress's status names, else the first.
    """
    wanted = _PORTS[scheme]
    port = next((p for p in service.spec.ports if p.name == scheme or p.port == wanted), None)
    if port is None:
        raise places.usage(f"Service {service.key} of the Ingress controller serves no {scheme}")
    if not port.node_port:
        return service.spec.cluster_ip, port.port
    given = [entry.ip for entry in asked.status.load_balancer.ingress]
    nodes = [node.internal_ip for node in objects.nodes if node.internal_ip]
    address = next((ip for ip in given if ip in nodes), nodes[0] if nodes else "")
    if not address:
        raise places.usage("no node has an address yet")
    return address, port.node_port


def _arrived(branch: Branch, objects: Objects) -> Pod | None:
    if branch.fate is not Fate.DELIVERED or branch.flow is None:
        return None
    return objects.listener_at(branch.flow.dst, "tcp", branch.flow.dst_port)


def _reached(branch: Branch) -> bool:
    """Whether a controller decided about this branch."""
    return any(step.stage == "l7" for hop in branch.hops for step in hop.steps)


def _why(branch: Branch, asking: _Request, asked: Ingress, objects: Objects) -> Cause:
    made = asking.decision
    if not _reached(branch):
        return cause(branch, objects)
    if l7.fate(made) is not None:
        number = sum(len(hop.steps) for hop in branch.hops)
        return l7.because(made, asked, objects, number)
    found = cause(branch, objects)
    more = l7.elsewhere(made, asked, objects)
    return msgspec.structs.replace(found, summary=found.summary + more) if more else found
