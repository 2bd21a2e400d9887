"""A TLS server that gives kubectl fixed answers at once: the peer of ``kubectl get nodes``.

It replays what a podwire server answered to the same requests, so that both sides send the same
bytes and only the work behind them differs.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path


def recorded(folder: Path) -> dict[str, bytes]:
    """``METHOD TARGET`` and Accept -> the whole answer, from ``<n>.{request,response}``."""
    return {
        request.read_text(): request.with_suffix(".response").read_bytes()
        for request in sorted(folder.glob("*.request"))
    }


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The next request up to its blank line; empty when the client has gone."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""


async def main(folder: Path, answers: dict[str, bytes]) -> None:
    """Serve the answers until killed; prints the port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            first, *headers = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            accept = next((h[8:] for h in headers if h.lower().startswith("accept: ")), "")
            body = answers.get(f"{method} {target}\n{accept}")
            if body is None:
                body = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            writer.write(body)
            await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), recorded(Path(sys.argv[1]))))
    except KeyboardInterrupt:
        sys.exit(0)
