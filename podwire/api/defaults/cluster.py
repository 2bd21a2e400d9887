"""Defaults of small kinds: limits, priorities, RBAC bindings, ingress classes, device claims.

Source: kubernetes pkg/apis/core/v1/defaults.go, pkg/apis/scheduling/v1/defaults.go,
pkg/apis/rbac/v1/defaults.go, pkg/apis/networking/v1/defaults.go, pkg/apis/resource/v1/defaults.go.
"""

from __future__ import annotations

from podwire.api.view import JSON

RBAC = "rbac.authorization.k8s.io"


def default_limit_range(obj: JSON) -> None:
    """Limits of containers follow from maxima, requests from limits, then from minima."""
    for item in obj["spec"].get("limits") or ():
        if item.get("type") != "Container":
            continue
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        given = item.get("defaultRequest") or {}
        requests = {**(item.get("min") or {}), **limits, **given}
        if limits:
            item["default"] = limits
        if requests:
            item["defaultRequest"] = requests


def default_priority_class(obj: JSON) -> None:
    """Pods of a class may preempt others."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_role_binding(obj: JSON) -> None:
    """Roles and human subjects are RBAC's own; ServiceAccounts are core's."""
    role = obj["roleRef"]
    role["apiGroup"] = role.get("apiGroup") or RBAC
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            subject.setdefault("apiGroup", RBAC)


def default_ingress_class(obj: JSON) -> None:
    """Parameters are cluster-scoped unless they say otherwise."""
    parameters = obj["spec"].get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def default_resource_claim(obj: JSON) -> None:
    """A ResourceClaim."""
    _device_claim(obj["spec"])


def default_resource_claim_template(obj: JSON) -> None:
    """A ResourceClaimTemplate."""
    _device_claim(obj["spec"]["spec"])


def _device_claim(spec: JSON) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        if "exactly" in request:
            _device_request(request["exactly"])
        for alternative in request.get("firstAvailable") or ():
            _device_request(alternative)


def _device_request(request: JSON) -> None:
    request["allocationMode"] = request.get("allocationMode") or "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    for toleration in request.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"
