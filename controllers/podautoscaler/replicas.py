"""How many replicas a metric asks for (pure).

Source: kubernetes pkg/controller/podautoscaler/replica_calculator.go and metrics/. Not modelled:
requests at the level of the pod (spec.resources).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from podwire.api import quantity
from podwire.api.times import NS
from podwire.api.views import Pod, PodMetrics
from podwire.controllers.common import since_epoch

CPU_INITIALIZATION_S = 300
"""So long after its start a pod's CPU counts only when it is Ready."""
INITIAL_READINESS_S = 30
"""A pod that was never Ready is one whose condition changed no later than this after its start."""


class CannotError(Exception):
    """No number of replicas can be told; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Ratios of use to target that are near enough to 1."""

    down: float = 0.1
    up: float = 0.1

    def within(self, ratio: float) -> bool:
        """Whether nothing has to change."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Sample:
    """One pod's use in thousandths, when it was taken, and over how long."""

    milli: int
    at_ns: int
    window_ns: int


@dataclass(frozen=True, slots=True)
class Question:
    """What a metric is asked about."""

    resource: str
    container: str
    """"" for all containers of a pod."""
    current: int
    """Replicas now."""
    pods: Sequence[Pod]
    metrics: Sequence[PodMetrics]
    tolerances: Tolerances
    now_ns: int


def samples(question: Question) -> dict[str, Sample]:
    """The use of each pod of which everything is known."""
    found = {}
    for item in question.metrics:
        parts = [c for c in item.containers if question.container in {"", c.name}]
        texts = [part.usage.get(question.resource) for part in parts]
        known = [text for text in texts if text is not None]
        if not parts or len(known) < len(texts):
            continue
        total = sum(quantity.milli(text) for text in known)
        window_ns = int(float(item.window.rstrip("s") or 0) * NS)
        found[item.metadata.name] = Sample(total, since_epoch(item.timestamp), window_ns)
    return found


def requests(question: Question) -> dict[str, int]:
    """What each pod requests, in thousandths. Raises CannotError."""
    found = {}
    resource, wanted = question.resource, question.container
    for pod in question.pods:
        sidecars = [c for c in pod.spec.init_containers if c.restart_policy == "Always"]
        mine = [c for c in (*pod.spec.containers, *sidecars) if wanted in {"", c.name}]
        name = pod.metadata.name
        if not mine and wanted:
            raise CannotError(f"container {wanted} not found in Pod {name}")
        total = 0
        for container in mine:
            if resource not in container.resources.requests:
                why = f"missing request for {resource} in container {container.name} of Pod {name}"
                raise CannotError(why)
            total += quantity.milli(container.resources.requests[resource])
        found[name] = total
    return found


@dataclass(frozen=True, slots=True)
class _Groups:
    """Pods by what their samples are worth."""

    ready: int
    unready: list[str]
    missing: list[str]
    used: dict[str, Sample]


def _group(question: Question) -> _Groups:
    known = samples(question)
    ready = 0
    unready: list[str] = []
    missing: list[str] = []
    for pod in question.pods:
        name = pod.metadata.name
        if pod.metadata.deletion_timestamp or pod.status.phase == "Failed":
            known.pop(name, None)
        elif pod.status.phase == "Pending":
            unready.append(name)
        elif name not in known:
            missing.append(name)
        elif question.resource == "cpu" and _starting(pod, known[name], question.now_ns):
            unready.append(name)
        else:
            ready += 1
    for name in unready:
        known.pop(name, None)
    return _Groups(ready, unready, missing, known)


def _starting(pod: Pod, sample: Sample, now_ns: int) -> bool:
    """Whether the CPU that a pod uses says nothing of the work that it does."""
    condition, start = pod.condition("Ready"), pod.status.start_time
    if condition is None or not start:
        return True
    changed_ns = since_epoch(condition.last_transition_time)
    if since_epoch(start) + CPU_INITIALIZATION_S * NS > now_ns:
        return condition.status == "False" or sample.at_ns < changed_ns + sample.window_ns
    never_ready = since_epoch(start) + INITIAL_READINESS_S * NS > changed_ns
    return condition.status == "False" and never_ready


def by_utilization(question: Question, target: int) -> tuple[int, int, int]:
    """(replicas, percentage of the requests, average use in thousandths). Raises CannotError."""
    groups = _checked(question)
    requested = requests(question)

    def ratio(used: Mapping[str, int]) -> tuple[float, int, int]:
        mine = [name for name in used if name in requested]
        total = sum(requested[name] for name in mine)
        if not total:
            raise CannotError("no metrics returned matched known pods")
        usage = sum(used[name] for name in mine)
        percent = usage * 100 // total
        return percent / target, percent, usage // len(mine)

    used = {name: sample.milli for name, sample in groups.used.items()}
    now, percent, average = ratio(used)
    full = max(100, target)
    fallback = {name: requested.get(name, 0) * full // 100 for name in groups.missing}
    return (
        _replicas(question, groups, used, now, fallback, lambda more: ratio(more)[0]),
        percent,
        average,
    )


def by_value(question: Question, target_milli: int) -> tuple[int, int]:
    """(replicas, average use in thousandths). Raises CannotError."""
    groups = _checked(question)

    def average(used: Mapping[str, int]) -> int:
        return sum(used.values()) // len(used)

    used = {name: sample.milli for name, sample in groups.used.items()}
    usage = average(used)
    fallback = dict.fromkeys(groups.missing, target_milli)
    replicas = _replicas(
        question, groups, used, usage / target_milli, fallback,
        lambda more: average(more) / target_milli,
    )  # fmt: skip
    return replicas, usage


def _checked(question: Question) -> _Groups:
    if not question.pods:
        raise CannotError("no pods returned by selector while calculating replica count")
    groups = _group(question)
    if not groups.used:
        why = "did not receive metrics for targeted pods (pods might be unready)"
        raise CannotError(why)
    return groups


def _replicas(
    question: Question,
    groups: _Groups,
    used: dict[str, int],
    ratio: float,
    fallback: Mapping[str, int],
    again: Callable[[Mapping[str, int]], float],
) -> int:
    """The number, with pods of which nothing is known taken at what changes least."""
    current, tolerances = question.current, question.tolerances
    up_unready = bool(groups.unready) and ratio > 1.0
    if not up_unready and not groups.missing:
        return current if tolerances.within(ratio) else ceil(ratio * groups.ready)
    if ratio < 1.0:
        used = {**used, **fallback}
    elif ratio > 1.0:
        used = {**used, **dict.fromkeys(groups.missing, 0)}
    if up_unready:
        used = {**used, **dict.fromkeys(groups.unready, 0)}
    new = again(used)
    turned = (ratio < 1.0 < new) or (new < 1.0 < ratio)
    if tolerances.within(new) or turned:
        return current
    wanted = ceil(new * len(used))
    if (new < 1.0 and wanted > current) or (new > 1.0 and wanted < current):
        return current
    return wanted
