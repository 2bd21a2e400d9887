"""The life of one controller pod: watches, syncs, status, ports, signals."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from podwire.client import http1
from podwire.client.counters import Listener, Process, Stream
from podwire.client.ctx import Ctx
from podwire.client.http1 import HttpError, Reader
from podwire.ingress.core import Flags, error_page, flags
from podwire.ingress.proxy import Connection, Door
from podwire.ingress.store import VERSION, Store
from podwire.ingress.tls import Contexts, TlsStream, fake_certificate
from podwire.ingress.upstreams import CLIENT_TIMEOUT_S, Balancer
from podwire.l7.certs import KeyPair
from podwire.l7.table import Backends, compile_table
from podwire.runtime.tasks import Event, Nursery

BANNER = f"""\
-------------------------------------------------------------------------------
NGINX Ingress controller
  Release:       v{VERSION}
  Build:         podwire
  Repository:    a model of https://github.com/kubernetes/ingress-nginx
-------------------------------------------------------------------------------
"""
DRAIN_S = 240.0
"""worker_shutdown_timeout: how long requests at hand may take when the controller ends."""
_TLS_HANDSHAKE = b"\x16"


class Controller:
    """One running controller."""

    def __init__(self, ctx: Ctx, process: Process, options: Flags, tasks: Nursery) -> None:
        spec = process.spec
        self._ctx = ctx
        self._process = process
        self._options = options
        self._tasks = tasks
        self._rng = ctx.rng.child(f"ingress/{spec.namespace}/{spec.pod}")
        self._store = Store(ctx, process, options)
        self._klog = self._store.klog
        self._contexts = Contexts(self._fake, self._pair)
        self._door = Door(
            process, ctx.clock, self._rng.child("requests"), Balancer(self._rng.child("balancer")),
            compile_table((), Backends((), ()), self._store.names), self._error,
        )  # fmt: skip
        self._listeners: list[Listener] = []
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._empty = Event()

    # ------------------------------------------------------------------ life

    async def run(self) -> int:
        """Until TERM; the exit code."""
        for line in BANNER.splitlines():
            self._process.out(line)
        for name in self._options.unknown:
            self._klog.warning("flags.go:89", f"flag --{name} is not modelled")
        await self._store.start(self._tasks)
        self._sync()
        self._store.ready()
        if not await self._listen():
            return 1
        self._klog.info_s("nginx.go:271", "Starting NGINX Ingress controller")
        self._tasks.start(self._syncing(), name="ingress sync")
        await self._terminated()
        self._klog.info_s("nginx.go:384", "Shutting down controller queues")
        await self._drain()
        await self._store.shutdown()
        self._klog.info_s("main.go:184", "Exiting", code=0)
        return 0

    async def _terminated(self) -> None:
        while await self._process.terminated() not in {"TERM", "INT", "QUIT"}:
            pass

    async def _drain(self) -> None:
        """Stop accepting, end idle connections, let requests at hand finish."""
        for listener in self._listeners:
            listener.close()
        for connection, task in list(self._open.items()):
            connection.draining = True
            if connection.idle:
                await connection.end()
                task.cancel()
        try:
            async with asyncio.timeout(DRAIN_S):
                while self._open:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for task in list(self._open.values()):
                task.cancel()

    # ------------------------------------------------------------------ syncs

    async def _syncing(self) -> None:
        """Follow changes, not more often than the flag says (a token bucket of one)."""
        interval_s = 1 / self._options.sync_rate_per_s
        while True:
            await self._store.changed.wait()
            self._store.changed.clear()
            self._sync()
            await self._ctx.clock.sleep(interval_s)

    def _sync(self) -> None:
        table = self._store.table()
        if table.servers != self._door.table.servers:
            for key, why in table.left_out:
                self._klog.warning("controller.go:1480", f"Ingress {key}: {why}")
            if self._store.configuration(table) != self._store.configuration(self._door.table):
                self._klog.info_s(
                    "controller.go:196", "Configuration changes detected, backend reload required"
                )
                self._klog.info_s("controller.go:216", "Backend successfully reloaded")
                self._store.reloaded()
        self._door.table = table
        names = {
            location.upstream.name: None
            for server in table.servers.values()
            for location in server.locations
            if location.upstream is not None
        }
        self._door.balancer.keep(names)

    def _error(self, text: str) -> None:
        stamp = f"{self._door.now():%Y/%m/%d %H:%M:%S}"
        self._process.err(f"{stamp} [error] 1#1: {text}")

    # ------------------------------------------------------------------ certificates

    def _fake(self) -> KeyPair:
        return fake_certificate(self._rng.child("fake certificate"), self._ctx.clock.now_ns())

    def _pair(self, name: str) -> KeyPair | None:
        """The certificate for a server name; None: the fake one."""
        key = self._door.table.server(name).certificate
        return self._store.pair(key) if key else None

    # ------------------------------------------------------------------ ports

    async def _listen(self) -> bool:
        """Open the ports; whether that worked."""
        options, spec = self._options, self._process.spec
        ports: tuple[tuple[int, Callable[[Listener], Awaitable[None]]], ...] = (
            (options.healthz_port, lambda listener: http1.serve(listener, _health)),
            (options.http_port, lambda listener: self._accept(listener, secure=False)),
            (options.https_port, lambda listener: self._accept(listener, secure=True)),
        )
        for port, serve in ports:
            try:
                listener = await self._process.sockets.listen(spec.node, spec.netns, "", port)
            except OSError as error:
                self._klog.error_s("main.go:65", f"port {port} is in use", err=str(error))
                return False
            if port != options.healthz_port:
                self._listeners.append(listener)
            self._tasks.start(_ended(serve(listener)), name=f"ingress :{port}")
        return True

    async def _accept(self, listener: Listener, *, secure: bool) -> None:
        async with Nursery() as connections:
            while True:
                try:
                    stream = await listener.accept()
                except OSError:
                    return
                name = f"ingress {stream.remote[0]}:{stream.remote[1]}"
                connections.start(self._converse(stream, secure=secure), name=name)

    async def _converse(self, stream: Stream, *, secure: bool) -> None:
        """One connection from its first byte; nothing it does ends the controller."""
        connection: Connection | None = None
        try:
            inner, reader = stream, Reader(stream)
            if secure:
                async with asyncio.timeout(CLIENT_TIMEOUT_S):
                    found = await self._secured(stream, reader)
                if found is None:
                    return
                inner, reader = found
            connection = Connection(self._door, inner, reader, secure=secure)
            task = asyncio.current_task()
            assert task is not None
            self._open[connection] = task
            try:
                await connection.serve()
            finally:
                del self._open[connection]
                if not self._open:
                    self._empty.set()
        except (OSError, HttpError) as error:  # TLS errors and time-outs are OSErrors
            if isinstance(error, ssl.SSLError):
                self._error(f"SSL_do_handshake() failed ({error.reason})")
            stream.abort()
        except BaseException:
            if connection is None or not connection.ended:
                stream.abort()
            raise

    async def _secured(self, stream: Stream, reader: Reader) -> tuple[Stream, Reader] | None:
        """TLS, real or modelled, terminated; None when it is neither and was told so.

        Raises ssl.SSLError, HttpError, OSError.
        """
        if await reader.peek(_TLS_HANDSHAKE):
            inner = TlsStream(stream, reader.unread(), self._contexts.default())
            await inner.handshake()
            return inner, Reader(inner)
        if await reader.peek(http1.TLS_PREFIX):
            await reader.line()
            await stream.send(http1.TLS_ACCEPTED)
            return stream, reader
        page = error_page(400).replace(
            b"</center>\r\n<hr>",
            b"</center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n<hr>",
        )
        answer = http1.Response(400, page, [("Content-Type", "text/html")])
        await stream.send(http1.encode_response(answer, close=True))
        await stream.close()
        return None


async def _ended(serving: Awaitable[None]) -> None:
    await serving


async def _health(request: http1.Request) -> http1.Response:
    """/healthz; metrics are not modelled."""
    if request.path == "/healthz":
        return http1.text("ok")
    return http1.text("not modelled\n", 404)


async def serve(ctx: Ctx, process: Process) -> int:
    """The program of the image ``registry.k8s.io/ingress-nginx/controller``."""
    try:
        options = flags(process.spec.argv)
    except ValueError as error:
        process.err(f"Error: {error}")
        return 2
    async with Nursery() as tasks:
        code = await Controller(ctx, process, options, tasks).run()
        tasks.cancel()
    return code
