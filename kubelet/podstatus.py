"""Renders what kubelet knows of a pod as its ``status`` object. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podwire.api.view import JSON, to_json
from podwire.api.views import Container, Pod, PodSpec, VolumeMount
from podwire.kubelet.core import (
    RUNNING,
    TERMINATED,
    WAITING,
    Exit,
    Record,
    Records,
    Truth,
    conditions,
    is_sidecar,
    may_start_anew,
    phase,
    qos_class,
    should_restart,
)
from podwire.kubelet.profile import normalized

GONE = "The container could not be located when the pod was terminated"


@dataclass(slots=True)
class PodFacts:
    """What the status is made from, beside the container records."""

    host_ips: tuple[str, ...]
    """The node's addresses, the primary family's first."""
    start_time: str = ""
    pod_ips: tuple[str, ...] = ()
    sandbox_ready: bool = False
    was_initialized: bool = False
    over: bool = False
    """Nothing will run again (completed, failed or terminated)."""
    expelled: bool = False
    """Kubelet ended it before its time: failed, whatever its containers returned."""
    reason: str = ""
    message: str = ""
    disrupted: Truth | None = None
    """Condition DisruptionTarget, once the kubelet ends the pod for the node's sake."""
    resize: Truth | None = None
    """The condition of a resize that is not complete."""
    restarting: Truth | None = None
    """Condition AllContainersRestarting while it is true."""


def _terminated(end: Exit) -> JSON:
    state: JSON = {"exitCode": end.exit_code, "reason": end.reason}
    if end.message:
        state["message"] = end.message
    state["startedAt"] = end.started_at or None
    state["finishedAt"] = end.finished_at or None
    if end.container_id:
        state["containerID"] = end.container_id
    return {TERMINATED: state}


def new_records(spec: PodSpec) -> Records:
    """The records of a pod that has not started yet."""
    reason = "PodInitializing" if spec.init_containers else "ContainerCreating"
    return {
        c.name: Record(c.name, normalized(c.image), reason=reason, allocated=c.resources)
        for c in (*spec.init_containers, *spec.containers)
    } | debuggers(spec)


def debuggers(spec: PodSpec) -> Records:
    """The records of ephemeral containers that have not started yet."""
    return {c.name: Record(c.name, normalized(c.image)) for c in spec.ephemeral_containers}


def adopt(records: Records, pod: Pod, now: str, now_ns: int) -> None:
    """Take over from an earlier kubelet: what ran then has ended with it."""
    found = pod.status
    statuses = (
        *found.init_container_statuses, *found.container_statuses,
        *found.ephemeral_container_statuses,
    )  # fmt: skip
    mains = {c.name for c in (*pod.spec.containers, *pod.spec.ephemeral_containers)}
    for status in statuses:
        record = records.get(status.name)
        if record is None or not status.container_id:
            continue
        record.restart_count = status.restart_count
        record.container_id, record.image_id = status.container_id, status.image_id
        if status.name not in mains:
            record.restart_count += 1  # init containers run again in a new sandbox
            continue
        ended = status.state.get(TERMINATED)
        if ended is None:
            began = status.state.get(RUNNING, {}).get("startedAt", "")
            record.exit = Exit(255, "Unknown", "", began, now, now_ns, status.container_id)
        else:
            record.state = TERMINATED
            record.exit = Exit(
                ended.get("exitCode", 0), ended.get("reason", ""), ended.get("message", ""),
                ended.get("startedAt") or "", ended.get("finishedAt") or "", now_ns,
                status.container_id,
            )  # fmt: skip


def container_status(
    record: Record,
    container: Container,
    *,
    over: bool = False,
    initialized: bool = True,
    policy: str = "",
) -> JSON:
    """One entry of containerStatuses.

    In a pod that is ``over``, what never ran counts as lost, unless the pod never got so far.
    ``policy``: the pod's restart policy while it goes on; a container that could not be started,
    and will be tried again, waits and says why.
    """
    last = _terminated(record.last) if record.last else {}
    failed = record.failure if record.state == TERMINATED else None
    if failed is not None and policy and should_restart(container, record, policy):
        state: JSON = {WAITING: {"reason": failed[0], "message": failed[1]}}
        last = _terminated(record.exit) if record.exit else {}
    elif record.state == RUNNING:
        state = {RUNNING: {"startedAt": record.started_at}}
        last = _terminated(record.exit) if record.exit else {}
    elif record.state == TERMINATED and record.exit is not None:
        state = _terminated(record.exit)
    elif over and record.exit is not None:
        # A crash loop that will not be tried again shows how it ended.
        state = _terminated(record.exit)
    elif over and initialized:
        state = _terminated(Exit(137, "ContainerStatusUnknown", GONE))
    else:
        waiting: JSON = {"reason": record.reason}
        if record.message:
            waiting["message"] = record.message
        state = {WAITING: waiting}
        if record.exit is not None:
            last = _terminated(record.exit)
    status: JSON = {
        "name": record.name,
        "state": state,
        "lastState": last,
        "ready": record.is_ready,
        "restartCount": record.restart_count,
        "image": record.image,
        "imageID": record.image_id,
        "started": record.state == RUNNING and record.started,
    }
    if record.container_id:
        status["containerID"] = record.container_id
        status["resources"] = to_json(record.actuated or record.allocated)
        if record.allocated.requests:
            status["allocatedResources"] = record.allocated.requests
        if container.volume_mounts:
            status["volumeMounts"] = [_mount_status(mount) for mount in container.volume_mounts]
    if record.state == RUNNING and record.user is not None:
        user = record.user
        groups = sorted(dict.fromkeys((user.gid, *user.groups)))
        linux = {"uid": user.uid, "gid": user.gid, "supplementalGroups": groups}
        status["user"] = {"linux": linux}
    if record.stop_signal and record.container_id:
        status["stopSignal"] = record.stop_signal
    return status


def _mount_status(mount: VolumeMount) -> JSON:
    status: JSON = {"name": mount.name, "mountPath": mount.mount_path}
    if mount.read_only:
        status |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return status


def init_status(record: Record, container: Container, *, over: bool, policy: str) -> JSON:
    """One entry of initContainerStatuses: ready once it completed (a sidecar: while ready)."""
    sidecar = is_sidecar(container)
    status = container_status(record, container, over=over and sidecar, policy=policy)
    if not sidecar:
        end = record.exit
        status["ready"] = record.state == TERMINATED and end is not None and end.exit_code == 0
    return status


Since = Mapping[str, tuple[str, str]]
"""Per condition type: its last status and the time of its last transition."""


def pod_status(pod: Pod, facts: PodFacts, records: Records, since: Since, now: str) -> JSON:
    """The whole status. Conditions keep the transition times of equal earlier ones."""
    spec = pod.spec
    now_phase = phase(spec, records, over=facts.over)
    if facts.over and facts.expelled:
        now_phase = "Failed"
    status: JSON = {
        "phase": now_phase,
        "conditions": _conditions(pod, facts, records, now_phase, since, now),
        "hostIP": facts.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in facts.host_ips],
        "startTime": facts.start_time,
        "qosClass": qos_class(spec),
    }
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    if facts.pod_ips:
        status["podIP"] = facts.pod_ips[0]
        status["podIPs"] = [{"ip": ip} for ip in facts.pod_ips]
    if facts.reason:
        status["reason"] = facts.reason
    if facts.message:
        status["message"] = facts.message
    policy = "" if facts.over or pod.metadata.deletion_timestamp else spec.restart_policy
    if spec.init_containers:
        status["initContainerStatuses"] = [
            init_status(records[c.name], c, over=facts.over, policy=policy)
            for c in spec.init_containers
        ]
    done = facts.was_initialized or not spec.init_containers
    status["containerStatuses"] = [
        container_status(records[c.name], c, over=facts.over, initialized=done, policy=policy)
        for c in spec.containers
    ]
    if spec.ephemeral_containers:
        status["ephemeralContainerStatuses"] = [
            container_status(records[c.name], c, over=facts.over) | {"ready": False}
            for c in spec.ephemeral_containers
            if c.name in records
        ]
    return status


def gates(pod: Pod) -> dict[str, str]:
    """The status of the condition of each of the pod's readiness gates, "" without one."""
    if not pod.spec.readiness_gates:
        return {}
    told = {condition.type: condition.status for condition in pod.status.conditions}
    wanted = (gate.get("conditionType", "") for gate in pod.spec.readiness_gates)
    return {name: told.get(name, "") for name in wanted}


def _conditions(
    pod: Pod, facts: PodFacts, records: Records, now_phase: str, before: Since, now: str
) -> list[JSON]:
    truths = conditions(
        pod.spec, records, phase=now_phase,
        sandbox_ready=facts.sandbox_ready, was_initialized=facts.was_initialized,
        gates=gates(pod),
    )  # fmt: skip
    if facts.disrupted is not None:
        truths.insert(0, facts.disrupted)
    if may_start_anew(pod.spec):
        truths.append(facts.restarting or Truth("AllContainersRestarting", False))
    if facts.resize is not None:
        truths.insert(0, facts.resize)
    rendered = []
    for truth in truths:
        word = "True" if truth.status else "False"
        status, since = before.get(truth.type, ("", ""))
        if status != word:
            since = now
        condition: JSON = {
            "type": truth.type,
            "status": word,
            "lastProbeTime": None,
            "lastTransitionTime": since or now,
        }
        if truth.reason:
            condition["reason"] = truth.reason
        if truth.message:
            condition["message"] = truth.message
        if pod.metadata.generation:
            condition["observedGeneration"] = pod.metadata.generation
        rendered.append(condition)
    return rendered


_MERGED_LISTS = ("podIPs", "hostIPs")
"""Lists that a strategic merge would add to: an address of an earlier sandbox must not stay."""


def stored(pod: Pod, *, mirror: bool = False) -> JSON:
    """The part of a stored status that the first patch must know to replace or remove it.

    Others may say of a pod that it is disrupted; of a ``mirror`` only its kubelet does.
    """
    status = pod.status
    lists = {"podIPs": status.pod_ips, "hostIPs": status.host_ips}
    found: JSON = {key: [{"ip": i.ip} for i in items] for key, items in lists.items() if items}
    if status.pod_ip:
        found["podIP"] = status.pod_ip
    found |= {k: v for k, v in (("reason", status.reason), ("message", status.message)) if v}
    passing = ["PodResizePending", "PodResizeInProgress", *(["DisruptionTarget"] if mirror else [])]
    if left := [c for c in status.conditions if c.type in passing]:
        found["conditions"] = [{"type": c.type, "status": c.status} for c in left]
    return found


def changes(before: JSON, after: JSON) -> JSON:
    """The strategic merge patch of a status: changed keys, and only conditions that changed."""
    patch: JSON = {}
    for key, value in after.items():
        if before.get(key) == value:
            continue
        if key == "conditions":
            patch[key] = _changed_conditions(before, value)
        elif key in _MERGED_LISTS:
            gone = [ip for ip in before.get(key, ()) if ip not in value]
            patch[key] = [*value, *({"$patch": "delete", **ip} for ip in gone)]
        else:
            patch[key] = value
    for key in before:
        if key not in after:
            patch[key] = None
    return patch


def _changed_conditions(before: JSON, after: Sequence[JSON]) -> list[JSON]:
    old = {c["type"]: c for c in before.get("conditions", ())}
    changed = []
    for condition in after:
        previous = old.get(condition["type"])
        if previous == condition:
            continue
        # Strategic merge keeps absent fields of an element: clear them by name.
        cleared = {k: None for k in previous or () if k not in condition}
        changed.append({**condition, **cleared})
    kept = [c["type"] for c in after]
    return [*changed, *({"type": t, "$patch": "delete"} for t in old if t not in kept)]
