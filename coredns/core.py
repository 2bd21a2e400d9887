"""What the cluster's zones answer: (question, records) -> sections. Pure.

Source: the DNS specification 1.1.0 of kubernetes/dns, and CoreDNS 1.14 (plugin/kubernetes,
plugin/backend_lookup.go) for everything the specification leaves open.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from podwire.client import dnswire
from podwire.client.dnswire import AAAA, CNAME, NS, PTR, RR, SOA, SRV, TXT, A, Soa, Srv
from podwire.coredns.records import NO_PORT, Key, Records, ServiceEntry, undashed

DNS_VERSION = b"1.1.0"
MAX_CNAMES = 10


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone the kubernetes plugin serves. ``text`` keeps the query's letter case."""

    name: str
    ttl: int
    pods: str = "disabled"
    """disabled, insecure or verified."""
    nameserver_ips: tuple[str, ...] = ()
    """Addresses of this server's pod: its Service is the zone's name server."""


@dataclass(slots=True)
class Found:
    """Records for a name. ``exists`` False is a name error (NXDOMAIN)."""

    exists: bool = True
    answer: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    chase: str = ""
    """The last CNAME's target when it lies outside the zone: ask elsewhere for it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing a name stands for: an address with a port, or an external name."""

    host: str
    port: int
    owner: str
    """Name of the address for SRV targets, without the zone: ``web.default.svc``."""


NOT_FOUND: list[Hit] | None = None


def soa(zone: Zone, serial: int, zone_text: str) -> RR:
    """The zone's SOA as CoreDNS makes it up."""
    data = Soa(
        f"ns.dns.{zone_text}", f"hostmaster.{zone_text}", serial, 7200, 1800, 86400, zone.ttl
    )
    return RR(zone_text, SOA, min(zone.ttl, 300), data)


def answer(records: Records, zone: Zone, name: str, qtype: int) -> Found:
    """Answer a question about a name in (or at) a forward zone."""
    text = zone_text(name, zone.name)
    rest = _relative(name, zone.name)
    if rest == "dns-version":
        found = [RR(name, TXT, 28800, (DNS_VERSION,))] if qtype == TXT else []
        return Found(answer=found)
    if rest == "ns.dns":
        return Found(answer=_addresses(name, qtype, zone, _own_service_ips(records, zone)))
    if not rest and qtype == SOA:
        return Found(answer=[soa(zone, records.serial, text)])
    if not rest and qtype == NS:
        return _name_servers(records, zone, name, text)
    if qtype in {A, AAAA}:
        return _address_records(records, zone, name, qtype)
    hits = lookup(records, zone, rest)
    if hits is None:
        return Found(exists=False)
    if qtype == SRV:
        return _service_records(zone, name, text, hits)
    if qtype == CNAME:
        names = [hit.host for hit in hits if is_name(hit.host)]
        return Found(answer=[RR(name, CNAME, zone.ttl, dnswire.absolute(n)) for n in names[:1]])
    return Found()


def reverse(records: Records, zone: Zone, ip: str, name: str, qtype: int) -> Found:
    """Answer a question about an in-addr.arpa or ip6.arpa name; ``zone`` is the forward zone."""
    targets: list[str] = []
    services = records.by_cluster_ip.get(ip, {})
    if services:
        namespace, service = min(services)
        targets = [f"{service}.{namespace}.svc.{zone.name}"]
    else:
        for key in sorted(records.by_endpoint_ip.get(ip, {})):
            label = next(a.hostname for a in records.endpoints(key) if a.ip == ip)
            targets.append(f"{label}.{key[1]}.{key[0]}.svc.{zone.name}")
    if not targets:
        return Found(exists=False)
    if qtype != PTR:
        return Found()
    return Found(answer=[RR(name, PTR, zone.ttl, target) for target in targets])


def reversed_address(name: str) -> str:
    """The address an arpa name stands for, or ''."""
    lower = name.lower()
    try:
        if lower.endswith(".in-addr.arpa."):
            parts = lower.removesuffix(".in-addr.arpa.").split(".")
            return str(ipaddress.IPv4Address(".".join(reversed(parts))))
        if lower.endswith(".ip6.arpa."):
            nibbles = "".join(reversed(lower.removesuffix(".ip6.arpa.").split(".")))
            if len(nibbles) == 32:
                return str(ipaddress.IPv6Address(int(nibbles, 16)))
    except ValueError:
        return ""
    return ""


def lookup(records: Records, zone: Zone, rest: str) -> list[Hit] | None:
    """What a name below the zone stands for; [] when it only exists, None when it does not."""
    labels = rest.lower().split(".") if rest else []
    if not labels:
        return []
    kind = labels.pop()
    if kind not in {"svc", "pod"}:
        return NOT_FOUND
    if not labels:
        return []
    namespace = labels.pop()
    if namespace not in records.namespaces:
        return NOT_FOUND
    if not labels:
        return []
    if kind == "pod":
        return _pod(records, zone, namespace, labels)
    service = records.services.get((namespace, labels.pop()))
    if service is None or len(labels) > 2:
        return NOT_FOUND
    return _service(records, service, labels)


def _pod(records: Records, zone: Zone, namespace: str, labels: list[str]) -> list[Hit] | None:
    ip = undashed(labels[0]) if len(labels) == 1 else ""
    if not ip or zone.pods == "disabled":
        return NOT_FOUND
    if zone.pods == "verified" and (namespace, ip) not in records.pods:
        return NOT_FOUND
    return [Hit(ip, NO_PORT, f"{labels[0]}.{namespace}.pod")]


def _service(records: Records, service: ServiceEntry, labels: list[str]) -> list[Hit] | None:
    """``labels`` are what stands before the service: nothing, [endpoint] or [port, protocol]."""
    base = f"{service.name}.{service.namespace}.svc"
    if service.external_name:  # as CoreDNS: nothing below it, and an address literal is no name
        usable = not labels and is_name(service.external_name)
        return [Hit(service.external_name, NO_PORT, base)] if usable else NOT_FOUND
    endpoint = labels[0] if len(labels) == 1 else ""
    port, protocol = (label.removeprefix("_") for label in labels) if len(labels) == 2 else ("", "")
    key: Key = (service.namespace, service.name)
    hits: list[Hit] = []
    if endpoint or service.headless:
        for address in records.endpoints(key):
            if endpoint and address.hostname.lower() != endpoint:
                continue
            owner = f"{address.hostname}.{base}"
            hits += [
                Hit(address.ip, number, owner)
                for name, proto, number in address.ports
                if not port or (name == port and proto == protocol)
            ]
        return hits or NOT_FOUND
    for name, proto, number in service.ports:
        if not port or (name == port and proto == protocol):
            hits += [Hit(ip, number, base) for ip in service.addresses]
    return hits or NOT_FOUND


def _address_records(records: Records, zone: Zone, name: str, qtype: int) -> Found:
    """A or AAAA, with CNAMEs inside the zone chased."""
    found = Found()
    seen: dict[str, None] = {}
    while len(seen) < MAX_CNAMES:
        seen[name.lower()] = None
        hits = lookup(records, zone, _relative(name, zone.name))
        if hits is None:
            # A chain that ends nowhere inside the zone: CoreDNS drops its last link, says NODATA.
            found.exists = bool(found.answer)
            del found.answer[-1:]
            return found
        target = next((hit.host for hit in hits if is_name(hit.host)), "")
        if not target:
            ips = list(dict.fromkeys(hit.host for hit in hits))
            found.answer += _addresses(name, qtype, zone, ips)
            return found
        target = dnswire.absolute(target)
        if target.lower() in seen:
            return found
        found.answer.append(RR(name, CNAME, zone.ttl, target))
        if not in_zone(target, zone.name):
            found.chase = target
            return found
        name = target
    return found


def _addresses(name: str, qtype: int, zone: Zone, ips: list[str]) -> list[RR]:
    if qtype not in {A, AAAA}:
        return []
    return [RR(name, qtype, zone.ttl, ip) for ip in ips if (":" in ip) == (qtype == AAAA)]


def _service_records(zone: Zone, name: str, text: str, hits: list[Hit]) -> Found:
    found = Found()
    usable = [hit for hit in hits if hit.port != NO_PORT and not is_name(hit.host)]
    weight = max(100 // len(usable), 1) if usable else 0
    targets: dict[tuple[str, int], None] = {}
    glue: dict[tuple[str, str], None] = {}
    for hit in usable:
        target = f"{hit.owner}.{text}"
        if (target, hit.port) not in targets:
            targets[target, hit.port] = None
            found.answer.append(RR(name, SRV, zone.ttl, Srv(0, weight, hit.port, target)))
        if (target, hit.host) not in glue:
            glue[target, hit.host] = None
            kind = AAAA if ":" in hit.host else A
            found.additional.append(RR(target, kind, zone.ttl, hit.host))
    return found


def _own_services(records: Records, zone: Zone) -> list[ServiceEntry]:
    keys = {key: None for ip in zone.nameserver_ips for key in records.by_endpoint_ip.get(ip, {})}
    return [records.services[key] for key in sorted(keys) if key in records.services]


def _own_service_ips(records: Records, zone: Zone) -> list[str]:
    found = [ip for service in _own_services(records, zone) for ip in service.addresses]
    return found or list(zone.nameserver_ips)


def _name_servers(records: Records, zone: Zone, name: str, text: str) -> Found:
    found = Found()
    for service in _own_services(records, zone):
        target = f"{service.name}.{service.namespace}.svc.{text}"
        found.answer.append(RR(name, NS, zone.ttl, target))
        for kind in (A, AAAA):
            found.additional += _addresses(target, kind, zone, list(service.addresses))
    return found


def is_name(host: str) -> bool:
    """Whether a host is a name rather than an address literal."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def in_zone(name: str, zone: str) -> bool:
    """Whether a name is at or below a zone (both absolute; zone lower case)."""
    lower = name.lower()
    return zone in {".", lower} or lower.endswith("." + zone)


def zone_text(name: str, zone: str) -> str:
    """The zone as the query spelled it: answers keep the letter case of the question."""
    return name[len(name) - len(zone) :] if zone != "." else "."


def _relative(name: str, zone: str) -> str:
    return name[: len(name) - len(zone)].rstrip(".") if zone != "." else name.rstrip(".")
