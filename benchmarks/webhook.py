"""What an admission webhook adds to a write, on top of the time that it takes itself."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from podwire.api import kinds
from podwire.apiserver.certs import Authority
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.runtime.env import real
from podwire.store.embedded import EmbeddedStore

WRITES = 300
ROUNDS = 5
ADMIN = User("bench", ("system:masters", "system:authenticated"))


async def serve(folder: Path) -> None:
    """A webhook that allows everything and tells how long it worked (in a process of its own)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "hook.crt", folder / "hook.key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            data = await reader.readexactly(length)
            began = time.perf_counter_ns()
            review = json.loads(data)
            response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": True}
            body = json.dumps({**review, "response": response}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            response["took"] = time.perf_counter_ns() - began
            print(response["took"], file=sys.stderr, flush=True)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _measure(folder: Path, own: Path) -> dict[str, str]:
    env = real(0, "off")
    authority = Authority(env.secret, env.clock.now_ns())
    pair = authority.server(["127.0.0.1"])
    (folder / "hook.crt").write_bytes(pair.certificate)
    (folder / "hook.key").write_bytes(pair.key)
    store = EmbeddedStore(env.clock, env.trace)
    server = Apiserver(env, store)
    await server.start()
    client = Client(DirectApi(server, ADMIN))
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    with own.open("w") as errors:
        hook = subprocess.Popen(  # noqa: ASYNC220  once, before anything is measured
            [sys.executable, "-m", "benchmarks.webhook", str(folder)],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        assert hook.stdout is not None
        port = int(hook.stdout.readline())
        try:
            return await _rounds(client, authority, port, own)
        finally:
            hook.terminate()
            server.stop()
            await store.close()


async def _rounds(client: Client, authority: Authority, port: int, own: Path) -> dict[str, str]:
    kind = kinds.named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    body = {
        "metadata": {"name": "hook"},
        "webhooks": [{
            "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/",
                "caBundle": base64.b64encode(authority.pem).decode(),
            },
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                       "resources": ["configmaps"]}],
        }],
    }  # fmt: skip
    added, spent = list[float](), list[float]()
    for turn in range(ROUNDS):
        plain = await _writes(client, f"plain-{turn}")
        await client.create(kind, body)
        asked = await _writes(client, f"asked-{turn}")
        await client.delete(kind, "hook")
        took_us = statistics.median(int(line) / 1000 for line in _read(own).split())
        added.append(asked[0] - plain[0] - took_us)
        spent.append(asked[1] - plain[1])
    return {
        "added to a create, the webhook's own time aside": (
            f"{statistics.median(added) / 1000:.2f} ms; "
            f"{statistics.median(spent):.0f} us of processor time"
        )
    }


def _read(file: Path) -> str:
    return file.read_text()


async def _writes(client: Client, name: str) -> tuple[float, float]:
    """Median microseconds of one write, and mean microseconds of processor time."""
    took = list[float]()
    spent = time.process_time()
    for number in range(WRITES):
        body = {"metadata": {"name": f"{name}-{number}"}, "data": {"k": "v"}}
        began = time.perf_counter()
        await client.create(kinds.CONFIG_MAP, body, "default")
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took), (time.process_time() - spent) / WRITES * 1e6


def webhook() -> dict[str, str]:
    """The figure."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder), Path(folder) / "own"))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
