"""The API server's figures: one process that serves, one that asks, HTTPS on loopback.

Processor time is what to compare on a machine that others use; rates are told beside it. The
client's own time per request is told, too: where it is the larger one, the client was the limit.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.apihost import HELD, pod

ROOT = Path(__file__).resolve().parent.parent
PAIRS = 7
Json = dict[str, Any]


class Host:
    """A server process and what it told of itself."""

    def __init__(self, folder: str, objects: int, size: int, engine: str) -> None:
        argv = [sys.executable, "-m", "benchmarks.apihost", folder, str(objects), str(size), engine]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the server for the figures did not start: {' '.join(argv)}")
        self.told: Json = {**json.loads(line), "folder": folder}

    def load(self, figure: str, **asked: Any) -> Json:
        """Have a client process take a figure."""
        done = self._client(figure, asked)
        out, _ = done.communicate()
        if done.returncode:
            raise SystemExit(f"figure {figure} failed")
        found: Json = json.loads(out.splitlines()[-1])
        return found

    def fan_out(self, watchers: int, events: int, per_turn: int) -> Json:
        """Events made in the server, read by so many watchers."""
        client = self._client("fan_out", {"watchers": watchers, "events": events})
        assert client.stdout is not None
        assert self.process.stdin is not None
        if client.stdout.readline() != "ready\n":
            raise SystemExit("the watchers did not come up")
        self.process.stdin.write(f"{events} {per_turn}\n")
        self.process.stdin.flush()
        found: Json = json.loads(client.stdout.read())
        client.wait()
        return found

    def _client(self, figure: str, asked: Json) -> subprocess.Popen[str]:
        wanted = json.dumps({**self.told, "figure": figure, **asked})
        argv = [sys.executable, "-m", "benchmarks.load", wanted]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def hosting(objects: int = 1000, size: int = 0, engine: str = "memory") -> Iterator[Host]:
    """A server for the time of a figure."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as folder:
        host = Host(folder, objects, size, engine)
        try:
            yield host
        finally:
            host.stop()


def _rates(found: Json) -> str:
    return (
        f"{found['per_s']:,.0f}/s, p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms; "
        f"processor: server {found['server_us']:.0f} us, client {found['client_us']:.0f} us"
    )


def _late(found: Json) -> str:
    return f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms"


def _best(run: Callable[[], Json], runs: int = 3) -> Json:
    return max((run() for _ in range(runs)), key=lambda found: found["per_s"])


def gets() -> Json:
    """GET of a pod, and against bare aiohttp in pairs; 1,000 and 50,000 objects."""
    asked = {"connections": 32, "seconds": 1.5}
    with ExitStack() as stack:
        ours = stack.enter_context(hosting())
        bare = stack.enter_context(hosting(engine="bare"))
        many = stack.enter_context(hosting(50_000))
        best = _best(lambda: ours.load("gets", connections=32, seconds=3.0))
        pairs = [
            (ours.load("gets", **asked), bare.load("gets", **asked), many.load("gets", **asked))
            for _ in range(PAIRS)
        ]
        paced = ours.load("gets_paced", connections=32, per_s=4000, seconds=3.0)

    def ratio(name: str, left: int, right: int) -> float:
        return statistics.median(pair[left][name] / pair[right][name] for pair in pairs)

    return {
        "GET pod, 32 connections, best of 3": _rates(best),
        "GET pod at 4,000/s, open loop": _late(paced),
        "GET / bare aiohttp, requests per second": f"{ratio('per_s', 0, 1):.2f}",
        "GET / bare aiohttp, processor time (less is better)": f"{ratio('server_us', 0, 1):.2f}",
        "GET of 50,000 / of 1,000 objects, processor time": f"{ratio('server_us', 2, 0):.2f}",
    }


def creates() -> Json:
    """POST of a pod of 1.6 KB (4.6 KB stored) with two containers."""
    told = {}
    for engine, connections in (("memory", 32), ("durable", 100)):
        with hosting(engine=engine) as host:
            runs = [
                host.load("creates", connections=connections, seconds=2.0, run=f"{engine}{i}")
                for i in range(3)
            ]
            best = max(runs, key=lambda found: found["per_s"])
            told[f"create pod, {engine}, {connections} connections, best of 3"] = _rates(best)
            paced = host.load(
                "creates_paced", connections=connections, per_s=1000, seconds=3.0, run="paced"
            )
            told[f"create pod, {engine}, at 1,000/s, open loop"] = _late(paced)
            odd = host.load(
                "creates", connections=connections, seconds=2.0, run=f"{engine}odd", each_odd=True
            )
            told[f"create pod, {engine}, each of a form of its own"] = _rates(odd)
    return told


def lists() -> Json:
    """LIST of 10,000 pods, and ten LISTs of a gigabyte at once."""
    with hosting(10_000) as host:
        runs = [host.load("lists", connections=1) for _ in range(5)]
        zipped = host.load("lists", connections=1, headers="Accept-Encoding: gzip\r\n")
    with hosting(10_000, 105_000) as host:
        ten = host.load("lists", connections=10)
    growth = max(run["rss_peak_mb"] - run["rss_before_mb"] for run in runs)
    walls = [run["wall_ms"] for run in runs]
    return {
        f"LIST of 10,000 pods ({runs[0]['bytes'] / 1e6:.0f} MB)": (
            f"{min(walls):.0f} ms best, {statistics.median(walls):.0f} ms median; processor "
            f"{statistics.median(run['cpu_ms'] for run in runs):.0f} ms; peak +{growth:.1f} MB"
        ),
        "the same with gzip": f"{zipped['wall_ms']:.0f} ms, {zipped['bytes'] / 1e6:.1f} MB",
        f"ten LISTs at once, {ten['bytes'] / 10e9:.2f} GB each": (
            f"peak +{ten['rss_peak_mb'] - ten['rss_before_mb']:.1f} MB, "
            f"{ten['wall_ms'] / 1000:.1f} s"
        ),
    }


def watches() -> Json:
    """200 watchers of events of about 4 KB."""
    told = {}
    with hosting(10) as host:
        for per_turn in (1, 16):
            found = host.fan_out(200, 1000, per_turn)
            told[f"200 watchers, {per_turn} events a turn, {found['event_bytes']:.0f} bytes"] = (
                f"{found['per_s']:,.0f} deliveries/s; one core would do "
                f"{1e6 / found['server_us']:,.0f}/s; processor: server {found['server_us']:.2f} us,"
                f" client {found['client_us']:.2f} us"
            )
    for per_s in (100, 500):
        with hosting(10) as host:
            late = host.load("write_to_watch", watchers=200, per_s=per_s, seconds=4, connections=16)
        told[f"write to the last of 200 watchers, {per_s} writes/s"] = (
            f"p50 {late['p50_ms']:.1f} ms, p99 {late['p99_ms']:.1f} ms, "
            f"server busy {late['server_share']:.0%}"
        )
    return told


def held() -> Json:
    """What upstream's thresholds weigh in the API server."""
    pods = HELD["pod"]
    with hosting(pods, engine="held") as host:
        told = host.told
    each = (told["rss_after"] - told["rss_before_pods"]) / pods
    return {
        "5,000 nodes, 150,000 pods, 10,000 services: resident": f"{told['rss_after'] / 1e9:.2f} GB",
        "a stored pod / its JSON": (
            f"{each / told['value_bytes']:.2f} ({each:.0f} / {told['value_bytes']} bytes)"
        ),
        "longest collection while they were made": f"{told['longest_collection_ms']:.0f} ms",
        "a full collection with all of them": f"{told['full_collection_ms']:.0f} ms",
    }


def validation() -> Json:
    """What a create does to a body: from JSON, strictly checked, to a valid pod and its warnings.

    Every pod has names of its own.
    """
    from podwire.api import codec, kinds, objects  # noqa: PLC0415  only this figure needs them
    from podwire.api.validation.warnings import warnings_of  # noqa: PLC0415

    def once(text: bytes) -> tuple[float, float]:
        began = time.perf_counter()
        obj = codec.decode("application/json", text, kinds.POD, codec.STRICT).obj
        decoded = time.perf_counter()
        obj["metadata"]["namespace"] = "default"  # as the registry does
        objects.default(kinds.POD, obj)
        objects.check_create(kinds.POD, obj)
        warnings_of(kinds.POD, obj, None)
        ended = time.perf_counter()
        return 1e6 * (ended - began), 1e6 * (decoded - began)

    texts = [json.dumps(pod(f"new-{i:08}")).encode() for i in range(2200)]
    runs = [once(text) for text in texts][200:]
    whole, decoding = zip(*runs, strict=True)
    return {
        "a pod: JSON, strict check, defaults, validation": (
            f"median {statistics.median(whole):.0f} us, shortest {min(whole):.0f} us; "
            f"decoding and strict check alone {statistics.median(decoding):.0f} us"
        )
    }


FIGURES: dict[str, Callable[[], Json]] = {
    "validation": validation, "gets": gets, "creates": creates, "lists": lists,
    "watches": watches, "held": held,
}  # fmt: skip


def api(names: list[str] | None = None) -> dict[str, str]:
    """Every figure of the API server (about four minutes)."""
    told: dict[str, str] = {}
    for name in names or list(FIGURES):
        told |= FIGURES[name]()
    return told


if __name__ == "__main__":
    for figure in sys.argv[1:] or list(FIGURES):
        for label, value in api([figure]).items():
            print(f"{label:<62} {value}", flush=True)
