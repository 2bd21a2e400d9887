"""GETs of one object that can be answered without waiting: what most requests are.

``server.handle`` is the rule; this is the same answer at a fraction of its price, for requests
that ask for nothing special: no parameters, plain JSON, nobody impersonated, an object that is
there and not so large that it is compressed or written in pieces, a cache that is as new as the
store. Whatever else is asked is left to ``handle``, all refusals too.
``tests/unit/apiserver/test_reads.py`` holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.validation.warnings import deprecated
from podwire.apiserver import answers, calls
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.cache.kind import KindCache
from podwire.apiserver.encodings import for_people, names_other
from podwire.apiserver.http.writing import GZIP_BYTES
from podwire.apiserver.impersonation import is_asked
from podwire.apiserver.metrics import Series
from podwire.apiserver.registry import get
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_FOLDERS = 4096
"""How many paths are remembered; long ones are not (``calls.REMEMBERED_PATH``)."""
_ASKED = 256
"""How many pairs of Accept and User-Agent are remembered, and how long one may be."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What the path of an object means, up to its name."""

    kind: Kind[Any]
    cache: KindCache
    namespace: str
    series: Series


class Reads:
    """Answers what needs no waiting; remembers what paths and Accept headers mean."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._folders: dict[str, Folder] = {}
        self._generation = server.kinds.generation
        self._plain: dict[tuple[str, str], bool] = {}

    def answer(self, request: Request) -> Response | None:
        """The answer to a GET with a user, None when it is not for here."""
        if request.method != "GET" or request.query or request.body or request.user is None:
            return None
        server, headers = self._server, request.headers
        if server.auditor is not None:
            return None
        if server.kinds.generation != self._generation:  # paths mean something else now
            self._generation = server.kinds.generation
            self._folders.clear()
        path, _, name = request.path.rpartition("/")
        folder = self._folders.get(path) or self._learned(request, path, name)
        if folder is None or not name or "%" in name:
            return None
        asked = (headers.get("accept", ""), headers.get("user-agent", ""))
        if not (self._plain.get(asked) or self._is_plain(request, asked)):
            return None
        if is_asked(headers):
            return None
        began_ns = server.world.clock.monotonic_ns()
        kind, namespace = folder.kind, folder.namespace
        attributes = Attributes(
            request.user, "get", kind.group, kind.version, kind.plural, "",
            name if kind is kinds.NAMESPACE else namespace, name,
        )  # fmt: skip
        if not server.authorizer.allows(attributes) or not server.caches.settled():
            return None
        place = server.flowcontrol.of(request.user, "get", kind, "", namespace)
        if place is not None and place.state.queues.waiting:
            return None  # others of its level wait for their turn
        entry = folder.cache.get(namespace, name)
        if entry is None or len(data := entry.data) > GZIP_BYTES:
            return None
        response = answers.raw(data)
        if place is not None:
            response.headers.update(place.headers)
        server.metrics.read(folder.series, began_ns, len(data))
        return response

    def _learned(self, request: Request, path: str, name: str) -> Folder | None:
        """Find out what a path means: every object in the same place has the same."""
        server = self._server
        if not name or "%" in request.path or len(path) > calls.REMEMBERED_PATH:
            return None
        if server.routes.path(request.path) is not None:
            return None
        if server.aggregator.of(request.path) is not None:
            return None
        assert request.user is not None
        try:
            call = calls.parse(request, request.user, server.kinds)
        except ApiError:
            return None
        if call is None or call.verb != "get" or call.subresource or call.name != name:
            return None
        if call.kind.custom is not None and call.kind.custom.by_webhook:
            return None
        if deprecated(call.kind) or server.routes.verb(call) is not get.handle:
            return None
        cache, series = server.caches.of(call.kind), server.metrics.series(call)
        if len(self._folders) >= _FOLDERS:
            self._folders.clear()
        self._folders[path] = Folder(call.kind, cache, call.namespace, series)
        return self._folders[path]

    def _is_plain(self, request: Request, asked: tuple[str, str]) -> bool:
        """Whether who asks like that gets an object's JSON as it is stored."""
        accept, _ = asked
        if names_other(accept) or for_people(request):
            return False
        try:
            plain = self._server.shape(accept) is None
        except ApiError:
            return False
        if plain and len(accept) + len(asked[1]) < _ASKED:
            if len(self._plain) >= _ASKED:
                self._plain.clear()
            self._plain[asked] = True
        return plain
