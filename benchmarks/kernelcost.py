"""What this machine's kernel takes for a rule and a lookup: where ``podwire.dataplane.cost.NS`` is
from. Root; ``python -m benchmarks kernelcost``.

A datagram is sent to an address whose OUTPUT drops it behind the rules in question; the difference
to the same without them, divided by their number. The shortest of many rounds, so that others at
work on the machine count little.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NETNS, FAR = "pwcost", "pwcostfar"
ROUNDS, SENDS = 60, 200
RULES, ASKS, FLOWS = 4_000, 100, 200
NOWHERE = ("10.255.0.1", 9)
CLONE_NEWNET = 0x40000000


def _run(*argv: str, text: str = "") -> None:
    subprocess.run(argv, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _inside(*setup: tuple[list[str], str]) -> Iterator[None]:
    """This thread in a fresh namespace that has been set up; gone afterwards."""
    _run("ip", "netns", "add", NETNS)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        there = os.open(f"/run/netns/{NETNS}", os.O_RDONLY)
        libc.setns(there, CLONE_NEWNET)
        os.close(there)
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "route", "add", "10.0.0.0/8", "dev", "lo")
        for argv, text in setup:
            _run(*argv, text=text)
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(home)
        _run("ip", "netns", "del", NETNS)


def _shortest(send: Callable[[], object]) -> float:
    """Nanoseconds of one call, in the shortest round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(SENDS):
            send()
        best = min(best, (time.perf_counter_ns() - began) / SENDS)
    return best


def _dropped(*setup: tuple[list[str], str]) -> float:
    """One datagram that OUTPUT drops."""
    with _inside(*setup), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def send() -> None:
            try:
                sock.sendto(b"", NOWHERE)
            except PermissionError:
                return
            raise AssertionError("the datagram was not dropped")

        return _shortest(send)


def _vip(number: int) -> str:
    return f"10.96.{number // 250}.{number % 250 + 1}"


def _iptables(tool: str) -> float:
    """A rule of KUBE-SERVICES that is for another cluster IP."""

    def loaded(rules: int) -> float:
        lines = [f"-A OUTPUT -d {_vip(n)}/32 -p tcp -m comment --comment x -m tcp --dport 80 -j S"
                 for n in range(rules)]  # fmt: skip
        text = "\n".join(["*filter", ":S - [0:0]", *lines, "-A OUTPUT -j DROP", "COMMIT", ""])
        return _dropped(([f"{tool}-restore"], text))

    return (loaded(RULES) - loaded(0)) / RULES


def _nft_text(rules: list[str], sets: str = "") -> str:
    body = "\n".join(rules)
    return (f"table ip t {{ {sets}\nchain s {{ }}\n"
            f"chain o {{ type filter hook output priority 0;\n{body}\ndrop\n}}\n}}\n")  # fmt: skip


def _nft_rule() -> float:
    def loaded(rules: int) -> float:
        lines = [f"ip daddr {_vip(n)} tcp dport 80 jump s" for n in range(rules)]
        return _dropped((["nft", "-f", "-"], _nft_text(lines)))

    return (loaded(RULES) - loaded(0)) / RULES


def _nft_set() -> float:
    """A map of service-ips' kind with 10,000 elements, beside rules of one comparison."""
    elements = ", ".join(f"{_vip(n)} . udp . 80 : jump s" for n in range(10_000))
    sets = ("map m { type ipv4_addr . inet_proto . inet_service : verdict; "
            f"elements = {{ {elements} }}\n}}")  # fmt: skip
    asking = ["ip daddr . meta l4proto . th dport vmap @m"] * ASKS
    plain = [f"ip daddr {_vip(n)} tcp dport 80 jump s" for n in range(ASKS)]
    nft = ["nft", "-f", "-"]
    with_map = _dropped((nft, _nft_text(asking, sets)))
    return (with_map - _dropped((nft, _nft_text(plain, sets)))) / ASKS


def _ipset() -> float:
    """A hash:ip,port with 10,000 entries, asked by iptables."""
    entries = "".join(f"add S {_vip(n)},udp:80\n" for n in range(10_000))
    made = (["ipset", "restore"], f"create S hash:ip,port maxelem 65536\n{entries}")

    def loaded(match: str) -> float:
        lines = [f"-A OUTPUT -p udp {match} -j S"] * ASKS
        text = "\n".join(["*filter", ":S - [0:0]", *lines, "-A OUTPUT -j DROP", "COMMIT", ""])
        return _dropped(made, (["iptables-legacy-restore"], text))

    asked, plain = loaded("-m set --match-set S dst,dst"), loaded("-m udp --dport 80")
    return (asked - plain) / ASKS


def _conntrack() -> tuple[float, float]:
    """A datagram of a known connection, and the first of one, beside an untracked one."""

    def sent(rule: str) -> tuple[float, float]:
        chain = "chain {} {{ type filter hook output priority {}\n{}\n}}\n"
        chains = chain.format("a", -300, rule) + chain.format("b", 0, "ct state invalid drop")
        with (
            _inside((["nft", "-f", "-"], f"table ip t {{\n{chains}}}\n")),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            # leaves by a device that swallows everything: nothing but OUTPUT and POSTROUTING
            _run("ip", "link", "add", "hole", "type", "ifb")
            _run("ip", "link", "set", "hole", "up", "arp", "off")
            _run("ip", "addr", "add", "10.1.0.1/16", "dev", "hole")
            known = _shortest(lambda: sock.sendto(b"", ("10.1.0.2", 9)))
            ports = iter(range(1, 65_000))
            fresh = _shortest(lambda: sock.sendto(b"", (f"10.1.{ROUNDS}.2", next(ports))))
            return known, fresh

    tracked, untracked = sent(""), sent("notrack")
    return tracked[0] - untracked[0], tracked[1] - untracked[1]


def _vxlan() -> float:
    """One datagram through VXLAN to another namespace, beside the same through a veth."""
    with _inside():
        _run("ip", "netns", "add", FAR)
        try:
            _run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", FAR)
            _run("ip", "addr", "add", "10.2.0.1/24", "dev", "v0")
            _run("ip", "link", "set", "v0", "up")
            far = ["ip", "-n", FAR]
            _run(*far, "addr", "add", "10.2.0.2/24", "dev", "v1")
            _run(*far, "link", "set", "v1", "up")
            chain = "chain p { type filter hook prerouting priority -300\nudp dport 9 drop\n}\n"
            _run("ip", "netns", "exec", FAR, "nft", "-f", "-", text=f"table ip t {{\n{chain}}}\n")
            for ns, me, you in (([], 1, 2), (["-n", FAR], 2, 1)):
                _run("ip", *ns, "link", "add", "x", "type", "vxlan", "id", "1", "dstport", "8472",
                     "local", f"10.2.0.{me}", "remote", f"10.2.0.{you}")  # fmt: skip
                _run("ip", *ns, "addr", "add", f"10.3.0.{me}/24", "dev", "x")
                _run("ip", *ns, "link", "set", "x", "up")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

                def sent(to: str) -> float:
                    sock.sendto(b"x", (to, 9))
                    time.sleep(0.5)  # the neighbours meet
                    return _shortest(lambda: sock.sendto(b"x" * 64, (to, 9)))

                return sent("10.3.0.2") - sent("10.2.0.2")
        finally:
            _run("ip", "netns", "del", FAR)


def kernelcost() -> dict[str, str]:
    """All figures of this file: medians of five."""
    tools = ("nft", "ipset", "iptables-legacy-restore", "iptables-nft-restore")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        return {"items of cost": f"skipped: needs root, {', '.join(tools)}"}
    measures: dict[str, Callable[[], float]] = {
        "iptables rule (iptables-legacy)": lambda: _iptables("iptables-legacy"),
        "iptables rule (iptables-nft)": lambda: _iptables("iptables-nft"),
        "nft rule": _nft_rule,
        "nft set": _nft_set,
        "ipset": _ipset,
        "conntrack, packet of a known connection": lambda: _conntrack()[0],
        "conntrack, first packet of a connection": lambda: _conntrack()[1],
        "ebpf map": _ebpf,
        "encapsulation (VXLAN, both ends)": _vxlan,
    }
    return {
        f"{item}, Linux {platform.release()}": (
            f"{statistics.median(measure() for _ in range(5)):.1f} ns"
        )
        for item, measure in measures.items()
    }


# ---------------------------------------------------------------- eBPF, without a compiler

BPF = 321
MAP_CREATE, MAP_UPDATE, PROG_LOAD, TEST_RUN = 0, 2, 5, 10
HASH, SCHED_CLS = 1, 3
LOOKUPS = 64


def _bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    found = libc.syscall(BPF, command, held, 128)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _bpf.last = held.raw  # type: ignore[attr-defined]
    return int(found)


def _op(code: int, dst: int = 0, src: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, number)


def _program(fd: int, lookups: int) -> bytes:
    """Ask the map so often (12-byte keys, as lb4_services_v2's), then return 0."""
    code = b""
    for offset, word in ((-16, 0x0A600001), (-12, 80 << 16), (-8, 6)):
        code += _op(0x62, 10, 0, offset, word)
    for _ in range(lookups):
        code += _op(0x18, 1, 1, 0, fd) + _op(0) + _op(0xBF, 2, 10) + _op(0x07, 2, 0, 0, -16)
        code += _op(0x85, 0, 0, 0, 1)
    return code + _op(0xB7, 0, 0, 0, 0) + _op(0x95)


def _ebpf() -> float:
    """A hash map of 10,000 entries, asked by a program that the kernel runs for us."""
    fd = _bpf(MAP_CREATE, struct.pack("<IIII", HASH, 12, 12, 65_536))
    for n in range(10_000):
        key = ctypes.create_string_buffer(struct.pack("<III", 0x0A600001 + n, 80 << 16, 6), 12)
        value = ctypes.create_string_buffer(12)
        _bpf(MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key),
                                     ctypes.addressof(value), 0))  # fmt: skip

    def run(lookups: int) -> float:
        code = ctypes.create_string_buffer(_program(fd, lookups))
        licence = ctypes.create_string_buffer(b"GPL")
        program = _bpf(PROG_LOAD, struct.pack("<IIQQ", SCHED_CLS, (len(code) - 1) // 8,
                       ctypes.addressof(code), ctypes.addressof(licence)))  # fmt: skip
        packet = ctypes.create_string_buffer(64)
        best = float("inf")
        for _ in range(ROUNDS):
            _bpf(TEST_RUN, struct.pack("<IIIIQQII", program, 0, 64, 0, ctypes.addressof(packet),
                                       0, 2_000, 0))  # fmt: skip
            best = min(best, struct.unpack_from("<I", _bpf.last, 36)[0])  # type: ignore[attr-defined]
        os.close(program)
        return best

    try:
        return (run(LOOKUPS) - run(0)) / LOOKUPS
    finally:
        os.close(fd)
