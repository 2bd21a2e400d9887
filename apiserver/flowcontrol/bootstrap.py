"""The flow schemas and priority levels that an API server makes: the mandatory ones, and those it
suggests. Source: apiserver pkg/apis/flowcontrol/bootstrap (default.go).
"""

from __future__ import annotations

from typing import Any

from podwire.api.view import JSON
from podwire.apiserver.flowcontrol.matching import CATCH_ALL, EXEMPT

MANDATORY = (EXEMPT, CATCH_ALL)
"""The names of what is always as it is here, levels and schemas alike."""
_FLOW = "flowcontrol.apiserver.k8s.io/v1"
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
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


def objects() -> list[JSON]:
    """All of them, levels first."""
    return [*_priority_levels(), *_flow_schemas()]


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
    metadata = {"name": name, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": _FLOW, "kind": kind, "metadata": metadata, "spec": spec}


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
    return {
        **_automatic("FlowSchema", name, spec), "status": {"conditions": [dangling(level, True)]},
    }  # fmt: skip


def dangling(level: str, exists: bool) -> dict[str, Any]:
    """The condition of a FlowSchema that names a level. Source: apiserver pkg/util/flowcontrol
    (apf_controller.go).
    """
    named = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    return {
        "type": "Dangling", "status": "False" if exists else "True",
        "reason": "Found" if exists else "NotFound",
        "message": f"{named} and it exists" if exists else f"{named} but there is no such object",
    }  # fmt: skip
