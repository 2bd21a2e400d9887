"""Validation of where a pod may run: affinity, tolerations, spread constraints, node selectors.

Source: kubernetes pkg/apis/core/validation (validateAffinity, ValidateNodeSelector,
ValidateTolerations, validateTopologySpreadConstraints).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"


def check_affinity(errors: Errors, path: str, affinity: JSON) -> None:
    """Node affinity, pod affinity and pod anti-affinity."""
    nodes = affinity.get("nodeAffinity")
    if nodes is not None:
        where = f"{path}.nodeAffinity"
        if _REQUIRED in nodes:
            check_node_selector(errors, f"{where}.{_REQUIRED}", nodes[_REQUIRED])
        for i, term in enumerate(nodes.get(_PREFERRED) or ()):
            here = f"{where}.{_PREFERRED}[{i}]"
            if not 1 <= term.get("weight", 0) <= 100:
                errors.invalid(f"{here}.weight", term.get("weight", 0), _WEIGHT)
            _term(errors, f"{here}.preference", term.get("preference") or {})
    for name in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(name)
        if pods is None:
            continue
        for i, term in enumerate(pods.get(_REQUIRED) or ()):
            _pod_term(errors, f"{path}.{name}.{_REQUIRED}[{i}]", term)
        for i, weighted in enumerate(pods.get(_PREFERRED) or ()):
            here = f"{path}.{name}.{_PREFERRED}[{i}]"
            if not 1 <= weighted.get("weight", 0) <= 100:
                errors.invalid(f"{here}.weight", weighted.get("weight", 0), _WEIGHT)
            _pod_term(errors, f"{here}.podAffinityTerm", weighted.get("podAffinityTerm") or {})


def check_node_selector(errors: Errors, path: str, selector: JSON) -> None:
    """At least one term of node labels and fields."""
    terms = selector.get("nodeSelectorTerms") or []
    where = f"{path}.nodeSelectorTerms"
    if not terms:
        errors.required(where, "must have at least one node selector term")
    for i, term in enumerate(terms):
        _term(errors, f"{where}[{i}]", term)


def _term(errors: Errors, path: str, term: JSON) -> None:
    for i, expression in enumerate(term.get("matchExpressions") or ()):
        _node_expression(errors, f"{path}.matchExpressions[{i}]", expression)
    for i, field in enumerate(term.get("matchFields") or ()):
        _node_field(errors, f"{path}.matchFields[{i}]", field)


def _node_expression(errors: Errors, path: str, expression: JSON) -> None:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in {"In", "NotIn"}:
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.required(f"{path}.values", detail)
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.forbidden(f"{path}.values", detail)
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.required(f"{path}.values", detail)
    else:
        errors.invalid(f"{path}.operator", operator, "not a valid selector operator")
    key = expression.get("key", "")
    errors.complaints(f"{path}.key", key, names.label_key(key))
    if operator in {"In", "NotIn"}:
        for i, value in enumerate(values):
            errors.complaints(f"{path}.values[{i}]", value, names.label_value(value))


def _node_field(errors: Errors, path: str, field: JSON) -> None:
    operator, values = field.get("operator", ""), field.get("values") or []
    if operator not in {"In", "NotIn"}:
        errors.invalid(f"{path}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.required(f"{path}.values", detail)
    key = field.get("key", "")
    if key != "metadata.name":
        errors.invalid(f"{path}.key", key, "not a valid field selector key")
        return
    for i, value in enumerate(values):
        errors.complaints(f"{path}.values[{i}]", value, names.dns1123_subdomain(value))


def _pod_term(errors: Errors, path: str, term: JSON) -> None:
    for name in ("labelSelector", "namespaceSelector"):
        if name in term:
            meta.label_selector(errors, f"{path}.{name}", term[name])
    for namespace in term.get("namespaces") or ():
        complaints = names.dns1123_label(namespace)
        errors.complaints(f"{path}.namespace", namespace, complaints)
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        if term.get(name) and "labelSelector" not in term:
            errors.forbidden(
                f"{path}.{name}", "must not be specified when labelSelector is not set"
            )
        for i, key in enumerate(term.get(name) or ()):
            errors.complaints(f"{path}.{name}[{i}]", key, names.label_key(key))
    key = term.get("topologyKey", "")
    if not key:
        errors.required(f"{path}.topologyKey", "can not be empty")
    errors.complaints(f"{path}.topologyKey", key, names.label_key(key))


def check_tolerations(errors: Errors, path: str, tolerations: list[JSON]) -> None:
    """Keys, operators, values and effects of tolerations."""
    for i, toleration in enumerate(tolerations):
        where = f"{path}[{i}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            if complaints := names.label_key(key):
                errors.complaints(f"{where}.key", key, complaints)
        elif operator != "Exists":
            detail = (
                "operator must be Exists when `key` is empty, which means "
                '"match all values and all keys"'
            )
            errors.invalid(f"{where}.operator", operator, detail)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.invalid(f"{where}.effect", effect, detail)
        if operator in {"", "Equal"}:
            complaints = names.label_value(value)
            if complaints:
                errors.invalid(f"{where}.operator", value, ";".join(complaints))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.invalid(f"{where}.operator", value, detail)
        else:
            errors.unsupported(f"{where}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in _EFFECTS:
            errors.unsupported(f"{where}.effect", effect, _EFFECTS)


_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_INCLUSIONS = ("Honor", "Ignore")


def check_spread(errors: Errors, path: str, constraints: list[JSON]) -> None:
    """How evenly pods are to be spread."""
    seen: dict[tuple[str, str], None] = {}
    for i, constraint in enumerate(constraints):
        where = f"{path}[{i}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        if skew <= 0:
            errors.invalid(f"{where}.maxSkew", skew, "must be greater than zero")
        if not key:
            errors.required(f"{where}.topologyKey", "can not be empty")
        else:
            errors.complaints(f"{where}.topologyKey", key, names.label_key(key))
        action = constraint.get("whenUnsatisfiable", "")
        errors.one_of(f"{where}.whenUnsatisfiable", action, _ACTIONS)
        if (key, action) in seen:
            errors.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        seen[key, action] = None
        domains = constraint.get("minDomains")
        if domains is not None:
            if domains <= 0:
                errors.invalid(f"{where}.minDomains", domains, "must be greater than 0")
            if action != "DoNotSchedule":
                detail = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
                errors.invalid(f"{where}.minDomains", domains, f"{detail}{action}")
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if name in constraint:
                errors.one_of(f"{where}.{name}", constraint[name], _INCLUSIONS)
        selector = constraint.get("labelSelector")
        if selector is not None:
            meta.label_selector(errors, f"{where}.labelSelector", selector)
        if constraint.get("matchLabelKeys") and selector is None:
            detail = "must not be specified when labelSelector is not set"
            errors.forbidden(f"{where}.matchLabelKeys", detail)
