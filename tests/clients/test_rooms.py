"""The rooms as processes of one machine, and what they say when something is wrong with them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podwire.client import identity as identities
from podwire.client.framed import messages
from podwire.client.framed.transport import FramedServer
from podwire.runtime.env import real
from podwire.sim import certs
from tests.clients import outside
from tests.clients.conftest import BIN, ROOT, Live
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("rooms")

DAY_NS = 86400 * 10**9
COMPONENTS = {
    "etcd", "apiserver", "controllers", "scheduler", "kubelet-node-1", "kubelet-node-2",
    "kubelet-node-3", "fabric", "cni", "kube-proxy", "coredns", "ingress",
}  # fmt: skip
PROCESSES = len(COMPONENTS) - 1  # the store is no process here


# ---------------------------------------------------------------- a cluster of processes


@contextmanager
def cluster_in(home, *options):
    """``podwire up --processes`` in the background."""
    cluster = Live(home)
    cluster.podwire("up", "--processes", "--detach", *options)
    try:
        yield cluster
    finally:
        cluster.podwire("down")


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """One cluster for the stories of a worker, with two workloads of the article."""
    with cluster_in(tmp_path_factory.mktemp("rooms"), "--wait") as cluster:
        for name in ("backend", "frontend"):
            cluster.kubectl("apply", "-f", str(ROOT / f"examples/article/{name}.yaml"))
        for name in ("backend", "frontend"):
            cluster.kubectl("rollout", "status", f"deploy/{name}", "--timeout=60s")
        until("kube-proxies know the endpoints", lambda: answered(cluster))
        yield cluster


def all_ready(cluster):
    listed = json.loads(cluster.podwire("get", "components", "-o", "json"))
    found = {entry["name"]: entry["status"] for entry in listed}
    return found.keys() >= COMPONENTS and set(found.values()) == {"Ready"}


def parent_of(cluster):
    (running,) = json.loads(cluster.podwire("get", "clusters", "-o", "json"))
    return running["pid"]


def rooms_of(parent):
    """The room of each child process, as ps shows it, by process id."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids if alive(pid)}


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def answered(cluster):
    """Whether a pod's request to a Service has its answer."""
    asked = ("exec", "deploy/frontend", "--", "curl", "-s", "-m", "5", "http://backend/hostname")
    done = subprocess.run([str(BIN / "kubectl"), *asked], env=cluster.env, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.stdout.startswith("backend-"), f"{done.returncode}: {done.stdout}{done.stderr}"
    return True


@pytest.mark.xdist_group("forked rooms")
def test_rooms_as_processes_are_a_cluster(forked):
    """Every component is Ready; exec, logs and traces cross the processes."""
    until("every component Ready", lambda: all_ready(forked))
    assert set(rooms_of(parent_of(forked)).values()) == COMPONENTS - {"etcd"}
    assert "CoreDNS" in forked.kubectl("logs", "-n", "kube-system", "deploy/coredns")
    assert "3 of 3 DELIVERED" in forked.podwire("trace", "deploy/frontend", "svc/backend:80")


@pytest.mark.xdist_group("forked rooms")
def test_a_process_is_attached_to_a_service_of_rooms(forked):
    """The fabric, a process of its own, opens its door and shuts it."""
    curl = ("exec", "deploy/frontend", "--", "curl", "-sS", "-m", "5", "http://outside/")
    forked.kubectl("create", "service", "clusterip", "outside", "--tcp=80:80")
    with outside.server("127.0.0.1") as port:
        forked.podwire("attach", "--detach", "svc/outside", f"127.0.0.1:{port}")
        until("reached", lambda: forked.kubectl(*curl) == outside.TEXT)
        forked.podwire("detach", "svc/outside")
        until("refused", lambda: forked.run(str(BIN / "kubectl"), *curl, code=7))


@pytest.mark.xdist_group("forked rooms")
@pytest.mark.parametrize("room", ["scheduler", "kubelet-node-2", "fabric"])
def test_a_room_that_is_killed_is_forked_anew(forked, room):
    """``kill -9`` of a room's process: another takes its place, and all are Ready again."""
    until("every component Ready", lambda: all_ready(forked))
    parent = parent_of(forked)
    (victim,) = [pid for pid, name in rooms_of(parent).items() if name == room]
    os.kill(victim, signal.SIGKILL)
    until("forked anew", lambda: room in {
        name for pid, name in rooms_of(parent).items() if pid != victim})  # fmt: skip
    until("every component Ready", lambda: all_ready(forked))
    until("pods talk again", lambda: answered(forked), 60)


def test_a_cluster_that_is_told_to_stop_leaves_nobody_behind(tmp_path):
    """SIGTERM of the parent ends every child, and the cluster is forgotten."""
    with cluster_in(tmp_path, "--nodes", "1", "--ingress", "none") as cluster:
        parent = parent_of(cluster)
        children = list(rooms_of(parent))
        os.kill(parent, signal.SIGTERM)
        until("all ended", lambda: not any(alive(pid) for pid in (parent, *children)))
        assert cluster.podwire("get", "clusters", "-o", "json").strip() == "[]"


def test_a_parent_that_is_killed_takes_its_children_along(tmp_path):
    """Nobody is there to tell them: they notice."""
    with cluster_in(tmp_path, "--nodes", "1", "--ingress", "none") as cluster:
        parent = parent_of(cluster)
        children = list(rooms_of(parent))
        assert len(children) == PROCESSES - 2
        os.kill(parent, signal.SIGKILL)
        until("all ended", lambda: not any(alive(pid) for pid in children))


# ---------------------------------------------------------------- what is wrong, in one line


def room(name, *flags, env=None, timeout_s=30.0):
    """Run a room that cannot work: its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", f"podwire.{name.replace('-', '_')}", "--log-level=warning", *flags],
        env=environment(env), capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert not done.stdout
    return done.returncode, done.stderr


def environment(more=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PODWIRE")}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


def one_line(said):
    """The one line; nothing else was said."""
    (line,) = said.splitlines()
    assert line.startswith("error: "), said
    return line


class Past:
    """A clock that went wrong when the certificates were issued."""

    def __init__(self, now_ns):
        self._now_ns = now_ns

    def now_ns(self):
        return self._now_ns


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Folders of certificates: good, foreign (of another authority), expired."""
    root = tmp_path_factory.mktemp("pki")
    env = real(log_level="off")
    long_ago = replace(env, clock=Past(env.clock.now_ns() - 500 * DAY_NS))
    for name, when in (("good", env), ("foreign", env), ("expired", long_ago)):
        certs.install(root / name, when, (), lambda _: None)
    return root


@pytest.fixture
def busy():
    """A loopback address that somebody listens on and never answers at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("name", ["apiserver", "fabric", "scheduler", "kube-proxy"])
def test_a_room_without_its_certificate_says_how_it_gets_one(name, tmp_path):
    code, said = room(name, f"--pki={tmp_path}")
    assert code == 3
    assert one_line(said) == (
        f"error: {tmp_path}/ca.crt: No such file or directory: issue certificates with: "
        f"podwire certs {tmp_path}"
    )


@pytest.mark.parametrize("name", ["apiserver", "kubelet"])
def test_a_room_whose_certificate_has_expired_says_so(name, pki):
    code, said = room(name, f"--pki={pki / 'expired'}")
    assert code == 3
    assert "certificate has expired" in one_line(said)
    assert "issue it anew with: podwire certs" in said


def test_a_certificate_that_its_own_authority_did_not_sign_is_told_before_any_peer_is_asked(
    pki, tmp_path
):
    for file in ("ca.crt", "scheduler.crt", "scheduler.key"):
        source = pki / ("good" if file == "ca.crt" else "foreign") / file
        (tmp_path / file).write_bytes(source.read_bytes())
    code, said = room("scheduler", f"--pki={tmp_path}")
    assert code == 3
    assert "scheduler.crt: cannot be used (" in one_line(said)


def test_an_api_server_without_the_files_of_its_https_side_says_how_it_gets_them(pki, tmp_path):
    """Not the room's own certificate, but kubectl's way in."""
    for file in (pki / "good").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in (certs.TOKEN, f"{certs.SERVING}.crt"):
        (tmp_path / name).unlink()
        code, said = room("apiserver", f"--pki={tmp_path}", "--listen=127.0.0.1:0",
                          "--secure-listen=127.0.0.1:0")  # fmt: skip
        assert code == 3
        assert f"{tmp_path / name}: " in one_line(said)
        assert f"podwire certs {tmp_path}" in said
        (tmp_path / name).write_bytes((pki / "good" / name).read_bytes())


async def served(pki, callers=("scheduler",)):
    """An API server's door in this process; it serves nothing."""
    env = real(log_level="off")
    identity = identities.load(pki, "apiserver")
    server = FramedServer(identity, callers, lambda _: {}, clock=env.clock, log=env.log)
    await server.start("127.0.0.1", 0)
    return server


async def scheduler_at(address, pki):
    """A scheduler whose API server is there: its exit code and its one line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podwire.scheduler", "--log-level=warning", f"--pki={pki}",
        "--listen=127.0.0.1:0", f"--apiserver-address={address}",
        env=environment(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return process.returncode, one_line(said.decode())


async def test_a_peer_of_another_authority_is_not_trusted(pki):
    """One try, one line: another try would not mend it."""
    server = await served(pki / "foreign")
    code, line = await scheduler_at(server.address, pki / "good")
    assert code == 3
    assert f"apiserver at {server.address}: its certificate is not to be trusted" in line
    assert "issue them anew (podwire certs)" in line
    await server.stop()


async def test_a_peer_of_another_version_is_named_with_its_version(pki, monkeypatch):
    monkeypatch.setattr(messages, "VERSION", 99)
    server = await served(pki / "good")
    code, line = await scheduler_at(server.address, pki / "good")
    assert code == 3
    assert "apiserver speaks version 99 of the framed protocol and this process 1" in line
    assert "run the same release of podwire on both sides" in line
    await server.stop()


async def test_a_room_that_may_not_call_is_told_so(pki):
    server = await served(pki / "good", callers=("kubelet",))
    code, line = await scheduler_at(server.address, pki / "good")
    assert code == 3
    assert "apiserver refused the connection: scheduler may not call apiserver" in line
    await server.stop()


async def test_an_address_with_something_else_behind_it_is_told(pki):
    """A web server where a room should be."""

    async def hello(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hello, "127.0.0.1", 0) as web:
        host, port = web.sockets[0].getsockname()
        code, line = await scheduler_at(f"{host}:{port}", pki / "good")
    assert code == 3
    assert "no podwire room (no TLS): check the address" in line


async def test_a_peer_that_is_away_is_waited_for_without_a_storm(pki):
    """Each reason is told once, however often it is dialled; told to stop, it stops at once."""
    dialled = asyncio.Queue()

    async def hang_up(_, writer):
        dialled.put_nowait(None)
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as away:
        host, port = away.sockets[0].getsockname()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "podwire.scheduler", "--log-level=warning",
            f"--pki={pki / 'good'}", f"--apiserver-address={host}:{port}",
            env=environment(), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(30):
            for _ in range(8):
                await dialled.get()
        process.terminate()
        _, said = await process.communicate()
    assert process.returncode == 0
    lines = [json.loads(line) for line in said.decode().splitlines()]
    assert {line["event"] for line in lines} == {"not connected, trying again"}
    reasons = [line["error"] for line in lines]
    assert all(f"cannot reach apiserver at {host}:{port}" in reason for reason in reasons)
    assert len(reasons) == len(set(reasons)) <= 2  # a hang-up is seen as a reset or as an end


@pytest.mark.parametrize(
    ("name", "flag", "more"),
    [
        ("apiserver", "--listen", ("--secure-listen=127.0.0.1:0",)),
        ("apiserver", "--secure-listen", ("--listen=127.0.0.1:0",)),
        ("fabric", "--listen", ()),
        ("coredns", "--listen", ()),
    ],
)
def test_a_busy_port_is_named_with_the_flag_that_chooses_another(name, flag, more, pki, busy):
    code, said = room(name, f"--pki={pki / 'good'}", f"{flag}={busy}", *more)
    assert code == 1
    assert one_line(said) == (
        f"error: cannot listen on {busy}: address already in use; free it, or choose another {flag}"
    )


def test_an_etcd_that_is_not_there_or_none_is_told(pki, busy):
    """Nothing listens; something else listens; the URL is none."""
    at = (f"--pki={pki / 'good'}", "--listen=127.0.0.1:0", "--secure-listen=127.0.0.1:0")
    for url, told in (
        ("http://127.0.0.1:1", "http://127.0.0.1:1: nothing listens there; start etcd"),
        (f"http://{busy}", f"http://{busy}: "),
        ("127.0.0.1:1", "use http://HOST:PORT"),
    ):
        code, said = room("apiserver", *at, f"--etcd-servers={url}")
        assert code == 3
        assert told in one_line(said)


@pytest.mark.parametrize(
    ("name", "flags", "env", "told"),
    [
        ("cni", ("--cni=weave",), {}, "cni: 'weave' is not modelled; choose flannel or calico"),
        ("cni", (), {"PODWIRE_CNI": "weave"}, "choose flannel or calico"),
        ("cni", ("--nodes=0",), {}, "nodes: 0 is not between 1 and"),
        ("kubelet", ("--serve-nodes=node-9",), {}, "--serve-nodes: the cluster has no node node-9"),
        ("kubelet", ("--advertise=here",), {}, "--advertise: 'here' is not HOST:PORT"),
        ("fabric", ("--publish-ports=9-1",), {}, "'9-1' is no port and no range of ports"),
        ("scheduler", ("--apiserver-address=here",), {}, "--apiserver-address: 'here' is not"),
        ("scheduler", (), {"PODWIRE_LISTEN": "a:b"}, "--listen: 'a:b' is not HOST:PORT"),
        ("scheduler", ("--listen=a:70000",), {}, "--listen: 'a:70000' is not HOST:PORT"),
        ("apiserver", ("--secure-listen=6443",), {}, "--secure-listen: '6443' is not HOST:PORT"),
        ("scheduler", ("--log-level=loud",), {}, "--log-level: 'loud' is none of debug, info"),
    ],
)
def test_a_setting_that_does_not_exist_is_a_mistake_of_usage(name, flags, env, told, tmp_path):
    """Exit code 2, before anything else is looked at; as a flag and in the environment."""
    code, said = room(name, f"--pki={tmp_path}", *flags, env=env)
    assert code == 2
    assert told in one_line(said)


def test_a_cluster_of_processes_that_cannot_start_says_why_once(tmp_path, busy):
    """The one line is the room's that could not start, and nothing is left behind."""
    cluster = Live(tmp_path)
    run = (sys.executable, "-m", "podwire", "up", "--processes", "--nodes", "1")
    for options, code, told in (
        (("--port", busy.rpartition(":")[2]), 1, "address already in use"),
        (("--etcd", "http://127.0.0.1:1"), 3, "nothing listens there; start etcd"),
        (("--cni", "weave"), 2, "'weave' is not modelled"),
    ):
        for mode in ((), ("--detach",)):
            done = cluster.run(*run, *mode, *options, code=code)
            assert told in one_line(done.stderr).lower()
    assert cluster.podwire("get", "clusters", "-o", "json").strip() == "[]"
