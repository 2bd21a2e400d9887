"""A container that is not there: files in a dict, output in lists, sockets on a flat network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from podwire.client.counters import CapturedFrame, ContainerSpec, NodeInfo, Sockets, ToolResult
from podwire.kubelet.disk import check_place, kept
from podwire.kubelet.files import Change, Stat, plain
from podwire.kubelet.programs.env import ExecEnv
from podwire.runtime.env import Env
from tests.unit.programs.flatnet import FlatNet

RESOLV_CONF = b"""nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""


def spec(image: str, *argv: str, ip: str = "10.244.1.5", **more: Any) -> ContainerSpec:
    fields: dict[str, Any] = {
        "id": "c0ffee", "node": "node-1", "netns": f"cni-{ip}", "namespace": "default",
        "pod": "web-1", "pod_uid": "uid-1", "pod_ip": ip, "name": "c", "image": image,
        "argv": argv, "hostname": "web-1", "env": {"HOSTNAME": "web-1"},
    }  # fmt: skip
    return ContainerSpec(**{**fields, **more})


class FakeFiles(dict[str, bytes]):
    """Files that answer at once."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(files)
        self.changes: dict[str, Change] = {}

    def read(self, path: str) -> bytes:
        try:
            return self[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def list(self, prefix: str = "/") -> list[str]:
        base = prefix.rstrip("/") + "/"
        return sorted(path for path in self if path == prefix or path.startswith(base))

    def links(self, prefix: str) -> dict[str, str]:
        return {}

    def lstat(self, path: str) -> Stat:
        return self.changes.get(path, Change()).applied(plain(self, path))

    def change(self, path: str, change: Change) -> None:
        self.changes[path] = change.over(self.changes.get(path, Change()))


class FakeProcess:
    """Implements the Process protocol."""

    def __init__(self, net: FlatNet, of: ContainerSpec, files: Mapping[str, bytes] = {}) -> None:
        self.spec = of
        self.sockets: Sockets = net
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.stdio = FakeStdio(self)
        self.files = FakeFiles(files)
        self.files.setdefault("/etc/resolv.conf", RESOLV_CONF)
        self.files.setdefault("/etc/hosts", b"127.0.0.1 localhost\n")
        self._news = asyncio.Event()
        self._signals: asyncio.Queue[str] = asyncio.Queue()
        self.pid = 1
        net.add(of.node, of.netns, of.pod_ip)

    def kill(self, pid: int, name: str) -> None:
        raise ProcessLookupError(f"{name} to {pid}")

    def out(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def printed(self, start: str) -> None:
        """Wait until a line that starts so was printed."""
        while not any(line.startswith(start) for line in self.lines):
            self._news.clear()
            await self._news.wait()

    def err(self, line: str) -> None:
        self.errors.append(line)

    async def read_file(self, path: str) -> bytes:
        return self.files.read(path)

    async def list_files(self, prefix: str) -> list[str]:
        return self.files.list(prefix)

    async def write_file(self, path: str, data: bytes) -> None:
        check_place(path, self.files)
        self.files[path] = data

    async def remove_file(self, path: str) -> None:
        if path not in self.files:
            raise FileNotFoundError(path)
        del self.files[path]
        if kept(path):
            self.files.setdefault(kept(path), b"")

    async def terminated(self) -> str:
        return await self._signals.get()

    def deliver(self, signal: str) -> None:
        self._signals.put_nowait(signal)


class FakeStdio:
    """Standard streams that keep whole lines; stdin is at its end."""

    tty = False
    size = (0, 0)

    def __init__(self, process: FakeProcess) -> None:
        self._lines = {1: process.out, 2: process.err}
        self._rest = {1: b"", 2: b""}

    def write(self, stream: int, data: bytes) -> None:
        *lines, self._rest[stream] = (self._rest[stream] + data).split(b"\n")
        for line in lines:
            self._lines[stream](line.decode(errors="replace"))

    async def read(self) -> bytes:
        return b""


class FakeFabric:
    """Answers only ``tool`` and ``node``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, tuple[str, ...]]] = []

    async def capture(self, *where: str) -> AsyncGenerator[CapturedFrame, None]:
        """There is no device."""
        raise LookupError(where[-1])
        yield  # a generator, as the real one

    async def node(self, name: str) -> NodeInfo:
        return NodeInfo(
            name, "192.168.0.11", "02:00:00:00:00:01", "boot", "machine", 4, 8 << 30, "6.12.0"
        )

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        self.calls.append((node, netns, tuple(argv)))
        return ToolResult(f"ran {' '.join(argv)}\n", "", 0)


class Captured:
    """An ExecEnv with its output kept."""

    def __init__(self, env: Env, process: FakeProcess, stdin: Sequence[bytes] = ()) -> None:
        self.stdout = b""
        self.stderr = b""
        self._stdin = list(stdin)
        self.fabric = FakeFabric()
        fabric: Any = self.fabric
        self.env = ExecEnv(
            spec=process.spec,
            sockets=process.sockets,
            fabric=fabric,
            clock=env.clock,
            rng=env.rng,
            read_file=process.files.read,
            write_file=process.write_file,
            remove_file=process.remove_file,
            write_stdout=self._out,
            write_stderr=self._err,
            read_stdin=self._read,
            list_files=process.files.list,
            lstat=process.files.lstat,
            change=process.files.change,
        )

    def _out(self, data: bytes) -> None:
        self.stdout += data

    def _err(self, data: bytes) -> None:
        self.stderr += data

    async def _read(self) -> bytes:
        return self._stdin.pop(0) if self._stdin else b""

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def errors(self) -> str:
        return self.stderr.decode()
