"""UDP flows that point to endpoints which no longer serve: found in ``conntrack -L``, forgotten.

Source: pkg/proxy/conntrack/cleanup.go (the reconciler). Services without a serving endpoint are
left alone: their flows end in a rejection anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from podwire.dataplane.commands import ConntrackDelete
from podwire.kube_proxy.model import Endpoint, ServicePort

_FLOW = re.compile(r"\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)")


@dataclass(slots=True)
class Wanted:
    """Where UDP flows of some service ports may lead."""

    addresses: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    """(service IP, port) -> addresses of serving endpoints."""
    node_ports: dict[int, frozenset[str]] = field(default_factory=dict)

    def add(self, port: ServicePort, endpoints: Iterable[Endpoint]) -> None:
        """Take in a service port; other protocols than UDP are passed over."""
        if port.protocol != "udp":
            return
        serving = frozenset(e.ip for e in endpoints if e.serving)
        if not serving:
            return
        for ip in (port.cluster_ip, *port.external_ips, *port.lb_ips):
            self.addresses[ip, port.port] = serving
        if port.node_port:
            self.node_ports[port.node_port] = serving

    def __bool__(self) -> bool:
        return bool(self.addresses or self.node_ports)


def question(family: str) -> tuple[str, ...]:
    """What ``stale`` must be told (``conntrack -L`` means IPv4 unless told otherwise)."""
    return ("conntrack", "-L", "-p", "udp", *(("-f", family) if family == "ipv6" else ()))


def stale(listing: str, wanted: Wanted) -> tuple[ConntrackDelete, ...]:
    """One deletion per (service address, lost endpoint) that ``conntrack -L`` shows."""
    found: dict[ConntrackDelete, None] = {}
    for original_dst, port, reply_src in _flows(listing):
        serving = wanted.addresses.get((original_dst, port))
        if serving is None:
            serving = wanted.node_ports.get(port)
        if serving is not None and reply_src not in serving:
            found[
                ConntrackDelete(
                    proto="udp", orig_dst=original_dst, orig_dport=port, reply_src=reply_src
                )
            ] = None
    return tuple(found)


def _flows(listing: str) -> Iterator[tuple[str, int, str]]:
    """(original destination, its port, reply source) of each line."""
    for line in listing.splitlines():
        tuples = _FLOW.findall(line)
        if len(tuples) == 2:
            (_, dst, _, dport), (reply_src, *_) = tuples
            yield dst, int(dport), reply_src
