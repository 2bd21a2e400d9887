"""What webhooks did, under upstream's names.

Source: apiserver pkg/admission/metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.apiserver.metrics import Histogram, head, line

_PREFIX = "apiserver_admission_webhook_"
_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)

Labels = tuple[tuple[str, str], ...]


class Counted:
    """Counters by labels."""

    def __init__(self) -> None:
        self._durations: dict[Labels, Histogram] = {}
        self._requests: dict[Labels, int] = {}
        self._rejections: dict[Labels, int] = {}
        self._opened: dict[Labels, int] = {}

    def called(
        self, name: str, type: str, operation: str, *, rejected: bool, code: int, took_s: float
    ) -> None:
        """A call ended. ``code`` is 0 where there is no HTTP status."""
        labels: Labels = (
            ("name", name), ("operation", operation), ("rejected", str(rejected).lower()),
            ("type", type),
        )  # fmt: skip
        histogram = self._durations.get(labels)
        if histogram is None:
            histogram = self._durations[labels] = Histogram(_BUCKETS_S)
        histogram.observe(took_s)
        labels = (("code", str(min(code, 600))), *labels)
        self._requests[labels] = self._requests.get(labels, 0) + 1

    def rejected(self, name: str, type: str, operation: str, error: str, code: int) -> None:
        """A write was refused: ``error`` is ``no_error`` when the hook itself did it."""
        labels: Labels = (
            ("error_type", error), ("name", name), ("operation", operation),
            ("rejection_code", str(min(code, 600))), ("type", type),
        )  # fmt: skip
        self._rejections[labels] = self._rejections.get(labels, 0) + 1

    def failed_open(self, name: str, type: str) -> None:
        """A failure was ignored."""
        labels: Labels = (("name", name), ("type", type))
        self._opened[labels] = self._opened.get(labels, 0) + 1

    def lines(self) -> Iterator[str]:
        """Everything as Prometheus text, in order of names."""
        if not self._requests:
            return
        name = f"{_PREFIX}admission_duration_seconds"
        yield from head(name, "histogram", "STABLE")
        for labels, histogram in self._durations.items():
            yield from histogram.lines(name, dict(labels))
        for short, counted in (
            ("fail_open_count", self._opened),
            ("rejection_count", self._rejections),
            ("request_total", self._requests),
        ):
            yield from head(_PREFIX + short, "counter")
            for labels, count in counted.items():
                yield line(_PREFIX + short, dict(labels), count)
