"""Any history of operations against a plain list of past states."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podwire.runtime import sim
from podwire.runtime.simloop import SimLoop
from podwire.store import CompactedError, Compare, Delete, Put
from podwire.store.embedded import EmbeddedStore

KEYS = st.sampled_from(["/p/a", "/p/a/b", "/p/b", "/pa", "/q/a"])
PREFIXES = st.sampled_from(["", "/p/", "/p/a", "/q", "/z"])
VALUES = st.binary(max_size=3)
OPS = st.dictionaries(KEYS, st.one_of(st.none(), VALUES), min_size=1, max_size=3)

State = dict[str, tuple[bytes, int]]


class Model(RuleBasedStateMachine):
    """The oracle keeps a copy of every state: revision -> {key: (value, mod_revision)}."""

    @initialize()
    def start(self) -> None:
        self.loop = SimLoop(0)
        env = sim.env(self.loop, 0)
        self.store = EmbeddedStore(env.clock, env.trace)
        self.states: dict[int, State] = {1: {}}
        self.now = 1
        self.compacted = 0
        self.watches: list[tuple[str, State]] = []

    def wait(self, call: Any) -> Any:
        """Run a store call; the embedded engine never suspends."""
        try:
            call.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the embedded engine suspended")

    @rule(ops=OPS, guard=KEYS, right=st.booleans())
    def txn(self, ops: dict[str, bytes | None], guard: str, right: bool) -> None:
        state = self.states[self.now]
        actual = state.get(guard, (b"", 0))[1]
        compare = Compare(guard, actual if right else actual + 1)
        listed = [Delete(k) if v is None else Put(k, v) for k, v in ops.items()]
        result = self.wait(self.store.txn([compare], listed))
        assert result.succeeded is right
        if right:
            after = dict(state)
            for key, value in ops.items():
                if value is None:
                    after.pop(key, None)
                else:
                    after[key] = (value, self.now + 1)
            if any(v is not None or k in state for k, v in ops.items()):
                self.now += 1
            self.states[self.now] = after if self.now not in self.states else state
        assert result.revision == self.now

    @rule(prefix=PREFIXES, back=st.integers(0, 6), after=KEYS, limit=st.integers(0, 3))
    def range(self, prefix: str, back: int, after: str, limit: int) -> None:
        revision = max(1, self.now - back)
        if revision < self.compacted:
            try:
                self.wait(self.store.range(prefix, revision=revision))
            except CompactedError:
                return
            raise AssertionError("a compacted revision was readable")
        page = self.wait(self.store.range(prefix, revision=revision, after=after, limit=limit))
        state = self.states[revision]
        wanted = sorted(k for k in state if k.startswith(prefix) and k > after)
        shown = wanted[:limit] if limit else wanted
        assert [(kv.key, (kv.value, kv.mod_revision)) for kv in page.kvs] == [
            (key, state[key]) for key in shown
        ]
        assert page.more is (len(shown) < len(wanted))
        assert page.revision == self.now

    @rule(prefix=PREFIXES, back=st.integers(0, 6))
    def watch(self, prefix: str, back: int) -> None:
        revision = max(1, self.now - back, self.compacted)
        seen = {k: v for k, v in self.states[revision].items() if k.startswith(prefix)}

        def deliver(events: Any) -> None:
            for event in events:
                before = seen.get(event.key)
                previous = event.previous
                assert before == (previous and (previous.value, previous.mod_revision))
                if event.kv is None:
                    del seen[event.key]
                else:
                    seen[event.key] = (event.kv.value, event.kv.mod_revision)

        self.wait(self.store.watch(prefix, revision + 1, deliver))
        self.watches.append((prefix, seen))

    @precondition(lambda self: self.now > self.compacted + 1)
    @rule(back=st.integers(0, 3))
    def compact(self, back: int) -> None:
        revision = max(self.compacted + 1, self.now - back)
        if revision > max(1, self.compacted):
            self.wait(self.store.compact(revision))
            self.compacted = revision

    @invariant()
    def every_watcher_holds_the_present(self) -> None:
        state = self.states[self.now]
        for prefix, seen in self.watches:
            assert seen == {k: v for k, v in state.items() if k.startswith(prefix)}

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            asyncio.set_event_loop(None)
            sim.close(self.loop)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestModel = Model.TestCase
