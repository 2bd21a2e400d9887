"""A query on its way through the plugins, and what a plugin is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from podwire.api.kinds import Kind
from podwire.api.views import Object
from podwire.client import dnstext, dnswire
from podwire.client.counters import Process
from podwire.client.dnswire import Edns, Message
from podwire.client.informer import Informer
from podwire.coredns.corefile import CorefileError, Directive
from podwire.coredns.metrics import Metrics
from podwire.runtime.ports import Clock, Rng
from podwire.runtime.tasks import Nursery

V = TypeVar("V", bound=Object)


class PluginError(Exception):
    """A plugin could not answer: the ``errors`` plugin prints it, the client gets SERVFAIL."""


@dataclass(slots=True)
class Query:
    """One question, as it walks the chain. ``name`` keeps the client's letter case."""

    message: Message
    name: str
    qtype: int
    proto: str = "udp"
    remote: tuple[str, int] = ("", 0)
    local: tuple[str, int] = ("", 0)
    answered_by: str = ""
    """The plugin that wrote the answer, for metrics."""
    size_bytes: int = 0

    @property
    def lower(self) -> str:
        """The name for matching."""
        return self.name.lower()

    @property
    def type_text(self) -> str:
        """``A``, ``SRV`` ..."""
        return dnstext.type_name(self.qtype)

    @property
    def limit_bytes(self) -> int:
        """How large an answer the client takes: 512 without EDNS, everything over TCP."""
        if self.proto == "tcp":
            return 65535
        edns = self.message.edns
        return max(512, edns.size_bytes) if edns is not None else 512


Serve = Callable[[Query], Awaitable[Message]]
"""The rest of the chain. Raises PluginError."""


class Host(Protocol):
    """The running server, as plugins see it."""

    process: Process
    clock: Clock
    rng: Rng
    metrics: Metrics
    tasks: Nursery

    def log(self, level: str, message: str) -> None:
        """Print ``[LEVEL] message``."""

    def file(self, path: str) -> bytes:
        """A file that the Corefile names. Raises FileNotFoundError."""

    def informer(self, kind: Kind[V]) -> Informer[V]:
        """The shared informer of a kind."""

    def fatal(self, message: str) -> None:
        """Print and exit with code 1."""

    def reload(self) -> None:
        """Load the Corefile anew."""


class Plugin:
    """One plugin of one server block. Subclasses set ``name`` and override what they need."""

    name: ClassVar[str] = ""
    answers: ClassVar[bool] = True
    """Whether it stands in the chain (False: health, ready, reload: only beside it)."""

    def __init__(self, line: Directive, zones: list[str], host: Host) -> None:
        self.line = line
        self.zones = zones
        self.host = host
        self.entry: Serve = _no_entry
        """The head of its own chain, for lookups a plugin makes itself."""
        self.configure()

    def configure(self) -> None:
        """Read the Corefile line. Raises CorefileError."""

    def unknown(self, line: Directive) -> CorefileError:
        """The error for a line inside the plugin's block that it does not know."""
        return line.error(f"unknown property '{line.name}'")

    async def start(self) -> None:
        """Begin work that lives as long as the configuration (tasks go to ``host.tasks``)."""

    def stop(self) -> None:
        """End that work: the configuration is replaced or the server ends."""

    @property
    def ready(self) -> bool:
        """What the ``ready`` plugin reports."""
        return True

    async def serve(self, query: Query, following: Serve) -> Message:
        """Answer, or let the rest of the chain answer."""
        return await following(query)


async def _no_entry(_query: Query) -> Message:
    raise PluginError("no chain")


async def no_next_plugin(query: Query) -> Message:
    """The end of every chain: nobody answered."""
    return query.message.reply(dnswire.SERVFAIL)


def link(plugins: list[Plugin]) -> Serve:
    """The chain of plugins as one function."""
    serve: Serve = no_next_plugin
    for plugin in reversed(plugins):
        serve = _bind(plugin, serve)
    return serve


def _bind(plugin: Plugin, following: Serve) -> Serve:
    async def serve(query: Query) -> Message:
        return await plugin.serve(query, following)

    return serve


def finish(query: Query, message: Message) -> bytes:
    """The wire of an answer: OPT echoed, cut to what the client takes, compressed if needed."""
    asked = query.message.edns
    message.edns = Edns(asked.size_bytes, 0, asked.do) if asked is not None else None
    limit = query.limit_bytes
    if query.proto == "udp":
        plain = dnswire.encode(message, compress=False, max_bytes=65535)
        if len(plain) <= min(limit, 1480):
            return plain
    return dnswire.encode(message, max_bytes=limit)
