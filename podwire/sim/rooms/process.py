"""``RoomProcess``: what every room's process does beside its work.

It knows who it is (certificate), keeps links to its peers, serves counters to those who may call,
shows by a Lease and a file whether it can do its work, and ends on SIGTERM: exit code 0; 1 when it
cannot listen; 3 when a peer cannot be talked to at all (a foreign certificate, another version).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from podwire.api.status import ApiError
from podwire.client import identity as identities
from podwire.client import leases
from podwire.client.api import Client
from podwire.client.counters import Api, ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.framed.api import FramedApi
from podwire.client.framed.cni import FramedCni
from podwire.client.framed.fabric import FramedFabric
from podwire.client.framed.messages import ProtocolError
from podwire.client.framed.session import Serve
from podwire.client.framed.sockets import FramedSockets
from podwire.client.framed.transport import FramedServer, Link, words
from podwire.client.identity import IdentityError
from podwire.runtime.env import Env, real
from podwire.runtime.memory import fewer_collections, keep_what_lives
from podwire.runtime.tasks import Nursery, first
from podwire.sim.rooms.options import Options
from podwire.store import StoreOpenError

EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 3
_TLS_BUFFER_BYTES = 64 * 1024
"""asyncio fills 256 KiB with zeros for every TLS connection and keeps them; four records do."""
_READY_EVERY_S = 5.0
_RELEASE_S = 2.0

Main = Callable[["RoomProcess"], Awaitable[None]]


class ListenError(Exception):
    """An address cannot be listened on; the message names it and what to do."""


@contextmanager
def listens(flag: str, address: str) -> Iterator[None]:
    """Within the block, an OSError means that ``address`` cannot be had. Raises ListenError."""
    try:
        yield
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: {words(error)}; free it, or choose another {flag}"
        ) from error


class Unavailable:
    """A counter that this room does not use: using it is a bug of the composition."""

    def __init__(self, counter: str) -> None:
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"this room was given no {self._counter} counter (asked for {name})")


class RoomProcess:
    """One room in a process of its own."""

    def __init__(self, options: Options, env: Env, listening: socket.socket | None = None) -> None:
        self.options = options
        self.env = env
        self.log = env.log.bind(room=options.room)
        self.identity = options.identity or identities.load(options.pki, options.room)
        self.nursery = Nursery()
        self._listening = listening
        self._links: dict[str, Link] = {}
        self._server: FramedServer | None = None
        self._kept_from_work = ""
        self._lease: leases.LeaseHolder | None = None
        self._leasing: asyncio.Task[None] | None = None
        self._started = self._worked = False
        self._ends: list[Callable[[], Awaitable[None]]] = []

    # ------------------------------------------------------------ what rooms ask for

    def link(self, room: str, serve: Serve | None = None) -> Link:
        """The link to another room, dialled from now on."""
        if room not in self._links:
            link = self.new_link(room, self.options.address(room), serve)
            self._links[room] = link
            self.nursery.start(link.run(), name=f"link {room}")
        return self._links[room]

    def new_link(self, room: str, address: str, serve: Serve | None = None) -> Link:
        """A link that its maker runs."""
        env = self.env
        return Link(
            self.identity, room, address,
            clock=env.clock, rng=env.rng, log=self.log, serve=serve, changed=self._changed,
        )  # fmt: skip

    def ctx(
        self, name: str, config: Any = None, hosts: tuple[ContainerHost, ...] = (), **more: Any
    ) -> Ctx:
        """What a component of this room is given; ``more`` replaces single counters."""
        env = self.env
        given: dict[str, Any] = {
            "api": self._linked("apiserver", FramedApi),
            "fabric": self._linked("fabric", FramedFabric),
            "sockets": self._linked("fabric", FramedSockets),
            "cni": self._linked("cni", FramedCni),
            "kubelets": Unavailable("kubelets"),
            **more,
        }
        return Ctx(
            hosts=hosts, clock=env.clock, rng=env.rng.child(name), ids=env.ids, trace=env.trace,
            log=env.log.bind(room=name), config=config, **given,
        )  # fmt: skip

    def _linked(self, room: str, binding: Callable[[Link], Any]) -> Any:
        link = self._links.get(room)
        return binding(link) if link is not None else Unavailable(room)

    async def serve(self, allowed: Sequence[str], serve: Serve) -> FramedServer:
        """Listen for other rooms. Raises ListenError when the address is taken."""
        host, _, port = self.options.listen.rpartition(":")
        self._server = FramedServer(
            self.identity, allowed, serve, clock=self.env.clock, log=self.log
        )
        with listens("--listen", self.options.listen):
            await self._server.start(host.strip("[]"), int(port), listening=self._listening)
        return self._server

    async def with_fabric(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, pauses: bool = True
    ) -> None:
        """Do ``work`` whenever the fabric is there. A room that lost it lost the nodes that it
        works on: what runs there is over, and begins anew when the fabric is back. Meanwhile
        (``pauses``) it serves nobody.
        """
        link, server = self.link("fabric"), self._server if pauses else None
        while True:
            session = await link.connected()
            if server is not None:
                server.resume()
            try:
                which, _ = await first(work(), session.ended())
            except ConnectionError as error:
                if session.error is None:
                    raise
                self.log.info("work ended with the fabric", error=str(error))
            else:
                if which == 0 and session.error is None:
                    return
            if server is not None:
                server.pause(link.why)

    def hold_lease(self, api: Api) -> None:
        """Show by a Lease that this room lives."""
        client = Client(api, None, f"podwire-{self.options.room}")
        self._lease = leases.of_component(
            self.ctx("lease", api=api), client, self.options.component, socket.gethostname(),
            lambda: self._kept_from_work,
        )  # fmt: skip
        self._leasing = self.nursery.start(self._lease.run(), name="lease")

    def at_end(self, end: Callable[[], Awaitable[None]]) -> None:
        """Await ``end`` when the room stops, the last given first."""
        self._ends.append(end)

    # ------------------------------------------------------------ health

    def _changed(self) -> None:
        """A link came or went."""
        missing = [link for link in self._links.values() if not link.up]
        kept = missing[0].why if missing else ""
        if len(missing) > 1:
            kept = f"cannot reach {', '.join(link.room for link in missing)}"
        if kept != self._kept_from_work:
            self._kept_from_work = kept
            if self._lease is not None:
                self._lease.kick()
            self._touch()
        self._work()

    def _work(self) -> None:
        """Once, as soon as this room can do its work: tell the process that forked this one."""
        if self._worked or not self._started or self._kept_from_work:
            return
        self._worked = True
        # Connections that were refused while rooms started together are cyclic garbage, 256 KiB
        # of TLS buffers each.
        keep_what_lives(collect=True)
        if self.options.ready_fd >= 0:
            with suppress(BlockingIOError):  # nobody reads any more, and it is full
                os.write(self.options.ready_fd, f"{self.options.component}\n".encode())
            os.close(self.options.ready_fd)
            self.options.ready_fd = -1

    def _touch(self) -> None:
        file = self.options.ready_file
        if file is None:
            return
        if self._kept_from_work or not all(link.up for link in self._links.values()):
            file.unlink(missing_ok=True)
        else:
            file.touch()

    async def _show_health(self) -> None:
        """Touch the ready file as long as this loop turns: a stuck process lets it grow old."""
        while True:
            self._touch()
            await self.env.clock.sleep(_READY_EVERY_S)

    # ------------------------------------------------------------ life

    async def run(self, main: Main) -> None:
        """Be the room until SIGTERM. Raises what ends it otherwise."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if self.options.lifeline_fd >= 0:
            loop.add_reader(self.options.lifeline_fd, stop.set)
        await first(self._live(main), self._asked_to(stop))

    async def _asked_to(self, stop: asyncio.Event) -> None:
        """Wait for the signal, and give the Lease up: a stop is no failure."""
        await stop.wait()
        for link in self._links.values():
            link.expect_loss()
        if self._lease is not None and self._leasing is not None:
            self._leasing.cancel()
            with suppress(ApiError, ConnectionError, TimeoutError):  # it expires then
                async with asyncio.timeout(_RELEASE_S):
                    await self._lease.release()

    async def _live(self, main: Main) -> None:
        try:
            async with self.nursery:
                if self.options.ready_file is not None:
                    self.nursery.start(self._show_health(), name="health")
                await main(self)
                self._started = True
                self._changed()
                await asyncio.get_running_loop().create_future()
        finally:
            for end in reversed(self._ends):
                await end()
            if self._server is not None:
                await self._server.stop()


def run(
    options: Options,
    main: Main,
    listening: socket.socket | None = None,
) -> int:
    """Run a room to its end; the process's exit code."""
    env = real(options.seed, options.log_level)
    SSLProtocol.max_size = _TLS_BUFFER_BYTES
    try:
        with fewer_collections():
            room = RoomProcess(options, env, listening)
            asyncio.run(room.run(main))
    except (IdentityError, ProtocolError, StoreOpenError) as error:
        return _ended(options, str(error), EXIT_UNREACHABLE)
    except ListenError as error:
        return _ended(options, str(error), EXIT_FAILED)
    return 0


def _ended(options: Options, why: str, code: int) -> int:
    """The last words of a process: to whoever forked it, else to people."""
    if options.ready_fd >= 0:
        with suppress(BlockingIOError):
            os.write(options.ready_fd, f"!{why}\n".encode())
    else:
        print(f"error: {why}", file=sys.stderr)  # noqa: T201  a command line's answer
    return code
