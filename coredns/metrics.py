"""Prometheus metrics under CoreDNS's names; counted always, shown by the prometheus plugin."""

from __future__ import annotations

from dataclasses import dataclass, field

BUCKETS_S = tuple(0.00025 * 2**i for i in range(16))
"""Of coredns_dns_request_duration_seconds."""

HELP = {
    "coredns_build_info": ("gauge", "A metric with a constant '1' value labeled by version."),
    "coredns_dns_requests_total": ("counter", "Counter of DNS requests made per zone."),
    "coredns_dns_responses_total": ("counter", "Counter of response status codes."),
    "coredns_cache_entries": ("gauge", "The number of elements in the cache."),
    "coredns_cache_hits_total": ("counter", "The count of cache hits."),
    "coredns_cache_misses_total": ("counter", "The count of cache misses."),
    "coredns_cache_requests_total": ("counter", "The count of cache requests."),
    "coredns_forward_max_concurrent_rejects_total": (
        "counter",
        "Counter of the number of queries rejected because of the maximum concurrent queries.",
    ),
    "coredns_forward_healthcheck_broken_total": (
        "counter",
        "Counter of the number of complete failures of the healthchecks.",
    ),
    "coredns_panics_total": ("counter", "A metrics that counts the number of panics."),
    "coredns_plugin_enabled": ("gauge", "Whether a plugin is enabled in a server and zone."),
    "coredns_reload_failed_total": ("counter", "Counter of the number of failed reload attempts."),
}
"""Type and help line by metric."""


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_S))
    total: int = 0
    sum: float = 0.0

    def observe(self, value: float) -> None:
        self.total += 1
        self.sum += value
        for i, bound in enumerate(BUCKETS_S):
            if value <= bound:
                self.counts[i] += 1


@dataclass(slots=True)
class Metrics:
    """Counters and gauges by name and label text; one duration histogram."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)
    durations: dict[str, _Histogram] = field(default_factory=dict)

    def add(self, metric: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        key = (metric, _text(labels))
        self.values[key] = self.values.get(key, 0) + amount

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self.values[metric, _text(labels)] = value

    def observe(self, seconds: float, **labels: str) -> None:
        """Count a request's duration."""
        self.durations.setdefault(_text(labels), _Histogram()).observe(seconds)

    def exposition(self) -> str:
        """The text format of /metrics."""
        lines: list[str] = []
        told = ""
        for (name, labels), value in sorted(self.values.items()):
            if name != told:
                kind, text = HELP.get(name, ("counter", name))
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                told = name
            lines.append(f"{name}{labels} {value:g}")
        name = "coredns_dns_request_duration_seconds"
        if self.durations:
            text = "Histogram of the time (in seconds) each request took per zone."
            lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
        for labels, histogram in sorted(self.durations.items()):
            inner = labels[1:-1]
            for bound, count in zip(BUCKETS_S, histogram.counts, strict=True):
                lines.append(f'{name}_bucket{{{inner},le="{bound:g}"}} {count}')
            lines.append(f'{name}_bucket{{{inner},le="+Inf"}} {histogram.total}')
            lines.append(f"{name}_sum{labels} {histogram.sum:g}")
            lines.append(f"{name}_count{labels} {histogram.total}")
        return "\n".join(lines) + "\n"


def _text(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "}"
