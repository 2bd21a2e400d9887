"""The CoreDNS process of one pod: configuration, sockets, signals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client import dnswire
from podwire.client.accounts import service_account
from podwire.client.api import Client
from podwire.client.counters import Datagrams, Listener, Process, Stream
from podwire.client.ctx import Ctx
from podwire.client.dnswire import DnsError, Message
from podwire.client.informer import Informer, Informers
from podwire.coredns import corefile
from podwire.coredns.chain import Plugin, PluginError, Query, Serve, finish, link
from podwire.coredns.core import in_zone
from podwire.coredns.corefile import CorefileError, Directive, ServerBlock
from podwire.coredns.metrics import Metrics
from podwire.coredns.plugins import BY_NAME, NOT_MODELLED, ORDER
from podwire.coredns.plugins.health import Health
from podwire.coredns.plugins.prometheus import Prometheus
from podwire.coredns.plugins.ready import Ready
from podwire.coredns.plugins.reload import Reload, sha512
from podwire.runtime.tasks import Nursery, first

COREFILE = "/etc/coredns/Corefile"
HOSTS_FILE = "/etc/hosts"
VERSION = "1.14.7"
BUILD = "linux/amd64, go1.26.8, podwire"
IDLE_TCP_S = 10.0

V = TypeVar("V", bound=Object)
USER = service_account("kube-system", "coredns")


@dataclass(slots=True)
class Server:
    """One zone of one server block, with its chain."""

    zone: str
    port: int
    plugins: list[Plugin]
    entry: Serve


@dataclass(slots=True)
class Configuration:
    """All servers of one Corefile."""

    servers: list[Server] = field(default_factory=list)
    beside: list[Plugin] = field(default_factory=list)
    digest: str = ""

    @property
    def plugins(self) -> list[Plugin]:
        """Every plugin once, in starting order: those beside the chains first."""
        inside = {id(p): p for server in self.servers for p in server.plugins}
        return [*self.beside, *inside.values()]

    def ports(self) -> list[int]:
        """The ports to serve, sorted."""
        return sorted({server.port: None for server in self.servers})

    def find(self, name: str, port: int) -> Server | None:
        """The server of the longest zone that holds a name."""
        fits = [s for s in self.servers if s.port == port and in_zone(name, s.zone)]
        return max(fits, key=lambda server: len(server.zone), default=None)


class CoreDNS:
    """One running CoreDNS. Implements ``chain.Host``."""

    def __init__(self, ctx: Ctx, process: Process, tasks: Nursery) -> None:
        self.process = process
        self.clock = ctx.clock
        spec = process.spec
        self.rng = ctx.rng.child(f"coredns/{spec.namespace}/{spec.pod}")
        self.metrics = Metrics()
        self.tasks = tasks
        client = Client(ctx.api, USER, f"CoreDNS/{VERSION}")
        self._informers = Informers(client, ctx)
        self._configuration = Configuration()
        self._files: dict[str, bytes] = {}
        self._sockets: dict[int, list[Datagrams | Listener]] = {}
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    # ------------------------------------------------------------------ Host

    def log(self, level: str, message: str) -> None:
        """Print a line as CoreDNS's log package does."""
        self.process.out(f"[{level}] {message}")

    def file(self, path: str) -> bytes:
        """A file that the Corefile names, as it was when the Corefile was read.

        Raises FileNotFoundError.
        """
        if path not in self._files:
            raise FileNotFoundError(path)
        return self._files[path]

    def informer(self, kind: Kind[V]) -> Informer[V]:
        """The shared informer of a kind."""
        return self._informers.informer(kind)

    def fatal(self, message: str) -> None:
        """Print and end with code 1."""
        self.log("FATAL", message)
        if not self._over.done():
            self._over.set_result(1)

    def reload(self) -> None:
        """Load the Corefile anew; a bad one keeps the old configuration."""
        self.tasks.start(self._reload(), name="coredns reloading")

    # ------------------------------------------------------------------ life

    async def run(self) -> int:
        """Serve until TERM or a fatal error; the exit code."""
        try:
            configuration = await self._load()
        except (CorefileError, FileNotFoundError) as error:
            self.process.err(str(error))
            return 1
        self.tasks.start(self._informers.run(), name="coredns informers")
        try:
            await self._adopt(configuration)
            if not self._over.done():
                for server in configuration.servers:
                    self.process.out(f"{server.zone}:{server.port}")
                self._say_digest(configuration)
                self.process.out(f"CoreDNS-{VERSION}")
                self.process.out(BUILD)
            which, code = await first(self._over_soon(), self._terminated())
            if which == 1:
                await self._lameduck()
            return int(code)
        finally:
            for plugin in self._configuration.plugins:
                plugin.stop()
            for port in list(self._sockets):
                self._close(port)

    async def _over_soon(self) -> int:
        return await self._over

    async def _terminated(self) -> int:
        while await self.process.terminated() not in {"TERM", "INT", "QUIT"}:
            pass
        return 0

    async def _lameduck(self) -> None:
        self.log("INFO", "SIGTERM: Shutting down servers then terminating")
        for plugin in self._configuration.beside:
            if isinstance(plugin, Ready):
                plugin.shutting_down = True
        for plugin in self._configuration.beside:
            if isinstance(plugin, Health) and plugin.lameduck_s:
                text = f"{plugin.lameduck_s:g}s"
                self.log("INFO", f"plugin/health: Going into lameduck mode for {text}")
                await self.clock.sleep(plugin.lameduck_s)

    async def _reload(self) -> None:
        self.log("INFO", "Reloading")
        try:
            configuration = await self._load()
        except (CorefileError, FileNotFoundError) as error:
            self.log("ERROR", f"Restart failed: {error}")
            self.log("ERROR", f"plugin/reload: Corefile changed but reload failed: {error}")
            self.metrics.add("coredns_reload_failed_total")
            return
        for plugin in self._configuration.plugins:
            plugin.stop()
        await self._adopt(configuration)
        self._say_digest(configuration)
        self.log("INFO", "Reloading complete")

    async def _adopt(self, configuration: Configuration) -> None:
        for plugin in configuration.plugins:
            await plugin.start()
            self.metrics.set(
                "coredns_plugin_enabled", 1, name=plugin.name, server="dns://:53",
                zone=plugin.zones[0], view="",
            )  # fmt: skip
        self._configuration = configuration
        wanted = configuration.ports()
        for port in [port for port in self._sockets if port not in wanted]:
            self._close(port)
        for port in wanted:
            if port not in self._sockets and not self._over.done():
                await self._open(port)

    def _say_digest(self, configuration: Configuration) -> None:
        if any(isinstance(plugin, Reload) for plugin in configuration.beside):
            digest = configuration.digest
            self.log("INFO", f"plugin/reload: Running configuration SHA512 = {digest}")

    # ------------------------------------------------------------------ configuration

    async def _load(self) -> Configuration:
        """The Corefile's configuration. Raises CorefileError, FileNotFoundError."""
        data = await self.process.read_file(COREFILE)
        blocks = corefile.parse(data.decode(errors="replace"))
        self._files = await self._named_files(blocks)
        configuration = Configuration(digest=sha512(data))
        self.metrics.set(
            "coredns_build_info", 1, version=VERSION, goversion="go1.26.8", revision="podwire"
        )
        seen: dict[tuple[str, int], None] = {}
        for block in blocks:
            plugins = self._plugins(block, configuration)
            entry = link(plugins)
            for plugin in plugins:
                plugin.entry = entry
            for zone in block.zones:
                if (zone, block.port) in seen:
                    raise CorefileError(1, f"cannot serve {zone} - it is already defined", COREFILE)
                seen[zone, block.port] = None
                configuration.servers.append(Server(zone, block.port, plugins, entry))
        for plugin in configuration.beside:
            if isinstance(plugin, Ready):
                plugin.watched = configuration.plugins
            elif isinstance(plugin, Reload):
                plugin.digest = configuration.digest
        return configuration

    async def _named_files(self, blocks: Sequence[ServerBlock]) -> dict[str, bytes]:
        """The files that plugins' lines name, and those they read unnamed."""
        named = {HOSTS_FILE: None}
        for block in blocks:
            for line in block.plugins:
                named.update((word, None) for word in line.args if word.startswith("/"))
        files: dict[str, bytes] = {}
        for path in named:
            with suppress(FileNotFoundError):
                files[path] = await self.process.read_file(path)
        return files

    def _plugins(self, block: ServerBlock, configuration: Configuration) -> list[Plugin]:
        by_name: dict[str, list[Directive]] = {}
        for line in block.plugins:
            if line.name in NOT_MODELLED:
                raise line.error(f"plugin '{line.name}' is not modelled")
            if line.name not in BY_NAME:
                raise line.error(f"Unknown directive '{line.name}'")
            by_name.setdefault(line.name, []).append(line)
        inside: list[Plugin] = []
        for kind in ORDER:
            for line in by_name.get(kind.name, ()):
                plugin = kind(line, block.zones, self)
                if isinstance(plugin, Prometheus):
                    plugin.server = f"dns://:{block.port}"
                (inside if kind.answers else configuration.beside).append(plugin)
        return inside

    # ------------------------------------------------------------------ sockets

    async def _open(self, port: int) -> None:
        spec, sockets = self.process.spec, self.process.sockets
        try:
            udp = await sockets.bind_udp(spec.node, spec.netns, "", port)
            self._sockets[port] = [udp]
            tcp = await sockets.listen(spec.node, spec.netns, "", port)
        except OSError as error:
            self.process.err(f"listen on :{port}: bind: {error}")
            if not self._over.done():
                self._over.set_result(1)
            return
        self._sockets[port].append(tcp)
        self.tasks.start(self._serve_udp(udp, port), name=f"coredns udp :{port}")
        self.tasks.start(self._serve_tcp(tcp, port), name=f"coredns tcp :{port}")

    def _close(self, port: int) -> None:
        for socket in self._sockets.pop(port, ()):
            socket.close()

    async def _serve_udp(self, socket: Datagrams, port: int) -> None:
        async with Nursery() as queries:
            while True:
                try:
                    data, address, source = await socket.recv_from()
                except ConnectionRefusedError:
                    continue  # a client that went away before its answer came
                except OSError:
                    return
                answering = self._answer_udp(socket, data, (address, source), port)
                queries.start(answering, name=f"coredns query {address}:{source}")

    async def _answer_udp(
        self, socket: Datagrams, data: bytes, remote: tuple[str, int], port: int
    ) -> None:
        answer = await self.handle(data, "udp", remote, (socket.local[0], port))
        if answer:
            try:
                await socket.send_to(answer, *remote)
            except OSError as error:
                self.log("ERROR", f"write udp {remote[0]}:{remote[1]}: {error}")

    async def _serve_tcp(self, listener: Listener, port: int) -> None:
        async with Nursery() as connections:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    return
                connections.start(self._connection(stream, port), name="coredns tcp connection")

    async def _connection(self, stream: Stream, port: int) -> None:
        buffer = bytearray()
        try:
            while True:
                while len(buffer) < 2 or len(buffer) < 2 + int.from_bytes(buffer[:2], "big"):
                    async with asyncio.timeout(IDLE_TCP_S):
                        data = await stream.recv()
                    if not data:
                        await stream.close()
                        return
                    buffer += data
                end = 2 + int.from_bytes(buffer[:2], "big")
                local = (stream.local[0], port)
                answer = await self.handle(bytes(buffer[2:end]), "tcp", stream.remote, local)
                del buffer[:end]
                if answer:
                    await stream.send(len(answer).to_bytes(2, "big") + answer)
        except TimeoutError:
            await stream.close()
        except OSError:
            stream.abort()

    # ------------------------------------------------------------------ answering

    async def handle(
        self, data: bytes, proto: str, remote: tuple[str, int], local: tuple[str, int]
    ) -> bytes:
        """The wire of the answer to a wire; b"" when none is due."""
        try:
            message = dnswire.decode(data)
        except DnsError:
            if len(data) < 12 or data[2] & 0x80:
                return b""
            broken = Message(id=int.from_bytes(data[:2], "big"), qr=True, rcode=dnswire.FORMERR)
            return dnswire.encode(broken)
        if message.qr:
            return b""
        if not message.questions:
            return dnswire.encode(message.reply(dnswire.SERVFAIL))
        asked = message.question
        query = Query(message, asked.name, asked.type, proto, remote, local, size_bytes=len(data))
        if message.edns is not None and message.edns.version != 0:
            return finish(query, message.reply(dnswire.BADVERS))
        server = self._configuration.find(asked.name, local[1])
        if server is None or asked.qclass != dnswire.IN or message.opcode != 0:
            return finish(query, message.reply(dnswire.REFUSED))
        try:
            answer = await server.entry(query)
        except PluginError:
            answer = message.reply(dnswire.SERVFAIL)
        try:
            return finish(query, answer)
        except DnsError:
            return finish(query, message.reply(dnswire.SERVFAIL))


async def serve(ctx: Ctx, process: Process) -> int:
    """The program of the image ``registry.k8s.io/coredns/coredns``."""
    async with Nursery() as tasks:
        code = await CoreDNS(ctx, process, tasks).run()
        tasks.cancel()
    return code
