"""Sessions joined by a pipe, in virtual time: calls, streams, cancellation, loss."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from podwire.client.framed import messages
from podwire.client.framed.calls import CREDIT
from podwire.client.framed.errors import InterruptedCallError, RemoteError
from podwire.client.framed.messages import MAX_GREETING_BYTES, MAX_PAYLOAD_BYTES
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.client.framed.session import PING_S, SILENT_S, Session
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
        self.made: list[int] = []

    def table(self, _: Any) -> Table:
        table = Table()
        table.unary(DOUBLE, self.double)
        table.unary(Method("grow", tuple[int], bytes), bytes)
        table.unary(SLEEP, self.sleep)
        table.stream(COUNT, self.count)
        table.post(NOTE, self.notes.append)
        return table

    def double(self, n: int) -> float:
        self.made.append(n)
        return n * 2 if n >= 0 else 1 / 0

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


def test_a_call_interrupted_in_the_turn_that_made_it_says_so():
    """Its handler never takes a step: the answer must come all the same."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        slow = near.session().begin(SLEEP, 100.0)
        slow.interrupt()
        async with asyncio.timeout(1):
            with pytest.raises(InterruptedCallError):
                await slow.result()

    story(body)


def test_what_a_caller_gave_up_is_given_back_however_late_it_gave_up():
    """Before the peer began, while the result was on its way, and when it was here already."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        session = near.session()
        returned: list[int] = []
        for turns in range(12):
            before = len(returned)
            call = session.acquire(DOUBLE, turns, give_back=returned.append)
            task = asyncio.get_running_loop().create_task(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await env.clock.sleep(1)
            made = server.made.count(turns)
            kept = 0 if task.cancelled() else 1
            assert len(returned) - before + kept == made
        assert returned, "some calls were given up when their result was there"
        assert not session._outgoing

    story(body)


def test_what_is_too_large_fails_alone():
    """Arguments, results and posts: the session, and everybody else's calls, go on."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        session = near.session()
        grow, note = Method("grow", tuple[int], bytes), Method("note", tuple[bytes])
        large = bytes(MAX_PAYLOAD_BYTES + 1)
        for refused in (
            lambda: session.call(grow, len(large)),
            lambda: session.call(Method("x", tuple[bytes]), large),
        ):
            with pytest.raises(OSError, match="more than") as caught:
                await refused()
            assert caught.value.errno == errno.EMSGSIZE
        with pytest.raises(OSError, match="more than"):
            session.post(note, large)
        assert await session.call(DOUBLE, 2) == 4

    story(body)


def test_a_stream_that_nobody_holds_any_more_is_ended():
    """Its reader forgot to close it; the sender must not wait for credit for ever."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        _, items = await near.session().stream(COUNT, 1000)
        del items
        gc.collect()
        await env.clock.sleep(1)
        assert server.notes == ["closed"]

    story(body)


def test_a_peer_that_does_not_greet_is_given_up():
    """Bytes now and then are no greeting."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        class Nowhere:
            def write(self, data: bytes) -> None:
                pass

            async def drained(self) -> None:
                pass

            def close(self) -> None:
                pass

        session = Session(Nowhere(), env.clock, env.log, "here")
        session.start()
        for byte in (b"\0", b"\0", b"\0"):
            session.feed(byte)
            await env.clock.sleep(PING_S)
        with pytest.raises(ConnectionError, match="did not greet within 10 s"):
            await session.greeted()
        large = Session(Nowhere(), env.clock, env.log, "here")
        large.feed((MAX_GREETING_BYTES + 1).to_bytes(4, "big"))
        with pytest.raises(ConnectionError, match="longer than"):
            await large.greeted()
        other = Session(Nowhere(), env.clock, env.log, "here", expects="coredns")
        other.feed(messages.greeting("kubelet"))
        with pytest.raises(ConnectionError, match="kubelet has the certificate of coredns"):
            await other.greeted()

    story(body)


def test_one_that_fails_to_take_the_end_of_a_session_keeps_nobody_from_it():
    """The others are told, and who waits for the end is woken."""

    async def body(env: Env, near: PipeEnd, server: Server) -> None:
        told: list[str] = []
        session = near.session()

        def fail() -> None:
            raise ZeroDivisionError

        session.on_end += [fail, lambda: told.append("after it")]
        session.close("over")
        assert told == ["after it"]
        await session.ended()

    story(body)
