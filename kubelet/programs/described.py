"""Programs that users describe in YAML: ports, latencies, answers, failure rates.

``docs/programs.md`` has an example. Loaded from the files that PODWIRE_PROGRAMS names, or by
``podwire.testing.load_programs``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from podwire.client import http1
from podwire.client.counters import Stream
from podwire.kubelet.programs.image import Image
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools import SERVER_TOOLS

MAX_FILE_BYTES = 1024 * 1024
Seconds = Annotated[float, Field(ge=0, le=3600)]


class DescriptionError(ValueError):
    """A file of programs is wrong; names the field."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Strict):
    """How long an answer takes, in seconds: ``mean_s`` give or take up to ``jitter_s``."""

    mean_s: Seconds = 0.0
    jitter_s: Seconds = 0.0


class Answer(_Strict):
    """An answer to HTTP requests whose method and path fit; ``*`` in a path fits anything."""

    path: str = "*"
    method: str = "*"
    status: Annotated[int, Field(ge=100, le=599)] = 200
    body: str = ""
    """``$pod $namespace $node $ip $path $method $client`` are filled in."""
    headers: dict[str, str] = {}
    latency: Latency | None = None


class Port(_Strict):
    """A port that a program listens on.

    ``failure_rate`` is the share of requests (connections for tcp, datagrams for udp) that fail:
    with ``failure_status`` (http), or, where that is 0, by a connection that is cut.
    """

    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["http", "https", "tcp", "udp"] = "http"
    latency: Latency = Latency()
    failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    failure_status: Annotated[int, Field(ge=0, le=599)] = 503
    responses: tuple[Answer, ...] = ()
    """http: the first that fits; without one 404."""
    greeting: str = ""
    """tcp: said first."""
    replies: dict[str, str] = {}
    """tcp, udp: what is said to a text (without its line end)."""


class Exit(_Strict):
    """When and how the program ends by itself."""

    after_s: Seconds
    code: Annotated[int, Field(ge=0, le=255)] = 0


class Description(_Strict):
    """One program."""

    image: Annotated[str, Field(min_length=1)]
    """The repository, in any registry; without a tag."""
    entrypoint: str = "server"
    startup_s: Seconds = 0.0
    """How long it starts before it listens."""
    log: tuple[str, ...] = ()
    """Lines printed once it listens."""
    ports: tuple[Port, ...] = ()
    exit: Exit | None = None


class _File(_Strict):
    programs: tuple[Description, ...]


def read(text: str, name: str = "programs") -> tuple[Description, ...]:
    """Descriptions from YAML. Raises DescriptionError with the field's path."""
    if len(text) > MAX_FILE_BYTES:
        raise DescriptionError(f"{name}: larger than {MAX_FILE_BYTES} bytes")
    try:
        return _File.model_validate(yaml.safe_load(text)).programs
    except yaml.YAMLError as error:
        raise DescriptionError(f"{name}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DescriptionError(f"{name}: {where}: {first['msg']}") from None


def images(paths: Sequence[str]) -> list[Image]:
    """The images that files describe. Raises DescriptionError, OSError."""
    return [image_of(one) for path in paths for one in read(Path(path).read_text(), path)]


def image_of(description: Description) -> Image:
    """A described program as an image, beside the tools of a Debian server image."""

    async def run(command: Command) -> int:
        return await _Described(command, description).run()

    binary = description.entrypoint.rpartition("/")[2]
    return Image(
        description.image.rpartition("/")[2], (description.image,), tools=SERVER_TOOLS,
        entrypoint=(description.entrypoint,), programs={binary: run},
    )  # fmt: skip


class _Described:
    def __init__(self, command: Command, description: Description) -> None:
        self.command = command
        self.description = description

    async def run(self) -> int:
        command, wanted = self.command, self.description
        await command.env.clock.sleep(wanted.startup_s)
        async with Server(command) as server:
            for port in wanted.ports:
                try:
                    await self._open(server, port)
                except OSError as error:
                    command.err(f"listen :{port.port}: bind: {in_use(error)}\n")
                    return 1
            for line in wanted.log:
                command.out(f"{line}\n")
            if wanted.exit is not None:
                await command.env.clock.sleep(wanted.exit.after_s)
                return wanted.exit.code
            await server.until_signal()
        return TERMINATED

    async def _open(self, server: Server, port: Port) -> None:
        async def answer(request: http1.Request) -> http1.Response:
            return await self._answer(port, request)

        async def talk(stream: Stream) -> None:
            await self._talk(port, stream)

        async def datagram(data: bytes, _address: str, _port: int) -> bytes:
            await self._wait(port.latency)
            return b"" if self._fails(port) else self._reply(port, data)

        if port.protocol == "udp":
            await server.udp(port.port, datagram)
        elif port.protocol == "tcp":
            await server.tcp(port.port, talk)
        else:
            await server.http(port.port, answer, tls=port.protocol == "https")

    async def _wait(self, latency: Latency) -> None:
        spread = latency.jitter_s * (2 * self.command.env.rng.random() - 1)
        await self.command.env.clock.sleep(max(latency.mean_s + spread, 0.0))

    def _fails(self, port: Port) -> bool:
        return port.failure_rate > 0 and self.command.env.rng.random() < port.failure_rate

    def _reply(self, port: Port, data: bytes) -> bytes:
        text = data.decode(errors="replace").rstrip("\r\n")
        return port.replies.get(text, port.replies.get("*", "")).encode()

    async def _answer(self, port: Port, request: http1.Request) -> http1.Response:
        found = next((a for a in port.responses if _fits(a, request)), None)
        latency = found.latency if found is not None and found.latency else port.latency
        await self._wait(latency)
        if self._fails(port):
            if not port.failure_status:
                raise ConnectionResetError
            response = http1.text("failure injected by the program's description\n")
            response.status = port.failure_status
        elif found is None:
            response = http1.text("404 page not found\n", 404)
        else:
            spec = self.command.spec
            body = Template(found.body).safe_substitute(
                pod=spec.pod, namespace=spec.namespace, node=spec.node, ip=spec.pod_ip,
                path=request.path, method=request.method, client=request.peer[0],
            )  # fmt: skip
            response = http1.text(body, found.status)
            kept = [(k, v) for k, v in response.headers if k not in found.headers]
            response.headers = [*kept, *found.headers.items()]
        line = f'{request.peer[0]} "{request.method} {request.target}" {response.status}'
        self.command.out(f"{line}\n")
        return response

    async def _talk(self, port: Port, stream: Stream) -> None:
        if self._fails(port):
            stream.abort()
            return
        await self._wait(port.latency)
        if port.greeting:
            await stream.send(port.greeting.encode())
        while data := await stream.recv():
            await self._wait(port.latency)
            reply = self._reply(port, data)
            if reply:
                await stream.send(reply)


def _fits(answer: Answer, request: http1.Request) -> bool:
    return answer.method in {"*", request.method} and fnmatch.fnmatchcase(request.path, answer.path)
