"""kubernetes: the cluster's Services, endpoints and pods as DNS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client import dnswire
from podwire.client.dnswire import AXFR, IXFR, Message
from podwire.client.informer import Informer
from podwire.coredns import core
from podwire.coredns.chain import Plugin, PluginError, Query, Serve
from podwire.coredns.core import Found, Zone, in_zone, zone_text
from podwire.coredns.corefile import Directive, duration_s, normalize
from podwire.coredns.records import Records

V = TypeVar("V", bound=Object)

DEFAULT_TTL_S = 5
STARTUP_TIMEOUT_S = 5.0
_ARPA = ("in-addr.arpa.", "ip6.arpa.")


class Kubernetes(Plugin):
    """``kubernetes [ZONES...] { pods MODE; ttl N; fallthrough [ZONES]; endpoint_pod_names ... }``.

    endpoint, tls, kubeconfig, namespaces, labels, namespace_labels, noendpoints,
    ignore empty_service, multicluster and zonal are not modelled.
    """

    name = "kubernetes"

    def configure(self) -> None:
        """Read the block."""
        self.served = [normalize(zone) for zone in self.line.args] or list(self.zones)
        self.ttl = DEFAULT_TTL_S
        self.pods = "disabled"
        self.through: list[str] | None = None
        self.startup_timeout_s = STARTUP_TIMEOUT_S
        self.records = Records()
        self._informers: list[Informer[Any]] = []
        self._stopped = False
        for line in self.line.block:
            self._property(line)
        self.primary = next((z for z in self.served if not z.endswith(_ARPA)), self.served[0])

    def _property(self, line: Directive) -> None:
        if line.name == "ttl" and len(line.args) == 1:
            self.ttl = int(line.args[0]) if line.args[0].isdigit() else -1
            if not 0 <= self.ttl <= 3600:
                raise line.error(f"ttl must be in range [0, 3600]: {line.args[0]}")
        elif line.name == "pods" and len(line.args) == 1:
            self.pods = line.args[0]
            if self.pods not in {"disabled", "insecure", "verified"}:
                raise line.error(
                    "wrong value for pods, must be one of: disabled, verified, insecure"
                )
        elif line.name == "fallthrough":
            self.through = [normalize(zone) for zone in line.args] or list(self.served)
        elif line.name == "endpoint_pod_names":
            self.records.names_from_pods = True
        elif line.name == "startup_timeout" and len(line.args) == 1:
            self.startup_timeout_s = duration_s(line.args[0], line.error)
        else:
            raise line.error(f"'{line.name}' of plugin kubernetes is not modelled")

    @property
    def ready(self) -> bool:
        """Whether the records hold the API's state."""
        return all(informer.synced.is_set() for informer in self._informers)

    async def start(self) -> None:
        """Follow the API; return once in sync, or after the startup timeout."""
        records = self.records
        self._watch(kinds.NAMESPACE, records.namespace)
        self._watch(kinds.SERVICE, records.service)
        self._watch(kinds.ENDPOINT_SLICE, records.endpoint_slice)
        if self.pods == "verified":
            self._watch(kinds.POD, lambda old, new, _: records.pod(old, new))
        self.host.log(
            "INFO", "plugin/kubernetes: waiting for Kubernetes API before starting server"
        )
        try:
            async with asyncio.timeout(self.startup_timeout_s):
                for informer in self._informers:
                    await informer.synced.wait()
        except TimeoutError:
            self.host.log(
                "WARNING", "plugin/kubernetes: starting server with unsynced Kubernetes API"
            )

    def stop(self) -> None:
        """Stop following: another configuration has its own records."""
        self._stopped = True

    def _watch(self, kind: Kind[V], apply: Callable[[V | None, V | None, int], None]) -> None:
        def follow(old: V | None, new: V | None) -> None:
            if not self._stopped:
                apply(old, new, self.host.clock.now_ns() // 1_000_000_000)

        informer = self.host.informer(kind)
        informer.on_change(follow)
        self._informers.append(informer)

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer for the zones served; names nobody has fall through when told so."""
        fits = [zone for zone in self.served if in_zone(query.name, zone)]
        if not fits:
            return await following(query)
        zone_name = max(fits, key=len)
        if query.qtype in {AXFR, IXFR}:
            return query.message.reply(dnswire.REFUSED)
        spec = self.host.process.spec
        zone = Zone(zone_name, self.ttl, self.pods, (spec.pod_ip,))
        found = self._find(zone, query)
        if not found.exists:
            if self.through is not None and any(in_zone(query.name, z) for z in self.through):
                return await following(query)
            if not self.ready:
                query.answered_by = self.name
                return query.message.reply(dnswire.SERVFAIL)
        if found.chase:
            await self._chase(query, found)
        return self._reply(query, zone, found)

    def _find(self, zone: Zone, query: Query) -> Found:
        if not zone.name.endswith(_ARPA):
            return core.answer(self.records, zone, query.name, query.qtype)
        ip = core.reversed_address(query.name)
        if not ip:
            return Found(exists=query.lower == zone.name)
        forward = Zone(self.primary, self.ttl, self.pods)
        return core.reverse(self.records, forward, ip, query.name, query.qtype)

    async def _chase(self, query: Query, found: Found) -> None:
        """An ExternalName's target lies elsewhere: ask the whole chain for it."""
        question = dnswire.Question(found.chase, query.qtype)
        inner = Query(
            Message(id=query.message.id, questions=[question]), found.chase, query.qtype,
            query.proto, query.remote, query.local,
        )  # fmt: skip
        try:
            found.answer += (await self.entry(inner)).answer
        except PluginError as error:
            self.host.log("ERROR", f"plugin/errors: 2 {found.chase} {query.type_text}: {error}")

    def _reply(self, query: Query, zone: Zone, found: Found) -> Message:
        query.answered_by = self.name
        message = query.message.reply(dnswire.NOERROR if found.exists else dnswire.NXDOMAIN)
        message.aa = True
        message.answer, message.additional = found.answer, found.additional
        if not found.answer:
            text = zone_text(query.name, zone.name)
            message.authority = [core.soa(zone, self.records.serial, text)]
        return message
