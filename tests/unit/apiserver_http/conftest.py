"""An API server behind its HTTPS adapter on loopback, with a kubelet that tests play."""

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.certs import Authority
from podwire.apiserver.http import connection
from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.http.server import HttpServer, tls_context
from podwire.apiserver.http.upgrade import Upgrader
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import Response, User
from podwire.runtime.env import real
from podwire.store.embedded import EmbeddedStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
TOKEN = "a-made-up-token"
PATIENCE_S = 60.0


class Command:
    """A running command whose ends the test holds."""

    def __init__(self):
        self.stdin = asyncio.Queue()
        self.printed = asyncio.Queue()
        self.code = asyncio.get_running_loop().create_future()
        self.cancelled = asyncio.Event()
        self.size = None

    def resize(self, columns, rows):
        """Counter 6."""
        self.size = (columns, rows)

    def print(self, channel, data):
        """Let the command print."""
        self.printed.put_nowait((channel, data))

    def exit(self, code):
        """Let the command end."""
        self.printed.put_nowait(None)
        self.code.set_result(code)

    async def send_stdin(self, data):
        """Counter 6."""
        self.stdin.put_nowait(data)

    async def output(self):
        """Counter 6."""
        while (item := await self.printed.get()) is not None:
            yield item

    async def wait(self):
        """Counter 6."""
        return await self.code

    def cancel(self):
        """Counter 6."""
        self.cancelled.set()


class PodStream:
    """One end of a connection into a pod (counters.Stream)."""

    def __init__(self, incoming, outgoing, names):
        self.incoming = incoming
        self.outgoing = outgoing
        self.local, self.remote = names
        self.aborted = asyncio.Event()
        self.ended = False

    async def send(self, data):
        """Counter 3."""
        if self.aborted.is_set():
            raise ConnectionResetError(104, "Connection reset by peer")
        await self.outgoing.put(data)

    async def recv(self):
        """Counter 3."""
        if self.ended:
            return b""
        data = await self.incoming.get()
        if isinstance(data, OSError):
            raise data
        self.ended = not data
        return data

    async def close(self):
        """Counter 3."""
        self.outgoing.put_nowait(b"")

    def abort(self):
        """Counter 3."""
        self.aborted.set()
        self.outgoing.put_nowait(ConnectionResetError(104, "Connection reset by peer"))


def streams():
    """Two ends of one connection."""
    one, two = asyncio.Queue(), asyncio.Queue()
    names = (("127.0.0.1", 40000), ("127.0.0.1", 80))
    return PodStream(one, two, names), PodStream(two, one, names[::-1])


class Kubelets:
    """Counter 6: remembers what it was asked to run."""

    def __init__(self):
        self.asked = []
        self.started = []
        self.refusal = None
        self.unstartable = None
        self.pods = {}
        self.serving = []

    async def exec(self, node, namespace, pod, container, argv, tty):
        """Start a command."""
        self.asked.append((node, namespace, pod, container, tuple(argv), tty))
        return self._start()

    def _start(self):
        if self.refusal is not None:
            raise self.refusal
        self.started.append(Command())
        if self.unstartable is not None:
            self.started[-1].printed.put_nowait(None)
            self.started[-1].code.set_exception(self.unstartable)
        return self.started[-1]

    async def logs(self, node, namespace, pod, container, options):
        """What a container said: where it was asked for, and nothing more."""
        self.asked.append((node, namespace, pod, container, "logs", options))

        async def said():
            yield f"{namespace}/{pod}/{container}\n".encode()

        return said()

    async def attach(self, node, namespace, pod, container, *, stdin):
        """Attach to a program."""
        self.asked.append((node, namespace, pod, container, "attach", stdin))
        return self._start()

    async def port_forward(self, node, namespace, pod, port):
        """Connect to a port of a pod: the test plays what listens there."""
        return await self._connect(port, f"error forwarding port {port} to pod x: refused")

    async def dial(self, node, address, port, timeout_s):
        """Connect from a node."""
        self.asked.append((node, address, port))
        try:
            return await self._connect(port, "")
        except ApiError:
            why = f"dial tcp {address}:{port}: connect: connection refused"
            raise ConnectionError(why) from None

    async def _connect(self, port, refusal):
        if port not in self.pods:
            raise ApiError("InternalError", refusal)
        near, far = streams()
        self.serving.append(asyncio.create_task(self._serve(port, far)))
        return near

    async def _serve(self, port, stream):
        with suppress(ConnectionResetError):  # a client may leave in the middle
            await self.pods[port](stream)

    async def http(self, node, request):
        """Kubelet's own port."""
        self.asked.append((node, request.method, request.path, request.query))
        return Response(200, b"ok", {"content-type": "text/plain"})


class Site:
    """Where the server is, and how clients of several kinds reach it."""

    def __init__(self, server, http, authority, client, kubelets, directory):
        self.server = server
        self.http = http
        self.authority = authority
        self.client = client
        self.kubelets = kubelets
        self.directory = directory

    @property
    def url(self):
        """The server's address."""
        host, port = self.http.address
        return f"https://{host}:{port}"

    def tls(self, pair=None):
        """A client's TLS settings, with its certificate if it has one."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if pair is not None:
            certificate, key = self.directory / "client.crt", self.directory / "client.key"
            certificate.write_bytes(pair.certificate)
            key.write_bytes(pair.key)
            context.load_cert_chain(certificate, key)
        return context

    @asynccontextmanager
    async def session(self, pair=None, token=""):
        """An HTTP client: with a certificate, a token, or nothing."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=self.tls(pair))
        async with (
            asyncio.timeout(PATIENCE_S),
            aiohttp.ClientSession(self.url, connector=connector, headers=headers) as session,
        ):
            yield session

    def admin(self):
        """An HTTP client that may do everything."""
        return self.session(token=TOKEN)

    async def pod(self, name="web", phase="Running"):
        """A pod with one running container on node-1."""
        spec = {"nodeName": "node-1", "containers": [{"name": "main", "image": "nginx"}]}
        await self.client.create(kinds.POD, {"metadata": {"name": name}, "spec": spec}, "default")
        container = {
            "name": "main",
            "image": "nginx",
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
        status = {"status": {"phase": phase, "containerStatuses": [container]}}
        await self.client.patch(kinds.POD, name, status, "default", subresource="status")


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch):
    """What a refused client may still send is read for a moment only."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)


@pytest.fixture
async def site(tmp_path):
    """The server, listening; everything ends with the test."""
    env = real(7, "off")
    store = EmbeddedStore(env.clock, env.trace)
    kubelets = Kubelets()
    server = Apiserver(env, store, kubelets=kubelets)
    await server.start()
    client = Client(DirectApi(server, ADMIN))
    await client.create(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
    authority = Authority(env.secret, env.clock.now_ns())
    pair = authority.server(["127.0.0.1"])
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    http = HttpServer(
        DirectApi(server, ADMIN),
        Authenticator({TOKEN: User("robot")}),
        Upgrader(server),
        tls_context(str(certificate), str(key), authority.pem),
        env,
    )
    await http.start("127.0.0.1", 0)
    yield Site(server, http, authority, client, kubelets, tmp_path)
    server.stop()
    await http.stop()
    await store.close()


@pytest.fixture
def in_thread():
    """Calls what blocks while the server goes on in this loop."""
    return asyncio.to_thread


@pytest.fixture
def authority():
    """A certificate authority."""
    env = real(7, "off")
    return Authority(env.secret, env.clock.now_ns())
