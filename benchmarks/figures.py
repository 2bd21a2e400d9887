"""One function per figure: returns labels and values, printed by ``python -m benchmarks``."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import yaml

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
RUNS = 5


def home_environment(home: Path) -> dict[str, str]:
    """What a podwire of its own is started with."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,  # the figures are told of warm bytecode
        "HOME": str(home),
        "KUBECONFIG": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
    }


@contextmanager
def _cluster(home: Path, *options: str) -> Iterator[dict[str, str]]:
    environment = home_environment(home)
    subprocess.run(
        [BIN / "podwire", "up", "--detach", *options], env=environment, check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield environment
    finally:
        subprocess.run(
            [BIN / "podwire", "down"], env=environment, check=True, stderr=subprocess.DEVNULL
        )


def _median_ms(call: Callable[[], object], runs: int = RUNS) -> float:
    call()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _first_ready() -> tuple[float, float]:
    """Wall and processor seconds from ``podwire up`` to the first 200 from /readyz."""
    with tempfile.TemporaryDirectory() as home:
        port = _free_port()
        began = time.perf_counter()
        process = subprocess.Popen(
            [BIN / "podwire", "up", "--port", str(port)],
            env=home_environment(Path(home)),
            stderr=subprocess.DEVNULL,
        )
        wait_ready(port)
        elapsed = time.perf_counter() - began
        user, system = (
            Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        )
        process.terminate()
        process.wait()
    return elapsed, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_ready(port: int) -> None:
    """Until the first 200 from /readyz."""
    context = ssl._create_unverified_context()  # noqa: S323, SLF001  loopback, made just now
    while True:
        connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.005)
        finally:
            connection.close()


def up() -> dict[str, str]:
    """Process start to the first 200 from /readyz."""
    _first_ready()
    walls, cpus = zip(*(_first_ready() for _ in range(RUNS)), strict=True)
    return {
        "podwire up to /readyz, median of 5": f"{statistics.median(walls):.2f} s",
        "the same, processor time": f"{statistics.median(cpus):.2f} s",
    }


def cli() -> dict[str, str]:
    """The command's own start."""
    run = [str(BIN / "podwire"), "--help"]
    with tempfile.TemporaryDirectory() as home:
        environment = home_environment(Path(home))
        ms = _median_ms(
            lambda: subprocess.run(run, env=environment, check=True, stdout=subprocess.DEVNULL)
        )
    return {"podwire --help": f"{ms:.0f} ms"}


def kubectl() -> dict[str, str]:
    """``kubectl get nodes`` against podwire and against canned answers, run in turn."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with _cluster(home, "--wait") as environment:
            ours = [str(BIN / "kubectl"), "get", "nodes"]
            config = yaml.safe_load((home / "config").read_text())
            canned_config, process = _start_canned(home, config, environment)
            theirs = [*ours, "--kubeconfig", str(canned_config)]
            try:
                pairs = _in_turn(ours, theirs, environment)
            finally:
                process.terminate()
    mine, canned = zip(*pairs, strict=True)
    return {
        "kubectl get nodes": f"{statistics.median(mine):.0f} ms",
        "the same against canned answers": f"{statistics.median(canned):.0f} ms",
        "ratio (median of pairs)": f"{statistics.median(a / b for a, b in pairs):.2f}",
    }


def _in_turn(
    ours: list[str], theirs: list[str], environment: dict[str, str]
) -> list[tuple[float, float]]:
    """Milliseconds of both commands, one after the other, fifteen times."""

    def elapsed_ms(argv: list[str]) -> float:
        began = time.perf_counter()
        subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - began) * 1000

    for _ in range(2):  # both caches of discovery are warm afterwards
        elapsed_ms(ours), elapsed_ms(theirs)
    return [(elapsed_ms(ours), elapsed_ms(theirs)) for _ in range(15)]


def _start_canned(
    home: Path, config: dict[str, object], environment: dict[str, str]
) -> tuple[Path, subprocess.Popen[str]]:
    """Record what podwire answers to kubectl's requests, then serve exactly that."""
    folder = home / "canned"
    folder.mkdir()
    state = Path(environment["XDG_STATE_HOME"]) / "podwire/podwire"
    for name in ("crt", "key"):
        shutil.copy(state / f"apiserver.{name}", folder / f"server.{name}")
    table = (
        "application/json;as=Table;v=v1;g=meta.k8s.io,"
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    )
    discovery = (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    )
    asked = [
        ("/api?timeout=32s", discovery),
        ("/apis?timeout=32s", discovery),
        ("/api/v1/nodes?limit=500", table),
    ]
    server = urlsplit(config["clusters"][0]["cluster"]["server"])  # type: ignore[index]
    token = (state / "token").read_text().strip()
    context = ssl._create_unverified_context()  # noqa: S323, SLF001  loopback, our own server
    for number, (target, accept) in enumerate(asked):
        connection = HTTPSConnection(server.hostname or "", server.port, context=context)
        connection.request(
            "GET", target, headers={"Accept": accept, "Authorization": f"Bearer {token}"}
        )
        response = connection.getresponse()
        body = response.read()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {response.headers['Content-Type']}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        (folder / f"{number}.request").write_text(f"GET {target}\n{accept}")
        (folder / f"{number}.response").write_bytes(head.encode() + body)
    process = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks/canned.py", folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    text = re.sub(r"https://127.0.0.1:\d+", f"https://127.0.0.1:{port}", yaml.safe_dump(config))
    path = home / "canned-config"
    path.write_text(text)
    return path, process


def fixture() -> dict[str, str]:
    """The pytest fixture: three nodes with kube-system Ready, imports excluded."""
    from podwire.sim.settings import ClusterSettings  # noqa: PLC0415
    from podwire.sim.virtual import VirtualCluster  # noqa: PLC0415

    def boot() -> None:
        made.append(VirtualCluster(ClusterSettings(time_profile="fast")))
        made[-1].boot()

    made: list[VirtualCluster] = []
    times = []
    for _ in range(10):
        times.append(_timed(boot))
        made.pop().close()
    walls, cpus = zip(*times[1:], strict=True)  # the first fills caches
    return {
        "fixture cluster, 3 nodes Ready": f"{statistics.median(walls) * 1000:.0f} ms",
        "the same, processor time": f"{statistics.median(cpus) * 1000:.0f} ms",
    }


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall and seconds of this process's processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def pods() -> dict[str, str]:
    """Pods created in a cluster of 1,000 nodes."""
    from benchmarks.cluster import pods as measured  # noqa: PLC0415  it imports the product

    return measured()


def settle() -> dict[str, str]:
    """1,000 nodes and 10,000 pods, from nothing."""
    from benchmarks.cluster import settle as measured  # noqa: PLC0415  it imports the product

    return measured()


def idle() -> dict[str, str]:
    """Ten idle virtual minutes of 20 nodes, after their boot; a real minute of 100."""
    from benchmarks.cluster import idle as of_many  # noqa: PLC0415  it imports the product
    from podwire.sim.settings import ClusterSettings  # noqa: PLC0415
    from podwire.sim.virtual import VirtualCluster  # noqa: PLC0415

    boots, sleeps = [], []
    for _ in range(3):
        with VirtualCluster(ClusterSettings(nodes=20, time_profile="typical")) as cluster:
            boots.append(_timed(cluster.boot))
            sleeps.append(_timed(partial(cluster.sleep, 600)))
    told = {}
    for label, runs in (
        ("20 nodes: boot to kube-system Ready", boots),
        ("20 nodes idle, 10 virtual minutes", sleeps),
    ):
        walls, cpus = zip(*runs, strict=True)
        told[label] = f"{statistics.median(walls):.2f} s"
        told[f"{label}, processor time"] = f"{statistics.median(cpus):.2f} s"
    return {**told, **of_many()}


def memory() -> dict[str, str]:
    """Resident memory of the all-in-one process with 3 nodes and 30 pods."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with _cluster(home, "--wait", "--time-profile", "fast") as environment:
            kubectl_ = str(BIN / "kubectl")
            image = "registry.k8s.io/e2e-test-images/agnhost:2.53"
            for argv in (
                ["create", "deployment", "load", f"--image={image}", "--replicas=22"],
                ["rollout", "status", "deployment/load", "--timeout=60s"],
            ):
                subprocess.run([kubectl_, *argv], env=environment, check=True, capture_output=True)
            listed = subprocess.run(
                [BIN / "podwire", "get", "clusters", "-o", "json"], env=environment, check=True,
                capture_output=True, text=True,
            ).stdout  # fmt: skip
            pid = yaml.safe_load(listed)[0]["pid"]
            status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return {"RSS, 3 nodes and 30 pods": f"{int(found[1]) / 1024:.0f} MiB"}


def hashes() -> dict[str, str]:
    """Every shipped scenario: one trace-hash over processes and hash seeds."""
    told = {}
    for scenario in sorted((ROOT / "examples/chaos").glob("*.yaml")):
        if "kind: Scenario" not in scenario.read_text():
            continue
        seen = set()
        for hash_seed in ("0", "1", "random"):
            environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
            output = subprocess.run(
                [BIN / "podwire", "chaos", "run", scenario, "--seed", "7"], env=environment,
                capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
            seen.add(output.strip().splitlines()[-1])
        told[f"{scenario.stem}: distinct hashes in 3 processes"] = str(len(seen))
    return told


def demo() -> dict[str, str]:
    """``make demo`` after its install."""
    began = time.perf_counter()
    subprocess.run(["make", "demo"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return {"make demo after install": f"{time.perf_counter() - began:.1f} s"}


def store() -> dict[str, str]:
    """The stores against etcd."""
    from benchmarks.stores import stores  # noqa: PLC0415  only this one needs aetcd and an etcd

    return stores()


def api() -> dict[str, str]:
    """The API server over HTTPS."""
    from benchmarks.api import api as measured  # noqa: PLC0415  it imports the product

    return measured()


def rooms() -> dict[str, str]:
    """The rooms as processes and as compose services."""
    from benchmarks.rooms import rooms as measured  # noqa: PLC0415  it imports from here

    return measured()


def cel() -> dict[str, str]:
    """CEL rules."""
    from benchmarks.cel import cel as measured  # noqa: PLC0415  it imports the product

    return measured()


def crd() -> dict[str, str]:
    """CustomResourceDefinitions and their objects."""
    from benchmarks.definitions import figures as measured  # noqa: PLC0415  only where asked for

    return measured()


def apply() -> dict[str, str]:
    """What managedFields add to writes, and server-side apply."""
    from benchmarks.apply import apply as measured  # noqa: PLC0415  it imports the API server

    return measured()


def fleet() -> dict[str, str]:
    """A kube-proxy on each of 1,000 nodes."""
    from benchmarks.fleet import fleet as measured  # noqa: PLC0415  it imports the API server

    return measured()


def proxy() -> dict[str, str]:
    """kube-proxy's rules, built and loaded."""
    from benchmarks.proxy import proxy as measured  # noqa: PLC0415  it imports the dataplane

    return measured()


def dataplane() -> dict[str, str]:
    """Packets through modelled kernels."""
    from benchmarks.dataplane import dataplane as measured  # noqa: PLC0415  it imports the dataplane

    return measured()


def ruletext() -> dict[str, str]:
    """Rule text into modelled kernels and this machine's."""
    from benchmarks.ruletext import ruletext as measured  # noqa: PLC0415  it imports the dataplane

    return measured()


def rbac() -> dict[str, str]:
    """One decision of who may do what."""
    from benchmarks.rbac import rbac as measured  # noqa: PLC0415  it imports the product

    return measured()


def scheduler() -> dict[str, str]:
    """Decisions, preemptions and bindings on 5,000 nodes."""
    from benchmarks.scheduler import scheduler as measured  # noqa: PLC0415  it imports the product

    return measured()


def rollout() -> dict[str, str]:
    """A rolling update of 100 replicas in virtual time."""
    from benchmarks.rollout import rollout as measured  # noqa: PLC0415  it imports the product

    return measured()


def kernelcost() -> dict[str, str]:
    """What this machine's kernel takes for a rule and a lookup."""
    from benchmarks.kernelcost import kernelcost as measured  # noqa: PLC0415  only when asked

    return measured()


def webhook() -> dict[str, str]:
    """What an admission webhook adds to a write."""
    from benchmarks.webhook import webhook as measured  # noqa: PLC0415  only when asked

    return measured()


ALL: dict[str, Callable[[], dict[str, str]]] = {
    "up": up,
    "cli": cli,
    "kubectl": kubectl,
    "fixture": fixture,
    "idle": idle,
    "memory": memory,
    "hashes": hashes,
    "apply": apply,
    "proxy": proxy,
    "fleet": fleet,
    "pods": pods,
    "settle": settle,
    "dataplane": dataplane,
    "ruletext": ruletext,
    "scheduler": scheduler,
    "rbac": rbac,
    "rollout": rollout,
    "kernelcost": kernelcost,
    "store": store,
    "api": api,
    "cel": cel,
    "webhook": webhook,
    "rooms": rooms,
    "crd": crd,
    "demo": demo,
}
"""Every figure, in the order in which they are printed."""
