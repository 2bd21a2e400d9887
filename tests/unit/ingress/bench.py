"""One connection of the controller between a client and backends, on a flat network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from podwire.client import http1
from podwire.ingress.proxy import Connection, Door
from podwire.ingress.upstreams import Balancer
from podwire.l7.table import Table
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.l7.objects import endpoint_slice, ingress, path, rule, service, table
from tests.unit.programs.fakes import FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet, FlatStream

CONTROLLER = "10.244.0.9"
CLIENT = "10.244.0.7"


class Bench:
    """``connect`` gives a client's end; the controller serves the other."""

    def __init__(self, env: Env, tasks: Nursery, routes: Table) -> None:
        self.env, self.tasks = env, tasks
        self.net = FlatNet()
        self.process = FakeProcess(self.net, spec("controller", ip=CONTROLLER, pod="ingress-1"))
        self.net.add("node-1", "client", CLIENT)
        self.seen: list[http1.Request] = []
        self.door = Door(
            self.process, env.clock, env.rng, Balancer(env.rng), routes, self.process.err
        )

    async def backend(
        self, address: str, answer: Callable[[http1.Request], http1.Response] | None = None
    ) -> None:
        """A server at address:3000 that tells its address (or what ``answer`` says)."""

        async def handler(request: http1.Request) -> http1.Response:
            self.seen.append(request)
            return answer(request) if answer is not None else http1.text(address)

        self.net.add("node-1", address, address)
        listener = await self.net.listen("node-1", address, "", 3000)
        self.tasks.start(http1.serve(listener, handler), name=address)

    async def raw(
        self, address: str, serve: Callable[[FlatStream, http1.Reader], Coroutine[Any, Any, None]]
    ) -> None:
        """A server that does what it likes with each connection."""
        self.net.add("node-1", address, address)
        listener = await self.net.listen("node-1", address, "", 3000)

        async def accept() -> None:
            async with Nursery() as each:
                while True:
                    stream = await listener.accept()
                    each.start(serve(stream, http1.Reader(stream)), name="raw")

        self.tasks.start(accept(), name=address)

    def connect(self, *, secure: bool = False) -> Client:
        """A client's connection to the controller."""
        near = FlatStream((CLIENT, 40000), (CONTROLLER, 443 if secure else 80))
        far = FlatStream((CONTROLLER, 443 if secure else 80), (CLIENT, 40000))
        near.peer, far.peer = far, near
        connection = Connection(self.door, far, http1.Reader(far), secure=secure)
        self.tasks.start(connection.serve(), name="connection")
        return Client(near)


class Client:
    """Writes bytes, reads answers."""

    def __init__(self, stream: FlatStream) -> None:
        self.stream = stream
        self.reader = http1.Reader(stream)

    async def ask(self, text: str, body: bytes = b"") -> http1.Response:
        """Send a head (lines end with a newline; the empty one is added) and read the answer."""
        await self.send(text, body)
        return await self.answer(text.partition(" ")[0])

    async def send(self, text: str, body: bytes = b"") -> None:
        head = "".join(f"{line.strip()}\r\n" for line in text.strip().splitlines())
        await self.stream.send(head.encode() + b"\r\n" + body)

    async def answer(self, method: str = "GET") -> http1.Response:
        return await http1.read_response(self.reader, method)


def routes(*addresses: str, **annotations: str) -> Table:
    """Host h, everything to Service s with these endpoints."""
    prefix = "nginx.ingress.kubernetes.io/"
    notes = {prefix + name.replace("_", "-"): value for name, value in annotations.items()}
    i = ingress("i", rule("h", path("/", "s:8080")), annotations=notes)
    return table(i, services=[service("s")], slices=[endpoint_slice("s", *addresses)])


def run(story: Callable[[Bench], Awaitable[Any]], with_routes: Table, seed: int = 1) -> Any:
    """Run a story in virtual time."""

    async def main(env: Env) -> Any:
        async with Nursery() as tasks:
            result = await story(Bench(env, tasks, with_routes))
            tasks.cancel()
        return result

    return sim.run(main, seed)
