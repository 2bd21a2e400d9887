"""UDP flows that point to endpoints which no longer serve: found in ``conntrack -L``, forgotten.

Source: pkg/proxy/conntrack/cleanup.go (the reconciler). Since v1.34 an endpoint is its address and
its port there: a flow to the port that it had before is stale, too. Services without a serving
endpoint are left alone: their flows end in a rejection anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from podwire.dataplane.commands import ConntrackDelete
from podwire.kube_proxy.model import Endpoint, ServicePort

Ends = frozenset[tuple[str, int]]
"""Addresses and ports of serving endpoints."""
_FLOW = re.compile(r"\bsrc=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)")


@dataclass(slots=True)
class Wanted:
    """Where UDP flows of some service ports may lead."""

    addresses: dict[tuple[str, int], Ends] = field(default_factory=dict)
    """By service IP and port."""
    node_ports: dict[int, Ends] = field(default_factory=dict)

    def add(self, port: ServicePort, endpoints: Iterable[Endpoint]) -> None:
        """Take in a service port; other protocols than UDP are passed over."""
        if port.protocol != "udp":
            return
        serving = frozenset((e.ip, e.port) for e in endpoints if e.serving)
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
    for original_dst, port, reply in _flows(listing):
        serving = wanted.addresses.get((original_dst, port))
        if serving is None:
            serving = wanted.node_ports.get(port)
        if serving is not None and reply not in serving:
            gone = ConntrackDelete(
                proto="udp",
                orig_dst=original_dst,
                orig_dport=port,
                reply_src=reply[0],
                reply_sport=reply[1],
            )
            found[gone] = None
    return tuple(found)


def _flows(listing: str) -> Iterator[tuple[str, int, tuple[str, int]]]:
    """(original destination, its port, where replies come from) of each line."""
    for line in listing.splitlines():
        tuples = _FLOW.findall(line)
        if len(tuples) == 2:
            (_, dst, _, dport), (reply_src, _, reply_port, _) = tuples
            yield dst, int(dport), (reply_src, int(reply_port))
