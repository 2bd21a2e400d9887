"""Defaults of Deployment, ReplicaSet, StatefulSet, DaemonSet and ReplicationController.

Source: kubernetes pkg/apis/apps/v1/defaults.go and pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from podwire.api.defaults.pod import default_pod_spec
from podwire.api.view import JSON


def default_deployment(obj: JSON) -> None:
    """One replica, a rolling update of 25%/25%, ten revisions, ten minutes of patience."""
    spec = obj["spec"]
    default_pod_spec(spec["template"]["spec"])
    spec.setdefault("replicas", 1)
    strategy = spec["strategy"]
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def default_replica_set(obj: JSON) -> None:
    """One replica."""
    default_pod_spec(obj["spec"]["template"]["spec"])
    obj["spec"].setdefault("replicas", 1)


def default_stateful_set(obj: JSON) -> None:
    """One replica, pods in order, rolling from the highest ordinal down to partition 0."""
    spec = obj["spec"]
    default_pod_spec(spec["template"]["spec"])
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec["updateStrategy"]
    if "type" not in strategy:
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        strategy["rollingUpdate"].setdefault("partition", 0)
        strategy["rollingUpdate"].setdefault("maxUnavailable", 1)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
        claim["spec"].setdefault("volumeMode", "Filesystem")
        claim["status"].setdefault("phase", "Pending")


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""Where apps/v1 keeps a field of the first DaemonSets: how often their template changed."""


def default_daemon_set(obj: JSON) -> None:
    """A rolling update, one node at a time."""
    obj["metadata"].setdefault("annotations", {}).setdefault(TEMPLATE_GENERATION, "0")
    spec = obj["spec"]
    default_pod_spec(spec["template"]["spec"])
    strategy = spec["updateStrategy"]
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


def default_replication_controller(obj: JSON) -> None:
    """One replica; selector and labels come from the template."""
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    if template is None:
        return
    default_pod_spec(template["spec"])
    labels = template["metadata"].get("labels")
    if labels:
        spec["selector"] = spec.get("selector") or dict(labels)
        obj["metadata"]["labels"] = obj["metadata"].get("labels") or dict(labels)


def default_pod_template(obj: JSON) -> None:
    """A PodTemplate."""
    default_pod_spec(obj["template"]["spec"])
