"""All servers and all clients of a cluster in one loop: sockets live where they were made.

A server answers every line (TCP) or datagram (UDP) with its name and the source it saw. A client's
answer is that text, or REFUSED, TIMEOUT, or an errno's name.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Self

from tests.oracle.linux import Namespaces

IP_RECVERR, IPV6_RECVERR = 11, 25
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
BACKLOG = 1024
LINE = b"?\n"
PATIENT_S = 8.0
WINDOW = 64
"""Questions on their way at a time: more datagrams than this may not fit into a server's buffer."""
Ready = Callable[[], None]


class Question(NamedTuple):
    """One question of a client in a namespace."""

    space: str
    protocol: str
    address: str
    port: int
    src_port: int = 0
    size_bytes: int = 0
    patience_s: float = PATIENT_S


@dataclass
class Client:
    """A question on its way. ``sock`` stays open when the conversation is to go on."""

    question: Question
    sock: socket.socket
    deadline: float
    answer: str = ""
    hint: str = "TIMEOUT"
    """What it is when nothing more comes."""
    sent: bool = False
    got: bytearray = field(default_factory=bytearray)


def family_of(address: str) -> int:
    """The address family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def word_of(error: OSError) -> str:
    """An error as the oracle names it."""
    if error.errno == errno.ECONNREFUSED:
        return "REFUSED"
    if error.errno == errno.ETIMEDOUT:
        return "TIMEOUT"
    return errno.errorcode.get(error.errno or 0, str(error))


class Prober:
    """Servers and clients. Use as a context manager."""

    def __init__(self, spaces: Namespaces) -> None:
        self._spaces = spaces
        self._selector = selectors.DefaultSelector()
        self._open: dict[str, socket.socket] = {}
        self._waiting: dict[socket.socket, Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        for sock in self._open.values():
            sock.close()
        self._selector.close()

    # ------------------------------------------------------------ servers

    def serve(self, space: str, name: str, protocol: str, address: str, port: int) -> None:
        """A program that answers at a port; ``address`` "" is any (of IPv4; "::": of IPv6)."""
        self._spaces.enter(space)
        family = family_of(address)
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen(BACKLOG)
            ready: Ready = partial(self._accept, sock, name)
        else:
            ready = partial(_answer_datagrams, sock, name)
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def _accept(self, sock: socket.socket, name: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                peer, address = sock.accept()
                peer.setblocking(False)
                words = f"{name} {address[0]}\n".encode()
                ready: Ready = partial(self._answer_lines, peer, words)
                self._selector.register(peer, selectors.EVENT_READ, ready)

    def _answer_lines(self, peer: socket.socket, words: bytes) -> None:
        try:
            got = peer.recv(4096)
            if got:
                peer.send(words * got.count(LINE))
                return
        except OSError:
            pass  # the client is gone; so is this
        self._selector.unregister(peer)
        peer.close()

    # ------------------------------------------------------------ clients

    def ask(self, questions: list[Question], keep: str = "") -> list[str]:
        """Ask everything, ``WINDOW`` at a time; the answers. ``keep`` names the (only) connection
        left open.
        """
        clients = []
        for question in questions:
            self._run(WINDOW)
            clients.append(self._start(question))
        self._run(0)
        for client in clients:
            if keep and client.answer.count(" ") == 1:
                self._open[keep] = client.sock
            else:
                client.sock.close()
        return [client.answer for client in clients]

    def again(self, name: str, patience_s: float) -> str:
        """A further request on a connection that was left open."""
        sock = self._open.pop(name)
        client = Client(Question("", "tcp", "", 0), sock, time.monotonic() + patience_s)
        try:
            sock.send(LINE)
            client.sent = True
            self._watch(client, selectors.EVENT_READ)
        except OSError as error:
            client.answer = word_of(error)
        self._run(0)
        if client.answer.count(" ") == 1:
            self._open[name] = sock
        else:
            sock.close()
        return client.answer

    def _start(self, question: Question) -> Client:
        self._spaces.enter(question.space)
        family = family_of(question.address)
        kind = socket.SOCK_STREAM if question.protocol == "tcp" else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        client = Client(question, sock, time.monotonic() + question.patience_s)
        try:
            if question.src_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", question.src_port))
            if question.protocol == "udp":
                _careful(sock, family)
            sock.connect((question.address, question.port))
        except BlockingIOError:
            self._watch(client, selectors.EVENT_WRITE)
            return client
        except OSError as error:
            client.answer = word_of(error)
            return client
        if question.protocol == "tcp":
            self._watch(client, selectors.EVENT_WRITE)
        else:
            self._datagram(client)
        return client

    def _datagram(self, client: Client) -> None:
        size = client.question.size_bytes
        try:
            client.sock.send(b"x" * (size or 8))
        except OSError as error:
            client.hint = word_of(error)
            if error.errno != errno.EPERM:
                client.answer = client.hint
                return
        self._watch(client, selectors.EVENT_READ)

    def _watch(self, client: Client, events: int) -> None:
        self._waiting[client.sock] = client
        self._selector.register(client.sock, events, partial(self._progress, client))

    def _progress(self, client: Client) -> None:
        sock = client.sock
        try:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "")  # noqa: TRY301
            if client.question.protocol == "tcp" and not client.sent:
                sock.send(LINE)
                client.sent = True
                self._selector.modify(sock, selectors.EVENT_READ, partial(self._progress, client))
                return
            got = sock.recv(4096)
            client.got += got
            if not got:
                self._done(client, "EOF")
            elif client.question.protocol == "udp" or client.got.endswith(b"\n"):
                self._done(client, client.got.decode().strip())
        except BlockingIOError:
            return
        except OSError as error:
            self._done(client, word_of(error))

    def _done(self, client: Client, answer: str) -> None:
        client.answer = answer
        self._selector.unregister(client.sock)
        del self._waiting[client.sock]

    def _run(self, left: int) -> None:
        """Turn the loop until no more than ``left`` questions wait for their answer."""
        while len(self._waiting) > left:
            due = min(client.deadline for client in self._waiting.values())
            events = self._selector.select(max(0.0, due - time.monotonic()))
            for key, _ in events:
                key.data()
            if events:
                continue  # what is there is looked at before anybody's time is up
            now = time.monotonic()
            for client in list(self._waiting.values()):
                if client.deadline <= now:
                    self._done(client, client.hint)


def _answer_datagrams(sock: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):  # empty, or an ICMP error about an earlier answer
        while True:
            _, peer = sock.recvfrom(4096)
            sock.sendto(f"{name} {peer[0]}".encode(), peer)


def _careful(sock: socket.socket, family: int) -> None:
    """Every ICMP error is told, and nothing is fragmented."""
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
