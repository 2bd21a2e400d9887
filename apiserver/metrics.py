"""/metrics: what the server did, under upstream's names, as Prometheus text.

A request costs one dict look-up and a few additions. Numbers come from the world's clock, so a
simulation counts the same each time; what the process uses is told only where a composition in
real time says how to ask (``process``).
Source of names, labels and buckets: apiserver pkg/endpoints/metrics, pkg/storage/etcd3/metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.apiserver import answers
from podwire.apiserver.calls import Call
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response
from podwire.runtime.ports import Clock
from podwire.store import OutcomeUnknownError

if TYPE_CHECKING:
    from typing import Any

    from podwire.apiserver.cache.watcher import Watcher
    from podwire.apiserver.server import Apiserver

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DURATIONS_S = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30,
    45, 60,
)  # fmt: skip
SIZES_BYTES = tuple(10.0**n for n in range(3, 10))

_VERBS = {
    "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "get": "GET",
    "list": "LIST", "watch": "WATCH", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_READS = ("get", "list", "watch")
_CONNECTS = ("exec", "attach", "portforward", "proxy")
_SERIES = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope")
_APPLY = "application/apply-patch+yaml"

Labels = tuple[str, ...]


class Histogram:
    """Counts per bucket, and a sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: dict[str, str]) -> Iterator[str]:
        """Cumulative buckets, sum and count."""
        count = 0
        for bound, found in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += found
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield line(f"{name}_bucket", {**labels, "le": le}, count)
        yield line(f"{name}_sum", labels, self.total)
        yield line(f"{name}_count", labels, count)


class Series:
    """Requests that are alike: one verb of one resource at one scope."""

    __slots__ = ("codes", "durations", "labels", "running", "sizes", "terminations")

    def __init__(self, labels: Labels) -> None:
        self.labels = {**dict(zip(_SERIES, labels, strict=True)), "component": "apiserver"}
        self.codes: dict[int, int] = {}
        self.terminations: dict[int, int] = {}
        self.durations = Histogram(DURATIONS_S)
        self.sizes = Histogram(SIZES_BYTES)
        self.running = 0
        """Watches (and other streams) that are open now."""

    @property
    def wet_labels(self) -> dict[str, str]:
        """The labels without dry_run, which not every metric has."""
        return {name: value for name, value in self.labels.items() if name != "dry_run"}


class Metrics:
    """What one API server counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series: dict[Labels, Series] = {}
        self._inflight = {"mutating": 0, "readOnly": 0}
        self._store: dict[tuple[str, Kind[Any]], Histogram] = {}
        self._events: dict[Kind[Any], int] = {}
        self.more: list[Callable[[], Iterable[str]]] = []
        """Metrics of others, as text."""
        self.process: Callable[[], dict[str, float]] | None = None
        """What the process uses, by metric name; None where nobody may ask."""

    # ------------------------------------------------------------ requests

    async def observed(self, call: Call, answer: Awaitable[Response]) -> Response:
        """The answer to a resource request, counted. Raises what ``answer`` raises."""
        series = self.series(call)
        way = "readOnly" if call.verb in _READS else "mutating"
        self._inflight[way] += 1
        began_ns = self._clock.monotonic_ns()
        code = 500
        try:
            response = await answer
            code = response.status
        except ApiError as error:
            code = error.code
            raise
        except OutcomeUnknownError:
            code = 504
            series.terminations[code] = series.terminations.get(code, 0) + 1
            raise
        finally:
            self._inflight[way] -= 1
            if code != 200 or call.verb != "watch":
                self._done(series, code, began_ns)
        if call.verb == "watch":
            self._watching(series, call.kind, response, began_ns)
        elif call.verb in _READS:
            _measure(series, response)
        return response

    def read(self, series: Series, began_ns: int, size: int) -> None:
        """Count a GET that was answered at once."""
        self._done(series, 200, began_ns)
        series.sizes.observe(size)

    def series(self, call: Call) -> Series:
        """Where requests like this one are counted."""
        kind, verb = call.kind, _VERBS.get(call.verb, call.verb.upper())
        if call.subresource in _CONNECTS:
            verb = "CONNECT"
        elif verb == "PATCH" and call.content_type == _APPLY:
            verb = "APPLY"
        if call.name or verb == "POST":
            scope = "resource"
        else:
            scope = "namespace" if call.namespace else "cluster"
        dry_run = "All" if call.query.has("dryRun") and call.query.get("dryRun") else ""
        key = (verb, dry_run, kind.group, kind.version, kind.plural, call.subresource, scope)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(key)
        return series

    def _done(self, series: Series, code: int, began_ns: int) -> None:
        series.codes[code] = series.codes.get(code, 0) + 1
        series.durations.observe((self._clock.monotonic_ns() - began_ns) / 1e9)

    def _watching(self, series: Series, kind: Kind[Any], response: Response, began_ns: int) -> None:
        """A watch counts as running until it ends."""
        watcher: Watcher = response.stream  # type: ignore[assignment]  # the one stream of a watch
        if watcher.ended:
            self._done(series, response.status, began_ns)
            return
        series.running += 1

        def ended() -> None:
            series.running -= 1
            self._events[kind] = self._events.get(kind, 0) + watcher.delivered
            self._done(series, response.status, began_ns)

        watcher.on_end = ended

    # ------------------------------------------------------------ the store

    def stored(self, operation: str, kind: Kind[Any], began_ns: int) -> None:
        """A transaction of the store that began then is over."""
        key = (operation, kind)
        histogram = self._store.get(key)
        if histogram is None:
            histogram = self._store[key] = Histogram(DURATIONS_S)
        histogram.observe((self._clock.monotonic_ns() - began_ns) / 1e9)

    # ------------------------------------------------------------ text

    def text(self, server: Apiserver) -> str:
        """Everything, in order of metric names."""
        return "\n".join([*self._lines(server), ""])

    def _lines(self, server: Apiserver) -> Iterator[str]:
        series = [self._series[key] for key in sorted(self._series)]
        for lines in self.more:
            yield from lines()
        yield from head("apiserver_current_inflight_requests", "gauge", "STABLE")
        for way, count in self._inflight.items():
            yield line("apiserver_current_inflight_requests", {"request_kind": way}, count)
        yield from head("apiserver_longrunning_requests", "gauge")
        for one in series:
            if one.labels["verb"] == "WATCH":
                yield line("apiserver_longrunning_requests", one.wet_labels, one.running)
        name = "apiserver_request_duration_seconds"
        yield from head(name, "histogram", "STABLE")
        for one in series:
            yield from one.durations.lines(name, one.labels)
        yield from _coded("apiserver_request_terminations_total", "ALPHA", (
            (one.wet_labels, one.terminations) for one in series
        ))  # fmt: skip
        yield from _coded("apiserver_request_total", "STABLE", (
            (one.labels, one.codes) for one in series
        ))  # fmt: skip
        yield from self._objects(server)
        name = "apiserver_response_sizes"
        yield from head(name, "histogram", "STABLE")
        for one in series:
            if one.labels["verb"] in {"GET", "LIST"}:
                yield from one.sizes.lines(name, one.wet_labels)
        yield from self._watch_events(server)
        name = "etcd_request_duration_seconds"
        yield from head(name, "histogram")
        for (operation, kind), histogram in self._store.items():
            labels = {"operation": operation, "group": kind.group, "resource": kind.plural}
            yield from histogram.lines(name, labels)
        for name, value in self.process().items() if self.process is not None else ():
            yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
            yield line(name, {}, value)

    def _objects(self, server: Apiserver) -> Iterator[str]:
        caches = [
            cache
            for cache in server.caches.all()
            if "get" in cache.kind.verbs and kinds.stored(cache.kind) is cache.kind
        ]
        yield from head("apiserver_resource_objects", "gauge")
        for cache in caches:
            labels = {"group": cache.kind.group, "resource": cache.kind.plural}
            yield line("apiserver_resource_objects", labels, len(cache))
        yield from head("apiserver_storage_objects", "gauge", "STABLE")
        for cache in caches:
            labels = {"resource": cache.kind.resource}
            yield line("apiserver_storage_objects", labels, len(cache))

    def _watch_events(self, server: Apiserver) -> Iterator[str]:
        yield from head("apiserver_watch_events_total", "counter")
        for cache in server.caches.all():
            kind = cache.kind
            watchers = cache.watchers()
            ended = self._events.get(kind)
            if ended is not None or watchers:
                count = (ended or 0) + sum(watcher.delivered for watcher in watchers)
                labels = {"group": kind.group, "version": kind.version, "kind": kind.kind}
                yield line("apiserver_watch_events_total", labels, count)


def _measure(series: Series, response: Response) -> None:
    """Count the size of a body; of one that is made while it is sent, once it is."""
    chunks = response.chunks
    if chunks is None:
        series.sizes.observe(len(response.body))
        return

    def measured() -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            yield chunk
        series.sizes.observe(size)

    response.chunks = measured()


def head(name: str, type: str, stability: str = "ALPHA") -> Iterator[str]:
    """The two lines before a metric's values."""
    yield f"# HELP {name} [{stability}] See the metrics reference of kube-apiserver."
    yield f"# TYPE {name} {type}"


def _coded(
    name: str, stability: str, counted: Iterable[tuple[dict[str, str], dict[int, int]]]
) -> Iterator[str]:
    yield from head(name, "counter", stability)
    for labels, codes in counted:
        for code, count in codes.items():
            yield line(name, {**labels, "code": str(code)}, count)


def line(name: str, labels: dict[str, str], value: float) -> str:
    """One value."""
    shown = f"{value:.17g}" if isinstance(value, float) else str(value)
    if not labels:
        return f"{name} {shown}"
    text = ",".join(f'{label}="{_escaped(labels[label])}"' for label in sorted(labels))
    return f"{name}{{{text}}} {shown}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


async def metrics(server: Apiserver, _request: Request) -> Response:
    """GET /metrics."""
    text = server.metrics.text(server)
    return answers.raw(text.encode(), 200, CONTENT_TYPE)


ROUTES = (Route("/metrics", metrics),)
