"""The stores against etcd, in one run, in turn: durable puts, put to watch, creates by the API."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aetcd import Client as Aetcd

from podwire.api import kinds
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.counters import Request, User
from podwire.runtime.env import real
from podwire.runtime.memory import fewer_collections
from podwire.store import Put, StoreOptions, open_store

RUNS = 5
SECONDS = 2.0
CALLERS = 100
VALUE_BYTES = 4457
OPTIONS = {"grpc.max_receive_message_length": -1}
ADMIN = User("bench", ("system:masters", "system:authenticated"))
_CLIENT_PORT, _PEER_PORT = 23979, 23980


class Etcd:
    """Debian's etcd on the same disk, with its own defaults: fsync is on."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("etcd")
        if binary is None:
            raise SystemExit("the store figures need an etcd: apt-get install etcd-server")
        self.url = f"http://127.0.0.1:{_CLIENT_PORT}"
        peer = f"http://127.0.0.1:{_PEER_PORT}"
        self.process = subprocess.Popen(
            [
                binary, "--data-dir", folder, "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def fsync_ms(folder: Path) -> float:
    """The median fdatasync of an append of one value, in milliseconds."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(VALUE_BYTES))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def cpu_s(etcd: Etcd | None) -> float:
    """Processor seconds of this process, and of an etcd when one takes part."""
    used = time.process_time()
    if etcd is not None:
        fields = Path(f"/proc/{etcd.process.pid}/stat").read_text().rpartition(")")[2].split()
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


async def rate(
    call: Callable[[str], Awaitable[Any]], tag: str, etcd: Etcd | None
) -> tuple[float, float]:
    """Calls per second of CALLERS callers, each with keys of its own, and CPU us of each."""
    used = cpu_s(etcd)
    done, until = 0, time.perf_counter() + SECONDS

    async def caller(number: int) -> None:
        nonlocal done
        turn = 0
        while time.perf_counter() < until:
            await call(f"{tag}-{number}-{turn}")
            done, turn = done + 1, turn + 1

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return done / (time.perf_counter() - began), (cpu_s(etcd) - used) / done * 1e6


def p99(times: list[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[int(len(times) * 0.99)]


async def latency(
    put: Callable[[int], Awaitable[Any]], seen: asyncio.Queue[Any], count: int = 400
) -> list[float]:
    """Milliseconds from the start of a put to its event, one caller."""
    times = []
    for number in range(-20, count):  # the first ones warm up
        began = time.perf_counter()
        writing = asyncio.ensure_future(put(number))
        await seen.get()
        times.append((time.perf_counter() - began) * 1000)
        await writing
    return times[20:]


def rates(
    label: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]], unit: str
) -> dict[str, str]:
    """The figures of two lists of ``rate``."""
    mine, my_cpu = map(list, zip(*ours, strict=True))
    other, other_cpu = map(list, zip(*theirs, strict=True))
    return {
        label: told(mine, other, unit, 0),
        f"{label[:24]}...: processor time": told(my_cpu, other_cpu, "us each", 0),
    }


def told(ours: list[float], theirs: list[float], unit: str, digits: int) -> str:
    """Both medians, and the median of the ratios of runs made in turn."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    a, b = statistics.median(ours), statistics.median(theirs)
    return f"{a:,.{digits}f} / {b:,.{digits}f} {unit}, ratio {ratio:.2f}"


async def _puts(etcd: Etcd, folder: Path) -> dict[str, str]:
    env, ours, theirs = real(log_level="error"), [], []
    value = os.urandom(VALUE_BYTES)
    for run in range(RUNS):
        options = StoreOptions(data_dir=folder / f"puts-{run}")
        store = await open_store(options, env.clock, env.trace, env.log)
        ours.append(await rate(lambda key, s=store: s.txn([], [Put(key, value)]), str(run), None))
        await store.close()
        shutil.rmtree(folder / f"puts-{run}")
        async with Aetcd(port=_CLIENT_PORT, options=OPTIONS) as client:
            theirs.append(
                await rate(lambda key, c=client: c.put(key.encode(), value), str(run), etcd)
            )
    return rates("puts of 4.5 KB, 100 callers, fsync: durable / etcd", ours, theirs, "puts/s")


async def _watch(folder: Path) -> dict[str, str]:
    env, ours, theirs = real(log_level="error"), [], []
    value = os.urandom(VALUE_BYTES)
    middle: tuple[list[float], list[float]] = ([], [])
    for run in range(RUNS):
        seen: asyncio.Queue[Any] = asyncio.Queue()
        options = StoreOptions(data_dir=folder / f"watch-{run}")
        store = await open_store(options, env.clock, env.trace, env.log)
        await store.watch("", 2, seen.put_nowait)
        times = await latency(lambda n, s=store: s.txn([], [Put(str(n), value)]), seen)
        ours.append(p99(times))
        middle[0].append(statistics.median(times))
        await store.close()
        async with Aetcd(port=_CLIENT_PORT, options=OPTIONS) as client:
            heard: asyncio.Queue[Any] = asyncio.Queue()

            async def follow(client: Aetcd = client, heard: asyncio.Queue[Any] = heard) -> None:
                async for event in await client.watch_prefix(b"latency/"):
                    heard.put_nowait(event)

            following = asyncio.ensure_future(follow())
            await asyncio.sleep(0.2)
            times = await latency(lambda n, c=client: c.put(b"latency/%d" % n, value), heard)
            theirs.append(p99(times))
            middle[1].append(statistics.median(times))
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    return {
        "put to watch p99, 1 caller: durable / etcd": told(ours, theirs, "ms", 2),
        "the same, p50": told(*middle, "ms", 2),
    }


async def _creates(etcd: Etcd) -> dict[str, str]:
    env, ours, theirs = real(log_level="error"), [], []
    options = StoreOptions(etcd_servers=(etcd.url,), etcd_prefix="/bench")
    store = await open_store(options, env.clock, env.trace, env.log)
    server = Apiserver(env, store)
    await server.start()
    api = DirectApi(server, ADMIN)

    async def post(path: str, body: bytes) -> None:
        headers = {"content-type": "application/json", "accept": "application/json"}
        response = await api.send(Request("POST", path, (), headers, body, ADMIN))
        assert response.status == 201, response.body

    await post("/api/v1/namespaces", b'{"metadata":{"name":"default"}}')
    text = "x" * (VALUE_BYTES - 180)  # with its metadata the stored object has VALUE_BYTES
    path = kinds.CONFIG_MAP.path("default")

    async def create(name: str) -> None:
        await post(path, b'{"metadata":{"name":"%b"},"data":{"k":"%b"}}' % (name.encode(), raw))

    raw = text.encode()
    value = os.urandom(VALUE_BYTES)
    async with Aetcd(port=_CLIENT_PORT, options=OPTIONS) as client:
        make = client.transactions

        async def create_raw(name: str) -> None:
            key = name.encode()
            done, _ = await client.transaction([make.version(key) == 0], [make.put(key, value)], [])
            assert done

        for run in range(RUNS):
            ours.append(await rate(create, f"c{run}", etcd))
            theirs.append(await rate(create_raw, f"raw{run}", etcd))
    server.stop()
    await store.close()
    return rates("creates, 100 callers: API over etcd / aetcd alone", ours, theirs, "per s")


def stores() -> dict[str, str]:
    """The durable store and the etcd engine against Debian's etcd, all on one disk."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, fewer_collections():
        folder = Path(name)
        before, load = fsync_ms(folder), os.getloadavg()[0]
        etcd = Etcd(folder / "etcd")
        try:
            figures = {
                **asyncio.run(_puts(etcd, folder)),
                **asyncio.run(_watch(folder)),
                **asyncio.run(_creates(etcd)),
            }
        finally:
            etcd.stop()
        figures["fdatasync p50 before and after"] = f"{before:.2f}, {fsync_ms(folder):.2f} ms"
        figures["load average before"] = f"{load:.1f}"
    return figures
