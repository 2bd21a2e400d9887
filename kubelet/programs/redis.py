"""redis-server as a port with a protocol: PING, ECHO, HELLO and QUIT; no database inside."""

from __future__ import annotations

from podwire.client.counters import Stream
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command

VERSION = "8.2.1"
MAX_REQUEST_BYTES = 64 * 1024


async def run(command: Command) -> int:
    """``redis-server [--port 6379]``."""
    words = command.args
    text = words[words.index("--port") + 1] if "--port" in words[:-1] else "6379"
    if not text.isdigit():
        command.err(f"*** FATAL CONFIG FILE ERROR (Redis {VERSION}) ***\n>>> 'port \"{text}\"'\n")
        return 1
    async with Server(command) as server:
        try:
            await server.tcp(int(text), _talk)
        except OSError as error:
            command.out(f"1:M # Warning: Could not create server TCP listening socket *:{text}: "
                        f"bind: {in_use(error).capitalize()}\n")  # fmt: skip
            return 1
        command.out(f"1:M * Running mode=standalone, port={text}.\n")
        command.out("1:M * Ready to accept connections tcp\n")
        await server.until_signal()
        command.out("1:M # Redis is now ready to exit, bye bye...\n")
    return 0


async def _talk(stream: Stream) -> None:
    buffer = b""
    while data := await stream.recv():
        buffer += data
        if len(buffer) > MAX_REQUEST_BYTES:
            await stream.send(b"-ERR Protocol error: too big inline request\r\n")
            return
        while (taken := _request(buffer)) is not None:
            words, buffer = taken
            if not words:
                continue
            await stream.send(_reply(words))
            if words[0].upper() == b"QUIT":
                return


def _request(buffer: bytes) -> tuple[list[bytes], bytes] | None:
    """The words of the first request and what follows; None while it is incomplete."""
    line, end, rest = buffer.partition(b"\n")
    if not end:
        return None
    if not line.startswith(b"*"):
        return line.split(), rest
    count = line[1:].strip()
    words: list[bytes] = []
    for _ in range(int(count) if count.isdigit() and len(count) < 4 else 0):
        head, end, rest = rest.partition(b"\n")
        size = head[1:].strip()
        if not end or not size.isdigit() or len(size) > 6 or len(rest) < int(size) + 2:
            return None
        words.append(rest[: int(size)])
        rest = rest[int(size) + 2 :]
    return words, rest


def _reply(words: list[bytes]) -> bytes:
    name = words[0].upper()
    if name == b"PING":
        return b"+PONG\r\n" if len(words) == 1 else _bulk(words[1])
    if name == b"ECHO" and len(words) == 2:
        return _bulk(words[1])
    if name == b"HELLO":
        pairs = [_bulk(b"server"), _bulk(b"redis"), _bulk(b"version"), _bulk(VERSION.encode())]
        return b"*4\r\n" + b"".join(pairs)
    if name == b"QUIT":
        return b"+OK\r\n"
    return b"-ERR not modelled: " + words[0][:40] + b"\r\n"


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)
