"""Modelled use of CPU and memory: what ``kubectl top`` shows and autoscalers act on (pure).

A container uses what it steadily uses, and CPU time for each message that its sockets receive: a
request costs its server, the answer its client. Annotations of the pod say how much
(docs/metrics.md); an image that is known for its appetite has a figure of its own; anything else
idles. CPU is averaged over the last whole window, as a metrics server does, and never above the
container's limit; who wants more memory than that is killed. Not modelled: throttled programs
answering later, nodes out of memory, use by commands of ``exec``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from podwire.api import quantity
from podwire.api.quantity import QuantityError
from podwire.api.views import Container, Pod
from podwire.client.hosting import repository

_STRESS_BYTES = re.compile(r"(\d{1,15})([BKMGbkmg]?)")
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
WINDOW_NS = 15 * 10**9
"""How often a metrics server looks (--metric-resolution)."""

PREFIX = "podwire.dev/"
CPU, MEMORY, CPU_PER_REQUEST = "cpu", "memory", "cpu-per-request"
"""Annotations of a pod, with PREFIX; ``.<container>`` behind one is for that container alone."""

SYSTEM_CPU_NANO = 60_000_000
SYSTEM_MEMORY_BYTES = 512 << 20
"""What a node uses without pods."""


@dataclass(frozen=True, slots=True)
class Appetite:
    """What a container uses: cores and bytes all the time, CPU seconds per message received."""

    cpu: str = "1m"
    memory: str = "8Mi"
    cpu_per_request: str = "200u"


IDLE = Appetite()
_KNOWN: Mapping[str, Appetite] = {
    "registry.k8s.io/hpa-example": Appetite(memory="20Mi", cpu_per_request="50m"),
    "registry.k8s.io/pause": Appetite("0", "512Ki", "0"),
    "registry.k8s.io/coredns/coredns": Appetite("2m", "24Mi", "50u"),
}
"""By repository; hpa-example is the server of Kubernetes' autoscaling walkthrough, which
computes for each request.
"""


class Meter:
    """CPU time of one container, per window; it costs nothing while nothing happens."""

    __slots__ = ("_before", "_now", "_window", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self._window = 0
        self._now = 0
        self._before = 0

    def message(self, now_ns: int) -> None:
        """One more message was received."""
        self.messages += 1
        self._roll(now_ns)
        self._now += 1

    def last_window(self, now_ns: int) -> int:
        """Messages of the last whole window."""
        self._roll(now_ns)
        return self._before

    def _roll(self, now_ns: int) -> None:
        window = now_ns // WINDOW_NS
        if window != self._window:
            self._before = self._now if window == self._window + 1 else 0
            self._window, self._now = window, 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container used: cores in units of 1e-9, and bytes."""

    cpu_nano: int
    memory_bytes: int


def appetite(pod: Pod, container: Container) -> Appetite:
    """By annotation, by image, or by what ``stress`` is told to take."""
    base = _KNOWN.get(repository(container.image), IDLE)
    if repository(container.image).endswith("polinux/stress"):
        base = Appetite(memory=_stressed(container) or base.memory)
    return Appetite(
        _noted(pod, container.name, CPU) or base.cpu,
        _noted(pod, container.name, MEMORY) or base.memory,
        _noted(pod, container.name, CPU_PER_REQUEST) or base.cpu_per_request,
    )


def starves(pod: Pod, container: Container) -> bool:
    """Whether a container wants more memory than its limit: the kernel kills it for that.

    What is only guessed of an image that nobody knows kills nobody.
    """
    limit, wanted = container.resources.limits.get("memory"), appetite(pod, container).memory
    if limit is None or wanted == IDLE.memory:
        return False
    return quantity.parse(wanted).value > quantity.parse(limit).value


def _stressed(container: Container) -> str:
    """``--vm-bytes`` of the stress program, which the documentation's memory demo runs."""
    words = [*container.command, *container.args]
    for option, value in pairwise(words):
        found = _STRESS_BYTES.fullmatch(value) if option == "--vm-bytes" else None
        if found is not None:
            workers = words[words.index("--vm") + 1] if "--vm" in words[:-1] else "1"
            unit = _UNITS[found[2].upper()]
            return str(int(found[1]) * unit * (int(workers) if workers.isdigit() else 1))
    return ""


def complaints(pod: Pod) -> list[str]:
    """Annotations that are no quantities, and so are not heeded."""
    found = []
    for name, text in pod.metadata.annotations.items():
        what = name.removeprefix(PREFIX).partition(".")[0]
        if name.startswith(PREFIX) and what in {CPU, MEMORY, CPU_PER_REQUEST}:
            try:
                quantity.parse(text)
            except QuantityError as error:
                found.append(f'annotation {name}: "{text}": {error}')
    return found


def _noted(pod: Pod, container: str, what: str) -> str:
    notes = pod.metadata.annotations
    text = notes.get(f"{PREFIX}{what}.{container}") or notes.get(f"{PREFIX}{what}", "")
    try:
        return text if text and quantity.parse(text).nano >= 0 else ""
    except QuantityError:
        return ""


def used(pod: Pod, container: Container, messages: int) -> Usage:
    """What a container used in a window in which so many messages arrived."""
    has = appetite(pod, container)
    work_nano = quantity.parse(has.cpu_per_request).nano * messages * 10**9 // WINDOW_NS
    cpu = quantity.parse(has.cpu).nano + work_nano
    memory = quantity.parse(has.memory).value
    limits = container.resources.limits
    if "cpu" in limits:
        cpu = min(cpu, quantity.parse(limits["cpu"]).nano)
    if "memory" in limits:
        memory = min(memory, quantity.parse(limits["memory"]).value)
    return Usage(cpu, memory)


def window_end_ns(now_ns: int) -> int:
    """When the last whole window ended."""
    return now_ns // WINDOW_NS * WINDOW_NS
