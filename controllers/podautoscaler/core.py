"""HorizontalPodAutoscaler's decisions (pure).

Source: kubernetes pkg/controller/podautoscaler/horizontal.go. Pods, Object and External metrics
need an adapter that serves custom.metrics.k8s.io or external.metrics.k8s.io; none is modelled, and
the conditions say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire.api import kinds, quantity
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Pod, PodMetrics
from podwire.api.views.autoscaling import HorizontalPodAutoscaler, Scale
from podwire.client.effects import Effect, Emit, Patch
from podwire.controllers.podautoscaler import replicas
from podwire.controllers.podautoscaler.limits import Memory, normalize
from podwire.controllers.podautoscaler.replicas import CannotError, Question, Tolerances

SYNC_S = 15.0
"""--horizontal-pod-autoscaler-sync-period."""
TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance."""

_ABLE, _ACTIVE, _LIMITED, _ZERO = "AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"
_APIS = {"Pods": "custom", "Object": "custom", "External": "external"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller found out about the target of an autoscaler."""

    scale: Scale
    pods: Sequence[Pod]
    metrics: Sequence[PodMetrics]
    failure: str = ""
    """Why there are no metrics of resources."""
    rivals: Sequence[str] = ()
    """Autoscalers that select some of the same pods, this one among them."""


@dataclass(slots=True)
class Decision:
    """One pass over one autoscaler: its new size, status and events."""

    hpa: HorizontalPodAutoscaler
    now_ns: int
    memory: Memory
    conditions: list[JSON]
    current: int = 0
    desired: int = 0
    reason: str = ""
    rescale: bool = False
    metrics: list[JSON] | None = None
    events: list[Effect] = field(default_factory=list)

    def put(self, type_: str, status: str, reason: str, message: str) -> None:
        """Set a condition; its time changes with its status only."""
        found = next((c for c in self.conditions if c["type"] == type_), None)
        if found is None:
            found = {"type": type_}
            self.conditions.append(found)
        if found.get("status") != status:
            found["lastTransitionTime"] = format_time(self.now_ns)
        found.update(status=status, reason=reason, message=message)

    def warn(self, reason: str, message: str) -> None:
        """A Warning about the autoscaler."""
        self.events.append(Emit(self.hpa, "Warning", reason, message))


def begin(hpa: HorizontalPodAutoscaler, memory: Memory, now_ns: int) -> Decision:
    """A pass that has not decided anything yet."""
    conditions = [dict(condition) for condition in hpa.status.get("conditions") or ()]
    made = Decision(hpa, now_ns, memory, conditions)
    made.current = hpa.status.get("currentReplicas", 0)
    made.desired = hpa.status.get("desiredReplicas", 0)
    made.metrics = hpa.status.get("currentMetrics")
    return made


def without_scale(decision: Decision, why: str) -> list[Effect]:
    """The target has no scale that could be read."""
    decision.warn("FailedGetScale", why)
    message = f"the HPA controller was unable to get the target's current scale: {why}"
    decision.put(_ABLE, "False", "FailedGetScale", message)
    return [*decision.events, *_status(decision, scaled=False)]


def decide(decision: Decision, seen: Seen) -> None:
    """Find the size. ``decision.rescale`` says whether it is to be written."""
    spec = decision.hpa.spec
    message = "the HPA controller was able to get the target's current scale"
    decision.put(_ABLE, "True", "SucceededGetScale", message)
    current = decision.current = seen.scale.spec.replicas
    least = 1 if spec.min_replicas is None else spec.min_replicas
    if not decision.memory.recommendations:
        decision.memory = Memory(((decision.now_ns, current),))
    if current == 0:
        message = "scaling is disabled since the replica count of the target is zero"
        decision.put(_ACTIVE, "False", "ScalingDisabled", message)
        decision.desired, decision.metrics = 0, None
    elif current > spec.max_replicas:
        _jump(decision, spec.max_replicas, "above Spec.MaxReplicas")
    elif current < least:
        _jump(decision, least, "below Spec.MinReplicas")
    else:
        _by_metrics(decision, seen, least)


def _jump(decision: Decision, size: int, why: str) -> None:
    decision.reason = f"Current number of replicas {why}"
    decision.desired, decision.rescale, decision.metrics = size, True, None


def _by_metrics(decision: Decision, seen: Seen, least: int) -> None:
    hpa, current = decision.hpa, decision.current
    statuses: list[JSON] = []
    try:
        wanted, name = _highest(decision, seen, statuses)
    except CannotError as error:
        decision.metrics = statuses or None
        decision.warn("FailedComputeMetricsReplicas", str(error))
        return
    decision.metrics = statuses
    if wanted > current:
        decision.reason = f"{name} above target"
    elif wanted < current:
        decision.reason = "All metrics below target"
    found = normalize(
        hpa.spec.behavior, (least, hpa.spec.max_replicas), current, wanted, decision.memory,
        decision.now_ns,
    )  # fmt: skip
    decision.memory = found.memory
    decision.put(_ABLE, "True", *found.able)
    decision.put(_LIMITED, "True" if found.limited else "False", *found.limit)
    decision.desired = found.desired
    decision.rescale = found.desired != current


def _highest(decision: Decision, seen: Seen, statuses: list[JSON]) -> tuple[int, str]:
    """The largest number that a metric asks for, and its name. Raises CannotError."""
    _check_selector(decision, seen)
    specs = decision.hpa.spec.metrics
    best, name = 0, ""
    failures: list[tuple[str, str, str]] = []
    for metric in specs:
        statuses.append({"type": ""})
        try:
            wanted, what, statuses[-1] = _one(decision, seen, metric)
        except CannotError as error:
            reason = f"FailedGet{metric['type']}Metric"
            decision.warn(reason, str(error))
            failures.append((reason, str(error), f"failed to get {_told(metric)}: {error}"))
            continue
        if best == 0 or wanted > best:
            best, name = wanted, what
    summary = ""
    if failures:
        number = f"{len(failures)} invalid out of {len(specs)}"
        summary = f"invalid metrics ({number}), first error is: {failures[0][2]}"
    if len(failures) >= len(specs) or (failures and best < decision.current):
        reason, why, _ = failures[0] if failures else ("FailedGetResourceMetric", "", "")
        message = f"the HPA was unable to compute the replica count: {why}"
        decision.put(_ACTIVE, "False", reason, message)
        raise CannotError(summary)
    message = f"the HPA was able to successfully calculate a replica count from {name}"
    decision.put(_ACTIVE, "True", "ValidMetricFound", message)
    return best, name


def _check_selector(decision: Decision, seen: Seen) -> None:
    selector = seen.scale.status.selector
    if not selector:
        decision.warn("SelectorRequired", "selector is required")
        message = "the HPA target's scale is missing a selector"
        decision.put(_ACTIVE, "False", "InvalidSelector", message)
        raise CannotError("selector is required")
    if len(seen.rivals) > 1:
        names = " ".join(seen.rivals)
        why = f"pods by selector {selector} are controlled by more than one HPA (e.g. [{names}])"
        decision.warn("AmbiguousSelector", why)
        decision.put(_ACTIVE, "False", "AmbiguousSelector", why)
        raise CannotError(why)


def _told(metric: JSON) -> str:
    """How a failure names a metric."""
    match metric["type"]:
        case "Resource":
            return f"{metric['resource']['name']} resource metric value"
        case "ContainerResource":
            return f"{metric['containerResource']['container']} container metric value"
        case "External":
            return f"{metric['external']['metric']['name']} external metric value"
        case other:
            return f"{other.lower()} metric value"


def _one(decision: Decision, seen: Seen, metric: JSON) -> tuple[int, str, JSON]:
    """(replicas, name, status) of one metric. Raises CannotError."""
    kind = metric["type"]
    if kind in _APIS:
        api = _APIS[kind]
        name = metric[kind.lower()]["metric"]["name"]
        raise CannotError(
            f"unable to get metric {name}: unable to fetch metrics from {api} metrics API: "
            f"no {api} metrics API ({api}.metrics.k8s.io) registered: it is not modelled"
        )
    key = "resource" if kind == "Resource" else "containerResource"
    source = metric[key]
    resource, container = source["name"], source.get("container", "")
    question = Question(
        resource, container, decision.current, seen.pods, seen.metrics,
        _tolerances(decision.hpa), decision.now_ns,
    )  # fmt: skip
    target = source["target"]
    wanted, current, what = _answer(question, target, seen.failure)
    if kind == "ContainerResource":
        what = what.replace("resource utilization", "container resource utilization")
        return (
            wanted,
            what,
            {
                "type": kind,
                key: {"name": resource, "container": container, "current": current},
            },
        )
    return wanted, what, {"type": kind, key: {"name": resource, "current": current}}


def _answer(question: Question, target: JSON, failure: str) -> tuple[int, JSON, str]:
    resource = question.resource
    by_value = "averageValue" in target
    try:
        _require(resource, failure)
        if by_value:
            wanted, average = replicas.by_value(question, quantity.milli(target["averageValue"]))
            return wanted, {"averageValue": _amount(resource, average)}, f"{resource} resource"
        percentage = target.get("averageUtilization") or 1
        wanted, percent, average = replicas.by_utilization(question, percentage)
    except CannotError as error:
        what = "usage" if by_value else "utilization"
        raise CannotError(f"failed to get {resource} {what}: {error}") from None
    current = {"averageUtilization": percent, "averageValue": _amount(resource, average)}
    return wanted, current, f"{resource} resource utilization (percentage of request)"


def _require(resource: str, failure: str) -> None:
    if failure:
        raise CannotError(f"unable to get metrics for resource {resource}: {failure}")


def _amount(resource: str, milli: int) -> str:
    if resource == "memory":
        return quantity.from_value(-(-milli // 1000), binary=True)
    return quantity.from_milli(milli)


def _tolerances(hpa: HorizontalPodAutoscaler) -> Tolerances:
    behavior = hpa.spec.behavior
    if behavior is None:
        return Tolerances(TOLERANCE, TOLERANCE)
    down, up = (
        TOLERANCE if rules.tolerance is None else quantity.parse(rules.tolerance).nano / 10**9
        for rules in (behavior.scale_down, behavior.scale_up)
    )
    return Tolerances(down, up)


# ---------------------------------------------------------------- afterwards


def finish(decision: Decision, refused: str = "") -> list[Effect]:
    """Events and status, once the new size was written (or ``refused``, with its message)."""
    size, reason = decision.desired, decision.reason
    if not decision.rescale:
        return [*decision.events, *_status(decision, scaled=False)]
    if refused:
        decision.warn("FailedRescale", f"New size: {size}; reason: {reason}; error: {refused}")
        message = f"the HPA controller was unable to update the target scale: {refused}"
        decision.put(_ABLE, "False", "FailedUpdateScale", message)
        decision.desired = decision.hpa.status.get("desiredReplicas", 0)
        return [*decision.events, *_status(decision, scaled=False)]
    message = f"the HPA controller was able to update the target scale to {size}"
    decision.put(_ABLE, "True", "SucceededRescale", message)
    message = "the HPA controller did not scale the workload to zero"
    decision.put(_ZERO, "False", "NotScaledToZero", message)
    what = f"New size: {size}; reason: {reason}"
    decision.events.append(Emit(decision.hpa, "Normal", "SuccessfulRescale", what))
    decision.memory = decision.memory.scaled(
        decision.hpa.spec.behavior, decision.current, size, decision.now_ns
    )
    return [*decision.events, *_status(decision, scaled=True)]


def _status(decision: Decision, *, scaled: bool) -> list[Patch]:
    meta, old = decision.hpa.metadata, decision.hpa.status
    wanted: dict[str, Any] = {
        "observedGeneration": meta.generation,
        "currentReplicas": decision.current,
        "desiredReplicas": decision.desired,
        "currentMetrics": decision.metrics,
        "conditions": decision.conditions,
    }
    if scaled:
        wanted["lastScaleTime"] = format_time(decision.now_ns)
    changed = {k: v for k, v in wanted.items() if (old.get(k) or None) != (v or None)}
    if not changed:
        return []
    patch = {"metadata": {"uid": meta.uid}, "status": changed}
    kind = kinds.HORIZONTAL_POD_AUTOSCALER
    return [Patch(kind, meta.name, patch, meta.namespace, "status", missing_ok=True)]
