"""What an Ingress controller does with a URL, and which edits would let it through.

The decision is ``podwire.l7``'s, made from objects by the code that serves real requests.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

import msgspec

from podwire.api.views import Ingress, Service
from podwire.api.views.ingress import IngressBackend, IngressServiceBackend, ServiceBackendPort
from podwire.dataplane.verdict import Fate, Flow, Step
from podwire.explain import services
from podwire.explain.candidate import Candidate
from podwire.explain.objects import Objects
from podwire.explain.report import Cause, ObjectRef
from podwire.l7.route import Decision, decide
from podwire.l7.table import (
    Backends,
    ClassRules,
    Table,
    class_rules,
    compile_table,
    flags_of,
)

LABELS = (
    ("app.kubernetes.io/name", "ingress-nginx"),
    ("app.kubernetes.io/component", "controller"),
)
"""What the controller's own Service is known by."""
_ALIKE = 0.5


@dataclass(frozen=True, slots=True)
class Url:
    """A URL as a client takes it apart."""

    scheme: str
    authority: str
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """A URL; http when it names no scheme. Raises ValueError."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"url {text!r}: use http://HOST/PATH or https://HOST/PATH")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/%?:@!$&()*+,;=~-._')}" if parts.query else ""
    return Url(parts.scheme, parts.netloc.rpartition("@")[2], path + query)


def first_url(ingress: Ingress) -> Url:
    """The URL that an Ingress's first rule is for."""
    scheme = "https" if ingress.spec.tls else "http"
    for rule in ingress.spec.rules:
        host = rule.host.replace("*", "any") or "any.example"
        paths = rule.http.paths if rule.http is not None else ()
        return Url(scheme, host, next((path.path for path in paths if path.path), "/"))
    return Url(scheme, "any.example", "/")


def controller(objects: Objects) -> Service | None:
    """The Service of the Ingress controller."""
    return next(
        (
            service
            for service in objects.services
            if all(service.metadata.labels.get(key) == value for key, value in LABELS)
        ),
        None,
    )


def rules_of(objects: Objects) -> ClassRules:
    """Whose Ingresses the controller serves, by the flags of its pods."""
    service = controller(objects)
    pods = objects.selected_by(service) if service is not None else []
    words = [w for c in pods[0].spec.containers for w in (*c.command, *c.args)] if pods else []
    return class_rules(flags_of(words))


def routes(objects: Objects) -> Table:
    """The controller's table for a set of objects."""
    refused = rules_of(objects).refused
    mine = [i for i in objects.ingresses if not refused(i, objects.classes)]
    backends = Backends(objects.services, objects.slices)
    return compile_table(mine, backends, objects.certificates.get)


def decision(objects: Objects, url: Url) -> Decision:
    """What the controller does with a URL."""
    return decide(routes(objects), url.scheme, url.authority, url.target)


def fate(made: Decision) -> Fate | None:
    """The fate of what the controller answers itself; None when it asks an endpoint."""
    if made.status == 0:
        return None
    return Fate.NO_ENDPOINTS if made.status == 503 else Fate.L7_DENIED


# ---------------------------------------------------------------- in words


def steps(made: Decision, url: Url, netns: str) -> list[Step]:
    """The controller's part of the walk."""
    found = []
    if url.scheme == "https":
        key = made.server.certificate
        detail = f"certificate of Secret {key}" if key else "fake certificate"
        found.append(
            Step(
                stage="tls", object="ingress-nginx", result="terminate", detail=detail, netns=netns
            )
        )
    result = "proxy" if made.status == 0 else str(made.status)
    found.append(
        Step(
            stage="l7", object="ingress-nginx", result=result, detail=_told(made, url), netns=netns
        )
    )
    return found


def _told(made: Decision, url: Url) -> str:
    where = ""
    if made.status == 404:
        return f"no rule for {url.authority}{url.target.partition('?')[0]}"
    if made.location is not None and made.location.ingress:
        where = f"ingress {made.location.ingress} "
    text = f"{where}{made.rule}".strip()
    if made.upstream is not None:
        text += f" → service {made.upstream.service}:{made.upstream.port}"
    if made.target and made.target != url.target:
        text += f" as {made.target}"
    if made.redirect:
        text += f" → {made.redirect}"
    return text or made.reason


def because(made: Decision, asked: Ingress, objects: Objects, number: int) -> Cause:
    """Why the controller answers itself; ``number`` is that of its step."""
    refs: list[ObjectRef] = []
    if made.location is not None and made.location.ingress:
        namespace, _, name = made.location.ingress.partition("/")
        refs.append(ObjectRef(kind="Ingress", namespace=namespace, name=name))
    if made.status == 503 and made.upstream is not None:
        why, more = made.upstream.problem, list[ObjectRef]()
        service = objects.service(made.upstream.namespace, made.upstream.service)
        if (
            service is not None
            and _port_exists(service, made.upstream.port)
            and not objects.ready_endpoints(service)
        ):
            why, more = services.no_endpoints(_rule(made), _NO_FLOW, "", objects)
        summary = f"the controller answers 503: {why}"
        refs += more
    elif made.redirect:
        summary = f"the controller answers {made.status} to {made.redirect}: {made.reason}"
    else:
        summary = f"the controller answers {made.status}: {made.reason}"
    summary += elsewhere(made, asked, objects)
    return Cause(summary=summary, objects=refs, step=number)


def elsewhere(made: Decision, asked: Ingress, objects: Objects) -> str:
    """That the Ingress asked about is not the one that decided, "" when it is."""
    if made.location is not None and made.location.ingress == asked.key:
        return ""
    refused = rules_of(objects).refused(asked, objects.classes)
    if refused:
        return f"; the controller does not serve Ingress {asked.key}: {refused}"
    left = [why for key, why in routes(objects).left_out if key == asked.key]
    if left:
        return f"; of Ingress {asked.key} is left out: {left[0]}"
    if made.location is None or not made.location.ingress:
        return ""
    return f"; Ingress {made.location.ingress} decides, not {asked.key}"


_NO_FLOW = Flow(protocol="tcp", src="", dst="")


def _rule(made: Decision) -> str:
    """As kube-proxy's comment, which ``services`` understands."""
    assert made.upstream is not None
    return f'"{made.upstream.namespace}/{made.upstream.service} has no endpoints"'


def _port_exists(service: Service, port: str) -> bool:
    return any(port in {str(p.port), str(p.target_port), p.name} for p in service.spec.ports)


# ---------------------------------------------------------------- what would help


def candidates(made: Decision, url: Url, asked: Ingress, objects: Objects) -> Iterator[Candidate]:
    """Proposals after which the controller would ask an endpoint, nearest first."""
    if made.redirect:
        yield Candidate(f"ask {made.redirect}", objects, url=made.redirect)
    elif made.status == 503:
        yield from _backend(made, objects)
    elif made.status == 404:
        if rules_of(objects).refused(asked, objects.classes):
            yield from _class(asked, objects)
        yield from _questions(url, asked, objects)


def _class(asked: Ingress, objects: Objects) -> Iterator[Candidate]:
    for found in objects.classes:
        spec = msgspec.structs.replace(asked.spec, ingress_class_name=found.metadata.name)
        change = f"set ingressClassName: {found.metadata.name} in Ingress {asked.key}"
        yield Candidate(change, _swap(objects, msgspec.structs.replace(asked, spec=spec)))


def _questions(url: Url, asked: Ingress, objects: Objects) -> Iterator[Candidate]:
    """The hosts of the Ingress, likest first; then what its rules are for."""
    hosts = [rule.host for rule in asked.spec.rules if rule.host]
    likest = sorted(
        dict.fromkeys(hosts),
        key=lambda host: -difflib.SequenceMatcher(None, host, url.authority).ratio(),
    )
    others = [replace(url, authority=host.replace("*", "any")) for host in likest]
    for rule in asked.spec.rules:
        host = rule.host.replace("*", "any") or url.authority
        paths = rule.http.paths if rule.http is not None else ()
        others += [Url(url.scheme, host, path.path or "/") for path in paths]
    for other in dict.fromkeys(others):
        if other != url:
            yield Candidate(f"ask {other}", objects, url=str(other))


def _backend(made: Decision, objects: Objects) -> Iterator[Candidate]:
    upstream, location = made.upstream, made.location
    assert upstream is not None
    assert location is not None
    ingress = next((i for i in objects.ingresses if i.key == location.ingress), None)
    service = objects.service(upstream.namespace, upstream.service)
    if service is None:
        if ingress is not None:
            yield from _other_services(made, ingress, objects)
    elif not _port_exists(service, upstream.port):
        if ingress is not None:
            for port in service.spec.ports:
                to = _named(service.metadata.name, port.name or port.port)
                change = f"set service.port: {to.port} (now {upstream.port}) in Ingress"
                edited = _rebacked(ingress, upstream.service, upstream.port, to)
                yield Candidate(f"{change} {ingress.key}", _swap(objects, edited))
    else:
        yield from services.endpoints(_rule(made), _NO_FLOW, "", objects)


def _other_services(made: Decision, ingress: Ingress, objects: Objects) -> Iterator[Candidate]:
    """Services whose name is like the missing one's."""
    assert made.upstream is not None
    wanted, port = made.upstream.service, made.upstream.port
    likeness: dict[str, float] = {}
    for service in objects.services:
        name = service.metadata.name
        if service.metadata.namespace == made.upstream.namespace:
            inside = name in wanted or wanted in name
            ratio = difflib.SequenceMatcher(None, name, wanted).ratio()
            likeness[name] = ratio + 1 if inside else ratio
    near = [name for name in sorted(likeness) if likeness[name] >= _ALIKE]
    for name in sorted(near, key=lambda name: -likeness[name]):
        found = objects.service(made.upstream.namespace, name)
        assert found is not None
        if _port_exists(found, port):
            to = _named(name, int(port) if port.isdigit() else port)
            change = f"set service.name: {name} (now {wanted})"
        elif found.spec.ports:
            first = found.spec.ports[0]
            to = _named(name, first.name or first.port)
            change = f"set service.name: {name}, port: {to.port} (now {wanted}:{port})"
        else:
            continue
        edited = _rebacked(ingress, wanted, port, to)
        yield Candidate(f"{change} in Ingress {ingress.key}", _swap(objects, edited))


def _named(name: str, port: int | str) -> IngressServiceBackend:
    made = (
        ServiceBackendPort(number=port) if isinstance(port, int) else ServiceBackendPort(name=port)
    )
    return IngressServiceBackend(name=name, port=made)


def _rebacked(ingress: Ingress, name: str, port: str, to: IngressServiceBackend) -> Ingress:
    """The Ingress with another backend wherever it names this one."""

    def other(backend: IngressBackend | None) -> IngressBackend | None:
        mine = backend.service if backend is not None else None
        if mine is None or (mine.name, str(mine.port)) != (name, port):
            return backend
        return IngressBackend(service=to)

    rules = []
    for rule in ingress.spec.rules:
        if rule.http is None:
            rules.append(rule)
            continue
        paths = [
            msgspec.structs.replace(path, backend=other(path.backend)) for path in rule.http.paths
        ]
        http = msgspec.structs.replace(rule.http, paths=paths)
        rules.append(msgspec.structs.replace(rule, http=http))
    spec = msgspec.structs.replace(
        ingress.spec, rules=rules, default_backend=other(ingress.spec.default_backend)
    )
    return msgspec.structs.replace(ingress, spec=spec)


def _swap(objects: Objects, new: Ingress) -> Objects:
    return replace(
        objects, ingresses=tuple(new if i.key == new.key else i for i in objects.ingresses)
    )
