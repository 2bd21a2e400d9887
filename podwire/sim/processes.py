"""``podwire up --processes``: every room a process of its own, forked from one that is warm.

The parent imports the rooms once, binds their sockets, issues their certificates and forks; it
then only waits: for children that end (they are forked anew), and for the signal to stop. It runs
no event loop, so that there is nothing of it in its children.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from podwire.client import identity
from podwire.client.identity import ROOMS
from podwire.runtime.env import Env
from podwire.runtime.memory import keep_what_lives
from podwire.sim import certs
from podwire.sim.rooms import registry
from podwire.sim.rooms.options import Options
from podwire.sim.rooms.process import run
from podwire.sim.settings import LOOPBACK, ClusterSettings
from podwire.store import StoreOptions

_STARTED_ANEW = 5
"""How often a room is forked anew within ``_WITHIN_S``, before it is left alone."""
_WITHIN_S = 60.0
_STOP_S = 5


@dataclass(slots=True)
class Child:
    """One room's process."""

    options: Options
    listening: socket.socket
    pid: int = 0
    starts: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As ``get components`` shows it."""
        return self.options.component


class RoomEndedError(Exception):
    """A room ended while the cluster started; ``code`` is its exit code, the text its reason."""

    def __init__(self, room: str, code: int, why: str) -> None:
        super().__init__(why or f"{room} ended with exit code {code}")
        self.code = code


class ProcessCluster:
    """``start`` forks the rooms, ``wait`` serves until a signal, ``stop`` ends them."""

    def __init__(
        self,
        env: Env,
        settings: ClusterSettings,
        directory: Path,
        store: StoreOptions,
        port: int,
        log_level: str = "warning",
    ) -> None:
        self._env = env
        self._directory = directory
        self.authority = certs.install(directory, env, (), lambda _: None)
        self.admin = certs.pair(directory, certs.ADMIN_FILE)
        self.token = (directory / certs.TOKEN).read_text().strip()
        self._secure = _listening(port)
        self._ready_read, self._ready_write = os.pipe()
        os.set_blocking(self._ready_write, False)  # rooms that start anew find no reader
        self._lifeline_read, self._lifeline_write = os.pipe()
        self.children = self._plan(settings, store, log_level)
        self._stopping = False
        self._heard = b""
        self._why = ""
        """The last words of a room that could not go on."""
        self._ready: dict[str, None] = {}

    @property
    def server_url(self) -> str:
        """Where kubectl finds the API server."""
        host, port = self._secure.getsockname()
        return f"https://{host}:{port}"

    def _plan(self, settings: ClusterSettings, store: StoreOptions, log_level: str) -> list[Child]:
        """The processes: one per room, but one kubelet per node."""
        wanted: list[tuple[str, tuple[str, ...]]] = []
        for room in ROOMS:
            if room == "kubelet":
                wanted += [(room, (node,)) for node in settings.node_names]
            else:
                wanted.append((room, ()))
        sockets = [_listening(0) for _ in wanted]
        where = {
            room: "{}:{}".format(*sock.getsockname())
            for (room, _), sock in zip(wanted, sockets, strict=True)
        }
        secure = "{}:{}".format(*self._secure.getsockname())
        common = Options(
            room="", settings=settings, pki=self._directory, peers=where, secure=secure,
            shown_api=secure, store=store, log_level=log_level, ready_fd=self._ready_write,
            lifeline_fd=self._lifeline_read,
        )  # fmt: skip
        children = []
        for (room, nodes), sock in zip(wanted, sockets, strict=True):
            address = "{}:{}".format(*sock.getsockname())
            options = replace(common, room=room, node_names=nodes, listen=address)
            children.append(Child(options, sock))
        return children

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Fork every room, those first that others dial.

        What all of them need is made before, once: the pages of it are shared as long as nobody
        writes to them. TLS contexts are the heaviest (4 MB for a process that makes its own).
        """
        found = {}
        for room in ROOMS:
            registry.module(room)
            found[room] = identity.load(self._directory, room)
        for child in self.children:
            child.options.identity = found[child.options.room]
        keep_what_lives()
        for child in sorted(self.children, key=lambda c: c.options.room not in _FIRST):
            self._fork(child)

    def _fork(self, child: Child) -> None:
        now_s = self._env.clock.monotonic_ns() / 1e9
        child.starts = (*(t for t in child.starts if now_s - t < _WITHIN_S), now_s)
        sys.stdout.flush()
        sys.stderr.flush()
        child.pid = os.fork()
        if child.pid == 0:
            self._be(child)

    def _be(self, child: Child) -> None:
        """In the child: become the room, and never come back."""
        code = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            _be_called(child.name)
            self._close_others(child)
            code = run(child.options, registry.entry(child.options.room), child.listening)
        except BaseException:  # noqa: BLE001  nothing of the parent's may run in a child
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _close_others(self, child: Child) -> None:
        """Keep what is this child's: with a pipe of the parent's open, its reader never ends."""
        options = child.options
        kept = [child.listening.fileno(), options.ready_fd, options.lifeline_fd]
        if options.room == "apiserver":
            options.secure_socket = self._secure
            kept.append(self._secure.fileno())
        for sock in (self._secure, *(other.listening for other in self.children)):
            if sock.fileno() not in kept:
                sock.detach()  # the object must not close the number again: it may be reused
        low = 3
        for number in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
            os.closerange(low, number)
            low = number + 1

    def wait_ready(self, rooms: tuple[str, ...] = ()) -> bool:
        """Wait until the rooms (all of them by default) said that they can work; False when the
        cluster is stopped meanwhile.

        Raises RoomEndedError when a room ends before: it said why.
        """
        wanted = rooms or tuple(child.name for child in self.children)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        before = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        default = signal.signal(signal.SIGCHLD, lambda *_: None)  # so that it wakes us
        try:
            while not self._stopping and any(room not in self._ready for room in wanted):
                self._reap_while_starting()
                readable, _, _ = select.select([self._ready_read, wake_read], [], [])
                if wake_read in readable:
                    os.read(wake_read, 64)
                if self._ready_read in readable:
                    self._hear()
        finally:
            signal.signal(signal.SIGCHLD, default)
            signal.set_wakeup_fd(before)
            os.close(wake_read)
            os.close(wake_write)
        return not self._stopping

    def _hear(self) -> None:
        *lines, self._heard = (self._heard + os.read(self._ready_read, 4096)).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith("!"):
                self._why = text[1:]
            else:
                self._ready[text] = None

    def _hear_if_told(self) -> None:
        if select.select([self._ready_read], [], [], 0)[0]:
            self._hear()

    def _reap_while_starting(self) -> None:
        for child in self.children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.pid = 0
                if not self._stopping:
                    self._hear_if_told()
                    code = os.waitstatus_to_exitcode(status)
                    raise RoomEndedError(child.name, code, self._why)

    def wait(self) -> None:
        """Fork anew what ends, until ``stop_soon`` was called and every child is gone."""
        while any(child.pid for child in self.children):
            pid, status = os.wait()
            child = next((c for c in self.children if c.pid == pid), None)
            if child is None:
                continue
            child.pid = 0
            if self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            self._hear_if_told()
            why, self._why = self._why, ""
            self._env.log.warning("a room ended", room=child.name, code=code, error=why)
            if len(child.starts) <= _STARTED_ANEW:
                self._fork(child)
            else:
                self._env.log.error("a room ends again and again: left alone", room=child.name)

    def kill(self) -> None:
        """End every child at once: the cluster did not come to life."""
        self._stopping = True
        self._tell(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End every child and wait for it; harmless when none is left."""
        if any(child.pid for child in self.children):
            self.stop_soon()
            self.wait()

    def stop_soon(self) -> None:
        """Tell every child to stop, those first that need others for it; kill what will not."""
        self._stopping = True
        signal.signal(signal.SIGALRM, lambda *_: self._tell(signal.SIGKILL))
        signal.alarm(_STOP_S)
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        """Those first that dial others, so that nobody misses a peer."""
        for child in sorted(self.children, key=lambda c: _ENDS.get(c.options.room, 1)):
            if child.pid:
                os.kill(child.pid, number)


_FIRST = ("apiserver", "fabric")
_ENDS = {"kubelet": 0, "fabric": 2, "apiserver": 3}


def _be_called(name: str) -> None:
    """Tell the rooms apart for ps and top, where the system can (Linux; 15 characters)."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _listening(port: int) -> socket.socket:
    """A socket on the loopback that others can dial at once. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((LOOPBACK, port))
    sock.listen(1024)
    return sock


@contextmanager
def stopped_by_signals(cluster: ProcessCluster) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM stop the cluster."""
    before = {
        number: signal.signal(number, lambda *_: cluster.stop_soon())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
