"""Validation per kind: upstream's field paths and messages.

``validate`` expects an object that was decoded and defaulted; it returns every complaint. Kinds
without checks of their own are held to the rules for metadata.
Source of the behaviour: kubernetes pkg/apis/*/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from podwire.api import kinds
from podwire.api.crd import definitions
from podwire.api.kinds import Kind
from podwire.api.status import Cause
from podwire.api.validation import (
    autoscaling,
    batch,
    claims,
    cluster,
    config,
    events,
    extension,
    flowcontrol,
    ingress,
    meta,
    network,
    pod,
    policies,
    quota,
    rbac,
    service,
    storage,
    workloads,
)
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.view import JSON

__all__ = ["Errors", "invalid_error", "validate", "validate_metadata", "validate_status"]

Check = Callable[[Errors, JSON, JSON | None], None]
_ADMISSION = "admissionregistration.k8s.io/v1"
_FLOWCONTROL = "flowcontrol.apiserver.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"


def validate(
    kind: Kind[Any], new: JSON, old: JSON | None = None, asked: Kind[Any] | None = None
) -> list[Cause]:
    """Everything wrong with an object (as the successor of ``old``), in upstream's order.

    ``kind`` is the stored version; ``asked`` the one that was written if it demands more.
    """
    errors = Errors()
    _metadata(errors, kind, new, old)
    for check in (_check_of(kind), _STRICTER.get(asked) if asked is not None else None):
        if check is not None:
            check(errors, new, old)
    return errors.causes


def validate_status(kind: Kind[Any], new: JSON, old: JSON) -> list[Cause]:
    """Everything wrong with what a component reports."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    check = _STATUS.get(f"{kind.api_version}/{kind.kind}")
    if check is not None:
        check(errors, new, old)
    return errors.causes


def validate_metadata(kind: Kind[Any], new: JSON, old: JSON | None = None) -> list[Cause]:
    """Everything wrong with an object's metadata."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    return errors.causes


def _metadata(errors: Errors, kind: Kind[Any], new: JSON, old: JSON | None) -> None:
    if old is not None and new["metadata"] == old["metadata"]:
        return  # it was right when it was stored
    meta.metadata(errors, kind, new["metadata"], old is not None)
    if old is not None:
        meta.metadata_update(errors, new["metadata"], old["metadata"])


@cache
def _check_of(kind: Kind[Any]) -> Check | None:
    return _BY_TYPE.get(f"{kind.api_version}/{kind.kind}")


_BY_TYPE: dict[str, Check] = {
    "v1/Pod": pod.check_pod,
    "v1/PodTemplate": pod.check_pod_template,
    "v1/ReplicationController": workloads.check_replication_controller,
    "v1/Service": service.check_service,
    "v1/Endpoints": network.check_endpoints,
    "v1/ConfigMap": config.check_config_map,
    "v1/Secret": config.check_secret,
    "v1/Namespace": cluster.check_namespace,
    "v1/Node": config.check_node,
    "v1/Event": events.check_event,
    "v1/LimitRange": quota.check_limit_range,
    "v1/ResourceQuota": quota.check_resource_quota,
    "v1/PersistentVolume": storage.check_persistent_volume,
    "v1/PersistentVolumeClaim": claims.check_claim,
    "apps/v1/Deployment": workloads.check_deployment,
    "apps/v1/ReplicaSet": workloads.check_replica_set,
    "apps/v1/StatefulSet": workloads.check_stateful_set,
    "apps/v1/DaemonSet": workloads.check_daemon_set,
    "apps/v1/ControllerRevision": workloads.check_controller_revision,
    "batch/v1/Job": batch.check_job,
    "batch/v1/CronJob": batch.check_cron_job,
    "autoscaling/v2/HorizontalPodAutoscaler": autoscaling.check_autoscaler,
    "certificates.k8s.io/v1/CertificateSigningRequest": cluster.check_csr,
    "coordination.k8s.io/v1/Lease": config.check_lease,
    "discovery.k8s.io/v1/EndpointSlice": network.check_endpoint_slice,
    "networking.k8s.io/v1/Ingress": ingress.check_ingress,
    "networking.k8s.io/v1/IngressClass": cluster.check_ingress_class,
    "networking.k8s.io/v1/NetworkPolicy": network.check_network_policy,
    "networking.k8s.io/v1/ServiceCIDR": cluster.check_service_cidr,
    "networking.k8s.io/v1/IPAddress": cluster.check_ip_address,
    "node.k8s.io/v1/RuntimeClass": cluster.check_runtime_class,
    "policy/v1/PodDisruptionBudget": cluster.check_disruption_budget,
    "scheduling.k8s.io/v1/PriorityClass": cluster.check_priority_class,
    f"{_RBAC}/Role": rbac.check_role,
    f"{_RBAC}/ClusterRole": rbac.check_cluster_role,
    f"{_RBAC}/RoleBinding": rbac.check_role_binding,
    f"{_RBAC}/ClusterRoleBinding": rbac.check_role_binding,
    "resource.k8s.io/v1/ResourceClaim": cluster.check_resource_claim,
    "resource.k8s.io/v1/ResourceClaimTemplate": cluster.check_resource_claim_template,
    "resource.k8s.io/v1/ResourceSlice": cluster.check_resource_slice,
    "storage.k8s.io/v1/StorageClass": storage.check_storage_class,
    "storage.k8s.io/v1/VolumeAttributesClass": storage.check_volume_attributes_class,
    "storage.k8s.io/v1/VolumeAttachment": storage.check_volume_attachment,
    "storage.k8s.io/v1/CSINode": storage.check_csi_node,
    "storage.k8s.io/v1/CSIDriver": storage.check_csi_driver,
    "storage.k8s.io/v1/CSIStorageCapacity": storage.check_storage_capacity,
    f"{_ADMISSION}/ValidatingWebhookConfiguration": extension.check_validating_webhooks,
    f"{_ADMISSION}/MutatingWebhookConfiguration": extension.check_mutating_webhooks,
    f"{_ADMISSION}/ValidatingAdmissionPolicy": policies.check_admission_policy,
    f"{_ADMISSION}/ValidatingAdmissionPolicyBinding": policies.check_policy_binding,
    f"{_ADMISSION}/MutatingAdmissionPolicy": policies.check_admission_policy,
    f"{_ADMISSION}/MutatingAdmissionPolicyBinding": policies.check_policy_binding,
    "apiextensions.k8s.io/v1/CustomResourceDefinition": definitions.check,
    "apiregistration.k8s.io/v1/APIService": extension.check_api_service,
    f"{_FLOWCONTROL}/FlowSchema": flowcontrol.check_flow_schema,
    f"{_FLOWCONTROL}/PriorityLevelConfiguration": flowcontrol.check_priority_level,
}
"""By apiVersion/kind."""

_STRICTER: dict[Kind[Any], Check] = {kinds.EVENTS_EVENT: events.check_new_event}
"""What a version demands of objects in their stored form that the stored version does not."""

_STATUS: dict[str, Check] = {
    "apiextensions.k8s.io/v1/CustomResourceDefinition": definitions.check_status,
    "batch/v1/Job": batch.check_job_status,
    "networking.k8s.io/v1/Ingress": ingress.check_ingress_status,
    "v1/ResourceQuota": quota.check_quota_status,
    "v1/Pod": pod.check_pod_status,
    "v1/ReplicationController": workloads.check_replica_status,
    "apps/v1/ReplicaSet": workloads.check_replica_status,
    "apps/v1/Deployment": workloads.check_deployment_status,
    "apps/v1/StatefulSet": workloads.check_replica_status,
}
"""The same for what components report about their objects."""
