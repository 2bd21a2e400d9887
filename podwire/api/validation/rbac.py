"""Validation of roles and their bindings.

Source: kubernetes pkg/apis/rbac/validation.
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_RBAC = "rbac.authorization.k8s.io"


def check_role(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A Role: rules about resources only."""
    _rules(errors, new.get("rules") or [], namespaced=True)


def check_cluster_role(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A ClusterRole: rules, and selectors of the roles it is made of."""
    _rules(errors, new.get("rules") or [], namespaced=False)
    aggregation = new.get("aggregationRule")
    if aggregation is None:
        return
    path = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or []
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.required(path, detail)
    for i, selector in enumerate(selectors):
        meta.label_selector(errors, f"{path}[{i}]", selector)


def _rules(errors: Errors, rules: list[JSON], *, namespaced: bool) -> None:
    for i, rule in enumerate(rules):
        path = f"rules[{i}]"
        if not rule.get("verbs"):
            errors.required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                errors.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                errors.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail)
            continue
        if not rule.get("apiGroups"):
            errors.required(
                f"{path}.apiGroups", "resource rules must supply at least one api group"
            )
        if not rule.get("resources"):
            detail = "resource rules must supply at least one resource"
            errors.required(f"{path}.resources", detail)


def check_role_binding(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A RoleBinding or ClusterRoleBinding; its role never changes."""
    role = new["roleRef"]
    cluster = new.get("kind") == "ClusterRoleBinding"
    if role.get("apiGroup") != _RBAC:
        errors.unsupported("roleRef.apiGroup", role.get("apiGroup"), (_RBAC,))
    kinds = ("ClusterRole",) if cluster else ("Role", "ClusterRole")
    errors.one_of("roleRef.kind", role.get("kind", ""), kinds)
    if not role.get("name"):
        errors.required("roleRef.name")
    else:
        errors.complaints("roleRef.name", role["name"], names.path_segment(role["name"]))
    for i, subject in enumerate(new.get("subjects") or ()):
        _subject(errors, f"subjects[{i}]", subject)
    if old is not None and role != old["roleRef"]:
        errors.invalid("roleRef", role, "cannot change roleRef")


def _subject(errors: Errors, path: str, subject: JSON) -> None:
    kind, name, group = (subject.get(k, "") for k in ("kind", "name", "apiGroup"))
    if not name:
        errors.required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            errors.complaints(f"{path}.name", name, names.dns1123_subdomain(name))
        if group:
            errors.unsupported(f"{path}.apiGroup", group, ("",))
        if not subject.get("namespace"):
            errors.required(f"{path}.namespace")
    elif kind in {"User", "Group"}:
        if group != _RBAC:
            errors.unsupported(f"{path}.apiGroup", group, (_RBAC,))
    else:
        errors.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))
