"""Whether a node takes a pod that was given to it: the kubelet's own look, after the scheduler's.

Who sets spec.nodeName goes around the scheduler; the kubelet fails what does not fit. Behaviour and
words of pkg/kubelet/lifecycle (predicate.go) and kube-scheduler's AdmissionCheck. Not modelled:
room that is made for a critical pod (it is let in), extended resources (nodes have none), the
same look at static pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from podwire.api import quantity
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Container, Pod, PodSpec
from podwire.client.placement import NO_EXECUTE, affinity_matches, untolerated
from podwire.kubelet.core import is_sidecar, qos_class

if TYPE_CHECKING:
    from podwire.kubelet.state import Kubelet

CRITICAL_PRIORITY = 2_000_000_000
"""scheduling.SystemCriticalPriority."""
ENDED = ("Succeeded", "Failed")
_RESOURCES = (("cpu", 10**6), ("memory", 10**9), ("ephemeral-storage", 10**9))
"""What is counted, and how many nano units one of its own is."""
_PORT = tuple[str, int, str]
"""Protocol, number, address ("" for all)."""


class Refusal(NamedTuple):
    """Why a pod is not taken."""

    reason: str
    message: str


class Demand(NamedTuple):
    """What a pod takes of its node: nano units in the order of ``_RESOURCES``, host ports."""

    amounts: tuple[int, ...]
    ports: tuple[_PORT, ...]


def demand(spec: PodSpec) -> Demand:
    """The larger of what runs side by side and of what starts before (PodRequests)."""
    beside = [*filter(is_sidecar, spec.init_containers), *spec.containers]
    amounts = []
    for name, _ in _RESOURCES:
        total = sum(_nano(c, name) for c in beside)
        before = most = 0
        for container in spec.init_containers:
            if is_sidecar(container):
                before += _nano(container, name)
            else:
                most = max(most, before + _nano(container, name))
        overhead = quantity.parse(spec.overhead[name]).nano if name in spec.overhead else 0
        amounts.append(max(total, most) + overhead)
    ports = [
        (p.protocol, p.host_port, "" if p.host_ip == "0.0.0.0" else p.host_ip)
        for container in beside
        for p in container.ports
        if p.host_port
    ]
    return Demand(tuple(amounts), tuple(ports))


def _nano(container: Container, name: str) -> int:
    amount = container.resources.requests.get(name)
    return quantity.parse(amount).nano if amount else 0


def refusal(kubelet: Kubelet, pod: Pod) -> Refusal | None:
    """Why the node does not take a pod; None when it does."""
    if pod.spec.os.get("name", "linux") != "linux":
        why = "Failed to admit pod as the OS field doesn't match node OS"
        return Refusal("PodOSNotSupported", why)
    wanted = demand(pod.spec)
    others = [
        worker.demand
        for worker in kubelet.workers.values()
        if not worker.released and not worker.done and worker.pod.status.phase not in ENDED
    ]
    if pod.spec.priority < CRITICAL_PRIORITY and (short := _short(kubelet, wanted, others)):
        return short
    node = kubelet.node()
    if node is not None and not affinity_matches(pod.spec, node):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    taken = [port for other in others for port in other.ports]
    if any(_clash(port, other) for port in wanted.ports for other in taken):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    taints = node.spec.taints if node is not None else ()
    if untolerated(taints, pod.spec.tolerations, (NO_EXECUTE,)) is not None:
        return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _short(kubelet: Kubelet, wanted: Demand, others: list[Demand]) -> Refusal | None:
    capacity = kubelet.capacity
    if len(others) >= int(capacity["pods"]):
        return _out_of("pods", 1, len(others), int(capacity["pods"]))
    for at, (name, unit) in enumerate(_RESOURCES):
        requested = wanted.amounts[at]
        if not requested:
            continue
        used, whole = sum(d.amounts[at] for d in others), quantity.parse(capacity[name]).nano
        if requested > whole - used:
            return _out_of(name, requested // unit, used // unit, whole // unit)
    return None


def _out_of(name: str, requested: int, used: int, capacity: int) -> Refusal:
    counts = f"requested: {requested}, used: {used}, capacity: {capacity}"
    return Refusal(f"OutOf{name}", f"Node didn't have enough resource: {name}, {counts}")


def _failed(predicate: str, why: str) -> Refusal:
    return Refusal(predicate, f"Predicate {predicate} failed: {why}")


def _clash(one: _PORT, other: _PORT) -> bool:
    same = one[:2] == other[:2]
    return same and (not one[2] or not other[2] or one[2] == other[2])


def reject(kubelet: Kubelet, pod: Pod, why: Refusal) -> None:
    """Fail the pod: it never starts here (rejectPod)."""
    kubelet.event(pod, "Warning", why.reason, why.message)
    status: JSON = {
        "phase": "Failed",
        "reason": why.reason,
        "message": f"Pod was rejected: {why.message}",
        "qosClass": qos_class(pod.spec),
        "startTime": pod.status.start_time or format_time(kubelet.now_ns()),
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    kubelet.statuses.set(pod, status)
