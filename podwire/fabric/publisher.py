"""``Publisher``: opens real sockets for what the outside asks for, DNS and NodePorts.

It follows Services through its own API client, so it runs wherever the fabric does. A container
that can map only some ports gives it those as a pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from podwire.api import kinds
from podwire.api.views import Service
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.fabric.publications import LOOPBACK, Publications
from podwire.runtime.tasks import Nursery

GATEWAY = "gateway"
"""The host on which clients from outside appear to be."""
DNS_SERVICE = "kube-system/kube-dns"
DNS_PORT = 53
INGRESS_LABELS = (
    ("app.kubernetes.io/name", "ingress-nginx"),
    ("app.kubernetes.io/component", "controller"),
)
"""What an Ingress controller's own Service is known by."""
NO_PREFERENCE: Mapping[str, int] = MappingProxyType({})
_TRIES = 5
"""Free ports tried until one is free for every protocol."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One door: a modelled address and port, for all its protocols the same real port."""

    name: str
    address: str
    port: int
    protocols: tuple[str, ...]
    via: tuple[str, str]
    real_port: int = 0
    """The real port that suits best; 0: any."""


class Publisher:
    """Publishes DNS and the ports of NodePort and LoadBalancer Services as Services come and go.

    ``node`` is the node at which the outside knocks; ``host`` the real address to listen on;
    ``pool`` the only real ports that may be taken (empty: any); ``preferred`` the real port that is
    best for a publication by name, and for no other. ``run`` goes on until cancelled.
    """

    def __init__(
        self,
        ctx: Ctx,
        publications: Publications,
        node: str,
        host: str = LOOPBACK,
        pool: Sequence[int] = (),
        preferred: Mapping[str, int] = NO_PREFERENCE,
    ) -> None:
        self._ctx = ctx
        self._publications = publications
        self._node = node
        self._host = host
        self._pool = tuple(pool)
        self._preferred = preferred
        self._waiting: dict[Wanted, None] = {}
        """Wanted and not published: a port that becomes free may be theirs."""

    async def run(self) -> None:
        """Follow the Services. Raises LookupError when there is no such node."""
        address = (await self._ctx.fabric.node(self._node)).address
        wanted_of = partial(_wanted, node=self._node, address=address)
        informers = Informers(Client(self._ctx.api), self._ctx)
        changes: asyncio.Queue[Callable[[], Any]] = asyncio.Queue()

        def changed(old: Service | None, new: Service | None) -> None:
            before, after = wanted_of(old), wanted_of(new)
            for wanted in before:
                if wanted not in after:
                    changes.put_nowait(partial(self._unpublish, wanted))
            for wanted in after:
                if wanted not in before:
                    changes.put_nowait(partial(self._publish, wanted))

        informers.informer(kinds.SERVICE).on_change(changed)
        async with Nursery() as nursery:
            nursery.start(informers.run(), name="publisher informers")
            while True:
                await (await changes.get())()

    async def _publish(self, wanted: Wanted) -> None:
        self._waiting.pop(wanted, None)
        why = ""
        for port in self._candidates(wanted):
            try:
                await self._open(wanted, port)
            except OSError as error:  # taken, not allowed, or no such address: perhaps another
                why = error.strerror or str(error)
            else:
                return
        message = f"no real port is free: {why or 'the pool is empty'}"
        if self._pool:
            message = f"no port of the pool ({_ranges(self._pool)}) is free"
        self._waiting[wanted] = None
        for protocol in wanted.protocols:
            self._publications.refuse(wanted.name, wanted.address, wanted.port, protocol, message)

    def _candidates(self, wanted: Wanted) -> Iterator[int]:
        """Real ports to try in order; 0 lets the system choose."""
        best = self._preferred.get(wanted.name, wanted.real_port)
        if not self._pool:
            if best:
                yield best
            yield from [0] * _TRIES
            return
        if best in self._pool:
            yield best
        kept = tuple(self._preferred.values())
        # From the end: the first ones are those that NodePorts of the pool's own numbers want.
        yield from (port for port in reversed(self._pool) if port != best and port not in kept)

    async def _open(self, wanted: Wanted, port: int) -> None:
        """Publish for every protocol at one real port, or not at all. Raises OSError."""
        opened: list[str] = []
        try:
            for protocol in wanted.protocols:
                _, port = await self._publications.publish(
                    wanted.address, wanted.port, protocol, via=wanted.via, host_port=port,
                    host=self._host, name=wanted.name,
                )  # fmt: skip
                opened.append(protocol)
        except OSError:
            for protocol in opened:
                await self._publications.unpublish(wanted.address, wanted.port, protocol)
            raise

    async def _unpublish(self, wanted: Wanted) -> None:
        self._waiting.pop(wanted, None)
        for protocol in wanted.protocols:
            await self._publications.unpublish(wanted.address, wanted.port, protocol)
        for waiting in list(self._waiting):
            await self._publish(waiting)


def _wanted(service: Service | None, *, node: str, address: str) -> list[Wanted]:
    """The doors that a Service asks for."""
    if service is None:
        return []
    found: dict[tuple[str, int], Wanted] = {}
    if service.key == DNS_SERVICE and service.spec.cluster_ip not in {"", "None"}:
        # Cluster IPs exist on nodes only, so its clients appear to be on one.
        cluster_ip = service.spec.cluster_ip
        found["", 0] = Wanted("dns", cluster_ip, DNS_PORT, ("udp", "tcp"), (node, ""))
    if service.spec.type in {"NodePort", "LoadBalancer"}:
        for port in service.spec.ports:
            protocol = port.protocol.lower()
            if port.node_port and protocol in {"tcp", "udp"}:
                found[protocol, port.node_port] = Wanted(
                    _name(service, port.name), address, port.node_port, (protocol,),
                    (GATEWAY, ""), port.node_port,
                )  # fmt: skip
    return list(found.values())


def _name(service: Service, port: str) -> str:
    labels = service.metadata.labels
    if all(labels.get(key) == value for key, value in INGRESS_LABELS):
        return f"ingress {port}"
    return f"nodePort {service.key}" + (f":{port}" if port else "")


def _ranges(ports: Sequence[int]) -> str:
    """Ports in short: ``30000-30009,30443``."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][1] + 1:
            runs[-1][1] = port
        else:
            runs.append([port, port])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)
