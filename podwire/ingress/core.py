"""What the controller decides beside requests: its flags, whom it serves, what status says.

Source: ingress-nginx v1.15.1 pkg/flags, internal/ingress/status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from podwire.api.view import JSON
from podwire.api.views import Ingress, Node, Pod, Service
from podwire.l7.table import ClassRules, class_rules, flags_of

DEFAULT_SYNC_RATE = 0.3
"""Syncs per second (--sync-rate-limit)."""
_WITHOUT_EFFECT = (
    "election-id", "configmap", "validating-webhook", "validating-webhook-certificate",
    "validating-webhook-key", "v", "enable-metrics",
)  # fmt: skip
"""Flags of the manifests whose effect is not modelled, or is nothing here."""
_CLASS_FLAGS = ("controller-class", "ingress-class", "watch-ingress-without-class")


_DEFAULT_CLASSES = ClassRules()


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line."""

    classes: ClassRules = _DEFAULT_CLASSES
    sync_rate_per_s: float = DEFAULT_SYNC_RATE
    http_port: int = 80
    https_port: int = 443
    healthz_port: int = 10254
    publish_service: str = ""
    publish_status_address: str = ""
    internal_addresses: bool = False
    update_status: bool = True
    update_status_on_shutdown: bool = True
    unknown: tuple[str, ...] = ()
    """Flags without effect here."""


def flags(argv: Sequence[str]) -> Flags:
    """Parse the arguments. Raises ValueError for a value that is none."""
    given = flags_of(argv)
    classes = class_rules(given)

    def number(name: str, default: float) -> float:
        text = given.pop(name, "")
        try:
            found = float(text) if text else default
        except ValueError:
            found = -1.0
        if not 0 < found < 65536:
            raise ValueError(f'invalid argument "{text}" for "--{name}" flag')
        return found

    def flag(name: str, *, default: bool) -> bool:
        return given.pop(name, str(default).lower()).lower() in {"true", "1", "t"}

    for name in (*_CLASS_FLAGS, *_WITHOUT_EFFECT):
        given.pop(name, None)
    found = Flags(
        classes=classes,
        sync_rate_per_s=number("sync-rate-limit", DEFAULT_SYNC_RATE),
        http_port=int(number("http-port", 80)),
        https_port=int(number("https-port", 443)),
        healthz_port=int(number("healthz-port", 10254)),
        publish_service=given.pop("publish-service", ""),
        publish_status_address=given.pop("publish-status-address", ""),
        internal_addresses=flag("report-node-internal-ip-address", default=False),
        update_status=flag("update-status", default=True),
        update_status_on_shutdown=flag("update-status-on-shutdown", default=True),
        unknown=tuple(sorted(given)),
    )
    if found.publish_service and found.publish_status_address:
        raise ValueError("flags --publish-service and --publish-status-address exclude each other")
    return found


# ---------------------------------------------------------------- status


def addresses(
    options: Flags, own: Pod | None, pods: Iterable[Pod], nodes: Iterable[Node],
    service: Service | None,
) -> list[JSON]:  # fmt: skip
    """status.loadBalancer.ingress of the Ingresses served, in upstream's order."""
    if options.publish_status_address:
        found = [a.strip() for a in options.publish_status_address.split(",")]
    elif options.publish_service:
        found = _of_service(service)
    else:
        found = _of_nodes(own, pods, nodes, internal=options.internal_addresses)
    shown = [_entry(address) for address in dict.fromkeys(found) if address]
    return sorted(shown, key=lambda entry: (entry.get("hostname", ""), entry.get("ip", "")))


def _entry(address: str) -> JSON:
    try:
        ip_address(address)
    except ValueError:
        return {"hostname": address}
    return {"ip": address}


def _of_service(service: Service | None) -> list[str]:
    if service is None:
        return []
    spec = service.spec
    if spec.type == "ExternalName":
        return [spec.external_name]
    if spec.type == "LoadBalancer":
        given = service.status.load_balancer.ingress
        return [entry.ip or entry.hostname for entry in given] + spec.external_ips
    if spec.type == "NodePort" and spec.external_ips:
        return list(spec.external_ips)
    return [spec.cluster_ip]


def _of_nodes(
    own: Pod | None, pods: Iterable[Pod], nodes: Iterable[Node], *, internal: bool
) -> list[str]:
    """The nodes on which ready controllers of the same labels run: external addresses first."""
    by_name = {node.metadata.name: node for node in nodes}
    found: list[str] = []
    for pod in pods:
        if own is None or not _alike(own, pod) or pod.status.phase != "Running" or not pod.ready:
            continue
        node = by_name.get(pod.spec.node_name)
        if node is None:
            continue
        kinds: dict[str, list[str]] = {"InternalIP": [], "ExternalIP": []}
        for address in node.status.addresses:
            kinds.get(address.type, []).append(address.address)
        outside = kinds["ExternalIP"]
        found += kinds["InternalIP"] if internal or not outside else outside
    return found


_REVISIONS = ("pod-template-hash", "controller-revision-hash", "pod-template-generation")


def _alike(own: Pod, other: Pod) -> bool:
    labels = other.metadata.labels
    return all(labels.get(key) == value for key, value in own.metadata.labels.items())


def last_one(own: Pod | None, pods: Iterable[Pod]) -> bool:
    """Whether no other controller pod exists: then it takes its addresses along when it goes."""
    if own is None:
        return False
    wanted = {k: v for k, v in own.metadata.labels.items() if k not in _REVISIONS}
    return not any(
        pod.key != own.key
        and all(pod.metadata.labels.get(key) == value for key, value in wanted.items())
        for pod in pods
    )


def outdated(ingresses: Iterable[Ingress], wanted: list[JSON]) -> list[Ingress]:
    """The Ingresses whose status says something else."""
    shown = [(entry.get("hostname", ""), entry.get("ip", "")) for entry in wanted]
    return [
        ingress
        for ingress in ingresses
        if sorted((e.hostname, e.ip) for e in ingress.status.load_balancer.ingress) != shown
    ]


def error_page(status: int) -> bytes:
    """A page of nginx's own (server_tokens off)."""
    title = f"{status} {REASONS[status]}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ).encode()


REASONS = {
    308: "Permanent Redirect", 400: "Bad Request", 404: "Not Found", 408: "Request Time-out",
    413: "Request Entity Too Large", 414: "Request-URI Too Large",
    431: "Request Header Fields Too Large", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
}  # fmt: skip
"""Nginx's reason phrases."""
