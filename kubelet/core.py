"""What kubelet decides: which containers to start, when a pod is over, its phase and conditions.

Pure. Source of the rules: Kubernetes documentation "Pod Lifecycle" and the observable behaviour
of pkg/kubelet (computePodActions, getPhase, status/generate.go, flowcontrol.Backoff, prober).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.api.views import Container, PodSpec, ResourceRequirements
from podwire.client.counters import ContainerUser

WAITING, RUNNING, TERMINATED = "waiting", "running", "terminated"
NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Exit:
    """How one instance of a container ended; times are RFC 3339."""

    exit_code: int
    reason: str
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    finished_ns: int = 0
    container_id: str = ""
    lost: bool = False
    """The room that ran it is gone: no fault of the program, so no crash loop."""
    reset: bool = False
    """All containers of the pod were started anew: it counts as one that never ran."""


@dataclass(slots=True)
class Record:
    """What kubelet knows about one container of one pod."""

    name: str
    image: str
    state: str = WAITING
    reason: str = "ContainerCreating"
    message: str = ""
    started_at: str = ""
    container_id: str = ""
    image_id: str = ""
    restart_count: int = 0
    started: bool = False
    """The startup probe (if any) has succeeded."""
    ready: bool = False
    """The readiness probe (if any) says so; meaningless unless running and started."""
    exit: Exit | None = None
    """The end of the newest instance that ended."""
    allocated: ResourceRequirements = field(default_factory=ResourceRequirements)
    """What the kubelet grants it."""
    actuated: ResourceRequirements | None = None
    """What it runs with, since it runs."""
    user: ContainerUser | None = None
    """Whose process it is, while it runs."""
    last: Exit | None = None
    """The end of the instance before the shown one (status.lastState)."""
    failure: tuple[str, str] | None = None
    """(reason, message) of a start that failed, until one succeeds (upstream's reason cache)."""
    stop_signal: str = ""
    """What ends it, where its pod has signals of its own."""

    @property
    def is_ready(self) -> bool:
        """Whether the container counts as ready in the pod's status."""
        return self.state == RUNNING and self.started and self.ready


Records = dict[str, Record]
RESTART_ALL = "RestartAllContainers"


def is_sidecar(container: Container) -> bool:
    """Whether an init container is restartable: it runs beside the main containers."""
    return container.restart_policy == "Always"


# ---------------------------------------------------------------- which containers to start


class Plan(NamedTuple):
    """What to do next: containers to start in order, or nothing, or the pod is over."""

    start: tuple[str, ...] = ()
    over: bool = False
    """No container will ever run again: stop sidecars, release the sandbox."""


def should_restart(container: Container, record: Record, pod_policy: str) -> bool:
    """Whether a container that is not running is to be started.

    Its own rules come first, then its own policy, then the pod's (api/v1/pod,
    ContainerShouldRestart); rules count only where it has a policy.
    """
    if record.exit is None or record.exit.reset:
        return True
    code = record.exit.exit_code
    action = _ruled(container, code)
    if action:
        return action in {"Restart", RESTART_ALL}
    policy = container.restart_policy or pod_policy
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _ruled(container: Container, code: int) -> str:
    """What the first rule that fits an exit code wants; "" without one."""
    for rule in container.restart_policy_rules if container.restart_policy else ():
        codes = rule.get("exitCodes") or {}
        if (code in codes.get("values", ())) == (codes.get("operator") == "In"):
            return str(rule.get("action"))
    return ""


def may_start_anew(spec: PodSpec) -> bool:
    """Whether a rule of a container may start all of the pod's anew."""
    return any(
        rule.get("action") == RESTART_ALL
        for container in (*spec.init_containers, *spec.containers)
        for rule in container.restart_policy_rules
    )


def starts_anew(spec: PodSpec, records: Records) -> bool:
    """Whether a container ended as one of its rules says that all are to start anew."""
    for container in (*spec.init_containers, *spec.containers):
        record = records[container.name]
        ended = record.exit if record.state == TERMINATED else None
        if ended is not None and _ruled(container, ended.exit_code) == RESTART_ALL:
            return True
    return False


def initialized(spec: PodSpec, records: Records) -> bool:
    """Whether every init container completed and every sidecar has started."""
    for container in spec.init_containers:
        record = records[container.name]
        if is_sidecar(container):
            if not record.started:
                return False
        elif record.state == RUNNING or record.exit is None or record.exit.exit_code != 0:
            return False
    return True


def plan(spec: PodSpec, records: Records, *, was_initialized: bool) -> Plan:
    """The next step of a pod that is not being terminated.

    ``was_initialized``: init containers completed once; they are not run again in this sandbox.
    """
    start: list[str] = []
    for container in spec.init_containers:
        record = records[container.name]
        if is_sidecar(container):
            if record.state != RUNNING:
                start.append(container.name)
            if not was_initialized and not record.started:
                return Plan(tuple(start))
        elif not was_initialized:
            if record.state == RUNNING:
                return Plan(tuple(start))
            if record.exit is not None and record.exit.exit_code == 0:
                continue
            # An init container of an Always pod restarts only when it fails.
            policy = "OnFailure" if spec.restart_policy == "Always" else spec.restart_policy
            if not should_restart(container, record, policy):
                return Plan(over=True)
            return Plan((*start, container.name))
    pending = [
        c.name
        for c in spec.containers
        if records[c.name].state != RUNNING
        and should_restart(c, records[c.name], spec.restart_policy)
    ]
    if not pending and all(records[c.name].state != RUNNING for c in spec.containers):
        return Plan(over=True)
    return Plan((*start, *pending))


# ---------------------------------------------------------------- phase and conditions


def phase(spec: PodSpec, records: Records, *, over: bool) -> str:
    """The pod's phase (documentation "Pod phase").

    ``over``: every container has ended for good. Before that no phase is final, whatever the exit
    codes promise: sidecars may still run (status manager, mergePodStatus).
    """
    for container in spec.init_containers:
        record = records[container.name]
        done = record.started if is_sidecar(container) else _succeeded(record)
        if not done and not (over and is_sidecar(container)):
            return "Failed" if over else "Pending"
    mains = [records[c.name] for c in spec.containers]
    if any(r.exit is None and r.state != RUNNING for r in mains):
        return "Failed" if over else "Pending"
    if not over:
        return "Running"
    return "Succeeded" if all(_succeeded(r) for r in mains) else "Failed"


@dataclass(frozen=True, slots=True)
class Truth:
    """One condition without its times."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


def names(items: list[str]) -> str:
    """A list as Go prints it: ``[a b]``."""
    return f"[{' '.join(items)}]"


def conditions(
    spec: PodSpec,
    records: Records,
    *,
    phase: str,
    sandbox_ready: bool,
    was_initialized: bool,
    gates: Mapping[str, str],
) -> list[Truth]:
    """The five conditions that kubelet owns, in upstream's order (status/generate.go).

    ``gates``: the status of each readiness gate's condition, "" when there is none.
    """
    if phase == "Succeeded":
        init = Truth("Initialized", True, "PodCompleted")
    elif was_initialized or initialized(spec, records):
        init = Truth("Initialized", True)
    else:
        incomplete = [
            c.name
            for c in spec.init_containers
            if not (records[c.name].started if is_sidecar(c) else _succeeded(records[c.name]))
        ]
        message = f"containers with incomplete status: {names(incomplete)}"
        init = Truth("Initialized", False, "ContainersNotInitialized", message)
    unready = [
        c.name
        for c in (*(s for s in spec.init_containers if is_sidecar(s)), *spec.containers)
        if not records[c.name].is_ready
    ]
    reason = message = ""
    if phase == "Succeeded":
        reason = "PodCompleted"
    elif phase == "Failed":
        reason = "PodFailed"
    elif unready:
        reason = "ContainersNotReady"
        message = f"containers with unready status: {names(unready)}"
    containers = Truth("ContainersReady", not reason, reason, message)
    return [
        Truth("PodReadyToStartContainers", sandbox_ready),
        init,
        _ready(containers, gates),
        containers,
        Truth("PodScheduled", True),
    ]


def _ready(containers: Truth, gates: Mapping[str, str]) -> Truth:
    """Ready: the containers are, and every readiness gate's condition is True."""
    if not containers.status:
        return Truth("Ready", False, containers.reason, containers.message)
    closed = [
        f'the status of pod readiness gate "{name}" is not "True", but {status}'
        if status
        else f'corresponding condition of pod readiness gate "{name}" does not exist.'
        for name, status in gates.items()
        if status != "True"
    ]
    if closed:
        return Truth("Ready", False, "ReadinessGatesNotReady", ", ".join(closed))
    return Truth("Ready", True)


def _succeeded(record: Record) -> bool:
    return record.state != RUNNING and record.exit is not None and record.exit.exit_code == 0


# ---------------------------------------------------------------- back-off


@dataclass(slots=True)
class _Entry:
    delay_ns: int
    updated_ns: int


@dataclass(slots=True)
class Backoff:
    """Exponential back-off per key: 10 s doubling to 5 min, forgotten after 10 quiet minutes."""

    initial_ns: int = 10 * NS
    max_ns: int = 300 * NS
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def remaining_ns(self, key: str, since_ns: int, now_ns: int) -> int:
        """How long a key must still wait, counted from the failure at ``since_ns``."""
        entry = self._entries.get(key)
        if entry is None or since_ns - entry.updated_ns > 2 * self.max_ns:
            return 0
        return max(0, since_ns + entry.delay_ns - now_ns)

    def delay_ns(self, key: str) -> int:
        """The key's present delay (what the back-off message tells)."""
        entry = self._entries.get(key)
        return entry.delay_ns if entry else self.initial_ns

    def next(self, key: str, since_ns: int, now_ns: int) -> None:
        """Note an attempt after the failure at ``since_ns``: the next one waits longer."""
        entry = self._entries.get(key)
        if entry is None or since_ns - entry.updated_ns > 2 * self.max_ns:
            self._entries[key] = _Entry(self.initial_ns, now_ns)
        else:
            self._entries[key] = _Entry(min(2 * entry.delay_ns, self.max_ns), now_ns)

    def forget(self, prefix: str) -> None:
        """Drop every key with a prefix (the pod is gone)."""
        for key in [k for k in self._entries if k.startswith(prefix)]:
            del self._entries[key]


# ---------------------------------------------------------------- probes


@dataclass(slots=True)
class ProbeCounter:
    """Turns single probe results into a verdict by the thresholds (pkg/kubelet/prober)."""

    success_threshold: int
    failure_threshold: int
    verdict: bool | None = None
    _last: bool | None = None
    _run: int = 0

    def count(self, success: bool) -> bool:
        """Count one result; whether the verdict changed."""
        self._run = self._run + 1 if success is self._last else 1
        self._last = success
        threshold = self.success_threshold if success else self.failure_threshold
        if self._run < threshold or self.verdict is success:
            return False
        self.verdict = success
        return True


# ---------------------------------------------------------------- quality of service


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort (documentation "Pod Quality of Service Classes")."""
    everyone = (*spec.init_containers, *spec.containers)
    wanted = ("cpu", "memory")
    if not any(n in wanted for c in everyone for n in (*c.resources.limits, *c.resources.requests)):
        return "BestEffort"
    for container in everyone:
        limits, requests = container.resources.limits, container.resources.requests
        for name in wanted:
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"
