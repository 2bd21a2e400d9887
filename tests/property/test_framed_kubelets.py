"""The framed binding of counter 6 does what the direct one does, whatever kubelets are asked.

The same random calls go to one cluster twice, once through encode and decode: every result, and
every error with its class and words, must be equal but for what is drawn at random.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.client.counters import KubeletStreams, LogOptions, Request
from podwire.client.framed.kubelets import FramedKubelets, serve_kubelets
from podwire.client.framed.methods import Table
from podwire.client.framed.pipe import PipeEnd, pipe
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

PATIENCE_S = 3.0
WEB = {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}
CAT = {"name": "c", "image": "busybox", "command": ["cat"], "stdin": True}
PODS = ("web", "cat", "nobody")
RANDOM = re.compile(r"[0-9a-f]{64}|cni-[0-9a-f-]{36}|:\d{5}\b|\d\d:\d\d:\d\d[.\d]*Z?")

pods = st.sampled_from(PODS)
containers = st.sampled_from(("", "c", "zz"))
pieces = st.lists(st.sampled_from((b"one\n", b"two", b"x" * 70_000)), max_size=3)
argvs = st.sampled_from(
    (
        ("cat",), ("echo", "hi"), ("sh", "-c", "cat >&2; exit 3"), ("stty", "size"),
        ("frobnicate",), ("/bin/none",), ("sh", "-c", "for i in 1 2 3; do echo $i; done"), (),
        ("dd", "if=/dev/zero", "bs=100k", "count=3", "status=none"),
    )
)  # fmt: skip
sizes = st.sampled_from(((0, 0), (80, 24), (201, 50)))

Op = tuple[Any, ...]
operations = st.one_of(
    st.tuples(st.just("exec"), pods, containers, argvs, pieces, st.booleans(), sizes),
    st.tuples(st.just("attach"), pods, containers, st.booleans()),
    st.tuples(st.just("forward"), pods, st.sampled_from((80, 81))),
    st.tuples(st.just("dial"), st.sampled_from(("node-1", "node-9")), pods, st.integers(80, 81)),
    st.tuples(
        st.just("http"),
        st.sampled_from(("/healthz", "/pods", "/metrics", "/nope", "/containerLogs/default/web/c",
                         "/containerLogs/default/web/zz", "/containerLogs/x")),
    ),
    st.tuples(
        st.just("logs"), pods, containers,
        st.builds(
            LogOptions, previous=st.booleans(), timestamps=st.booleans(),
            tail_lines=st.sampled_from((None, 0, 1)), limit_bytes=st.sampled_from((None, 9)),
        ),
    ),
    st.tuples(st.just("resolver"), pods),
    st.tuples(st.just("run"), argvs.filter(bool)),
)  # fmt: skip


class Player:
    """Plays operations on one binding and says what came of them."""

    def __init__(self, counter: KubeletStreams, addresses: dict[str, str]) -> None:
        self._counter = counter
        self._addresses = addresses

    async def play(self, op: Op) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S):
                told: Any = ("ok", await getattr(self, f"_{op[0]}")(*op[1:]))
        except Exception as error:  # noqa: BLE001  every error is an outcome to compare
            told = (type(error).__name__, str(error))
        return RANDOM.sub("#", repr(told))

    async def _exec(
        self, pod: str, container: str, argv: Any, stdin: list[bytes], tty: bool, size: Any
    ) -> Any:
        session = await self._counter.exec("node-1", "default", pod, container, argv, tty)
        session.resize(*size)
        if tty:  # it echoes while the command lives, so that only cat's first piece is no race
            stdin = stdin[:1] if argv[:1] == ("cat",) else []
        for piece in (*stdin, b""):
            await session.send_stdin(piece)
        shown = {1: b"", 2: b""}
        async for channel, data in session.output():
            shown[channel] += data
        if tty and argv[:1] == ("stty",):
            shown = {}  # the size may come before or after the command looked
        return shown, await session.wait()

    async def _attach(self, pod: str, container: str, stdin: bool) -> Any:
        session = await self._counter.attach("node-1", "default", pod, container, stdin=stdin)
        await session.send_stdin(b"hello\n")
        output = session.output()
        first: Any = None
        if stdin and pod == "cat":
            first = await anext(output)
        session.cancel()
        async for _ in output:
            pass
        return first

    async def _forward(self, pod: str, port: int) -> Any:
        stream = await self._counter.port_forward("node-1", "default", pod, port)
        return await self._get(stream)

    async def _dial(self, node: str, pod: str, port: int) -> Any:
        address = self._addresses.get(pod, "192.0.2.1")
        return await self._get(await self._counter.dial(node, address, port, 1.0))

    @staticmethod
    async def _get(stream: Any) -> Any:
        await stream.send(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        answer = b""
        while data := await stream.recv():
            answer += data
        await stream.close()
        return len(answer), stream.remote

    async def _http(self, path: str) -> Any:
        answer = await self._counter.http("node-1", Request("GET", path))
        body = answer.body
        if answer.stream is not None:
            body = b"".join([frame.data async for frame in answer.stream])
        return answer.status, answer.headers, len(body) if path == "/pods" else body

    async def _logs(self, pod: str, container: str, options: LogOptions) -> Any:
        lines = await self._counter.logs("node-1", "default", pod, container, options)
        data = b"".join([line async for line in lines])
        return data.count(b"\n"), data[:5]

    async def _resolver(self, pod: str) -> Any:
        return await self._counter.resolver("node-1", "default", pod)

    async def _run(self, argv: Any) -> Any:
        return await self._counter.run("node-1", argv, b"in")


class _Link(PipeEnd):
    why = "gone"

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.fixture(scope="module")
def players() -> Iterator[tuple[VirtualCluster, Player, Player]]:
    """A cluster with a web server and a ``cat`` that reads stdin; both bindings of its kubelets."""
    with VirtualCluster(ClusterSettings(nodes=1)) as cluster:
        for name, container in (("web", WEB), ("cat", CAT)):
            cluster.apply(
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                 "spec": {"containers": [container]}}
            )  # fmt: skip
        assert cluster.converge()
        addresses = {pod.metadata.name: pod.status.pod_ip for pod in cluster.pods("default")}
        env, direct = cluster.env, cluster.cluster.streams
        ends: list[PipeEnd] = []

        def serve(session: Any) -> Table:
            table = Table()
            serve_kubelets(table, direct, session)
            return table

        def link(_: str) -> Any:
            near, far = pipe(env.clock, env.log, ("apiserver", "kubelet"), (None, serve))
            ends.append(far)
            return _Link(near.session())

        where = {"node-1": "a:1"}
        framed = FramedKubelets(lambda node: where.get(node, ""), link)
        yield cluster, Player(direct, addresses), Player(framed, addresses)

        async def hang_up() -> None:
            for end in ends:
                end.session().close()
            await framed.close()

        cluster.run(hang_up())


@settings(max_examples=25)
@given(st.lists(operations, min_size=1, max_size=10))
def test_framed_and_direct_bindings_are_the_same_to_the_api_server(
    players: tuple[VirtualCluster, Player, Player], script: list[Op]
) -> None:
    """Commands with their input, output and codes; programs, ports, logs, kubelet's own paths."""
    cluster, direct, framed = players
    for op in script:
        assert cluster.run(framed.play(op)) == cluster.run(direct.play(op)), op
