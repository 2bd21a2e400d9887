"""forward: ask another name server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from podwire.client import dnswire, resolver
from podwire.client.dnswire import NS, Edns, Message, Question
from podwire.coredns.chain import Plugin, PluginError, Query, Serve
from podwire.coredns.core import in_zone
from podwire.coredns.corefile import Directive, normalize
from podwire.coredns.exchange import exchange

MAX_UPSTREAMS = 15
READ_TIMEOUT_S = 2.0
DEADLINE_S = 5.0
HEALTH_CHECK_S = 0.5


@dataclass(slots=True)
class _Upstream:
    address: tuple[str, int]
    fails: int = 0
    probing: bool = False


class Forward(Plugin):
    """``forward FROM TO... { except; force_tcp; prefer_udp; policy; max_fails; max_concurrent }``.

    expire and health_check are accepted and keep their defaults; TLS is not modelled.
    """

    name = "forward"

    def configure(self) -> None:
        """Read the upstreams."""
        if len(self.line.args) < 2:
            raise self.line.wrong(self.line.args[0] if self.line.args else "forward")
        self.source = normalize(self.line.args[0])
        self.excepted: list[str] = []
        self.force_tcp = False
        self.policy = "random"
        self.max_fails = 2
        self.max_concurrent = 0
        self._concurrent = 0
        self._turn = 0
        self._probes: list[asyncio.Task[None]] = []
        self.upstreams = [
            _Upstream(address) for to in self.line.args[1:] for address in self._to(to)
        ]
        if not 0 < len(self.upstreams) <= MAX_UPSTREAMS:
            raise self.line.error(
                f"more than {MAX_UPSTREAMS} TOs configured: {len(self.upstreams)}"
            )
        for line in self.line.block:
            self._property(line)

    def _to(self, to: str) -> list[tuple[str, int]]:
        if to.startswith("/"):
            try:
                text = self.host.file(to).decode()
            except FileNotFoundError:
                raise self.line.error(f"not an IP address or file: {to!r}") from None
            return [(server, 53) for server in resolver.parse_resolv_conf(text).nameservers]
        rest = to.removeprefix("dns://")
        if "://" in rest:
            raise self.line.error(f"transport of '{to}' is not modelled")
        host, port = _split(rest)
        if resolver.Lookup(host, resolver.ResolvConf(), resolver.Hosts("")).result is None:
            raise self.line.error(f"not an IP address or file: {to!r}")
        return [(host, port)]

    def _property(self, line: Directive) -> None:
        args = line.args
        if line.name == "except" and args:
            self.excepted = [normalize(zone) for zone in args]
        elif line.name == "force_tcp" and not args:
            self.force_tcp = True
        elif line.name == "policy" and args in (["random"], ["round_robin"], ["sequential"]):
            self.policy = args[0]
        elif line.name in {"max_fails", "max_concurrent"} and len(args) == 1 and args[0].isdigit():
            setattr(self, line.name, int(args[0]))
        elif line.name not in {"prefer_udp", "expire", "health_check"}:
            raise line.error(f"unknown property '{line.name}'")

    def stop(self) -> None:
        """End health checks."""
        for task in self._probes:
            task.cancel()

    async def serve(self, query: Query, following: Serve) -> Message:
        """Relay to an upstream; the next one takes over when it fails."""
        excepted = any(in_zone(query.name, zone) for zone in self.excepted)
        if excepted or not in_zone(query.name, self.source):
            return await following(query)
        query.answered_by = self.name
        if self.max_concurrent and self._concurrent >= self.max_concurrent:
            self.host.metrics.add("coredns_forward_max_concurrent_rejects_total")
            return query.message.reply(dnswire.REFUSED)
        self._concurrent += 1
        try:
            return await self._relay(query)
        finally:
            self._concurrent -= 1

    async def _relay(self, query: Query) -> Message:
        began = self.host.clock.monotonic_ns()
        order = self._order()
        failure = PluginError("no healthy proxies")
        while (self.host.clock.monotonic_ns() - began) / 1e9 < DEADLINE_S:
            for upstream in order:
                try:
                    return await self._ask(query, upstream)
                except PluginError as error:
                    failure = error
                    upstream.fails += 1
                    self._probe(upstream)
            if all(self._down(upstream) for upstream in order):
                break
        raise failure

    async def _ask(self, query: Query, upstream: _Upstream) -> Message:
        edns = query.message.edns
        ident = self.host.rng.below(65536)
        asked = replace(query.message, id=ident, edns=Edns(4096, 0, edns.do) if edns else None)
        spec = self.host.process.spec
        answer = await exchange(
            self.host.process.sockets, spec, upstream.address, asked, READ_TIMEOUT_S,
            tcp=self.force_tcp or query.proto == "tcp",
        )  # fmt: skip
        upstream.fails = 0
        answer.id = query.message.id
        answer.questions = list(query.message.questions)
        return answer

    def _down(self, upstream: _Upstream) -> bool:
        return bool(self.max_fails) and upstream.fails >= self.max_fails

    def _order(self) -> list[_Upstream]:
        order = list(self.upstreams)
        if self.policy == "random":
            self.host.rng.shuffle(order)
        elif self.policy == "round_robin":
            self._turn = (self._turn + 1) % len(order)
            order = order[self._turn :] + order[: self._turn]
        healthy = [upstream for upstream in order if not self._down(upstream)]
        if not healthy:
            self.host.metrics.add("coredns_forward_healthcheck_broken_total")
        return healthy or order[:1]

    def _probe(self, upstream: _Upstream) -> None:
        if self.max_fails and not upstream.probing:
            upstream.probing = True
            name = f"coredns health of {upstream.address[0]}"
            self._probes = [task for task in self._probes if not task.done()]
            self._probes.append(self.host.tasks.start(self._check(upstream), name=name))

    async def _check(self, upstream: _Upstream) -> None:
        """Ask ``. IN NS`` until anything comes back: the upstream counts as well again."""
        spec, sockets = self.host.process.spec, self.host.process.sockets
        while upstream.fails:
            question = Message(id=self.host.rng.below(65536), questions=[Question(".", NS)])
            try:
                await exchange(sockets, spec, upstream.address, question, 1.0, tcp=self.force_tcp)
            except PluginError:
                upstream.fails += 1
                await self.host.clock.sleep(HEALTH_CHECK_S)
            else:
                upstream.fails = 0
        upstream.probing = False


def _split(text: str) -> tuple[str, int]:
    """``1.2.3.4``, ``1.2.3.4:53``, ``::1`` or ``[::1]:53``."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    return host, int(port) if port.isdigit() else 53
