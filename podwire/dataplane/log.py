"""Everything that was done to a world, with its virtual time, and the world again at any point.

A ``CommandLog`` makes a world and kernels that write down what comes in from outside: commands,
tools, frames, packets, sockets, ticks, cables. ``replay`` does the same to fresh ones, so that
state and chance are what they were. What a kernel does by itself is not written down; whoever
changes a namespace behind the kernel's back (``Kernel.netns``) is not seen.

A log holds every packet: it is for simulations and tests, and for asking what a world was like
before something happened, not for clusters that run for days.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import msgspec

from podwire.dataplane.commands import Command
from podwire.dataplane.ebpf.sock import Translated
from podwire.dataplane.emit import Emit, Recorder
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import Frame, Packet
from podwire.dataplane.world import World
from podwire.runtime.ports import Rng


class Call(msgspec.Struct, frozen=True):
    """One thing that was done. ``node`` "" is the world itself. ``at_ns`` of what takes no time
    (a socket, a cable) is that of the latest call before that did.
    """

    at_ns: int
    node: str
    name: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}

    @property
    def command(self) -> Command | None:
        """The command, if it was one."""
        return self.args[0] if self.name == "execute" else None


class CommandLog:
    """The calls to one world, in their order. Replay by number of calls, or by time."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.world: World = _LoggedWorld(self)
        self._chances: dict[str, Callable[[], Rng]] = {}
        self._now_ns = 0

    def kernel(self, node: str, chance: Callable[[], Rng]) -> Kernel:
        """The kernel of a host of this world. ``chance`` makes its randomness: the same stream from
        its beginning whenever it is called.
        """
        self._chances[node] = chance
        kernel = _LoggedKernel(node, chance(), self)
        self.world.kernels[node] = kernel
        self.note(node, "kernel")
        return kernel

    def note(self, node: str, name: str, *args: Any, at_ns: int | None = None, **more: Any) -> None:
        """Write down what was done."""
        if at_ns is not None:
            self._now_ns = at_ns
        self.calls.append(Call(self._now_ns, node, name, args, more))

    def until(self, at_ns: int) -> int:
        """How many calls were made up to a time, that time included."""
        return bisect_right(self.calls, at_ns, key=lambda call: call.at_ns)

    def replay(self, calls: int | None = None) -> World:
        """The world as it was after so many calls (None: all), of its own: nothing is shared."""
        world = World()
        for call in self.calls[:calls]:
            if call.name == "kernel":
                world.add(Kernel(call.node, self._chances[call.node]()))
                continue
            target: Any = world.kernels[call.node] if call.node else world
            args = (*call.args, call.at_ns) if call.name in _TIMED else call.args
            getattr(target, call.name)(*args, **call.options)
        return world


_TIMED = ("execute", "tool", "send", "receive", "tick", "translate_socket")
"""Calls that are told the time, last of all."""


class _LoggedWorld(World):
    """A world whose cables are written down."""

    __slots__ = ("_log",)

    def __init__(self, log: CommandLog) -> None:
        super().__init__()
        self._log = log

    def attach(self, node: str, device: str) -> None:
        super().attach(node, device)
        self._log.note("", "attach", node, device)

    def set_link(self, a: str, b: str, *, up: bool, both: bool = True) -> None:
        super().set_link(a, b, up=up, both=both)
        self._log.note("", "set_link", a, b, up=up, both=both)

    def set_port(self, node: str, device: str, *, up: bool) -> None:
        super().set_port(node, device, up=up)
        self._log.note("", "set_port", node, device, up=up)


class _LoggedKernel(Kernel):
    """A kernel whose inputs are written down, once they succeeded. Its forks are plain ones."""

    __slots__ = ("_inside", "_log")

    def __init__(self, node: str, rng: Rng, log: CommandLog) -> None:
        super().__init__(node, rng)
        self._log = log
        self._inside = False

    def execute(self, command: Command, now_ns: int) -> None:
        super().execute(command, now_ns)
        if not self._inside:  # a tool gives commands of its own
            self._log.note(self.node, "execute", command, at_ns=now_ns)

    def tool(self, netns: str, argv: list[str], stdin: str, now_ns: int) -> tuple[str, str, int]:
        self._inside = True
        try:
            done = super().tool(netns, argv, stdin, now_ns)
        finally:
            self._inside = False
        self._log.note(self.node, "tool", netns, list(argv), stdin, at_ns=now_ns)
        return done

    def add_physical(self, name: str, mac: str, mtu_bytes: int = 1500, *, arp: bool = True) -> None:
        super().add_physical(name, mac, mtu_bytes, arp=arp)
        self._log.note(self.node, "add_physical", name, mac, mtu_bytes, arp=arp)

    def send(
        self, netns: str, packet: Packet, now_ns: int, recorder: Recorder | None = None
    ) -> list[Emit]:
        emits = super().send(netns, packet, now_ns, recorder)
        self._log.note(self.node, "send", netns, packet, at_ns=now_ns)
        return emits

    def receive(
        self, device: str, frame: Frame, now_ns: int, recorder: Recorder | None = None
    ) -> list[Emit]:
        emits = super().receive(device, frame, now_ns, recorder)
        self._log.note(self.node, "receive", device, frame, at_ns=now_ns)
        return emits

    def tick(self, now_ns: int, recorder: Recorder | None = None) -> list[Emit]:
        emits = super().tick(now_ns, recorder)
        self._log.note(self.node, "tick", at_ns=now_ns)
        return emits

    def translate_socket(
        self, packet: Packet, netns: str, now_ns: int, recorder: Recorder | None = None
    ) -> Translated | None:
        done = super().translate_socket(packet, netns, now_ns, recorder)
        if done is not None:
            self._log.note(self.node, "translate_socket", packet, netns, at_ns=now_ns)
        return done

    def open_socket(self, netns: str, proto: str, address: str, port: int) -> None:
        super().open_socket(netns, proto, address, port)
        self._log.note(self.node, "open_socket", netns, proto, address, port)

    def close_socket(self, netns: str, proto: str, address: str, port: int) -> None:
        super().close_socket(netns, proto, address, port)
        self._log.note(self.node, "close_socket", netns, proto, address, port)

    def connect_socket(
        self, netns: str, proto: str, address: str, port: int, remote: str, remote_port: int
    ) -> None:
        ends = (netns, proto, address, port, remote, remote_port)
        super().connect_socket(*ends)
        self._log.note(self.node, "connect_socket", *ends)

    def disconnect_socket(
        self, netns: str, proto: str, address: str, port: int, remote: str, remote_port: int
    ) -> None:
        ends = (netns, proto, address, port, remote, remote_port)
        super().disconnect_socket(*ends)
        self._log.note(self.node, "disconnect_socket", *ends)
