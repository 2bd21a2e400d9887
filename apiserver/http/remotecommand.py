"""exec and attach, in every dialect: one conversation over channels, three ways to carry it.

Source of the channels: apimachinery pkg/util/remotecommand; of WebSocket v5: KEP-4006 and
apiserver pkg/util/proxy; of the older dialects: kubelet pkg/cri/streaming/remotecommand.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.apiserver.calls import Query
from podwire.apiserver.http.duplex import Duplex
from podwire.apiserver.http.spdy.connection import SpdyConnection, SpdyStream
from podwire.apiserver.http.websocket import WebSocket
from podwire.client.counters import ExecSession
from podwire.runtime.tasks import Nursery

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
BASE64 = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
WEBSOCKET_PROTOCOLS = (V5, V4, BASE64[0], "channel.k8s.io", BASE64[1], "")
SPDY_PROTOCOLS = (V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STATUS_PROTOCOLS = (V5, V4, BASE64[0])
"""Those whose error channel carries a Status; the others tell text."""
STREAM_CREATION_TIMEOUT_S = 30.0
"""How long a client may take to open its streams (DefaultStreamCreationTimeout)."""
LINGER_S = 5.0
"""How long a client may take to hang up once it has been told the end."""

Status = dict[str, Any]


class ClientGoneError(Exception):
    """The client left in the middle."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asks for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, query: Query) -> Wanted:
        """Raises ApiError BadRequest when none is asked for. A terminal has no stderr."""
        tty = query.flag("tty")
        wanted = cls(
            query.flag("stdin"), query.flag("stdout"), query.flag("stderr") and not tty, tty
        )
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise ApiError("BadRequest", "you must specify at least 1 of stdin, stdout, stderr")
        return wanted

    def shows(self, channel: int) -> bool:
        """Whether output of a channel is sent."""
        return self.stdout if channel == STDOUT else self.stderr


class Terminal(Protocol):
    """A client's side of a command."""

    async def receive(self) -> tuple[int, bytes] | None:
        """(channel, bytes): STDIN with b"" is its end. None when the client is gone."""

    async def send(self, channel: int, data: bytes) -> None:
        """Output. Raises ConnectionError."""

    async def finish(self, status: Status) -> None:
        """Tell the end, and part. Raises ConnectionError."""


Start = Callable[[], Awaitable[ExecSession]]
"""Has the kubelet start a command. Raises ApiError, ConnectionError."""


async def converse(terminal: Terminal, session: ExecSession, wanted: Wanted, words: Words) -> None:
    """Carry a command to its end, or kill it when the client leaves."""
    ended = False
    try:
        async with Nursery() as nursery:
            reader = nursery.start(_feed(terminal, session, wanted), name="remote command stdin")
            status = await _shown(terminal, session, wanted, words)
            ended = True
            reader.cancel()  # what the client sends now has no reader any more
        await terminal.finish(status)
    except (ClientGoneError, ConnectionError):
        pass  # nobody is there to be told
    finally:
        if not ended:
            session.cancel()


async def _shown(terminal: Terminal, session: ExecSession, wanted: Wanted, words: Words) -> Status:
    """Send the output; how the command ended. Raises ClientGoneError."""
    try:
        async for channel, data in session.output():
            if wanted.shows(channel):
                try:
                    await terminal.send(channel, data)
                except ConnectionError:
                    raise ClientGoneError from None
        return words.exited(await session.wait())
    except ApiError as error:
        return words.failed(error.message)
    except ConnectionError as error:
        return words.failed(f"Internal error occurred: error dialing backend: {error}")


async def _feed(terminal: Terminal, session: ExecSession, wanted: Wanted) -> None:
    """Pass on what the client sends; a client that goes away kills its command."""
    try:
        while (item := await terminal.receive()) is not None:
            channel, data = item
            if channel == STDIN and wanted.stdin:
                await session.send_stdin(data)
            elif channel == RESIZE and wanted.tty:
                _resize(session, data)
    except ConnectionError:
        pass  # the kubelet is lost: the other half of the conversation learns it too
    session.cancel()


def _resize(session: ExecSession, data: bytes) -> None:
    """A TerminalSize as JSON; what is none is ignored, as upstream's decoder stops there."""
    try:
        size = decoded(data, dict)
        columns, rows = int(size.get("Width", 0)), int(size.get("Height", 0))
    except (TypeError, ValueError, OverflowError):
        return
    if 0 <= columns < 65536 and 0 <= rows < 65536:
        session.resize(columns, rows)


@dataclass(frozen=True, slots=True)
class Words:
    """How the end of a command is told; ``translated`` in WebSocket v5, where the API server takes
    the kubelet's words into its own.
    """

    argv: tuple[str, ...] = ()
    translated: bool = False

    def exited(self, code: int) -> Status:
        """Success, or NonZeroExitCode with the code as a cause."""
        if code == 0:
            return {"metadata": {}, "status": "Success"}
        why = f"error executing command [{' '.join(self.argv)}], exit code {code}"
        if self.translated:
            why = f"command terminated with exit code {code}"
        return {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {why}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }

    def failed(self, message: str) -> Status:
        """The command was not run, or not to its end."""
        prefix = "Internal error occurred: "
        inner = message if self.translated else message.removeprefix(prefix)
        return {
            "metadata": {},
            "status": "Failure",
            "message": prefix + inner,
            "reason": "InternalError",
            "details": {"causes": [{"message": inner}]},
            "code": 500,
        }


def told(protocol: str, status: Status) -> bytes:
    """A Status as the error channel of a protocol carries it; older ones tell failures as text."""
    if protocol in STATUS_PROTOCOLS:
        return msgspec.json.encode(status)
    return b"" if status["status"] == "Success" else str(status["message"]).encode()


# ---------------------------------------------------------------- WebSocket


class SocketTerminal:
    """Channels by the first byte of each message; base64 dialects by its first digit."""

    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket = socket
        self._protocol = protocol
        self._text = protocol in BASE64

    async def greet(self, wanted: Wanted) -> None:
        """Upstream's first message: empty, on the lowest channel that is written. Raises
        ConnectionError.
        """
        await self.send(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR, b"")

    async def receive(self) -> tuple[int, bytes] | None:
        """See ``Terminal``."""
        while (message := await self._socket.receive()) is not None:
            item = self._item(message)
            if item is not None:
                return item
        return None

    def _item(self, message: bytes) -> tuple[int, bytes] | None:
        if not message:
            return None
        channel, data = message[0], message[1:]
        if self._text:
            channel -= ord("0")
            try:
                data = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                return None
        if channel == CLOSE and self._protocol == V5:
            return (STDIN, b"") if data == bytes((STDIN,)) else None
        return (channel, data) if data else None

    async def send(self, channel: int, data: bytes) -> None:
        """See ``Terminal``."""
        if self._text:
            await self._socket.send(b"%d" % channel + base64.b64encode(data), text=True)
        else:
            await self._socket.send(bytes((channel,)) + data)

    async def finish(self, status: Status) -> None:
        """See ``Terminal``."""
        data = told(self._protocol, status)
        if data:
            await self.send(ERROR, data)
        await self._socket.close()


# ---------------------------------------------------------------- SPDY


class StreamTerminal:
    """Channels are streams that the client opens and names by the header ``streamType``."""

    def __init__(self, connection: SpdyConnection, protocol: str) -> None:
        self._connection = connection
        self._protocol = protocol
        self._streams: dict[str, SpdyStream] = {}
        self._incoming: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(maxsize=1)

    async def opened(self, wanted: Wanted) -> bool:
        """Wait for the streams that belong to what was asked for; False when they do not come."""
        names = ["error", *(n for n in ("stdin", "stdout", "stderr") if getattr(wanted, n))]
        if wanted.tty and self._protocol in SPDY_PROTOCOLS[:2]:
            names.append("resize")
        try:
            async with asyncio.timeout(STREAM_CREATION_TIMEOUT_S):
                while len(self._streams) < len(names):
                    stream = await self._connection.accept()
                    if stream is None:
                        return False
                    name = stream.headers.get("streamtype", "").lower()
                    if name in names and name not in self._streams:
                        self._streams[name] = stream
                    else:
                        await self._connection.reset(stream)
        except (TimeoutError, ConnectionError):
            return False
        return True

    def listen(self, nursery: Nursery) -> None:
        """Begin to receive; the nursery's end is that of the client."""
        for channel, name in ((STDIN, "stdin"), (RESIZE, "resize")):
            if name in self._streams:
                nursery.start(self._pump(channel, self._streams[name]), name=f"spdy {name}")
        nursery.start(self._watch(), name="spdy client")

    async def _pump(self, channel: int, stream: SpdyStream) -> None:
        while data := await stream.read():
            await self._incoming.put((channel, data))
        if channel == STDIN and not stream.was_reset:
            await self._incoming.put((STDIN, b""))

    async def _watch(self) -> None:
        try:
            while (late := await self._connection.accept()) is not None:
                await self._connection.reset(late)
        except ConnectionError:
            pass  # the client is gone
        await self._incoming.put(None)

    async def receive(self) -> tuple[int, bytes] | None:
        """See ``Terminal``."""
        return await self._incoming.get()

    async def send(self, channel: int, data: bytes) -> None:
        """See ``Terminal``."""
        await self._streams["stdout" if channel == STDOUT else "stderr"].write(data)

    async def finish(self, status: Status) -> None:
        """See ``Terminal``."""
        await self._streams["error"].write(told(self._protocol, status))
        for stream in self._streams.values():
            await stream.finish()
        await self._connection.go_away()


async def serve_spdy(
    duplex: Duplex, protocol: str, session: ExecSession, wanted: Wanted, words: Words
) -> None:
    """Carry a command over SPDY until it ends or the client leaves."""
    connection = SpdyConnection(duplex)
    try:
        async with Nursery() as nursery:
            reading = nursery.start(connection.run(), name="spdy")
            terminal = StreamTerminal(connection, protocol)
            if await terminal.opened(wanted):
                terminal.listen(nursery)
                await converse(terminal, session, wanted, words)
                await _let_hang_up(reading)
            nursery.cancel()
    finally:
        session.cancel()  # for a client that opened no streams; harmless otherwise
        duplex.close()


async def _let_hang_up(reading: asyncio.Task[None]) -> None:
    """A client that still takes frames apart would lose them with the connection."""
    try:
        async with asyncio.timeout(LINGER_S):
            await asyncio.shield(reading)
    except TimeoutError:
        pass  # it had its time


async def serve_websocket(
    duplex: Duplex, protocol: str, start: Start, wanted: Wanted, words: Words
) -> None:
    """Carry a command over a WebSocket until it ends or the client leaves."""
    socket = WebSocket(duplex)
    terminal = SocketTerminal(socket, protocol)
    try:
        await terminal.greet(wanted)
        try:
            session = await start()
        except ApiError as error:
            why = f"unable to upgrade connection: {error.message}"
            await terminal.finish(words.failed(why))
            return
        except ConnectionError as error:
            await terminal.finish(words.failed(f"error dialing backend: {error}"))
            return
        await converse(terminal, session, wanted, words)
    except ConnectionError:
        pass  # the client left before the command was started
    finally:
        duplex.close()
