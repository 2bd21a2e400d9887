"""Views of the workloads that keep pods running, and of ControllerRevision."""

from __future__ import annotations

from typing import Any

from podwire.api.view import JSON, View
from podwire.api.views.meta import Condition, Labels, LabelSelector, Object, ObjectMeta


class PodTemplate(View, frozen=True, kw_only=True):
    """A pod template; ``spec`` is kept whole because it is copied into new pods."""

    metadata: ObjectMeta = ObjectMeta()
    spec: JSON = {}


class DeploymentStrategy(View, frozen=True, kw_only=True):
    """deployment.spec.strategy."""

    type: str = "RollingUpdate"
    rolling_update: dict[str, int | str] | None = None


class DeploymentSpec(View, frozen=True, kw_only=True):
    """deployment spec."""

    replicas: int = 1
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10
    paused: bool = False
    progress_deadline_seconds: int = 600


class WorkloadStatus(View, frozen=True, kw_only=True):
    """The counters that Deployment, ReplicaSet, StatefulSet and DaemonSet report."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    fully_labeled_replicas: int = 0
    terminating_replicas: int = 0
    current_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int = 0
    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_ready: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    number_misscheduled: int = 0
    updated_number_scheduled: int = 0
    conditions: list[Condition] = []


class Deployment(Object, frozen=True, kw_only=True):
    """apps/v1 Deployment."""

    spec: DeploymentSpec = DeploymentSpec()
    status: WorkloadStatus = WorkloadStatus()


class ReplicaSetSpec(View, frozen=True, kw_only=True):
    """replicaset spec."""

    replicas: int = 1
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    min_ready_seconds: int = 0


class ReplicaSet(Object, frozen=True, kw_only=True):
    """apps/v1 ReplicaSet."""

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: WorkloadStatus = WorkloadStatus()


class ReplicationControllerSpec(View, frozen=True, kw_only=True):
    """replicationcontroller spec."""

    replicas: int = 1
    selector: Labels = {}
    template: PodTemplate = PodTemplate()
    min_ready_seconds: int = 0


class ReplicationController(Object, frozen=True, kw_only=True):
    """v1 ReplicationController."""

    spec: ReplicationControllerSpec = ReplicationControllerSpec()
    status: WorkloadStatus = WorkloadStatus()


class StatefulSetSpec(View, frozen=True, kw_only=True):
    """statefulset spec."""

    replicas: int = 1
    service_name: str = ""
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    pod_management_policy: str = "OrderedReady"
    update_strategy: JSON = {}
    revision_history_limit: int = 10
    min_ready_seconds: int = 0
    ordinals: dict[str, int] | None = None
    volume_claim_templates: list[JSON] = []
    persistent_volume_claim_retention_policy: dict[str, str] | None = None


class StatefulSet(Object, frozen=True, kw_only=True):
    """apps/v1 StatefulSet."""

    spec: StatefulSetSpec = StatefulSetSpec()
    status: WorkloadStatus = WorkloadStatus()


class DaemonSetSpec(View, frozen=True, kw_only=True):
    """daemonset spec."""

    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    update_strategy: JSON = {}
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


class DaemonSet(Object, frozen=True, kw_only=True):
    """apps/v1 DaemonSet."""

    spec: DaemonSetSpec = DaemonSetSpec()
    status: WorkloadStatus = WorkloadStatus()


class ControllerRevision(Object, frozen=True, kw_only=True):
    """apps/v1 ControllerRevision."""

    data: Any = None
    """Any JSON: what it means is its controller's business."""
    revision: int = 0
