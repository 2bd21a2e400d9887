"""Looks names up over the container's sockets, with the timing of its C library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podwire.client import dnswire, resolver
from podwire.client.counters import Datagrams
from podwire.client.dnswire import DnsError, Message, Question
from podwire.client.resolver import MUSL, Hosts, Lookup, ResolvConf, Result
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.shell.command import UsageError

_BAD = (dnswire.SERVFAIL, dnswire.NOTIMP, dnswire.REFUSED)


def configuration(env: ExecEnv) -> tuple[ResolvConf, Hosts]:
    """The container's resolv.conf and hosts."""
    return resolver.parse_resolv_conf(_text(env, "/etc/resolv.conf")), Hosts(
        _text(env, "/etc/hosts")
    )


def _text(env: ExecEnv, path: str) -> str:
    try:
        return env.read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


async def lookup(env: ExecEnv, libc: str, name: str, family: str = "any") -> Result:
    """Getaddrinfo in the container. Never raises for a name that does not resolve."""
    conf, hosts = configuration(env)
    one = Lookup(name, conf, hosts, family, libc)
    exchange = _Musl(env, conf) if libc == MUSL else _Glibc(env, conf)
    return await resolver.run(one, exchange.ask)


class NameSyntaxError(UsageError):
    """A name that no DNS message can carry: printed in the words of BIND's tools, code 10."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 10)


class _Exchange:
    def __init__(self, env: ExecEnv, conf: ResolvConf) -> None:
        self.env = env
        self.conf = conf

    async def bind(self) -> Datagrams:
        return await self.env.sockets.bind_udp(self.env.spec.node, self.env.spec.netns)

    def wires(self, questions: Sequence[Question]) -> dict[int, bytes]:
        """Query wires by id, in the order of the questions."""
        found: dict[int, bytes] = {}
        while len(found) < len(questions):
            question = questions[len(found)]
            ident = self.env.rng.below(65536)
            if ident not in found:
                found[ident] = dnswire.query(question.name, question.type, ident)
        return found

    def now_s(self) -> float:
        return self.env.clock.monotonic_ns() / 1e9


async def receive(socket: Datagrams, timeout_s: float) -> Message | None:
    """The next DNS answer on a socket; None after the timeout. Raises ConnectionRefusedError."""
    try:
        async with asyncio.timeout(max(timeout_s, 0)):
            while True:
                data, _, _ = await socket.recv_from()
                try:
                    return dnswire.decode(data)
                except DnsError:
                    continue
    except TimeoutError:
        return None


class _Glibc(_Exchange):
    """resolv/res_send.c: A and AAAA from one port; after a half answer one at a time."""

    def __init__(self, env: ExecEnv, conf: ResolvConf) -> None:
        super().__init__(env, conf)
        self.single = conf.single_request or conf.single_request_reopen
        self.reopen = conf.single_request_reopen

    async def ask(self, questions: tuple[Question, ...]) -> Sequence[Message | None]:
        servers = list(self.conf.nameservers)
        if self.conf.rotate:
            start = self.env.rng.below(len(servers))
            servers = servers[start:] + servers[:start]
        nothing: list[Message | None] = [None] * len(questions)
        last = nothing
        for _ in range(self.conf.attempts):
            for i, server in enumerate(servers):
                timeout_s = max((self.conf.timeout_s << i) / (len(servers) if i else 1), 1)
                answers = await self._server(server, questions, timeout_s)
                if answers is None:
                    continue
                if all(answer is None or answer.rcode in _BAD for answer in answers):
                    last = list(answers)
                    continue
                return answers
        return last

    async def _server(
        self, server: str, questions: tuple[Question, ...], timeout_s: float
    ) -> Sequence[Message | None] | None:
        """The answers of one server; None when nothing at all came."""
        while True:
            if self.conf.use_vc:
                return await ask_tcp(self.env, server, self.wires(questions), timeout_s)
            answers = await self._once(server, questions, timeout_s)
            got = [answer for answer in answers if answer is not None]
            if any(answer.tc for answer in got):
                return await ask_tcp(self.env, server, self.wires(questions), timeout_s)
            if not got:
                return None
            if len(got) == len(questions):
                return answers
            if not self.single:
                self.single = True
            elif not self.reopen:
                self.reopen = True
            else:
                return answers

    async def _once(
        self, server: str, questions: tuple[Question, ...], timeout_s: float
    ) -> list[Message | None]:
        wires = self.wires(questions)
        found: dict[int, Message] = {}
        groups = [[ident] for ident in wires] if self.single else [list(wires)]
        socket = await self.bind()
        try:
            for i, group in enumerate(groups):
                if i and self.reopen:
                    socket.close()
                    socket = await self.bind()
                for ident in group:
                    await socket.send_to(wires[ident], server, 53)
                deadline = self.now_s() + timeout_s
                while any(ident not in found for ident in group):
                    answer = await receive(socket, deadline - self.now_s())
                    if answer is None:
                        return [found.get(ident) for ident in wires]
                    if answer.id in wires:
                        found[answer.id] = answer
        except OSError:
            pass  # refused or unreachable: what came before counts, the next server is asked
        finally:
            socket.close()
        return [found.get(ident) for ident in wires]


class _Musl(_Exchange):
    """src/network/res_msend.c: all servers at once; only what is missing is sent again."""

    async def ask(self, questions: tuple[Question, ...]) -> Sequence[Message | None]:
        wires = self.wires(questions)
        found: dict[int, Message] = {}
        # In whole nanoseconds, as the clock counts: a rest that is less can never be waited out.
        timeout_ns = round(self.conf.timeout_s * 1e9)
        interval_ns = timeout_ns // max(self.conf.attempts, 1)
        retries = 2 * len(wires)
        now_ns = self.env.clock.monotonic_ns
        start_ns = resend_ns = now_ns()
        socket = await self.bind()
        try:
            while len(found) < len(wires) and now_ns() - start_ns < timeout_ns:
                if now_ns() >= resend_ns:
                    await self._send(socket, wires, found)
                    resend_ns = now_ns() + interval_ns
                try:
                    answer = await receive(socket, (resend_ns - now_ns()) / 1e9)
                except OSError:
                    continue  # ICMP errors are ignored, as musl's unconnected socket does
                if answer is None or answer.id not in wires:
                    continue
                if answer.rcode == dnswire.SERVFAIL:
                    if retries:
                        retries -= 1
                        await self._send(socket, {answer.id: wires[answer.id]}, {})
                elif answer.rcode in {dnswire.NOERROR, dnswire.NXDOMAIN}:
                    found.setdefault(answer.id, answer)
        finally:
            socket.close()
        return [found.get(ident) for ident in wires]

    async def _send(
        self, socket: Datagrams, wires: dict[int, bytes], found: dict[int, Message]
    ) -> None:
        for server in self.conf.nameservers:
            for ident, wire in wires.items():
                if ident not in found:
                    try:
                        await socket.send_to(wire, server, 53)
                    except OSError:
                        continue  # no route to that server: the others may answer


async def query(
    env: ExecEnv,
    server: str,
    port: int,
    message: Message,
    timeout_s: float,
    *,
    tcp: bool = False,
) -> tuple[Message | None, int, str]:
    """One query to one server: (answer, its size in bytes, why there is none)."""
    try:
        wire = dnswire.encode(message, compress=False)
    except DnsError:
        raise NameSyntaxError(f"'{message.question.name}' is not in legal name format") from None
    if tcp:
        found = (await ask_tcp(env, server, {message.id: wire}, timeout_s, port))[0]
        return found, len(dnswire.encode(found)) if found else 0, "" if found else "timed out"
    try:
        socket = await env.sockets.bind_udp(env.spec.node, env.spec.netns)
    except OSError as error:
        return None, 0, error.strerror or "error"
    try:
        await socket.send_to(wire, server, port)
        async with asyncio.timeout(timeout_s):
            while True:
                data, _, _ = await socket.recv_from()
                try:
                    answer = dnswire.decode(data)
                except DnsError:
                    continue
                if answer.id == message.id:
                    return answer, len(data), ""
    except TimeoutError:
        return None, 0, "timed out"
    except ConnectionRefusedError:
        return None, 0, "connection refused"
    except OSError as error:
        return None, 0, (error.strerror or "error").lower()
    finally:
        socket.close()


async def reverse(env: ExecEnv, address: str) -> list[str]:
    """The names of an address: /etc/hosts, then DNS; [] when it has none."""
    conf, hosts = configuration(env)
    known = list(hosts.names(address))
    if known:
        return known
    question = Question(dnswire.reverse_name(address), dnswire.PTR)
    message = Message(id=env.rng.below(65536), questions=[question])
    for server in conf.nameservers:
        answer, _, _ = await query(env, server, 53, message, conf.timeout_s)
        if answer is not None:
            found = [rr.data for rr in answer.answer if rr.type == dnswire.PTR]
            return [str(data).rstrip(".") for data in found]
    return []


async def ask_tcp(
    env: ExecEnv, server: str, wires: dict[int, bytes], timeout_s: float, port: int = 53
) -> list[Message | None]:
    """Queries over one TCP connection; None where no answer came."""
    found: dict[int, Message] = {}
    try:
        stream = await env.sockets.connect(env.spec.node, env.spec.netns, server, port, timeout_s)
    except OSError:
        return [None] * len(wires)
    try:
        async with asyncio.timeout(timeout_s):
            await stream.send(b"".join(len(w).to_bytes(2, "big") + w for w in wires.values()))
            buffer = b""
            while len(found) < len(wires) and (data := await stream.recv()):
                buffer += data
                while len(buffer) > 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
                    end = 2 + int.from_bytes(buffer[:2], "big")
                    answer = dnswire.decode(buffer[2:end])
                    found[answer.id] = answer
                    buffer = buffer[end:]
        await stream.close()
    except (OSError, DnsError):
        stream.abort()
    return [found.get(ident) for ident in wires]
