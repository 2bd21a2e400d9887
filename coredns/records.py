"""Services, endpoints, namespaces and pods, indexed for lookup; kept current by events.

Pure: the shell feeds it from informers, the kubernetes plugin reads it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from podwire.api.views import EndpointSlice, Namespace, Pod, Service

NO_PORT = -1
"""The port of an endpoint of a headless Service without ports: it has an address, no SRV."""

Key = tuple[str, str]
"""(namespace, name)"""


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """What DNS needs of a Service. ``ports``: (name, protocol lower case, number)."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    """ClusterIPs; empty when headless or ExternalName."""
    external_name: str
    ports: tuple[tuple[str, str, int], ...]

    @property
    def headless(self) -> bool:
        """Whether its name stands for its endpoints."""
        return not self.addresses and not self.external_name


@dataclass(frozen=True, slots=True)
class Address:
    """One ready endpoint address of a Service."""

    ip: str
    hostname: str
    ports: tuple[tuple[str, str, int], ...]


@dataclass(slots=True)
class Records:
    """The tables. ``serial`` is the Unix time of the last visible change (the SOA's)."""

    serial: int = 0
    namespaces: dict[str, None] = field(default_factory=dict)
    services: dict[Key, ServiceEntry] = field(default_factory=dict)
    by_cluster_ip: dict[str, dict[Key, None]] = field(default_factory=dict)
    slices: dict[Key, dict[str, tuple[Address, ...]]] = field(default_factory=dict)
    """Service key -> slice name -> ready addresses."""
    by_endpoint_ip: dict[str, dict[Key, None]] = field(default_factory=dict)
    pods: dict[Key, None] = field(default_factory=dict)
    """(namespace, address) of pods that exist; filled only with ``pods verified``."""
    names_from_pods: bool = False
    """``endpoint_pod_names``."""

    # ------------------------------------------------------------------ reading

    def endpoints(self, key: Key) -> list[Address]:
        """The ready addresses of a Service, in slice and list order."""
        found = self.slices.get(key)
        if not found:
            return []
        return [address for name in sorted(found) for address in found[name]]

    # ------------------------------------------------------------------ events

    def namespace(self, old: Namespace | None, new: Namespace | None, now_s: int) -> None:
        """A namespace came or went."""
        if old is not None:
            self.namespaces.pop(old.metadata.name, None)
        if new is not None:
            self.namespaces[new.metadata.name] = None
        if (old is None) != (new is None):
            self.serial = now_s

    def service(self, old: Service | None, new: Service | None, now_s: int) -> None:
        """A Service came, changed or went."""
        one = new if new is not None else old
        if one is None:
            return
        key = (one.metadata.namespace, one.metadata.name)
        before = self.services.pop(key, None)
        after = service_entry(new) if new is not None else None
        if before != after:
            self.serial = now_s
        for ip in before.addresses if before is not None else ():
            _unlink(self.by_cluster_ip, ip, key)
        if after is not None:
            self.services[key] = after
            for ip in after.addresses:
                self.by_cluster_ip.setdefault(ip, {})[key] = None

    def endpoint_slice(
        self, old: EndpointSlice | None, new: EndpointSlice | None, now_s: int
    ) -> None:
        """A slice came, changed or went."""
        touched: dict[str, None] = {}
        for one in (old, new):
            if one is not None and one.service_name:
                key = (one.metadata.namespace, one.service_name)
                before = self.slices.get(key, {}).pop(one.metadata.name, ())
                touched.update(dict.fromkeys(address.ip for address in before))
                if not self.slices.get(key):
                    self.slices.pop(key, None)
                self._relink(key, touched)
        if new is None or not new.service_name:
            self.serial = now_s
            return
        key = (new.metadata.namespace, new.service_name)
        addresses = slice_addresses(new, pod_names=self.names_from_pods)
        if addresses:
            self.slices.setdefault(key, {})[new.metadata.name] = addresses
            for address in addresses:
                self.by_endpoint_ip.setdefault(address.ip, {})[key] = None
        self.serial = now_s

    def pod(self, old: Pod | None, new: Pod | None) -> None:
        """A pod came, changed or went."""
        if old is not None:
            self.pods.pop((old.metadata.namespace, old.status.pod_ip), None)
        if new is not None and new.status.pod_ip:
            self.pods[new.metadata.namespace, new.status.pod_ip] = None

    def _relink(self, key: Key, ips: dict[str, None]) -> None:
        still = {address.ip: None for address in self.endpoints(key)}
        for ip in ips:
            if ip not in still:
                _unlink(self.by_endpoint_ip, ip, key)


def _unlink(index: dict[str, dict[Key, None]], ip: str, key: Key) -> None:
    keys = index.get(ip)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            del index[ip]


def service_entry(service: Service) -> ServiceEntry:
    """The Service as DNS sees it."""
    spec = service.spec
    external = spec.external_name if spec.type == "ExternalName" else ""
    addresses: tuple[str, ...] = ()
    if not external and spec.cluster_ip not in {"", "None"}:
        addresses = tuple(spec.cluster_ips) or (spec.cluster_ip,)
    ports = tuple((port.name, port.protocol.lower(), port.port) for port in spec.ports)
    meta = service.metadata
    return ServiceEntry(meta.namespace, meta.name, addresses, external, ports)


def slice_addresses(found: EndpointSlice, *, pod_names: bool = False) -> tuple[Address, ...]:
    """The ready addresses of a slice (``ready`` absent counts; serving and terminating do not)."""
    if found.address_type not in {"IPv4", "IPv6"}:
        return ()
    ports = tuple(
        (port.name, port.protocol.lower(), port.port if port.port is not None else NO_PORT)
        for port in found.ports
    ) or (("", "tcp", NO_PORT),)
    out: list[Address] = []
    for endpoint in found.endpoints:
        if endpoint.conditions.ready is False:
            continue
        target = endpoint.target_ref
        name = endpoint.hostname
        if not name and pod_names and target is not None and 0 < len(target.name) < 64:
            name = target.name
        out += [Address(ip, name or dashed(ip), ports) for ip in endpoint.addresses]
    return tuple(out)


def dashed(ip: str) -> str:
    """The DNS label of an address without a hostname: ``10-244-1-5``, ``fd00--0``."""
    label = ip.replace(".", "-").replace(":", "-")
    return label + "0" if label.endswith("-") else label


def undashed(label: str) -> str:
    """The address of a pod label, or '' when it is none: ``10-244-1-5`` -> ``10.244.1.5``."""
    dashes = label.count("-")
    text = label.replace("-", "." if dashes == 3 and "--" not in label else ":")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
