"""tcpdump: text lines, or a pcap file (-w) that other tools open; -r reads one."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from podwire.client.counters import CapturedFrame
from podwire.kubelet.shell.capture_filter import Test, compile_filter
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.dissect import Printer, dissect
from podwire.kubelet.shell.tools.date import render

SNAP_BYTES = 262144
ETHERNET, LINUX_SLL2 = 1, 276
MAGIC = 0xA1B2C3D4
MAX_FILE_BYTES = 3 * 1024 * 1024


@dataclass(slots=True)
class Options:
    """What the flags say."""

    device: str = ""
    count: int = 0
    write: str = ""
    read: str = ""
    ethernet: bool = False
    absolute: bool = False
    time: int = 1
    words: list[str] = field(default_factory=list)


def _options(command: Command) -> Options:
    options = Options()
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if not arg.startswith("-") or options.words:
            options.words.append(arg)
            continue
        if arg in {"--interface", "--count"}:
            arg = {"--interface": "-i", "--count": "-c"}[arg]
        letters = arg[1:]
        for i, letter in enumerate(letters, 1):
            if letter in "icwrsBCGW":
                value = letters[i:] or (args.pop(0) if args else "")
                _set(options, letter, value)
                break
            if letter in "AXxZzEF" or letter == "-":
                raise UsageError(f"not modelled: {arg}")
            options.ethernet |= letter == "e"
            options.absolute |= letter == "S"
            options.time += letter == "t"
    return options


def _set(options: Options, letter: str, value: str) -> None:
    if letter == "i":
        options.device = value
    elif letter == "w":
        options.write = value
    elif letter == "r":
        options.read = value
    elif letter == "c":
        if not value.isdigit() or not int(value):
            raise UsageError(f"invalid packet count {value}")
        options.count = int(value)
    elif letter in "CGW":
        raise UsageError(f"not modelled: -{letter}")


async def run(command: Command) -> int:
    """``tcpdump [-i DEV|any] [-c N] [-n] [-e] [-t...] [-S] [-w FILE|-] [-r FILE] [FILTER]``."""
    options = _options(command)
    test = compile_filter(options.words)
    if options.read:
        return await _Dump(command, options, test).read()
    device = options.device or "eth0"
    stream = command.env.fabric.capture(command.spec.node, command.spec.netns, device)
    return await _Dump(command, options, test).capture(device, stream)


class _Dump:
    def __init__(self, command: Command, options: Options, test: Test) -> None:
        self.command = command
        self.options = options
        self.test = test
        self.printer = Printer(absolute=options.absolute, ethernet=options.ethernet)
        self.pcap = bytearray()
        self.seen = 0
        self.before_ns = 0

    async def capture(self, device: str, stream: AsyncGenerator[CapturedFrame, None]) -> int:
        command, options = self.command, self.options
        any_ = device == "any"
        kind = "LINUX_SLL2 (Linux cooked v2)" if any_ else "EN10MB (Ethernet)"
        listening = (
            ""
            if options.write
            else ("tcpdump: verbose output suppressed, use -v[v]... for full protocol decode\n")
        )
        listening += (
            f"listening on {device}, link-type {kind}, snapshot length {SNAP_BYTES} bytes\n"
        )
        self.pcap += _pcap_head(LINUX_SLL2 if any_ else ETHERNET)
        begun = False
        try:
            async for frame in stream:
                if not begun:
                    begun = True
                    head = "tcpdump: " if options.write else ""
                    command.err(head + listening)
                    continue
                if self._take(frame, any_=any_) and self.seen == options.count:
                    break
        except LookupError:
            command.err(f"tcpdump: {device}: No such device exists\n(No such device exists)\n")
            return 1
        finally:
            await stream.aclose()
            if begun:
                await self._end()
        return 0

    def _take(self, frame: CapturedFrame, *, any_: bool) -> bool:
        told = dissect(frame.data)
        if not self.test(told):
            return False
        self.seen += 1
        if self.options.write:
            data = _cooked(frame) if any_ else frame.data
            if len(self.pcap) + len(data) > MAX_FILE_BYTES:
                raise UsageError("not modelled: a capture of more than 3 MiB")
            self.pcap += _pcap_record(frame.time_ns, data)
        else:
            where = f"{frame.device:<5} {frame.direction:<3} " if any_ else ""
            line = self.printer.line(told)
            self.command.out(f"{self._stamp(frame.time_ns)}{where}{line}\n")
        return True

    def _stamp(self, time_ns: int) -> str:
        """-t none, -tt seconds, -ttt since the last, -tttt with the date, -ttttt the first."""
        level = self.options.time
        micro = time_ns // 1000 % 1_000_000
        if level == 2:
            return ""
        if level == 3:
            return f"{time_ns // 10**9}.{micro:06d} "
        if level in {4, 6}:
            since = time_ns - (self.before_ns or time_ns)
            if level == 4 or not self.before_ns:
                self.before_ns = time_ns
            return f" {render(since, '%H:%M:%S')}.{since // 1000 % 1_000_000:06d} "
        form = "%Y-%m-%d %H:%M:%S" if level == 5 else "%H:%M:%S"
        return f"{render(time_ns, form)}.{micro:06d} "

    async def _end(self) -> None:
        command, seen = self.command, self.seen
        if self.options.write == "-":
            command.write_out(bytes(self.pcap))
        elif self.options.write:
            await command.env.write_file(command.path(self.options.write), bytes(self.pcap))
        plural = "packet" if seen == 1 else "packets"
        command.err(
            f"{seen} {plural} captured\n{seen} {plural} received by filter\n"
            "0 packets dropped by kernel\n"
        )

    async def read(self) -> int:
        """Print a pcap file."""
        command, options = self.command, self.options
        data = await command.stdin.all() if options.read == "-" else command.read_file(options.read)
        if len(data) < 24 or struct.unpack("<I", data[:4])[0] != MAGIC:
            raise UsageError("unknown file format")
        kind = struct.unpack("<I", data[20:24])[0]
        if kind != ETHERNET:
            raise UsageError(f"not modelled: link-type {kind}")
        name = options.read
        command.err(
            f"reading from file {name}, link-type EN10MB (Ethernet), snapshot length {SNAP_BYTES}\n"
        )
        at = 24
        while at + 16 <= len(data):
            second, micro, size, _ = struct.unpack("<IIII", data[at : at + 16])
            at += 16
            frame = data[at : at + size]
            at += size
            self._take(CapturedFrame("", "", frame, second * 10**9 + micro * 1000), any_=False)
            if options.count and self.seen == options.count:
                break
        return 0


def _pcap_head(kind: int) -> bytes:
    return struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAP_BYTES, kind)


def _pcap_record(time_ns: int, data: bytes) -> bytes:
    micro = time_ns // 1000 % 1_000_000
    return struct.pack("<IIII", time_ns // 10**9, micro, len(data), len(data)) + data


def _cooked(frame: CapturedFrame) -> bytes:
    """LINUX_SLL2: protocol, interface, type and address instead of Ethernet's header."""
    outgoing = 4 if frame.direction == "Out" else 0
    mac = frame.data[6:12] + b"\0\0"
    return frame.data[12:14] + struct.pack("!HIHBB", 0, 0, 1, outgoing, 6) + mac + frame.data[14:]
