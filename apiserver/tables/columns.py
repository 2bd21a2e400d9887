"""Which columns a kind has, and the function that fills a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from podwire.api.kinds import Kind
from podwire.apiserver.tables import (
    cells,
    cells_extension,
    cells_metrics,
    cells_network,
    cells_pod,
    cells_storage,
    cells_workload,
    custom,
)

Cells = Callable[[Any, int], list[Any]]
"""(view or JSON, now in ns) -> one cell per column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column definition; priority 1 shows with ``-o wide`` only."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a kind. ``whole`` rows are filled from the full JSON, not from the view."""

    columns: tuple[Column, ...]
    cells: Cells
    whole: bool = False
    conditions: Callable[[Any], list[dict[str, str]]] | None = None
    """What a row says about its object beside the cells (pods: Completed)."""


def _layout(spec: str, fill: Cells, *, whole: bool = True) -> Layout:
    """``Name|Ready|Age|IP*``: ``*`` wide only, ``:i`` integer, ``:b`` boolean, ``:n`` a name."""
    columns = []
    for word in spec.split("|"):
        name, star, _ = word.partition("*")
        name, _, kind = name.partition(":")
        columns.append(
            Column(
                name,
                {"i": "integer", "b": "boolean"}.get(kind, "string"),
                "name" if name == "Name" or kind == "n" else "",
                1 if star else 0,
            )
        )
    return Layout(tuple(columns), fill, whole)


def _viewed(spec: str, fill: Cells) -> Layout:
    """The same with rows that are filled from the view."""
    return _layout(spec, fill, whole=False)


DEFAULT = _viewed("Name|Created At", cells.created_at)
"""What upstream prints of kinds that it has no printer for."""

_AGE = _viewed("Name|Age", cells.default)
_REPLICAS = "Name|Desired:i|Current:i|Ready:i|Age|Containers*|Images*|Selector*"
_EVENT = "Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*"
_BINDING = "Name|Role|Age|Users*|Groups*|ServiceAccounts*"
_POLICY_BINDING = "Name|PolicyName|ParamRef|Age"
_AUTOSCALER = "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age"
_METRICS = "Name|cpu|memory|Window"
_ADMISSION = "admissionregistration.k8s.io/v1"
_FLOWCONTROL = "flowcontrol.apiserver.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"

LAYOUTS: dict[str, Layout] = {
    "v1/Pod": replace(
        _viewed(
            "Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*",
            cells_pod.pod,
        ),
        conditions=cells_pod.conditions,
    ),
    "metrics.k8s.io/v1beta1/PodMetrics": _layout(_METRICS, cells_metrics.pod_metrics),
    "metrics.k8s.io/v1beta1/NodeMetrics": _layout(_METRICS, cells_metrics.node_metrics),
    "v1/PodTemplate": _layout("Name|Containers|Images|Pod Labels", cells_workload.pod_template),
    "v1/ReplicationController": _layout(_REPLICAS, cells_workload.replication_controller),
    "v1/Node": _viewed(
        "Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*"
        "|Container-Runtime*",
        cells.node,
    ),
    "v1/Namespace": _viewed("Name|Status|Age", cells.namespace),
    "v1/Service": _viewed(
        "Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", cells_network.service
    ),
    "v1/Endpoints": _viewed("Name|Endpoints|Age", cells_network.endpoints),
    "v1/ConfigMap": _viewed("Name|Data|Age", cells.config_map),
    "v1/Secret": _viewed("Name|Type|Data|Age", cells.secret),
    "v1/ServiceAccount": _viewed("Name|Secrets|Age", cells.service_account),
    "v1/Event": _layout(_EVENT, cells.event),
    "events.k8s.io/v1/Event": _layout(_EVENT, cells.event),
    "v1/ResourceQuota": _layout("Name|Request|Limit|Age", cells_extension.resource_quota),
    "v1/ComponentStatus": _layout("Name|Status|Message|Error", cells_extension.component_status),
    "v1/PersistentVolume": _layout(
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass"
        "|Reason|Age|VolumeMode*",
        cells_storage.persistent_volume,
    ),
    "v1/PersistentVolumeClaim": _layout(
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age"
        "|VolumeMode*",
        cells_storage.persistent_volume_claim,
    ),
    "apps/v1/Deployment": _viewed(
        "Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*",
        cells_workload.deployment,
    ),
    "apps/v1/ReplicaSet": _viewed(_REPLICAS, cells_workload.replica_set),
    "apps/v1/StatefulSet": _viewed(
        "Name|Ready|Age|Containers*|Images*", cells_workload.stateful_set
    ),
    "apps/v1/DaemonSet": _viewed(
        "Name|Desired:i|Current:i|Ready:i|Up-to-date:i|Available:i|Node Selector|Age|Containers*"
        "|Images*|Selector*",
        cells_workload.daemon_set,
    ),
    "apps/v1/ControllerRevision": _viewed(
        "Name|Controller|Revision|Age", cells_workload.controller_revision
    ),
    "batch/v1/Job": _layout(
        "Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*", cells_workload.job
    ),
    "batch/v1/CronJob": _layout(
        "Name|Schedule|Timezone|Suspend:b|Active:i|Last Schedule|Age|Containers*|Images*|Selector*",
        cells_workload.cron_job,
    ),
    "autoscaling/v1/HorizontalPodAutoscaler": _layout(_AUTOSCALER, cells_extension.autoscaler_v1),
    "autoscaling/v2/HorizontalPodAutoscaler": _layout(_AUTOSCALER, cells_extension.autoscaler),
    "autoscaling/v1/Scale": _layout("Name|Desired:i|Available:i|Age", cells_extension.scale),
    "policy/v1/PodDisruptionBudget": _layout(
        "Name|Min Available|Max Unavailable|Allowed Disruptions:i|Age",
        cells.pod_disruption_budget,
    ),
    "discovery.k8s.io/v1/EndpointSlice": _viewed(
        "Name|AddressType|Ports|Endpoints|Age", cells_network.endpoint_slice
    ),
    "networking.k8s.io/v1/NetworkPolicy": _viewed(
        "Name|Pod-Selector|Age", cells_network.network_policy
    ),
    "networking.k8s.io/v1/Ingress": _layout(
        "Name|Class|Hosts|Address|Ports|Age", cells_network.ingress
    ),
    "networking.k8s.io/v1/IngressClass": _layout(
        "Name|Controller|Parameters|Age", cells_network.ingress_class
    ),
    "networking.k8s.io/v1/ServiceCIDR": _layout("Name|CIDRs|Age", cells_network.service_cidr),
    "networking.k8s.io/v1/IPAddress": _layout("Name|ParentRef", cells_network.ip_address),
    "coordination.k8s.io/v1/Lease": _viewed("Name|Holder|Age", cells.lease),
    f"{_RBAC}/RoleBinding": _layout(_BINDING, cells.role_binding),
    f"{_RBAC}/ClusterRoleBinding": _layout(_BINDING, cells.role_binding),
    "certificates.k8s.io/v1/CertificateSigningRequest": _layout(
        "Name|Age|SignerName|Requestor|RequestedDuration|Condition",
        cells_extension.certificate_request,
    ),
    "certificates.k8s.io/v1/ClusterTrustBundle": _layout(
        "Name|SignerName", cells_extension.trust_bundle
    ),
    "scheduling.k8s.io/v1/PriorityClass": _layout(
        "Name|Value:i|Global-Default:b|Age|PreemptionPolicy", cells_extension.priority_class
    ),
    "node.k8s.io/v1/RuntimeClass": _layout("Name|Handler|Age", cells_extension.runtime_class),
    "storage.k8s.io/v1/StorageClass": _layout(
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
        cells_storage.storage_class,
    ),
    "storage.k8s.io/v1/VolumeAttributesClass": _layout(
        "Name|DriverName|Age", cells_storage.volume_attributes_class
    ),
    "storage.k8s.io/v1/VolumeAttachment": _layout(
        "Name|Attacher:n|PV|Node|Attached:b|Age", cells_storage.volume_attachment
    ),
    "storage.k8s.io/v1/CSINode": _layout("Name|Drivers:i|Age", cells_storage.csi_node),
    "storage.k8s.io/v1/CSIDriver": _layout(
        "Name|AttachRequired:b|PodInfoOnMount:b|StorageCapacity:b|TokenRequests"
        "|RequiresRepublish:b|Modes|Age",
        cells_storage.csi_driver,
    ),
    "storage.k8s.io/v1/CSIStorageCapacity": _layout(
        "Name|StorageClassName|Capacity", cells_storage.storage_capacity
    ),
    f"{_ADMISSION}/MutatingWebhookConfiguration": _layout(
        "Name|Webhooks:i|Age", cells_extension.webhooks
    ),
    f"{_ADMISSION}/ValidatingWebhookConfiguration": _layout(
        "Name|Webhooks:i|Age", cells_extension.webhooks
    ),
    f"{_ADMISSION}/ValidatingAdmissionPolicy": _layout(
        "Name|Validations:i|ParamKind|Age", cells_extension.admission_policy
    ),
    f"{_ADMISSION}/MutatingAdmissionPolicy": _layout(
        "Name|Mutations:i|ParamKind|Age", cells_extension.admission_policy
    ),
    f"{_ADMISSION}/ValidatingAdmissionPolicyBinding": _layout(
        _POLICY_BINDING, cells_extension.policy_binding
    ),
    f"{_ADMISSION}/MutatingAdmissionPolicyBinding": _layout(
        _POLICY_BINDING, cells_extension.policy_binding
    ),
    f"{_FLOWCONTROL}/FlowSchema": _layout(
        "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
        cells_extension.flow_schema,
    ),
    f"{_FLOWCONTROL}/PriorityLevelConfiguration": _layout(
        "Name|Type|NominalConcurrencyShares|Queues|HandSize|QueueLengthLimit|Age",
        cells_extension.priority_level,
    ),
    "apiregistration.k8s.io/v1/APIService": _layout(
        "Name|Service|Available|Age", cells_extension.api_service
    ),
    "resource.k8s.io/v1/DeviceClass": _AGE,
    "resource.k8s.io/v1/ResourceClaimTemplate": _AGE,
    "resource.k8s.io/v1/ResourceClaim": _layout("Name|State|Age", cells_extension.resource_claim),
    "resource.k8s.io/v1/ResourceSlice": _layout(
        "Name|Node|Driver|Pool|Age", cells_extension.resource_slice
    ),
    "storagemigration.k8s.io/v1/StorageVersionMigration": _layout(
        "Name|Resource", cells_extension.storage_migration
    ),
}
"""By apiVersion/kind; kinds that are not here print Name and Created At."""


def layout(kind: Kind[Any]) -> Layout:
    """The layout of a kind."""
    own = kind.custom
    if own is None:
        return _layout_of(kind)
    if own.layout is None:
        columns, fill = custom.cells(own, Column)
        own.layout = Layout(tuple(columns), fill, whole=True)
    found: Layout = own.layout
    return found


@cache
def _layout_of(kind: Kind[Any]) -> Layout:
    return LAYOUTS.get(f"{kind.api_version}/{kind.kind}", DEFAULT)
