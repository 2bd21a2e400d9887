"""TLS over an asyncio transport: what ``asyncio.sslproto`` does, for servers, with less of it.

A read of the socket goes through one buffer that all connections share, each record becomes one
``data_received``, and a write is encrypted and sent at once: nothing is queued in plain and no
callback is scheduled. What cannot be sent waits, encrypted, in the socket's transport, whose
limits are those of the connection. The standard library's keeps 256 KiB for each connection and
needs two to three times the processor time.

Bounds: a handshake and a farewell take only so long. TLS has no half-closed connections here:
who says that nothing more will come is sent what was written, and then is hung up on.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from typing import Any, cast

from podwire.client.http1 import PLAIN_STARTS, PLAIN_TO_TLS

BUFFER_BYTES = 64 * 1024
"""How much is read from a socket at once."""
RECORD_BYTES = 16 * 1024
"""What a TLS record holds at most; ``SSLObject.read`` and ``write`` move one at a time."""


class _State(enum.Enum):
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Our close_notify is sent (or the peer is gone): what comes is not read any more."""
    CLOSED = enum.auto()


class TlsTransport(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of an accepted socket, and the transport of what is served over it.

    ``protocol`` has ``connection_made`` called once the handshake is done, and from then on
    everything else that asyncio calls. ``room`` is where sockets are read into.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: asyncio.Protocol,
        room: memoryview,
        *,
        handshake_s: float,
        shutdown_s: float,
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._room = room
        self._handshake_s = handshake_s
        self._shutdown_s = shutdown_s
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._state = _State.HANDSHAKE
        self._raw = cast("asyncio.Transport", None)
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted: the client speaks first, and has so long to finish."""
        self._raw = cast("asyncio.Transport", transport)
        self._limit(self._handshake_s)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to; ``buffer_updated`` follows before anybody else reads."""
        del sizehint
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So much came."""
        self._incoming.write(self._room[:nbytes])
        if self._state is _State.HANDSHAKE and not self._shake():
            return
        try:
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._raw.close()  # both have said farewell
        except ssl.SSLError:
            self._send()  # the alert that says why
            self.abort()
        else:
            return
        if self._outgoing.pending:  # a change of keys wants an answer
            self._send()

    def _shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return False
        except ssl.SSLError:
            if bytes(self._room[:5]) in PLAIN_STARTS:  # as Go's server tells it, without TLS
                self._raw.write(PLAIN_TO_TLS)
                self._raw.close()
                return False
            self._send()  # an alert says why
            self.abort()
            return False
        self._send()
        self._unlimit()
        self._state = _State.OPEN
        self._protocol.connection_made(self)
        return True

    def _read(self) -> None:
        """Hand over every record that is whole. Raises SSLError."""
        incoming, read = self._incoming, self._tls.read
        while incoming.pending:
            data = read(RECORD_BYTES)
            if not data:
                self._protocol.eof_received()
                self.close()
                return
            if self._state is _State.OPEN:
                self._protocol.data_received(data)

    def eof_received(self) -> None:
        """The peer sends no more and did not say so in TLS: the socket closes once all is sent."""
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            self._limit(self._shutdown_s)
            self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        shaking = self._state is _State.HANDSHAKE
        self._state = _State.CLOSED
        self._unlimit()
        if not shaking:
            self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        if self._state is not _State.HANDSHAKE:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._state is not _State.HANDSHAKE:
            self._protocol.resume_writing()

    # ------------------------------------------------------------ the protocol's side

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send; what is written after ``close`` is not."""
        if self._state is not _State.OPEN:
            return
        write = self._tls.write
        if len(data) <= RECORD_BYTES:
            write(cast("bytes", data))
        else:
            view = memoryview(data)
            at = 0
            while at < len(view):
                at += write(cast("bytes", view[at : at + RECORD_BYTES]))
        self._raw.write(self._outgoing.read())

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._raw.write(data)

    def close(self) -> None:
        """Send what was written and a close_notify; hang up when the peer says the same."""
        if self._state is _State.HANDSHAKE:
            self.abort()
        if self._state is not _State.OPEN:
            return
        self._state = _State.CLOSING
        self._limit(self._shutdown_s)
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            self._send()
            self._raw.resume_reading()
        except ssl.SSLError:
            self.abort()
        else:
            self._send()
            self._raw.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._state is not _State.CLOSED:
            if self._state is not _State.HANDSHAKE:
                self._state = _State.CLOSING
            self._raw.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._state is not _State.OPEN or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Read no more; what was read already is still handed over."""
        if self._state is _State.OPEN:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._state is _State.OPEN:
            self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """How much may wait to be sent, in bytes."""
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``ssl_object``, or what the socket's transport knows."""
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)

    # ------------------------------------------------------------ time

    def _limit(self, seconds: float) -> None:
        self._unlimit()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _unlimit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
