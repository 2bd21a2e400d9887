"""Sessions joined by a pipe, in virtual time: calls, streams, cancellation, loss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from podwire.client.framed.errors import InterruptedCallError, RemoteError
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.client.framed.session import CREDIT, PING_S, SILENT_S
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery

DOUBLE = Method("double", tuple[int], int)
SLEEP = Method("sleep", tuple[float])
COUNT = Method("count", tuple[int], result=str, item=int)
NOTE = Method("note", tuple[str])


class Server:
    """Serves the methods above and remembers what happened."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.notes: list[str] = []
        self.sent = 0

    def table(self, _: Any) -> Table:
        table = Table()
        table.unary(DOUBLE, lambda n: n * 2 if n >= 0 else 1 / 0)
        table.unary(SLEEP, self.sleep)
        table.stream(COUNT, self.count)
        table.post(NOTE, self.notes.append)
        return table

    async def sleep(self, seconds: float) -> None:
        try:
            await self.env.clock.sleep(seconds)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise

    async def count(self, n: int) -> tuple[str, Any]:
        if n < 0:
            raise FileNotFoundError("nothing to count")
        return "counting", self._numbers(n) if n else None

    async def _numbers(self, n: int) -> Any:
        try:
            for i in range(n):
                self.sent += 1
                yield i
        finally:
            self.notes.append("closed")


def story(body: Callable[[Env, PipeEnd, Server], Awaitable[None]]) -> None:
    """One room that calls, one that serves."""

    async def main(env: Env) -> None:
        server = Server(env)
        near, _ = pipe(env.clock, env.log, ("here", "there"), (None, server.table))
        await body(env, near, server)
        near.session().close() if near.up else None
        await env.clock.sleep(0)

    sim.run(main, horizon_s=3600)


def test_a_call_has_its_result_and_a_post_none():
    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        session = near.session()
        await session.greeted()
        assert session.peer == "there"
        session.post(NOTE, "hello")
        assert await session.call(DOUBLE, 21) == 42
        assert server.notes == ["hello"]

    story(body)


def test_many_calls_are_under_way_at_once():
    """A slow call holds nobody up."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        async with Nursery() as nursery:
            nursery.start(near.session().call(SLEEP, 5.0), name="slow")
            before = env.clock.monotonic_ns()
            assert await near.session().call(DOUBLE, 1) == 2
            assert env.clock.monotonic_ns() == before

    story(body)


def test_a_failure_is_raised_where_the_call_was_made():
    """What the counter promises by class; a bug of the other side as RemoteError."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        with pytest.raises(FileNotFoundError, match="nothing to count"):
            await near.session().stream(COUNT, -1)
        with pytest.raises(RemoteError, match="ZeroDivisionError"):
            await near.session().call(DOUBLE, -1)
        with pytest.raises(ValueError, match="no method nosuch"):
            await near.session().call(Method("nosuch", tuple[int]), 1)

    story(body)


def test_a_caller_that_gives_up_ends_the_work_on_the_other_side():
    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await near.session().call(SLEEP, 100.0)
        await env.clock.sleep(0.1)
        assert server.notes == ["cancelled"]

    story(body)


def test_an_interrupted_call_says_so_or_gives_what_was_on_its_way():
    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        slow = near.session().begin(SLEEP, 100.0)
        await env.clock.sleep(1)
        slow.interrupt()
        with pytest.raises(InterruptedCallError):
            await slow.result()
        quick = near.session().begin(DOUBLE, 4)
        await env.clock.sleep(1)  # the answer is here
        quick.interrupt()
        assert await quick.result() == 8

    story(body)


def test_a_stream_has_a_head_and_items_to_its_end():
    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        head, items = await near.session().stream(COUNT, 300)
        assert head == "counting"
        assert items is not None
        assert [n async for n in items] == list(range(300))
        assert await near.session().stream(COUNT, 0) == ("counting", None)

    story(body)


def test_a_slow_reader_holds_the_sender_back():
    """At most the credit is under way; reading on lets the sender go on."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        _, items = await near.session().stream(COUNT, 1000)
        assert items is not None
        await env.clock.sleep(1)
        assert server.sent <= CREDIT
        read = [await anext(items) for _ in range(CREDIT)]
        await env.clock.sleep(1)
        assert read == list(range(CREDIT))
        assert CREDIT < server.sent <= 2 * CREDIT

        await items.aclose()
        await env.clock.sleep(1)
        assert server.notes == ["closed"]

    story(body)


def test_losing_the_connection_fails_what_waits_and_ends_what_runs():
    """Callers get ConnectionError, handlers are cancelled, streams end with the error."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        session = near.session()
        _, items = await session.stream(COUNT, 1000)
        assert items is not None

        async def lost() -> None:
            with pytest.raises(ConnectionError, match="cut"):
                await session.call(SLEEP, 100.0)

        async with Nursery() as nursery, aclosing(items):
            nursery.start(lost(), name="lost")
            await env.clock.sleep(1)
            session.close("cut")
            with pytest.raises(ConnectionError, match="cut"):
                [n async for n in items]
        await env.clock.sleep(1)
        assert sorted(server.notes) == ["cancelled", "closed"]
        with pytest.raises(ConnectionError, match="cut"):
            await session.call(DOUBLE, 1)
        await session.ended()

    story(body)


def test_a_peer_that_falls_silent_is_given_up():
    """A cut cable tells nobody: pings do."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        session = near.session()
        await session.greeted()
        await env.clock.sleep(10 * SILENT_S)
        assert session.error is None  # both ping
        carrier: Any = session.carrier
        far, carrier.other = carrier.other, None  # what we send is lost
        far.carrier.other = None  # and so is what it sends
        with pytest.raises(ConnectionError, match="there is silent for 15 s"):
            async with asyncio.timeout(SILENT_S + 2 * PING_S):
                await session.call(DOUBLE, 1)

    story(body)
