"""cache: keep answers of later plugins for their TTL."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from podwire.client import dnswire
from podwire.client.dnswire import SOA, Message
from podwire.coredns.chain import Plugin, Query, Serve
from podwire.coredns.core import in_zone
from podwire.coredns.corefile import Directive, normalize

CAPACITY = 9984
MIN_TTL_S = 5
SERVFAIL_TTL_S = 5

Key = tuple[str, int, int, bool, bool]


@dataclass(slots=True)
class _Entry:
    message: Message
    stored_ns: int
    ttl_s: int


class Cache(Plugin):
    """``cache [TTL] [ZONES...] { success|denial CAPACITY [TTL [MINTTL]]; disable CLASS ZONES }``.

    prefetch, serve_stale, servfail and keepttl are not modelled.
    """

    name = "cache"

    def configure(self) -> None:
        """Read capacities, limits and disabled zones."""
        self._stores: dict[str, OrderedDict[Key, _Entry]] = {
            "success": OrderedDict(),
            "denial": OrderedDict(),
        }
        self._capacity = {"success": CAPACITY, "denial": CAPACITY}
        self._most = {"success": 3600, "denial": 1800}
        self._least = {"success": MIN_TTL_S, "denial": MIN_TTL_S}
        self._disabled: dict[str, list[str]] = {"success": [], "denial": []}
        args = list(self.line.args)
        if args and args[0].isdigit():
            self._most = dict.fromkeys(self._most, int(args.pop(0)))
        self._for = [normalize(zone) for zone in args] or self.zones
        for line in self.line.block:
            self._property(line)

    def _property(self, line: Directive) -> None:
        if line.name in self._stores:
            numbers = [int(arg) for arg in line.args if arg.isdigit()]
            if len(numbers) != len(line.args) or not 1 <= len(numbers) <= 3:
                raise line.wrong(line.name)
            limits = (self._capacity, self._most, self._least)
            for limit, number in zip(limits, numbers, strict=False):
                limit[line.name] = number
        elif line.name == "disable" and line.args[:1] and line.args[0] in self._stores:
            zones = [normalize(zone) for zone in line.args[1:]] or list(self._for)
            self._disabled[line.args[0]] = zones
        else:
            raise line.error(f"'{line.name}' of plugin cache is not modelled")

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer from the cache, or ask on and keep the answer."""
        if not any(in_zone(query.name, zone) for zone in self._for):
            return await following(query)
        edns = query.message.edns
        key: Key = (
            query.lower, query.qtype, query.message.question.qclass,
            edns is not None and edns.do, query.message.cd,
        )  # fmt: skip
        count = self.host.metrics
        count.add("coredns_cache_requests_total", server="dns://:53")
        for kind in ("denial", "success"):
            found = self._get(kind, key, query)
            if found is not None:
                count.add("coredns_cache_hits_total", server="dns://:53", type=kind)
                query.answered_by = self.name
                return found
        count.add("coredns_cache_misses_total", server="dns://:53")
        message = await following(query)
        self._put(key, query, message)
        return message

    def _get(self, kind: str, key: Key, query: Query) -> Message | None:
        entry = self._stores[kind].get(key)
        if entry is None:
            return None
        age_s = (self.host.clock.monotonic_ns() - entry.stored_ns) // 1_000_000_000
        if age_s >= entry.ttl_s:
            del self._stores[kind][key]
            return None
        return _aged(entry.message, query, entry.ttl_s - age_s)

    def _put(self, key: Key, query: Query, message: Message) -> None:
        kind = "success" if message.rcode == dnswire.NOERROR and message.answer else "denial"
        if message.tc or any(in_zone(query.name, zone) for zone in self._disabled[kind]):
            return
        ttl_s = self._ttl_s(kind, message)
        if ttl_s is None:
            return
        store = self._stores[kind]
        kept = _copy(message, ttl_s)
        store[key] = _Entry(kept, self.host.clock.monotonic_ns(), ttl_s)
        if len(store) > self._capacity[kind]:
            store.popitem(last=False)
        self.host.metrics.set("coredns_cache_entries", len(store), server="dns://:53", type=kind)

    def _ttl_s(self, kind: str, message: Message) -> int | None:
        """How long to keep an answer; None: not at all (a denial without SOA, REFUSED ...)."""
        if message.rcode == dnswire.SERVFAIL:
            return SERVFAIL_TTL_S
        if message.rcode not in {dnswire.NOERROR, dnswire.NXDOMAIN}:
            return None
        if kind == "denial" and all(rr.type != SOA for rr in message.authority):
            return None
        records = [*message.answer, *message.authority, *message.additional]
        least = min(rr.ttl for rr in records)
        return max(min(least, self._most[kind]), self._least[kind])


def _copy(message: Message, ttl_s: int) -> Message:
    return replace(
        message,
        answer=[rr._replace(ttl=ttl_s) for rr in message.answer],
        authority=[rr._replace(ttl=ttl_s) for rr in message.authority],
        additional=[rr._replace(ttl=ttl_s) for rr in message.additional],
    )


def _aged(message: Message, query: Query, ttl_s: int) -> Message:
    found = _copy(message, ttl_s)
    asked = query.message
    found.id, found.rd, found.cd = asked.id, asked.rd, asked.cd
    found.questions = list(asked.questions)
    return found
