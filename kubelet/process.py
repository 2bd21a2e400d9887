"""``Process``: what a modelled program sees of its container."""

from __future__ import annotations

from podwire.client.counters import Container, ContainerSpec, Sockets
from podwire.kubelet.files import FileView
from podwire.kubelet.pids import SIGNALS, PidNamespace, Proc
from podwire.kubelet.stdio import STDERR, STDOUT, Stdio
from podwire.kubelet.usage import Meter
from podwire.runtime.tasks import Event


class ContainerProcess:
    """Process 1 of one container instance (counters.Process)."""

    def __init__(
        self,
        spec: ContainerSpec,
        sockets: Sockets,
        files: FileView,
        stdio: Stdio,
        meter: Meter,
        pids: PidNamespace,
    ) -> None:
        self.spec = spec
        self.sockets = sockets
        self.meter = meter
        self.files = files
        self.stdio = stdio
        self.pids = pids
        self.pid = 1
        self.container: Container | None = None
        """The program, once it runs."""
        self.signalled = 0
        """The number of the signal that ended it, if one did."""
        self._proc: Proc | None = None
        self._listening = 0
        self._signals: list[str] = []
        self._news = Event()

    def out(self, line: str) -> None:
        """Write one line to stdout."""
        self.stdio.line(STDOUT, line)

    def err(self, line: str) -> None:
        """Write one line to stderr."""
        self.stdio.line(STDERR, line)

    async def read_file(self, path: str) -> bytes:
        """A file of the container. Raises FileNotFoundError."""
        return self.files.read(path)

    async def list_files(self, prefix: str) -> list[str]:
        """Sorted absolute paths below a path."""
        return self.files.list(prefix)

    async def write_file(self, path: str, data: bytes) -> None:
        """Write a file; below a hostPath mount it lands on the node's disk."""
        await self.files.write(path, data)

    async def remove_file(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError on a read-only mount."""
        await self.files.remove(path)

    async def terminated(self) -> str:
        """The next signal that was delivered."""
        self._listening += 1
        try:
            while not self._signals:
                self._news.clear()
                await self._news.wait()
            return self._signals.pop(0)
        finally:
            self._listening -= 1

    def enter(self, argv: tuple[str, ...]) -> None:
        """Appear among the processes of the namespace, called so."""
        self._proc = Proc(argv, self.spec.user.uid, self._signal, self.spec.env)
        self.pid = self.pids.add(self._proc)

    def leave(self) -> None:
        """The program ended."""
        if self._proc is not None:
            self.pids.remove(self._proc)

    def _signal(self, name: str, first: bool) -> None:
        if self.container is None:
            return
        if name != "KILL" and self._listening:
            self.container.signal(name)
        elif not first:  # the first process of a namespace is safe from those inside
            self.signalled = SIGNALS[name]
            self.container.signal("KILL")

    def kill(self, pid: int, name: str) -> None:
        """Send a signal to a process of the namespace. Raises OSError."""
        self.pids.kill(pid, name, self.spec.user.uid)

    def deliver(self, signal: str) -> None:
        """A signal arrived; it waits for a program that has not asked yet."""
        self._signals.append(signal)
        self._news.set()
