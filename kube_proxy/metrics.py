"""kube-proxy's metrics, by upstream's names, in the Prometheus text format.

Source: kubernetes pkg/proxy/metrics/metrics.go (names, help, buckets: v1.30.5; the label
ip_family and those of the conntrack reconciler: the reference of v1.33).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

_DURATIONS_S = tuple(0.001 * 2**i for i in range(15))
_PROGRAMMING_S = (
    0.25, 0.5, *map(float, range(1, 60)), *map(float, range(60, 120, 5)),
    *map(float, range(120, 301, 30)),
)  # fmt: skip
_SYNC = "kubeproxy_sync_proxy_rules"

_HISTOGRAMS = {
    f"{_SYNC}_duration_seconds": ("SyncProxyRules latency in seconds", _DURATIONS_S),
    "kubeproxy_sync_full_proxy_rules_duration_seconds": (
        "SyncProxyRules latency in seconds for full resyncs", _DURATIONS_S,
    ),
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": (
        "SyncProxyRules latency in seconds for partial resyncs", _DURATIONS_S,
    ),
    "kubeproxy_network_programming_duration_seconds": (
        "In Cluster Network Programming Latency in seconds", _PROGRAMMING_S,
    ),
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": (
        "ReconcileConntrackFlowsLatency latency in seconds", _DURATIONS_S,
    ),
}  # fmt: skip
_COUNTERS = {
    f"{_SYNC}_endpoint_changes_total": "Cumulative proxy rules Endpoint changes",
    f"{_SYNC}_service_changes_total": "Cumulative proxy rules Service changes",
    f"{_SYNC}_iptables_restore_failures_total": "Cumulative proxy iptables restore failures",
    f"{_SYNC}_iptables_partial_restore_failures_total": (
        "Cumulative proxy iptables partial restore failures"
    ),
    f"{_SYNC}_nftables_sync_failures_total": "Cumulative proxy nftables sync failures",
    "kubeproxy_conntrack_reconciler_deleted_entries_total": (
        "Cumulative conntrack flows deleted by conntrack reconciler"
    ),
    "kubeproxy_proxy_healthz_total": "Cumulative proxy healthz HTTP status",
    "kubeproxy_proxy_livez_total": "Cumulative proxy livez HTTP status",
}
_GAUGES = {
    f"{_SYNC}_last_timestamp_seconds": "The last time proxy rules were successfully synced",
    f"{_SYNC}_last_queued_timestamp_seconds": "The last time a sync of proxy rules was queued",
    f"{_SYNC}_endpoint_changes_pending": "Pending proxy rules Endpoint changes",
    f"{_SYNC}_service_changes_pending": "Pending proxy rules Service changes",
    f"{_SYNC}_iptables_total": "Total number of iptables rules owned by kube-proxy",
    f"{_SYNC}_iptables_last": "Number of iptables rules written by kube-proxy in last sync",
    f"{_SYNC}_no_local_endpoints_total": (
        "Number of services with a Local traffic policy and no endpoints"
    ),
}


class Histogram:
    """Observations in buckets of upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add(self, other: Histogram, sign: int = 1) -> None:
        """Count what another one observed; -1: do not count it any more."""
        pairs = zip(self._counts, other._counts, strict=True)
        self._counts = [own + sign * count for own, count in pairs]
        self._sum += sign * other._sum

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The samples; ``labels`` are those besides ``le`` (``ip_family="IPv4",`` or "")."""
        bounds = (*(f"{bound:g}" for bound in self._bounds), "+Inf")
        totals = list(accumulate(self._counts))
        for bound, total in zip(bounds, totals, strict=True):
            yield f'{name}_bucket{{{labels}le="{bound}"}} {total}'
        own = f"{{{labels.rstrip(',')}}}" if labels else ""
        yield f"{name}_sum{own} {self._sum:g}"
        yield f"{name}_count{own} {totals[-1]}"


class Metrics:
    """All of one kube-proxy's. Names that are not listed above may be set too, by modes."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str], Histogram] = {}
        """By name and family."""
        self._counters: dict[str, float] = {}
        self._gauges: dict[str, float] = {}

    def observe(self, name: str, value_s: float, family: str) -> None:
        """A duration; ``name`` without the subsystem's prefix, ``family`` as IPv4 or IPv6."""
        key = (f"kubeproxy_{name}", family)
        if key not in self._histograms:
            self._histograms[key] = Histogram(_HISTOGRAMS[key[0]][1])
        self._histograms[key].observe(value_s)

    def count(self, name: str, by: float = 1) -> None:
        """Add to a counter; ``name`` without prefix, with labels."""
        key = f"kubeproxy_{name}"
        self._counters[key] = self._counters.get(key, 0) + by

    def set(self, name: str, value: float) -> None:
        """Set a gauge; ``name`` without prefix, with labels."""
        self._gauges[f"kubeproxy_{name}"] = value

    def copy(self) -> Metrics:
        """As they are now."""
        made = Metrics()
        made.add(self, Metrics())
        return made

    def add(self, other: Metrics, since: Metrics) -> None:
        """Take over what another one counted and observed since it was ``since``; its gauges."""
        for key, histogram in other._histograms.items():
            if key not in self._histograms:
                self._histograms[key] = Histogram(_HISTOGRAMS[key[0]][1])
            self._histograms[key].add(histogram)
            if key in since._histograms:
                self._histograms[key].add(since._histograms[key], -1)
        for name, value in other._counters.items():
            more = value - since._counters.get(name, 0)
            self._counters[name] = self._counters.get(name, 0) + more
        self._gauges.update(other._gauges)

    def value(self, name: str) -> float:
        """A counter's or gauge's value; 0 when it was never touched."""
        key = f"kubeproxy_{name}"
        return self._counters.get(key, self._gauges.get(key, 0.0))

    def text(self) -> str:
        """The exposition."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        before = ""
        for (name, family), histogram in sorted(self._histograms.items()):
            if name != before:
                yield from _head(name, "histogram", _HISTOGRAMS[name][0])
                before = name
            yield from histogram.lines(name, f'ip_family="{family}",')
        for kind, samples, helps in (
            ("counter", self._counters, _COUNTERS), ("gauge", self._gauges, _GAUGES),
        ):  # fmt: skip
            before = ""
            for key in sorted(samples):
                name = key.partition("{")[0]
                if name != before:
                    yield from _head(name, kind, helps.get(name, ""))
                    before = name
                yield f"{key} {samples[key]:.17g}"


def labelled(name: str, family: str) -> str:
    """A metric's name (with other labels or none) with the label ``ip_family``, first."""
    bare, brace, labels = name.partition("{")
    return f'{bare}{{ip_family="{family}"{"," + labels if brace else "}"}'


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    if text:
        yield f"# HELP {name} [ALPHA] {text}"
    yield f"# TYPE {name} {kind}"
