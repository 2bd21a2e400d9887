"""What an API server makes by itself when it starts: priority classes, flow schemas and priority
levels, the default ServiceCIDR, and an APIService for each group version that it serves.

Source: apiserver pkg/apis/flowcontrol/bootstrap (default.go), kubernetes pkg/apis/scheduling
(helpers.go), pkg/controlplane/controller/defaultservicecidr and
pkg/controlplane/apiserver/aggregator.go.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.sim.settings import ClusterSettings

_FLOW = "flowcontrol.apiserver.k8s.io/v1"
_AUTO = {"apf.kubernetes.io/autoupdate-spec": "true"}
_ANYBODY = ("system:unauthenticated", "system:authenticated")
_QUEUES = {"system": 64, "node-high": 64, "leader-election": 16}
_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"

_LEVELS = (
    ("system", 30, 33),
    ("node-high", 40, 25),
    ("leader-election", 10, 0),
    ("workload-high", 40, 50),
    ("workload-low", 100, 90),
    ("global-default", 20, 50),
)
"""Name, nominalConcurrencyShares and lendablePercent of the suggested levels."""

_GROUPS: dict[str, int] = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400,
    "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
    "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100, "resource.k8s.io": 15900,
    "storagemigration.k8s.io": 15800,
}  # fmt: skip
"""groupPriorityMinimum of the groups that register themselves."""
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
"""versionPriority where it is not 15."""


def objects(settings: ClusterSettings) -> list[JSON]:
    """In the order in which they are made."""
    return [
        *_priority_classes(),
        _service_cidr(settings),
        *_priority_levels(),
        *_flow_schemas(),
        *_api_services(),
    ]


def _object(api_version: str, kind: str, name: str, **fields: Any) -> JSON:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def _priority_classes() -> list[JSON]:
    api_version = "scheduling.k8s.io/v1"
    return [
        _object(
            api_version, "PriorityClass", name, value=value, globalDefault=False,
            preemptionPolicy="PreemptLowerPriority",
            description=f"Used for system critical pods that must {words}.",
        )
        for name, value, words in (
            ("system-node-critical", 2_000_001_000, "not be moved from their current node"),
            ("system-cluster-critical", 2_000_000_000,
             "run in the cluster, but can be moved to another node if necessary"),
        )
    ]  # fmt: skip


def _service_cidr(settings: ClusterSettings) -> JSON:
    ready = {
        "type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }  # fmt: skip
    return _object(
        "networking.k8s.io/v1", "ServiceCIDR", "kubernetes",
        spec={"cidrs": settings.service_cidrs.split(",")}, status={"conditions": [ready]},
    )  # fmt: skip


def _priority_levels() -> list[JSON]:
    specs: list[tuple[str, JSON]] = [
        ("exempt", {"type": "Exempt",
                    "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        ("catch-all", _limited(5, 0, {"type": "Reject"})),
    ]  # fmt: skip
    for name, shares, lendable in _LEVELS:
        queues = _QUEUES.get(name, 128)
        hand = 4 if name == "leader-election" else 6
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        specs.append((name, _limited(shares, lendable, {"type": "Queue", "queuing": queuing})))
    return [_automatic("PriorityLevelConfiguration", name, spec) for name, spec in specs]


def _limited(shares: int, lendable: int, response: JSON) -> JSON:
    return {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": response,
        },
    }


def _automatic(kind: str, name: str, spec: JSON) -> JSON:
    made = _object(_FLOW, kind, name, spec=spec)
    made["metadata"]["annotations"] = dict(_AUTO)
    return made


def _flow_schemas() -> list[JSON]:
    leases = _resources(["get", "create", "update"], ["coordination.k8s.io"], ["leases"])
    nodes = _resources(["*"], [""], ["nodes", "nodes/status"], cluster=True)
    node_leases = _resources(["*"], ["coordination.k8s.io"], ["leases"])
    healths = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz"]}
    leaders = [
        *_users("system:kube-controller-manager", "system:kube-scheduler"), _SYSTEM_ACCOUNTS,
    ]  # fmt: skip
    return [
        _schema("exempt", "exempt", 1, "", _groups("system:masters")),
        _schema("probes", "exempt", 2, "", _groups(*_ANYBODY), [], [healths]),
        _schema("system-leader-election", "leader-election", 100, _BY_USER, leaders, [leases], []),
        _schema("system-node-high", "node-high", 400, _BY_USER, _groups("system:nodes"),
                [nodes, node_leases], []),
        _schema("system-nodes", "system", 500, _BY_USER, _groups("system:nodes")),
        _schema("kube-controller-manager", "workload-high", 800, _BY_NAMESPACE,
                _users("system:kube-controller-manager")),
        _schema("kube-scheduler", "workload-high", 800, _BY_NAMESPACE,
                _users("system:kube-scheduler")),
        _schema("kube-system-service-accounts", "workload-high", 900, _BY_NAMESPACE,
                [_SYSTEM_ACCOUNTS]),
        _schema("service-accounts", "workload-low", 9000, _BY_USER,
                _groups("system:serviceaccounts")),
        _schema("global-default", "global-default", 9900, _BY_USER, _groups(*_ANYBODY)),
        _schema("catch-all", "catch-all", 10000, _BY_USER, _groups(*_ANYBODY)),
    ]  # fmt: skip


_SYSTEM_ACCOUNTS: JSON = {
    "kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"},
}  # fmt: skip


def _groups(*names: str) -> list[JSON]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[JSON]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _resources(
    verbs: list[str], groups: list[str], resources: list[str], *, cluster: bool = False
) -> JSON:
    rule: JSON = {
        "verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"],
    }  # fmt: skip
    return {**rule, "clusterScope": True} if cluster else rule


def _schema(
    name: str,
    level: str,
    precedence: int,
    distinguisher: str,
    subjects: list[JSON],
    resources: list[JSON] | None = None,
    others: list[JSON] | None = None,
) -> JSON:
    """Without rules given: everything."""
    rules: JSON = {"subjects": subjects}
    if resources is None:
        resources = [_resources(["*"], ["*"], ["*"], cluster=True)]
    if others is None:
        others = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    if resources:
        rules["resourceRules"] = resources
    if others:
        rules["nonResourceRules"] = others
    spec: JSON = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rules],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    found = {
        "type": "Dangling", "status": "False", "reason": "Found",
        "message": "This FlowSchema references the PriorityLevelConfiguration object named "
        f'"{level}" and it exists',
    }  # fmt: skip
    return {**_automatic("FlowSchema", name, spec), "status": {"conditions": [found]}}


def _api_services() -> list[JSON]:
    """Of the groups this server serves, but for that of APIServices themselves."""
    served = dict.fromkeys((kind.group, kind.version) for kind in kinds.ALL)
    made: list[JSON] = []
    for group, version in served:
        if group not in _GROUPS:
            continue
        spec: JSON = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": _GROUPS[group],
            "versionPriority": _VERSIONS.get((group, version), 15),
        }
        if not group:
            del spec["group"]
        service = _object(
            "apiregistration.k8s.io/v1", "APIService", f"{version}.{group}", spec=spec
        )
        service["metadata"]["labels"] = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        made.append(service)
    return made
