"""Which group versions are not this server's to answer, and what is known of those who do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from podwire.apiserver import answers
from podwire.apiserver.aggregation import core, merging, passing_on
from podwire.apiserver.aggregation.checks import Checks
from podwire.apiserver.aggregation.core import Remote
from podwire.apiserver.aggregation.merging import NOTHING, Elsewhere, GroupVersion, Priority, Served
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.http.duplex import Switch
from podwire.apiserver.metrics import head, line
from podwire.apiserver.registry import apiservices
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


class Aggregator:
    """The extension API servers of one API server."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._known: dict[str, tuple[Entry, Remote | None]] = {}
        self._by_group_version: dict[tuple[str, str], Remote] = {}
        self.served: dict[str, Served] = {}
        """What extension servers serve, by the APIService's name."""
        self._elsewhere: tuple[int, Elsewhere] | None = None
        """As of which generation of kinds."""
        self._checks = Checks(server, self._heard)
        server.caches.tell(apiservices.KIND, self._changed)
        server.metrics.more.append(self.lines)

    def stop(self) -> None:
        """Ask nobody any more."""
        self._checks.stop()

    # ------------------------------------------------------------ which

    def of(self, path: str) -> Remote | None:
        """Who answers a path; None when this server does."""
        if not self._by_group_version:
            return None
        parts = path.split("/", 4)
        if len(parts) > 3 and parts[1] == "apis":
            return self._by_group_version.get((parts[2], parts[3]))
        if len(parts) > 2 and parts[1] == "api":
            return self._by_group_version.get(("", parts[2]))
        return None

    def remotes(self) -> list[Remote]:
        """All of them, by name."""
        return sorted(self._by_group_version.values(), key=lambda remote: remote.name)

    def _changed(self) -> None:
        """The cache has other APIServices than before."""
        entries = self._server.caches.of(apiservices.KIND).entries()
        known: dict[str, tuple[Entry, Remote | None]] = {}
        for entry in entries:
            before = self._known.get(entry.name)
            if before is None or before[0] is not entry:
                before = (entry, core.remote_of(entry.json()))
            known[entry.name] = before
        ours = [name for name, (_, remote) in known.items() if remote is None]
        for name in ours:
            if name in self._known and self._known[name][1] is not None:
                self._checks.local(name)
        self._known = known
        found = {
            (remote.group, remote.version): remote
            for _, remote in known.values()
            if remote is not None
        }
        was, self._by_group_version = self._by_group_version, found
        self._elsewhere = None
        if list(was) != list(found):
            self._server.kinds.changed()  # paths mean something else now
            self._server.definitions.reroute()
        remotes = {remote.name: remote for remote in found.values()}
        for name in [name for name in self.served if name not in remotes]:
            del self.served[name]
        self._checks.follow(remotes)

    def _heard(self, remote: Remote, served: Served) -> None:
        """What an extension server serves, or that nobody knows at the moment."""
        old = self.served.get(remote.name)
        if not served.fresh and old is not None:
            served = old.stale()
        if served != old:
            self.served[remote.name] = served
            self._elsewhere = None

    def elsewhere(self, local: Callable[[], Iterable[GroupVersion]]) -> Elsewhere:
        """What discovery tells of extension servers, among this server's ``local`` ones."""
        if not self._by_group_version:
            return NOTHING
        generation = self._server.kinds.generation
        if self._elsewhere is None or self._elsewhere[0] != generation:
            self._elsewhere = (generation, self._merged(local()))
        return self._elsewhere[1]

    def _merged(self, local: Iterable[GroupVersion]) -> Elsewhere:
        priorities: dict[GroupVersion, Priority] = {}
        for entry in self._server.caches.of(apiservices.KIND).entries():
            spec = entry.json()["spec"]
            priorities[spec.get("group", ""), spec["version"]] = Priority(
                spec["groupPriorityMinimum"], spec["versionPriority"]
            )
        remotes = {(r.group, r.version): r for r in self.remotes()}
        versions = tuple(
            (key, self.served.get(remote.name, Served())) for key, remote in remotes.items()
        )
        return Elsewhere(versions, tuple(merging.in_order(local, remotes, priorities)))

    # ------------------------------------------------------------ answering

    async def handle(self, request: Request, remote: Remote) -> Response:
        """Pass on a request that was authorized."""
        if not remote.available:
            return answers.text("service unavailable\n", 503)
        return await passing_on.handle(self._server, request, remote)

    async def upgrade(self, request: Request, remote: Remote) -> Switch | Response:
        """Pass on a request for another protocol that was authorized."""
        if not remote.available:
            return answers.text("service unavailable\n", 503)
        return await passing_on.upgrade(self._server, request, remote)

    # ------------------------------------------------------------ metrics

    def lines(self) -> Iterator[str]:
        """Who is not available, under upstream's names."""
        remotes = self.remotes()
        if not remotes:
            return
        yield from head("aggregator_unavailable_apiservice", "gauge", "ALPHA")
        for remote in remotes:
            value = 0 if remote.available else 1
            yield line("aggregator_unavailable_apiservice", {"name": remote.name}, value)
        yield from head("aggregator_unavailable_apiservice_total", "counter", "ALPHA")
        for (name, reason), count in sorted(self._checks.unavailable.items()):
            labels = {"name": name, "reason": reason}
            yield line("aggregator_unavailable_apiservice_total", labels, count)
