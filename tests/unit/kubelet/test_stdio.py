"""Standard streams of containers: who sees what is printed, who may type, and what is bounded."""

import asyncio

import pytest

from podwire.api.status import ApiError
from podwire.client.counters import LogOptions
from podwire.kubelet import stdio
from podwire.kubelet.logs import LIMIT_BYTES, ContainerLog
from podwire.kubelet.stdio import Inbox, Outbox, Stdio
from podwire.runtime import sim


def story(body):
    """Run a story in virtual time."""
    return sim.run(body)


async def taken(attached):
    """Everything an attached client is shown, until it is let go."""
    return [item async for item in attached.output()]


def test_the_log_has_whole_lines_and_those_attached_every_byte_at_once():
    """A prompt has no newline, and people wait for it."""

    async def body(env):
        log = ContainerLog(env.clock)
        streams = Stdio(log)
        streams.write(1, b"before\n")
        attached = streams.attach(stdin=False)
        streams.write(1, b"/ # ")
        assert await anext(attached.output()) == (1, b"/ # ")
        assert log.text() == "before\n"
        streams.write(2, b"oops\n")
        streams.write(1, b"ls\nrest")
        streams.end()
        assert log.text() == "before\noops\n/ # ls\nrest\n"
        assert await taken(attached) == [(2, b"oops\n"), (1, b"ls\nrest")]
        assert await attached.wait() == 0

    story(body)


def test_a_terminal_has_one_output():
    """stderr is stdout there; its size is what the last client said."""

    async def body(env):
        streams = Stdio(ContainerLog(env.clock), stdin=True, tty=True)
        attached = streams.attach(stdin=True)
        streams.write(2, b"x")
        attached.resize(90, 30)
        assert await anext(attached.output()) == (1, b"x")
        assert streams.size == (90, 30)
        attached.cancel()

    story(body)


@pytest.mark.parametrize(
    ("once", "tty", "ends", "let_go"),
    [(True, False, True, False), (True, True, True, True), (False, False, False, True)],
)
def test_the_end_of_a_clients_input_is_what_containerd_makes_of_it(once, tty, ends, let_go):
    """Once and no terminal: the program's stdin ends, its output is awaited. Otherwise the client
    is let go; the program reads on unless it was the only one."""

    async def body(env):
        streams = Stdio(ContainerLog(env.clock), stdin=True, stdin_once=once, tty=tty)
        attached = streams.attach(stdin=True)
        await attached.send_stdin(b"in")
        await attached.send_stdin(b"")
        assert await streams.read() == b"in"
        assert attached._over.done() is let_go
        if ends:
            assert await streams.read() == b""
        else:
            second = streams.attach(stdin=True)
            await second.send_stdin(b"more")
            assert await streams.read() == b"more"
            second.cancel()
        attached.cancel()

    story(body)


def test_a_program_without_stdin_reads_its_end():
    """And nothing that clients type reaches it."""

    async def body(env):
        streams = Stdio(ContainerLog(env.clock))
        attached = streams.attach(stdin=True)
        await attached.send_stdin(b"ignored")
        assert await streams.read() == b""
        attached.cancel()

    story(body)


def test_who_reads_too_slowly_is_let_go_and_told_why(monkeypatch):
    """The program, its log and the other clients go on."""
    monkeypatch.setattr(stdio, "MAX_UNREAD_BYTES", 400)

    async def body(env):
        streams = Stdio(ContainerLog(env.clock))
        slow, quick = streams.attach(stdin=False), streams.attach(stdin=False)
        reading = asyncio.create_task(taken(quick))
        for _ in range(3):
            streams.write(1, b"x" * 60)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(ApiError, match="reads too slowly"):
            await slow.wait()
        assert await taken(slow) == [(1, b"x" * 60)]
        streams.end()
        assert len(await reading) == 3

    story(body)


def test_input_waits_for_the_program_and_output_for_the_client(monkeypatch):
    """Both ends of an exec are bounded, and nothing is lost."""
    monkeypatch.setattr(stdio, "MAX_STDIN_BYTES", 100)
    monkeypatch.setattr(stdio, "PATIENT_BYTES", 100)
    monkeypatch.setattr(stdio, "MAX_UNREAD_BYTES", 1000)

    async def body(env):
        inbox, outbox = Inbox(), Outbox()
        await inbox.send(b"x" * 80)
        waiting = asyncio.create_task(inbox.send(b"y" * 80))
        await env.clock.sleep(1)
        assert not waiting.done()
        assert await inbox.read() == b"x" * 80
        await waiting
        outbox.put(1, b"z" * 150)
        patient = asyncio.create_task(outbox.drained())
        await env.clock.sleep(1)
        assert not patient.done()
        assert await outbox.take() == (1, b"z" * 150)
        await patient
        outbox.put(1, b"z" * 900)
        with pytest.raises(OSError, match="not modelled"):
            outbox.put(1, b"z" * 200)
        outbox.put(1, b"lost too")
        outbox.end()
        assert await outbox.take() == (1, b"z" * 900)
        assert await outbox.take() is None

    story(body)


def test_a_sender_is_free_when_the_program_ends():
    """Whoever waits to be read would wait for ever."""

    async def body(env):
        inbox = Inbox()
        await inbox.send(bytes(stdio.MAX_STDIN_BYTES))
        waiting = asyncio.create_task(inbox.send(b"more"))
        await env.clock.sleep(1)
        inbox.close()
        await waiting

    story(body)


def test_a_line_without_end_is_logged_in_parts_and_read_as_one():
    """A program that never ends its line fills the log's bounded space and no more."""

    async def body(env):
        log = ContainerLog(env.clock)
        streams = Stdio(log)
        text = "x" + "ü" * (2 * stdio.PART_BYTES)
        data = text.encode()
        for at in range(0, len(data), 1000):
            streams.write(1, data[at : at + 1000])
        assert len(log.text()) > len(text) - stdio.PART_BYTES
        streams.write(1, b"\nnext\n")
        assert log.text() == f"{text}\nnext\n"
        shown = b"".join([chunk async for chunk in log.read(LogOptions(timestamps=True))])
        assert [line.partition(b" ")[2].decode() for line in shown.splitlines()] == [text, "next"]
        for _ in range(2000):
            streams.write(1, b"y" * 1000)
        assert len(log.text()) <= LIMIT_BYTES
        assert sum(map(len, streams._unfinished.values())) <= stdio.PART_BYTES

    story(body)
