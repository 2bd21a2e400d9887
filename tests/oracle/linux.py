"""Commands performed by Linux, in network namespaces without names.

Namespaces are held by file descriptors of this process alone: when it ends, however it ends, they
are gone. A process that uses this calls ``leave_host`` first and never comes back to the machine's
own namespace. The ``ip`` words of a namespace are collected and run as one ``ip -batch``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from podwire.dataplane import commands as c
from tests.oracle import conntrack
from tests.oracle.iproute import ip_words

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
PROC = Path("/proc/sys")
FABRIC = "fabric"

LENS = {
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.icmp_msgs_per_sec": "1000000",
    "net.ipv4.icmp_msgs_burst": "100000",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
}
"""What makes the kernel quick and quiet enough to be asked: nothing here decides a verdict that the
model claims to know (rate limits of ICMP, redirects, duplicate address detection).
"""
DEVICE_LENS = {"retrans_time_ms": "150"}
"""Unanswered ARP requests are given up after half a second instead of three."""


class LinuxError(Exception):
    """A tool refused what the model accepted; the message is the tool's."""


def leave_host(parent: int = 0) -> None:
    """Put this process into a namespace of its own, and let it die with its parent.

    Raises OSError when that is not permitted.
    """
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os._exit(1)
    _unshare()


def _unshare() -> None:
    if _LIBC.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")


class Namespaces:
    """Namespaces by name. Use as a context manager: afterwards all are gone."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _LIBC.setns(self._home, CLONE_NEWNET)
        for fd in (*self._fds.values(), self._home):
            os.close(fd)
        self._fds = {}

    def add(self, name: str) -> None:
        """Make a namespace; this thread is in it afterwards."""
        _unshare()
        self._fds[name] = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self, name: str) -> None:
        """Put this thread into a namespace."""
        if _LIBC.setns(self._fds[name], CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns({name})")

    def path(self, name: str) -> str:
        """A path that ``ip`` and ``nsenter`` take."""
        return f"/proc/{os.getpid()}/fd/{self._fds[name]}"

    def names(self) -> list[str]:
        """All of them."""
        return list(self._fds)

    def run(self, name: str, *words: str, stdin: str = "") -> str:
        """A program in a namespace. Raises LinuxError."""
        self.enter(name)
        done = subprocess.run(
            words, input=stdin, text=True, capture_output=True, check=False, env=environment()
        )
        if done.returncode:
            shown = stdin if len(stdin) < 20_000 else stdin[:20_000] + "..."
            raise LinuxError(f"{name}: {' '.join(words)}: {done.stderr.strip()}\n{shown}")
        return done.stdout


def environment() -> dict[str, str]:
    """Programs wait for no lock of somebody else's iptables."""
    lock = Path(tempfile.gettempdir()) / f"podwire-oracle-{os.getpid()}.lock"
    return {**os.environ, "XTABLES_LOCKFILE": str(lock), "LC_ALL": "C"}


def host_of(node: str, netns: str) -> str:
    """The Linux namespace that plays a namespace of a node."""
    return netns or node


class Linux:
    """All hosts of a cluster. ``backend``: of iptables, legacy or nft."""

    def __init__(self, spaces: Namespaces, backend: str) -> None:
        self.spaces, self.backend = spaces, backend
        self.hosts: list[str] = []
        self._ip: dict[str, list[str]] = {}
        self._bridge: dict[str, list[str]] = {}
        self._sysctls: dict[str, dict[str, str]] = {}
        self._switch: list[str] = []
        self._forget: dict[str, list[c.ConntrackDelete]] = {}

    # ------------------------------------------------------------ hosts

    def add_fabric(self) -> None:
        """The segment that all hosts are plugged into."""
        self.spaces.add(FABRIC)
        _sysctls({**LENS, "net.bridge.bridge-nf-call-iptables": "0"})
        self._switch += ["link set lo up", "link add br0 type bridge", "link set br0 up"]

    def add_host(self, name: str, mac: str) -> None:
        """A host with a card on the segment."""
        self._fresh(name)
        self.hosts.append(name)
        port = f"p{len(self.hosts)}"
        peer = self.spaces.path(name)
        self._switch.append(f"link add {port} type veth peer name eth0 address {mac} netns {peer}")
        self._switch.append(f"link set {port} master br0 up")
        self._ip[name].append("link set eth0 up")

    def _fresh(self, name: str) -> None:
        self.spaces.add(name)
        _sysctls(LENS)
        self._ip[name] = ["link set lo up"]
        self._bridge[name] = []
        self._sysctls[name] = {}

    # ------------------------------------------------------------ commands

    def perform(self, node: str, command: c.Command) -> None:
        """Take over a command. Before ``flush``, device commands are only collected."""
        name = host_of(node, command.netns)
        match command:
            case c.NetnsAdd():
                self._fresh(command.name)
            case c.SysctlSet():
                self._sysctl(name, command)
            case c.RulesRestore():
                self.forget()
                self.flush(name)
                self._restore(name, command)
            case c.NftApply():
                self.forget()
                self.flush(name)
                self.spaces.run(name, tool("nft"), "-f", "-", stdin=command.text + command.own)
            case c.FdbReplace():
                where = f"dev {command.dev} dst {command.dst} self permanent"
                self._bridge[name].append(f"fdb replace {command.mac} {where}")
            case c.ConntrackDelete():
                self._forget.setdefault(name, []).append(command)
            case _:
                self._ip[name] += ip_words(command, self.spaces.path)

    def flush(self, name: str = "") -> None:
        """Run what was collected for a namespace (""; all)."""
        if self._switch:
            lines, self._switch = self._switch, []
            self.spaces.run(FABRIC, "ip", "-batch", "-", stdin="\n".join(lines))
        for each in [name] if name else list(self._ip):
            if self._ip[each]:
                lines, self._ip[each] = self._ip[each], []
                self.spaces.run(each, "ip", "-batch", "-", stdin="\n".join(lines))
            if self._bridge[each]:
                lines, self._bridge[each] = self._bridge[each], []
                self.spaces.run(each, "bridge", "-batch", "-", stdin="\n".join(lines))
            if self._sysctls[each]:
                values, self._sysctls[each] = self._sysctls[each], {}
                self.spaces.enter(each)
                _sysctls(values)

    def forget(self) -> None:
        """Perform the ``conntrack -D`` that were collected (each costs a dump of the table)."""
        for name, wanted in self._forget.items():
            self.spaces.enter(name)
            conntrack.delete(wanted)
        self._forget.clear()

    def connections(self, name: str, family: str) -> str:
        """The UDP connections of a host, in the words of ``conntrack -L``."""
        self.spaces.enter(name)
        return conntrack.listing(conntrack.FAMILIES[family], "udp")

    def settle(self) -> None:
        """Everything is built: the lens on the devices."""
        self.flush()
        for name in self.spaces.names():
            self.spaces.enter(name)
            for folder in PROC.glob("net/ipv?/neigh/*"):
                for key, value in DEVICE_LENS.items():
                    (folder / key).write_text(value)

    def _sysctl(self, name: str, command: c.SysctlSet) -> None:
        parts = command.key.split(".")
        per_device = parts[:3] == ["net", "ipv4", "conf"] and parts[3] not in {"all", "default"}
        if per_device:
            self._sysctls[name][command.key] = command.value
        else:
            self.spaces.enter(name)
            _sysctls({command.key: command.value})

    def _restore(self, name: str, command: c.RulesRestore) -> None:
        family = "ip6tables" if command.family == "ipv6" else "iptables"
        words = ["--noflush"] if command.noflush else []
        words += ["-w", "10"] if self.backend == "legacy" else []
        program = tool(f"{family}-{self.backend}-restore")
        self.spaces.run(name, program, *words, stdin=command.text)


def tool(name: str) -> str:
    """Where a program is. Raises LinuxError."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise LinuxError(f"no {name}")
    return found


def _sysctls(values: dict[str, str]) -> None:
    """Write keys of the namespace that this thread is in; a lens that is not there is left out."""
    for key, value in values.items():
        path = PROC / key.replace(".", "/")
        if key in LENS and not path.exists():
            continue
        path.write_text(value)
