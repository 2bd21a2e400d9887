"""The route table: what ingress-nginx would write into nginx.conf and its Lua balancer.

Source: ingress-nginx v1.15.1 controller.go (getBackendServers, createServers, serviceEndpoints),
location.go, endpointslices.go, store.go (GetIngressClass, sortIngressSlice).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from podwire.api.views import EndpointSlice, Ingress, IngressClass, Service
from podwire.api.views.ingress import HTTPIngressPath, IngressRule, IngressServiceBackend
from podwire.api.views.service import ServicePort
from podwire.l7.options import DEFAULTS, Options, options

CONTROLLER = "k8s.io/ingress-nginx"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
CATCH_ALL = "_"
"""The server of requests for no other host."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of an upstream."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A Service's port as an Ingress names it; ``problem`` says why it has no endpoints."""

    namespace: str
    service: str
    port: str
    endpoints: tuple[Endpoint, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """``default-api-80``, as logs show it."""
        return f"{self.namespace}-{self.service}-{self.port}"


@dataclass(frozen=True, slots=True)
class Location:
    """One path of a server. Without an upstream the controller answers 404 itself."""

    path: str
    path_type: str
    """Exact or Prefix (ImplementationSpecific counts as Prefix)."""
    upstream: Upstream | None
    ingress: str = ""
    """``namespace/name`` of the Ingress it comes from; "" for the controller's own."""
    options: Options = DEFAULTS
    default: bool = False
    """Whether no rule made it: what is left over goes here."""
    declared: str = ""
    """The rule's own path and type, ``/api (Prefix)``: a Prefix stands for two patterns."""
    pattern: re.Pattern[str] | None = None
    """Set when the server matches regular expressions."""


@dataclass(frozen=True, slots=True)
class Server:
    """One host. ``locations`` are in the order in which they are tried.

    ``certificate`` is the ``namespace/name`` of its Secret, "" the fake one, None: no TLS.
    """

    host: str
    locations: tuple[Location, ...]
    certificate: str | None = None
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """All servers by host, and what was left out of them: (Ingress, why)."""

    servers: dict[str, Server] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    def server(self, host: str) -> Server:
        """The server of a host: its own, else the wildcard's one label up, else the catch-all."""
        found = self.servers.get(host)
        if found is None or host == CATCH_ALL:
            label, dot, rest = host.partition(".")
            if dot and re.fullmatch(r"[\w-]+", label):
                found = self.servers.get(f"*.{rest}", found)
        return found if found is not None else self.servers[CATCH_ALL]


Certificates = Callable[[str], Sequence[str] | None]
"""The DNS names of the certificate in a Secret (``namespace/name``); None: there is none usable."""


# ---------------------------------------------------------------- whose Ingresses


@dataclass(frozen=True, slots=True)
class ClassRules:
    """Whose Ingresses a controller serves, by its flags."""

    controller: str = CONTROLLER
    """--controller-class."""
    annotation: str = "nginx"
    """--ingress-class: the value of the old annotation."""
    without_class: bool = False
    """--watch-ingress-without-class."""

    def refused(self, ingress: Ingress, classes: Iterable[IngressClass]) -> str:
        """Why the controller ignores an Ingress; "" when it serves it."""
        wanted = ingress.spec.ingress_class_name
        mine = [c.metadata.name for c in classes if c.spec.controller == self.controller]
        if wanted is not None:
            if wanted in mine:
                return ""
            return f"its ingressClassName {wanted!r} is no IngressClass of {self.controller}"
        annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION)
        if annotation is None:
            told = "it names no IngressClass (spec.ingressClassName), and no default class was set"
            return "" if self.without_class else told
        if annotation == self.annotation:
            return ""
        return f"its annotation {CLASS_ANNOTATION}: {annotation!r} is not {self.annotation!r}"


def flags_of(argv: Iterable[str]) -> dict[str, str]:
    """``--name=value`` of a controller's command line; a bare flag is "true"."""
    given: dict[str, str] = {}
    for word in argv:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            given[name] = value if equals else "true"
    return given


def class_rules(given: dict[str, str]) -> ClassRules:
    """The rules that a controller's flags give."""
    return ClassRules(
        given.get("controller-class", CONTROLLER),
        given.get("ingress-class", "nginx"),
        given.get("watch-ingress-without-class", "false").lower() in {"true", "1", "t"},
    )


def in_order(ingresses: Iterable[Ingress]) -> list[Ingress]:
    """Oldest first; of the same second, the greater name first, as upstream sorts."""
    by_name = sorted(ingresses, key=lambda i: i.key, reverse=True)
    return sorted(by_name, key=lambda i: i.metadata.creation_timestamp)


# ---------------------------------------------------------------- upstreams


class Backends:
    """Makes upstreams of Services and EndpointSlices."""

    def __init__(self, services: Iterable[Service], slices: Iterable[EndpointSlice]) -> None:
        self._services = {service.key: service for service in services}
        self._slices: dict[str, list[EndpointSlice]] = {}
        for found in slices:
            key = f"{found.metadata.namespace}/{found.service_name}"
            if found.address_type == self._primary(key):
                self._slices.setdefault(key, []).append(found)
        self._made: dict[tuple[str, str, str], Upstream] = {}

    def _primary(self, key: str) -> str:
        """The type of a Service's first addresses: the controller asks there."""
        service = self._services.get(key)
        return service.spec.ip_families[0] if service and service.spec.ip_families else "IPv4"

    def upstream(self, namespace: str, backend: IngressServiceBackend) -> Upstream:
        """The upstream of a backend."""
        key = (namespace, backend.name, str(backend.port))
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(*key)
        return found

    def _make(self, namespace: str, name: str, port: str) -> Upstream:
        made = Upstream(namespace, name, port)
        key = f"{namespace}/{name}"
        service = self._services.get(key)
        if service is None:
            return replace(made, problem=f"Service {key} does not exist")
        if service.spec.type == "ExternalName":
            return replace(made, problem=f"Service {key} is an ExternalName: not modelled here")
        service_port = _port(service, port)
        if service_port is None:
            has = ", ".join(_port_text(p) for p in service.spec.ports) or "none"
            return replace(made, problem=f"Service {key} has no port {port}; it has {has}")
        endpoints = _endpoints(service_port, self._slices.get(key, ()))
        if not endpoints:
            return replace(made, problem=f"Service {key} does not have any active Endpoint")
        return replace(made, endpoints=endpoints)


def _port(service: Service, wanted: str) -> ServicePort | None:
    """By number, by target port or by name: the first that fits, as upstream."""
    for port in service.spec.ports:
        if wanted in {str(port.port), str(port.target_port), port.name}:
            return port
    return None


def _port_text(port: ServicePort) -> str:
    return f"{port.port} ({port.name})" if port.name else str(port.port)


def _endpoints(port: ServicePort, slices: Iterable[EndpointSlice]) -> tuple[Endpoint, ...]:
    """Ready endpoints in order of their address."""
    found: dict[tuple[str, int], Endpoint] = {}
    for one in slices:
        numbers = []
        for slice_port in one.ports:
            if slice_port.protocol != "TCP":
                continue
            number = slice_port.port if not port.name or port.name == slice_port.name else 0
            if not number and isinstance(port.target_port, int):
                number = port.target_port  # upstream's fallback when no name matches
            if number:
                numbers.append(number)
        for endpoint in one.endpoints:
            if endpoint.conditions.ready is False:
                continue
            for number in numbers:
                for address in endpoint.addresses:
                    found[address, number] = Endpoint(address, number)
    return tuple(found[key] for key in sorted(found, key=_address_key))


def _address_key(key: tuple[str, int]) -> tuple[bytes, int]:
    return ip_address(key[0]).packed, key[1]


# ---------------------------------------------------------------- servers


class _Draft:
    """A server while it is made."""

    def __init__(self, host: str, root: Location, certificate: str | None = None) -> None:
        self.host = host
        self.locations = [root]
        self.certificate = certificate

    def add(self, new: Location) -> Location | None:
        """Enter a location; the one that has its path already, if it stays."""
        for i, known in enumerate(self.locations):
            if (known.path, known.path_type) == (new.path, new.path_type):
                if not known.default:
                    return known
                self.locations[i] = new
                return None
        self.locations.append(new)
        return None


def compile_table(
    ingresses: Iterable[Ingress], backends: Backends, certificates: Certificates
) -> Table:
    """The table of the Ingresses that the controller serves (see ``ClassRules``)."""
    ordered = in_order(ingresses)
    left_out: list[tuple[str, str]] = []
    drafts = _servers(ordered, backends)
    for ingress in ordered:
        for rule in ingress.spec.rules:
            draft = drafts[_host(rule)]
            if draft.certificate is None and ingress.spec.tls:
                draft.certificate = _certificate(ingress, draft.host, certificates)
            for path in rule.http.paths if rule.http is not None else ():
                left = _enter(draft, ingress, path, backends)
                if left:
                    left_out.append((ingress.key, left))
    servers = {}
    for host, draft in drafts.items():
        server, bad = _finished(draft)
        servers[host] = server
        left_out += bad
    return Table(servers, tuple(left_out))


def _host(rule: IngressRule) -> str:
    return rule.host.lower() or CATCH_ALL


def _servers(ordered: Sequence[Ingress], backends: Backends) -> dict[str, _Draft]:
    """Every server with its root location: what no rule matches."""
    drafts = {CATCH_ALL: _Draft(CATCH_ALL, Location("/", "Prefix", None, default=True), "")}
    for ingress in ordered:
        backend = ingress.spec.default_backend
        upstream = None
        if backend is not None and backend.service is not None:
            upstream = backends.upstream(ingress.metadata.namespace, backend.service)
            root = drafts[CATCH_ALL].locations[0]
            if root.default and not ingress.spec.rules:
                # Redirects and rewrites of such an Ingress have no effect, as upstream.
                plain = replace(
                    options(ingress), rewrite_target="", use_regex=False, force_ssl_redirect=False
                )
                drafts[CATCH_ALL].locations[0] = Location(
                    "/", "Prefix", upstream, ingress.key, plain, declared="defaultBackend"
                )
        for rule in ingress.spec.rules:
            host = _host(rule)
            if host not in drafts:
                root = Location("/", "Prefix", upstream, ingress.key, options(ingress),
                                default=True, declared="defaultBackend")  # fmt: skip
                drafts[host] = _Draft(host, root)
    return drafts


def _enter(draft: _Draft, ingress: Ingress, path: HTTPIngressPath, backends: Backends) -> str:
    """Add a rule's path to its server; why not, if not."""
    if path.backend.service is None:
        return f"path {path.path}: a resource backend is not modelled"
    shown = path.path or "/"
    kind = "Exact" if path.path_type == "Exact" else "Prefix"
    upstream = backends.upstream(ingress.metadata.namespace, path.backend.service)
    known = draft.add(
        Location(
            shown,
            kind,
            upstream,
            ingress.key,
            options(ingress),
            declared=f"{shown} ({path.path_type})",
        )
    )
    if known is None:
        return ""
    host = "*" if draft.host == CATCH_ALL else draft.host
    return f'host "{host}" and path "{shown}" is already defined in ingress {known.ingress}'


def _certificate(ingress: Ingress, host: str, certificates: Certificates) -> str | None:
    """The Secret whose certificate a host gets; "" the fake one, None: no TLS for it."""
    name = _secret_name(ingress, host, certificates)
    if name is None:
        return None
    key = f"{ingress.metadata.namespace}/{name}"
    names = certificates(key) if name else None
    if names is None or (host != CATCH_ALL and not covers(names, host)):
        return ""
    return key


def _secret_name(ingress: Ingress, host: str, certificates: Certificates) -> str | None:
    for tls in ingress.spec.tls:
        if host in [name.lower() for name in tls.hosts]:
            return tls.secret_name
    for tls in ingress.spec.tls:
        if not tls.secret_name:
            continue
        names = certificates(f"{ingress.metadata.namespace}/{tls.secret_name}")
        if names is not None and covers(names, host):
            return tls.secret_name
    return None


def covers(names: Iterable[str], host: str) -> bool:
    """Whether a certificate for these names is good for a host (a wildcard is one label)."""
    wanted = host.lower()
    rest = wanted.partition(".")[2]
    return any(name.lower() in {wanted, f"*.{rest}" if rest else wanted} for name in names)


# ---------------------------------------------------------------- locations


def _finished(draft: _Draft) -> tuple[Server, list[tuple[str, str]]]:
    """A server with its locations in the order in which nginx tries them."""
    regex = any(location.options.use_regex or _rewrites(location) for location in draft.locations)
    expanded: list[Location] = []
    exact = {location.path for location in draft.locations if location.path_type == "Exact"}
    for location in draft.locations:
        expanded += _expanded(location, exact)
    expanded.sort(key=lambda location: location.path, reverse=True)
    expanded.sort(key=lambda location: len(location.path), reverse=True)
    if not regex:
        return Server(draft.host, tuple(expanded), draft.certificate), []
    bad: list[tuple[str, str]] = []
    compiled: list[Location] = []
    for location in expanded:
        try:
            pattern = re.compile(f"^{location.path}", re.IGNORECASE)
        except (re.error, RecursionError) as error:
            bad.append((location.ingress, f"path {location.path}: invalid expression: {error}"))
            continue
        compiled.append(replace(location, pattern=pattern))
    return Server(draft.host, tuple(compiled), draft.certificate, regex=True), bad


def _rewrites(location: Location) -> bool:
    return location.options.rewrite_target not in {"", location.path}


def _expanded(location: Location, exact: set[str]) -> list[Location]:
    """A Prefix path is two patterns: itself, and everything below it."""
    plain = location.path == "/" or location.path_type != "Prefix"
    if plain or _rewrites(location) or location.options.use_regex:
        return [location]
    path = location.path.rstrip("/")
    found = [replace(location, path=f"{path}/")]
    if path not in exact:
        # Upstream leaves "/a" of a Prefix "/a/" to nginx's redirect; the API wants it served.
        found.append(replace(location, path=path, path_type="Exact"))
    return found
