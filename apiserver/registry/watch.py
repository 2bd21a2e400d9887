"""GET ?watch=true: resume, synthetic state, WatchList. Source: apiserver storage/cacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.cache.kind import TooOld
from podwire.apiserver.cache.watcher import Watcher
from podwire.apiserver.calls import Call
from podwire.apiserver.encodings import error_frame
from podwire.apiserver.registry.list import expired, not_newer, select, validate
from podwire.client.counters import Frame, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """A stream of events from the asked revision on."""
    accept = call.request.headers.get("accept", "")
    shape = server.shape(accept, call.query.get("includeObject"), stream=True)
    query = call.query
    selection = select(call)
    if call.name:
        selection.demand_name(call.name)
    validate(call)
    timeout_s = _timeout(server, call)
    bookmarks = query.flag("allowWatchBookmarks")
    current = await server.caches.fresh()
    wanted = not_newer(call, current)
    initial = query.has("sendInitialEvents") and query.flag("sendInitialEvents")
    legacy = not query.has("sendInitialEvents") and wanted == 0
    cache = server.caches.of(call.kind)
    if shape is not None:
        shape.bookmark(call.kind, {})  # what has no such form is refused before a stream begins
    watcher = server.caches.watcher(
        call.kind, call.namespace, selection, shape, bookmarks=bookmarks
    )
    try:
        if initial or legacy:
            opening = _opening(cache.entries(call.namespace), watcher)
            if initial and bookmarks:
                end = server.caches.bookmark(call.kind, shape, initial_end=True)
                opening = chain(opening, (end,))
            watcher.begin(opening)
        elif wanted:
            for change in cache.since(wanted):
                if not call.namespace or change.subject.namespace == call.namespace:
                    watcher.see(change)
    except TooOld as error:
        # Upstream answers 200 and says it in the stream once the request itself was in order.
        watcher.begin(iter((error_frame(shape, expired(str(error)).status()),)))
        watcher.end()
        return _stream(watcher)
    clock = server.world.clock
    watcher.deadline = clock.call_later(timeout_s, _time_out, server, call, watcher)
    return _stream(watcher)


def _opening(entries: Sequence[Entry], watcher: Watcher) -> Iterator[Frame]:
    """The state as ADDED events, each made when it is read: entries never change, and a list of
    them is shared by all who read it.
    """
    matches, shape = watcher.matches, watcher.shape
    for entry in entries:
        if matches is None or matches(entry):
            yield entry.frame("ADDED", shape)


def _stream(watcher: Watcher) -> Response:
    shape = watcher.shape
    media = "application/json" if shape is None else shape.stream_type
    return Response(200, b"", {"content-type": media}, watcher)


def _timeout(server: Apiserver, call: Call) -> float:
    asked = call.query.number("timeoutSeconds")
    if asked and asked > 0:
        return float(asked)
    least = server.config.min_request_timeout_s
    return server.watch_rng.uniform(least, 2 * least)


def _time_out(server: Apiserver, call: Call, watcher: Watcher) -> None:
    if watcher.bookmarks:
        watcher.push(server.caches.bookmark(call.kind, watcher.shape))
    watcher.end()
