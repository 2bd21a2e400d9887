"""Processes as their PID namespaces number them.

A container has a namespace of its own, or its pod's (``shareProcessNamespace``), that of another
container (``kubectl debug --target``) or the node's (``hostPID``). Every process is also one of
the node. What a program starts is not modelled: a process is a container's first one or an exec.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from podwire.kubelet.files import Stat, plain

SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15}
_STEP = 6
"""A runtime's own short-lived processes take the numbers between."""
PAUSE_UID = 65535


@dataclass(slots=True, eq=False)
class Proc:
    """A process that runs."""

    argv: tuple[str, ...]
    uid: int
    signal: Callable[[str, bool], None]
    """Deliver a signal by name; the flag says whether it is the first process of the sender's
    namespace, which only handlers and its own end protect."""
    env: Mapping[str, str] = field(default_factory=dict)


def system(argv: str, uid: int = 0) -> Proc:
    """A process that no signal is modelled for: the node's own, or a sandbox's pause."""
    return Proc(tuple(argv.split()), uid, _refuse)


def _refuse(name: str, _first: bool) -> None:
    raise OSError(errno.ENOTSUP, f"SIG{name} to this process is not modelled")


class PidNamespace:
    """The processes of one namespace by number."""

    def __init__(self, first: Iterable[Proc] = (), parent: PidNamespace | None = None) -> None:
        """``first`` are there already; ``parent`` is the node's namespace."""
        self._parent = parent
        self._procs: dict[int, Proc] = {}
        self._next = 1
        for proc in first:
            self.add(proc)

    def add(self, proc: Proc) -> int:
        """A process starts; its number here."""
        pid = self._next
        self._next += _STEP
        self._procs[pid] = proc
        if self._parent is not None:
            self._parent.add(proc)
        return pid

    def remove(self, proc: Proc) -> None:
        """A process ended. With the first one of a namespace its others are killed."""
        if self._parent is not None:
            self._parent.remove(proc)
        pid = next((pid for pid, known in self._procs.items() if known is proc), 0)
        self._procs.pop(pid, None)
        if pid == 1:
            for other in list(self._procs.values()):
                other.signal("KILL", False)

    def list(self) -> list[tuple[int, Proc]]:
        """Processes in order of their numbers."""
        return list(self._procs.items())

    def kill(self, pid: int, name: str, uid: int) -> None:
        """A user's process of this namespace sends a signal; "0" only asks. Raises OSError."""
        proc = self._procs.get(pid)
        if proc is None:
            raise ProcessLookupError(errno.ESRCH, "No such process")
        if uid not in {0, proc.uid}:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        if name != "0":
            proc.signal(name, pid == 1)


class ProcFiles:
    """What /proc shows of a namespace's processes (a mount: ``files.Source``)."""

    def __init__(self, namespace: PidNamespace) -> None:
        self._namespace = namespace

    def read(self, rel: str) -> bytes:
        """cmdline, comm, environ and status of a process. Raises FileNotFoundError."""
        number, _, name = rel.partition("/")
        for pid, proc in self._namespace.list():
            if str(pid) == number and name in _FILES:
                return _FILES[name](pid, proc).encode(errors="surrogateescape")
        raise FileNotFoundError(rel)

    def list(self) -> list[str]:
        """All of them."""
        return [f"{pid}/{name}" for pid, _ in self._namespace.list() for name in _FILES]

    def links(self) -> Mapping[str, str]:
        """None."""
        return {}

    def lstat(self, rel: str) -> Stat:
        """The kernel's: no size. Raises FileNotFoundError."""
        found = plain(self, rel)
        return found._replace(mode=found.mode & ~0o222, size_bytes=0)

    async def write(self, rel: str, data: bytes) -> None:
        """Refused: raises OSError."""
        raise PermissionError(errno.EACCES, "Permission denied", f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises OSError."""
        raise PermissionError(errno.EPERM, "Operation not permitted", rel)


def _comm(proc: Proc) -> str:
    return proc.argv[0].rpartition("/")[2][:15]


def _status(pid: int, proc: Proc) -> str:
    ids = "\t".join([str(proc.uid)] * 4)
    return (
        f"Name:\t{_comm(proc)}\nState:\tS (sleeping)\nTgid:\t{pid}\nPid:\t{pid}\n"
        f"PPid:\t{0 if pid == 1 else 1}\nUid:\t{ids}\n"
    )


_FILES: dict[str, Callable[[int, Proc], str]] = {
    "cmdline": lambda _pid, proc: "".join(f"{word}\0" for word in proc.argv),
    "comm": lambda _pid, proc: f"{_comm(proc)}\n",
    "environ": lambda _pid, proc: "".join(f"{k}={v}\0" for k, v in proc.env.items()),
    "status": _status,
}
