"""What a namespace keeps of nft: its ruleset (shared), and what packets and time made of it."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from podwire.dataplane.nft.apply import Result, Transaction
from podwire.dataplane.nft.apply_sets import Timed
from podwire.dataplane.nft.elements import Element
from podwire.dataplane.nft.model import EMPTY, Key, Ruleset, SetSpec, Table
from podwire.dataplane.nft.parse import parse
from podwire.dataplane.nft.refusals import EXISTS, NO_ENTRY
from podwire.dataplane.nft.text import NftError
from podwire.dataplane.nft.types import Value
from podwire.runtime.memory import one_collection

DYNAMIC_SIZE = 65535
KEEP_RESULTS = 64
LARGE_TEXT = 1 << 16
MS = 1_000_000


@lru_cache(maxsize=KEEP_RESULTS)
def _applied(ruleset: Ruleset, text: str) -> Result:
    """What a text makes of a ruleset: worked out once for all nodes that hold the same one."""
    with one_collection() if len(text) > LARGE_TEXT else nullcontext():
        return Transaction(ruleset, text).run(parse(text))


class Nft:
    """The nft state of a namespace. The ruleset is replaced, never changed."""

    __slots__ = ("buckets", "counts", "dynamic", "ruleset", "turns")

    def __init__(self) -> None:
        self.ruleset: Ruleset = EMPTY
        self.counts: dict[tuple[Any, ...], list[int]] = {}
        """(family, table, rule handle, slot) or (family, table, "counter", name) -> counted."""
        self.dynamic: dict[tuple[str, str, str], dict[Value, Element]] = {}
        """Elements with a timeout, by set; the oldest first."""
        self.buckets: dict[tuple[Any, ...], tuple[int, int]] = {}
        self.turns: dict[tuple[Any, ...], int] = {}

    def clone(self) -> Nft:
        """An independent copy; the ruleset is shared."""
        copy = Nft()
        copy.ruleset = self.ruleset
        copy.counts = {key: list(values) for key, values in self.counts.items()}
        copy.dynamic = {key: dict(found) for key, found in self.dynamic.items()}
        copy.buckets, copy.turns = dict(self.buckets), dict(self.turns)
        return copy

    # ------------------------------------------------------------ changing

    def apply(self, text: str, now_ns: int, *, own: str = "", check: bool = False) -> Result:
        """Carry out a file, and ``own``, what only this node adds to it: one transaction.

        Raises NftError; then nothing changed. ``check`` only looks whether it would work.
        """
        result = _applied(self.ruleset, text)
        timed = result.timed
        results = [result]
        if own:
            try:
                more = _applied(result.ruleset, own)
            except NftError as error:
                error.own = True
                raise
            results.append(more)
            timed += more.timed
        self._check_timed(timed, now_ns)
        if not check:
            self.ruleset = results[-1].ruleset
            for one in results:
                self._forget(one)
            for step in timed:
                self._time(step, now_ns)
        return results[-1]

    def _forget(self, result: Result) -> None:
        for family, table, name in result.gone_sets:
            self.dynamic.pop((family, table, name), None)
        for key in result.gone_counters:
            self.counts.pop(key, None)
        for gone in result.gone_tables:
            for store in (self.counts, self.dynamic, self.buckets, self.turns):
                for found in [k for k in store if k[:2] == gone]:
                    del store[found]

    def _check_timed(self, steps: tuple[Timed, ...], now_ns: int) -> None:
        flushed: set[tuple[str, str, str]] = set()
        there: dict[tuple[tuple[str, str, str], Value], bool] = {}
        for step in steps:
            key = (*step.key, step.name)
            if step.verb == "flush":
                flushed.add(key)
                continue
            assert step.element is not None
            known = there.get((key, step.element.key))
            if known is None:
                alive = self.dynamic_element(step.key, step.name, step.element.key, now_ns)
                known = key not in flushed and alive is not None
            if step.verb == "delete" and not known:
                raise NftError(f"Could not process rule: {NO_ENTRY}", *step.spot)
            if step.verb == "create" and known:
                raise NftError(f"Could not process rule: {EXISTS}", *step.spot)
            there[key, step.element.key] = step.verb in {"add", "create"}

    def _time(self, step: Timed, now_ns: int) -> None:
        key = (*step.key, step.name)
        if step.verb == "flush":
            self.dynamic.pop(key, None)
            return
        assert step.element is not None
        found = self.dynamic.setdefault(key, {})
        if step.verb in {"delete", "destroy"}:
            found.pop(step.element.key, None)
            return
        if self.dynamic_element(step.key, step.name, step.element.key, now_ns) is not None:
            return
        table = self.ruleset.tables.get(step.key)
        spec = table.specs.get(step.name) if table is not None else None
        if spec is not None:
            found.pop(step.element.key, None)
            found[step.element.key] = _timed(spec, step.element, now_ns)

    # ------------------------------------------------------------ packets

    def dynamic_element(self, key: Key, name: str, value: Value, now_ns: int) -> Element | None:
        """The living element of a set that has timeouts."""
        elements = self.dynamic.get((*key, name))
        if not elements:
            return None
        found = elements.get(value)
        if found is not None and found.expires_ns and found.expires_ns <= now_ns:
            del elements[value]
            return None
        return found

    def living(self, key: Key, name: str, now_ns: int) -> list[Element]:
        """All living elements of a set that has timeouts."""
        found = self.dynamic.get((*key, name), {})
        return [e for e in found.values() if not e.expires_ns or e.expires_ns > now_ns]

    def dynamic_update(
        self, table: Table, name: str, verb: str, value: Value, timeout_ms: int, now_ns: int
    ) -> bool:
        """``add``, ``update`` or ``delete`` by a packet; False when the set is full."""
        spec = table.specs[name]
        key = (*table.key, name)
        elements = self.dynamic.setdefault(key, {})
        known = self.dynamic_element(table.key, name, value, now_ns)
        if verb == "delete":
            elements.pop(value, None)
            return True
        if known is not None and verb == "add":
            return True
        if known is None and len(elements) >= (spec.size or DYNAMIC_SIZE):
            for gone in [k for k, e in elements.items() if 0 < e.expires_ns <= now_ns]:
                del elements[gone]
            if len(elements) >= (spec.size or DYNAMIC_SIZE):
                return False
        elements.pop(value, None)
        given = timeout_ms if timeout_ms != spec.timeout_ms else 0
        elements[value] = _timed(spec, Element(value, timeout_ms=given), now_ns)
        return True

    def count(self, key: tuple[Any, ...], size_bytes: int) -> None:
        """A counter counts a packet."""
        counted = self.counts.get(key)
        if counted is None:
            self.counts[key] = [1, size_bytes]
        else:
            counted[0] += 1
            counted[1] += size_bytes

    def counted(self, key: tuple[Any, ...], start: tuple[int, int]) -> tuple[int, int]:
        """What a counter shows; ``start`` is what its text gave it."""
        packets, size_bytes = self.counts.get(key, (0, 0))
        return start[0] + packets, start[1] + size_bytes

    def take_tokens(self, key: tuple[Any, ...], now_ns: int, full: int, cost: int) -> bool:
        """Take tokens from a bucket that time has filled; whether there were enough."""
        tokens, last_ns = self.buckets.get(key, (full, now_ns))
        tokens = min(tokens + now_ns - last_ns, full)
        enough = tokens >= cost
        self.buckets[key] = (tokens - cost if enough else tokens, now_ns)
        return enough

    def turn(self, key: Key, rule: int, modulus: int) -> int:
        """``numgen inc``: whose turn it is (it begins with 0)."""
        place = (*key, rule)
        now = self.turns.get(place, 0)
        self.turns[place] = (now + 1) % modulus
        return now

    def facts(self) -> list[object]:
        """State as plain ordered values, for hashing."""
        from podwire.dataplane.nft.show import listing  # noqa: PLC0415  # only when asked

        return [
            listing(Nft._of(self.ruleset), 0),
            sorted((str(key), values) for key, values in self.counts.items()),
            sorted((str(k), [str(e) for e in found.values()]) for k, found in self.dynamic.items()),
            sorted((str(key), value) for key, value in self.buckets.items()),
            sorted((str(key), value) for key, value in self.turns.items()),
        ]

    @staticmethod
    def _of(ruleset: Ruleset) -> Nft:
        made = Nft()
        made.ruleset = ruleset
        return made


def _timed(spec: SetSpec, element: Element, now_ns: int) -> Element:
    """An element with the time at which it goes."""
    if element.expires_ns:
        return element._replace(expires_ns=now_ns + element.expires_ns)
    timeout_ms = element.timeout_ms or spec.timeout_ms
    return element._replace(expires_ns=now_ns + timeout_ms * MS if timeout_ms else 0)
