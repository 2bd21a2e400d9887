"""Load for the API's figures: plain sockets, OpenSSL and one epoll, in a process of its own.

``python -m benchmarks.load JSON`` prints one JSON line. asyncio would cost the client what the
server costs; here a request is one SSL_write, one SSL_read and a share of an epoll.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.apihost import TOKEN, pod

Json = dict[str, Any]
POD_PATH = "/api/v1/namespaces/default/pods"
_HEAD = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nAccept: application/json\r\n"
_RECEIVE = 1 << 18


def context(folder: str) -> ssl.SSLContext:
    """Client TLS for the server of a folder."""
    made = ssl.create_default_context(cadata=(Path(folder) / "ca.crt").read_text())
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def connected(asked: Json, count: int) -> list[ssl.SSLSocket]:
    """Connections, handshakes done, not blocking."""
    made = []
    tls = context(asked["folder"])
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", asked["port"]))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.append(tls.wrap_socket(plain, server_hostname="127.0.0.1"))
    return made


def get(path: str, extra: str = "") -> bytes:
    """A GET as bytes."""
    return f"GET {path} HTTP/1.1\r\n{_HEAD}{extra}\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A POST of JSON as bytes."""
    head = f"POST {path} HTTP/1.1\r\n{_HEAD}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Conversation:
    """One keep-alive connection: a request out, its answer in, again."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.tls = tls
        self.began = 0.0
        self.buffer = b""
        self.wanted = 0

    def ask(self, request: bytes) -> None:
        """Send; requests are smaller than any socket buffer."""
        self.began = time.perf_counter()
        self.tls.send(request)

    def hear(self) -> bool:
        """Take what came; whether the answer is whole. Raises RuntimeError unless it is a 2xx."""
        while True:
            try:
                data = self.tls.recv(_RECEIVE)
            except ssl.SSLWantReadError:
                return False
            if not data:
                raise RuntimeError("the server hung up")
            self.buffer = buffer = self.buffer + data if self.buffer else data
            if not self.wanted:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    continue
                if buffer[9:10] != b"2":
                    raise RuntimeError(buffer[:500].decode())
                at = buffer.index(b"Content-Length: ") + 16
                self.wanted = end + 4 + int(buffer[at : buffer.index(b"\r", at)])
            if len(buffer) >= self.wanted:
                self.buffer, self.wanted = b"", 0
                return True


def rate(asked: Json, request_of: Callable[[int], bytes]) -> Json:
    """Closed loop: every connection asks again as soon as it was answered."""
    conversations = {}
    poll = select.epoll()
    number = 0
    for tls in connected(asked, asked["connections"]):
        tls.setblocking(False)
        conversations[tls.fileno()] = Conversation(tls)
        poll.register(tls.fileno(), select.EPOLLIN)
    for conversation in conversations.values():
        conversation.ask(request_of(number))
        number += 1
    latencies: list[float] = []
    began = time.perf_counter()
    warm = began + asked.get("warm_s", 0.5)
    end = warm + asked["seconds"]
    counted = used = spent = 0.0
    started = False
    while (now := time.perf_counter()) < end and number < asked.get("most", 1 << 60):
        if not started and now >= warm:
            started, latencies = True, []
            used, spent, counted = _cpu(asked["pid"]), _own_cpu(), now
        for fd, _ in poll.poll(0.05):
            conversation = conversations[fd]
            if conversation.hear():
                latencies.append(time.perf_counter() - conversation.began)
                conversation.ask(request_of(number))
                number += 1
    elapsed = time.perf_counter() - counted
    latencies.sort()
    n = len(latencies)
    return {
        "per_s": n / elapsed,
        "p50_ms": latencies[n // 2] * 1000,
        "p99_ms": latencies[int(n * 0.99)] * 1000,
        "max_ms": latencies[-1] * 1000,
        "server_us": (_cpu(asked["pid"]) - used) / n * 1e6,
        "client_us": (_own_cpu() - spent) / n * 1e6,
    }


def paced(asked: Json, request_of: Callable[[int], bytes]) -> Json:
    """Open loop: a fixed rate over one connection each; what waits is counted from its due time."""
    per_s, seconds = asked["per_s"], asked["seconds"]
    poll = select.epoll()
    idle: list[Conversation] = []
    by_fd = {}
    for tls in connected(asked, asked["connections"]):
        tls.setblocking(False)
        by_fd[tls.fileno()] = Conversation(tls)
        poll.register(tls.fileno(), select.EPOLLIN)
    idle = list(by_fd.values())
    latencies = []
    began = time.perf_counter()
    number, total = 0, int(per_s * seconds)
    while len(latencies) < total:
        now = time.perf_counter()
        while number < total and idle and began + number / per_s <= now:
            conversation = idle.pop()
            conversation.ask(request_of(number))
            conversation.began = began + number / per_s
            number += 1
        wait = max(0.0, began + number / per_s - now) if number < total and idle else 0.05
        for fd, _ in poll.poll(min(wait, 0.05)):
            if by_fd[fd].hear():
                latencies.append(time.perf_counter() - by_fd[fd].began)
                idle.append(by_fd[fd])
    latencies.sort()
    return {"p50_ms": latencies[total // 2] * 1e3, "p99_ms": latencies[int(total * 0.99)] * 1e3}


def _cpu(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process (``VmHWM``: its peak), in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {field}")


# ------------------------------------------------------------------------------- figures


def gets(asked: Json) -> Json:
    """GET of pods, another one each time."""
    objects = asked["objects"]
    requests = [get(f"{POD_PATH}/pod-{i * 7919 % objects:06}") for i in range(min(objects, 5000))]
    return rate(asked, lambda number: requests[number % len(requests)])


def gets_paced(asked: Json) -> Json:
    """The same at a fixed rate."""
    requests = [get(f"{POD_PATH}/pod-{i * 7919 % 1000:06}") for i in range(1000)]
    return paced(asked, lambda number: requests[number % len(requests)])


def _creates(asked: Json) -> Callable[[int], bytes]:
    name = f"new-{asked['run']}-"
    template = json.dumps(pod(name + "NUMBER"), separators=(",", ":")).encode()
    if asked.get("each_odd"):  # no two have what else a server may remember of them in common
        template = template.replace(b'GracePeriodSeconds":30', b'GracePeriodSeconds":1NUMBER')

    def request_of(number: int) -> bytes:
        return post(POD_PATH, template.replace(b"NUMBER", b"%08d" % number))

    return request_of


def creates(asked: Json) -> Json:
    """POST of pods."""
    return rate(asked, _creates(asked))


def creates_paced(asked: Json) -> Json:
    """The same at a fixed rate."""
    return paced(asked, _creates(asked))


def lists(asked: Json) -> Json:
    """LIST, ``connections`` at once: wall time of each, memory of the server before and at peak."""
    conversations = connected(asked, asked["connections"])
    before = rss_mb(asked["pid"])
    Path(f"/proc/{asked['pid']}/clear_refs").write_text("5")  # the peak starts anew
    poll = select.epoll()
    tails: dict[int, bytes] = {}
    by_fd = {tls.fileno(): tls for tls in conversations}
    ended, total = [], 0
    used = _cpu(asked["pid"])
    began = time.perf_counter()
    buffer = bytearray(1 << 20)
    for fd, tls in by_fd.items():
        tls.sendall(get(POD_PATH, asked.get("headers", "")))
        tls.setblocking(False)
        poll.register(fd, select.EPOLLIN)
        tails[fd] = b""
    while len(ended) < len(conversations):
        for fd, _ in poll.poll():
            for _ in range(16):
                try:
                    n = by_fd[fd].recv_into(buffer)
                except ssl.SSLWantReadError:
                    break
                if n == 0:
                    raise RuntimeError("the server hung up")
                total += n
                tails[fd] = (tails[fd] + bytes(buffer[max(0, n - 7) : n]))[-7:]
                if tails[fd].endswith(b"0\r\n\r\n"):
                    ended.append(time.perf_counter() - began)
                    poll.unregister(fd)
                    break
    return {
        "wall_ms": max(ended) * 1000, "bytes": total,
        "cpu_ms": (_cpu(asked["pid"]) - used) * 1000,
        "rss_before_mb": before, "rss_peak_mb": rss_mb(asked["pid"], "VmHWM"),
    }  # fmt: skip


def _revision(asked: Json) -> int:
    """That of the present: from an earlier one on, events of an earlier figure would come, too."""
    (tls,) = connected(asked, 1)
    tls.sendall(get(f"{POD_PATH}?limit=1"))
    data, mark = b"", b'"metadata":{"resourceVersion":"'
    while (at := data.find(mark)) < 0 or b'"' not in data[at + len(mark) :]:
        piece = tls.recv(_RECEIVE)
        if not piece:
            raise RuntimeError(data.decode())
        data += piece
    tls.close()
    return int(data[at + len(mark) :].partition(b'"')[0])


def _watchers(asked: Json) -> dict[int, ssl.SSLSocket]:
    """Watchers of all pods from now on, their heads read."""
    path = f"{POD_PATH}?watch=1&resourceVersion={_revision(asked)}"
    made = {}
    for tls in connected(asked, asked["watchers"]):
        tls.sendall(get(path))
        head = b""
        while b"\r\n\r\n" not in head:
            head += tls.recv(_RECEIVE)
        if b" 200 " not in head or head.split(b"\r\n\r\n", 1)[1]:
            raise RuntimeError(head.decode())
        tls.setblocking(False)
        made[tls.fileno()] = tls
    return made


def fan_out(asked: Json) -> Json:
    """Events that the server's process makes by itself (told by its stdin), to all watchers."""
    watchers = _watchers(asked)
    poll = select.epoll()
    for fd in watchers:
        poll.register(fd, select.EPOLLIN)
    left = asked["events"] * len(watchers)
    buffer = bytearray(_RECEIVE)
    view = memoryview(buffer)
    print("ready", flush=True)
    used, spent = _cpu(asked["pid"]), _own_cpu()
    began, total = 0.0, 0
    while left > 0:
        for fd, _ in poll.poll():
            began = began or time.perf_counter()
            try:
                while n := watchers[fd].recv_into(buffer):
                    total += n
                    left -= bytes(view[:n]).count(b'{"type":"')
                raise RuntimeError("a watch ended")
            except ssl.SSLWantReadError:
                pass
    elapsed = time.perf_counter() - began
    deliveries = asked["events"] * len(watchers)
    return {
        "per_s": deliveries / elapsed, "event_bytes": total / deliveries,
        "server_us": (_cpu(asked["pid"]) - used) / deliveries * 1e6,
        "client_us": (_own_cpu() - spent) / deliveries * 1e6,
    }  # fmt: skip


def write_to_watch(asked: Json) -> Json:
    """Patches at a fixed rate: from a write's due time until the last watcher has its event."""
    watchers = _watchers(asked)
    seen = dict.fromkeys(watchers, -1)
    total = int(asked["per_s"] * asked["seconds"])
    due: list[float] = []
    left = [len(watchers)] * total
    latencies: list[float] = []
    poll = select.epoll()
    for fd in watchers:
        poll.register(fd, select.EPOLLIN)
    writers = {}
    for tls in connected(asked, asked["connections"]):
        tls.setblocking(False)
        writers[tls.fileno()] = Conversation(tls)
        poll.register(tls.fileno(), select.EPOLLIN)
    idle = list(writers.values())
    began = time.perf_counter()
    used = _cpu(asked["pid"])
    tails = dict.fromkeys(watchers, b"")
    while len(latencies) < total:
        now = time.perf_counter()
        while len(due) < total and idle and began + len(due) / asked["per_s"] <= now:
            idle.pop().ask(_patch(len(due)))
            due.append(began + len(due) / asked["per_s"])
        for fd, _ in poll.poll(0.001):
            if fd in writers:
                if writers[fd].hear():
                    idle.append(writers[fd])
                continue
            latest = -1
            try:
                while piece := watchers[fd].recv(_RECEIVE):
                    found, tails[fd] = sequence(tails[fd] + piece)
                    latest = max(latest, found)
                raise RuntimeError("a watch ended")
            except ssl.SSLWantReadError:
                pass
            if tails[fd].endswith(_LAST_CHUNK):
                raise RuntimeError("a watch ended: its reader was too slow")
            now = time.perf_counter()
            for number in range(seen[fd] + 1, latest + 1):
                left[number] -= 1
                if left[number] == 0:
                    latencies.append(now - due[number])
            seen[fd] = max(seen[fd], latest)
    latencies.sort()
    return {
        "p50_ms": latencies[total // 2] * 1e3, "p99_ms": latencies[int(total * 0.99)] * 1e3,
        "server_share": (_cpu(asked["pid"]) - used) / (time.perf_counter() - began),
    }  # fmt: skip


_MARK = b'"sequence":"'
_MARKED = len(_MARK) + 8
_LAST_CHUNK = b"\r\n0\r\n\r\n"


def sequence(data: bytes) -> tuple[int, bytes]:
    """The number in the last whole label of a piece of a watch, -1 for none; and the end of the
    piece, in which one may have begun.
    """
    at = data.rfind(_MARK, 0, len(data) - 8)
    tail = data[-_MARKED:]
    return (int(data[at + len(_MARK) : at + _MARKED]) if at >= 0 else -1), tail


def _patch(number: int) -> bytes:
    body = b'{"metadata":{"labels":{"sequence":"%08d"}}}' % number
    head = f"PATCH {POD_PATH}/pod-000001 HTTP/1.1\r\n{_HEAD}"
    kind = "Content-Type: application/merge-patch+json\r\n"
    return f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body


FIGURES = {
    "gets": gets, "gets_paced": gets_paced, "creates": creates, "creates_paced": creates_paced,
    "lists": lists, "fan_out": fan_out, "write_to_watch": write_to_watch,
}  # fmt: skip


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    print(json.dumps(FIGURES[wanted["figure"]](wanted)))
