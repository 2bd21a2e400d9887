"""tcpdump over modelled kernels: lines, filters, and a pcap that other tools open."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from podwire.dataplane.packet import Frame
from podwire.fabric.associations import packet_of
from podwire.fabric.frames import encode
from podwire.fabric.sctp import Chunk
from podwire.kubelet.shell.capture_filter import compile_filter
from podwire.kubelet.shell.command import UsageError
from podwire.kubelet.shell.dissect import TCP, Printer, dissect
from podwire.kubelet.shell.tools.tcpdump import MAGIC
from tests.goldens.model import typed
from tests.goldens.sessions import Line

TRAFFIC = "sleep 1; dig +short web.example.com; curl -s 10.244.2.2; ping -c 1 10.244.2.2; sleep 2"


def captured(where: str, options: str = "-i eth0") -> bytes:
    """A pcap of a name asked for, a page fetched and an echo, as base64 told by the container."""
    script = f"timeout 5 tcpdump {options} -w /tmp/a.pcap & {TRAFFIC}; wait; base64 /tmp/a.pcap"
    if where != "pod-a":
        script = f"timeout 5 tcpdump {options} -w /tmp/a.pcap; base64 /tmp/a.pcap"
    _, text = typed([Line(where, script)])[0]
    return _decoded(text)


def _decoded(text: str) -> bytes:
    import base64  # noqa: PLC0415

    _, _, tail = text.rpartition("dropped by kernel\n")
    return base64.b64decode("".join(tail.split()))


def frames(pcap: bytes) -> list[bytes]:
    """The frames of a pcap file."""
    found, at = [], 24
    while at < len(pcap):
        size = struct.unpack("<I", pcap[at + 8 : at + 12])[0]
        found.append(pcap[at + 16 : at + 16 + size])
        at += 16 + size
    return found


def test_a_capture_holds_real_bytes_with_right_checksums(tmp_path: Path) -> None:
    pcap = captured("pod-a")
    assert struct.unpack("<I", pcap[:4])[0] == MAGIC
    printer = Printer()
    lines = [printer.line(dissect(frame)) for frame in frames(pcap)]
    assert any("A? web.example.com." in line for line in lines)
    assert any("HTTP: GET / HTTP/1.1" in line for line in lines)
    assert any("ICMP echo reply" in line for line in lines)
    if shutil.which("tshark") is None:
        pytest.skip("no tshark to open it with")
    file = tmp_path / "a.pcap"
    file.write_bytes(pcap)
    checks = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]
    checks += ["-o", "udp.check_checksum:TRUE"]
    done = subprocess.run(
        ["tshark", "-r", str(file), *checks, "-V"], capture_output=True, text=True, check=True
    )
    assert "GET / HTTP/1.1" in done.stdout
    assert "web.example.com: type A" in done.stdout
    assert "incorrect" not in done.stdout
    assert "Malformed" not in done.stdout


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump to compare with")
def test_our_lines_are_those_of_the_real_tcpdump_for_the_same_bytes(tmp_path: Path) -> None:
    pcap = captured("pod-a")
    file = tmp_path / "a.pcap"
    file.write_bytes(pcap)
    done = subprocess.run(
        ["tcpdump", "-n", "-t", "-r", str(file)], capture_output=True, text=True, check=True
    )
    printer = Printer()
    assert [printer.line(dissect(f)) for f in frames(pcap)] == done.stdout.splitlines()


def test_chunks_of_sctp_are_shown_as_the_real_tcpdump_shows_them(tmp_path: Path) -> None:
    chunks = [
        Chunk("init", 5), Chunk("init_ack", 9, cookie=(9, 5)), Chunk("cookie_echo"),
        Chunk("cookie_ack"), Chunk("data", 5, b"hostname\n", sequence=1), Chunk("sack", 5),
        Chunk("data", 6, b"part", last=False), Chunk("shutdown", 9), Chunk("shutdown_ack"),
        Chunk("shutdown_complete"), Chunk("abort"), Chunk("heartbeat"), Chunk("heartbeat_ack"),
    ]  # fmt: skip
    packets = [packet_of(chunk, ("10.0.0.1", 40000, "10.0.0.2", 80)) for chunk in chunks]
    mac = "02:00:00:00:00:01"
    made = [encode(Frame(mac, mac, packet)) for packet in packets]
    assert [len(data) - 14 for data in made] == [packet.size_bytes for packet in packets]
    printer = Printer()
    lines = [printer.line(dissect(data)) for data in made]
    head = "IP 10.0.0.1.40000 > 10.0.0.2.80: sctp (1) "
    assert lines[4] == f"{head}[DATA] (B)(E) [TSN: 5] [SID: 0] [SSEQ 1] [PPID 0x0] "
    assert compile_filter(["sctp", "and", "port", "80"])(dissect(made[0]))
    if shutil.which("tcpdump") is None:
        pytest.skip("no tcpdump to compare with")
    file = tmp_path / "a.pcap"
    sizes = [struct.pack("<IIII", 0, 0, len(data), len(data)) for data in made]
    records = b"".join(size + data for size, data in zip(sizes, made, strict=True))
    file.write_bytes(struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, 65535, 1) + records)
    done = subprocess.run(
        ["tcpdump", "-n", "-t", "-r", str(file)], capture_output=True, text=True, check=True
    )
    assert lines == done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", True), ("tcp", True), ("udp", False), ("port 80", True), ("tcp port 80", True),
        ("udp port 80", False), ("dst port 80", True), ("src port 80", False),
        ("host 10.0.0.2", True), ("src 10.0.0.2", False), ("net 10.0.0.0/8", True),
        ("not port 80", False), ("icmp or ( tcp and portrange 70-90 )", True),
        ("host 10.0.0.1 and host 10.0.0.2 and ! arp", True),
    ],
)  # fmt: skip
def test_filters(words: str, kept: bool) -> None:
    ip = bytes.fromhex("450000280000400040060000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    tcp = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 5 << 4, 2, 100, 0, 0)
    frame = dissect(bytes(12) + b"\x08\0" + ip + tcp)
    assert frame.protocol == TCP
    assert compile_filter(words.split())(frame) is kept


@pytest.mark.parametrize("words", ["tcp[13] & 2 != 0", "vlan 5", "port", "( tcp", "host web"])
def test_a_filter_that_is_not_understood_is_refused(words: str) -> None:
    with pytest.raises(UsageError):
        compile_filter(words.split())


def test_cut_bytes_never_break_the_printer() -> None:
    for frame in frames(captured("pod-a")):
        for size in range(0, len(frame), 7):
            Printer().line(dissect(frame[:size]))
