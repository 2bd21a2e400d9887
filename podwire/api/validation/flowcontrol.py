"""Validation of FlowSchemas and PriorityLevelConfigurations.

Source: kubernetes pkg/apis/flowcontrol/validation.
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_VERBS = (
    "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch",
)  # fmt: skip
_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = {"User": "user", "Group": "group", "ServiceAccount": "serviceAccount"}
_MAX_PRECEDENCE = 10000
_MAX_QUEUES = 10_000_000


def check_flow_schema(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A FlowSchema."""
    spec, path = new["spec"], "spec.matchingPrecedence"
    precedence = spec.get("matchingPrecedence", 0)
    if precedence <= 0:
        errors.invalid(path, precedence, "must be a positive value")
    if precedence > _MAX_PRECEDENCE:
        errors.invalid(path, precedence, f"must not be greater than {_MAX_PRECEDENCE}")
    if precedence == 1 and new["metadata"].get("name") != "exempt":
        detail = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.invalid(path, precedence, detail)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        errors.unsupported("spec.distinguisherMethod.type", method, _METHODS)
    level = spec["priorityLevelConfiguration"].get("name", "")
    if level:
        complaints = names.dns1123_subdomain(level)
        errors.complaints("spec.priorityLevelConfiguration.name", level, complaints)
    else:
        detail = "must reference a priority level"
        errors.required("spec.priorityLevelConfiguration.name", detail)
    for i, rule in enumerate(spec.get("rules") or ()):
        _rule(errors, f"spec.rules[{i}]", rule)


def _rule(errors: Errors, path: str, rule: JSON) -> None:
    subjects = rule.get("subjects") or []
    if not subjects:
        errors.required(f"{path}.subjects", "subjects must contain at least one value")
    for i, subject in enumerate(subjects):
        _subject(errors, f"{path}.subjects[{i}]", subject)
    resources, others = rule.get("resourceRules") or [], rule.get("nonResourceRules") or []
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.required(path, detail)
    for i, item in enumerate(resources):
        where = f"{path}.resourceRules[{i}]"
        _verbs(errors, where, item)
        for field, what in (("apiGroups", "api group"), ("resources", "resource")):
            values = item.get(field) or []
            if not values:
                detail = f"resource rules must supply at least one {what}"
                errors.required(f"{where}.{field}", detail)
            _alone(errors, f"{where}.{field}", values, f"{what}s")
        _namespaces(errors, f"{where}.namespaces", item)
    for i, item in enumerate(others):
        where = f"{path}.nonResourceRules[{i}]"
        _verbs(errors, where, item)
        urls = item.get("nonResourceURLs") or []
        if not urls:
            detail = "nonResourceURLs must contain at least one value"
            errors.required(f"{where}.nonResourceURLs", detail)
        _alone(errors, f"{where}.nonResourceURLs", urls, "non-resource URLs")


def _namespaces(errors: Errors, path: str, item: JSON) -> None:
    found = item.get("namespaces") or []
    if not found and not item.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.required(path, detail)
    _alone(errors, path, found, "namespaces")
    for i, namespace in enumerate(found):
        if namespace != "*":
            start = "each member of this list must be '*' or a DNS-1123 label; "
            complaints = [f"{start}{text}" for text in names.dns1123_label(namespace)]
            errors.complaints(f"{path}[{i}]", namespace, complaints)


def _verbs(errors: Errors, path: str, item: JSON) -> None:
    verbs = item.get("verbs") or []
    if not verbs:
        errors.required(f"{path}.verbs", "verbs must contain at least one value")
    _alone(errors, f"{path}.verbs", verbs, "verbs")
    if "*" not in verbs and any(verb not in _VERBS for verb in verbs):
        errors.unsupported(f"{path}.verbs", verbs, _VERBS)


def _alone(errors: Errors, path: str, values: list[str], what: str) -> None:
    if len(values) > 1 and "*" in values:
        errors.invalid(path, values, f"if '*' is present, must not specify other {what}")


def _subject(errors: Errors, path: str, subject: JSON) -> None:
    kind = subject.get("kind", "")
    if kind not in _SUBJECTS:
        errors.unsupported(f"{path}.kind", kind, tuple(sorted(_SUBJECTS)))
        return
    wanted = _SUBJECTS[kind]
    who = subject.get(wanted)
    if who is None:
        detail = f"{wanted} is required when subject kind is '{kind}'"
        errors.required(f"{path}.{wanted}", detail)
    else:
        if not who.get("name"):
            errors.required(f"{path}.{wanted}.name")
        if kind == "ServiceAccount" and not who.get("namespace"):
            detail = "must specify namespace for service account"
            errors.required(f"{path}.{wanted}.namespace", detail)
    for other, field in _SUBJECTS.items():
        if other != kind and field in subject:
            detail = f"{field} is forbidden when subject kind is not '{other}'"
            errors.forbidden(f"{path}.{field}", detail)


def check_priority_level(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A PriorityLevelConfiguration."""
    spec, kind = new["spec"], new["spec"].get("type", "")
    if (new["metadata"].get("name") == "exempt") != (kind == "Exempt"):
        detail = "type must be 'Exempt' if and only if name is 'exempt'"
        errors.invalid("spec.type", kind, detail)
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if kind == "Exempt":
        if limited is not None:
            errors.forbidden("spec.limited", "must be nil if the type is not Limited")
    elif kind == "Limited":
        if exempt is not None:
            errors.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            errors.required("spec.limited", "must not be empty when type is Limited")
        else:
            _limited(errors, "spec.limited", limited)
    else:
        errors.unsupported("spec.type", kind, ("Exempt", "Limited"))


def _limited(errors: Errors, path: str, limited: JSON) -> None:
    shares = limited.get("nominalConcurrencyShares", 0)
    if shares < 0:
        detail = "must be a non-negative integer"
        errors.invalid(f"{path}.nominalConcurrencyShares", shares, detail)
    response = limited.get("limitResponse") or {}
    kind, queuing, where = (
        response.get("type", ""),
        response.get("queuing"),
        f"{path}.limitResponse",
    )
    if kind == "Reject":
        if queuing is not None:
            detail = "must be nil if limited.limitResponse.type is not Limited"
            errors.forbidden(f"{where}.queuing", detail)
    elif kind == "Queue":
        if queuing is None:
            detail = "must not be empty if limited.limitResponse.type is Limited"
            errors.required(f"{where}.queuing", detail)
        else:
            _queuing(errors, f"{where}.queuing", queuing)
    else:
        errors.unsupported(f"{where}.type", kind, ("Queue", "Reject"))


def _queuing(errors: Errors, path: str, queuing: JSON) -> None:
    for name in ("queueLengthLimit", "queues", "handSize"):
        if queuing.get(name, 0) <= 0:
            errors.invalid(f"{path}.{name}", queuing.get(name, 0), "must be positive")
    queues, hand = queuing.get("queues", 0), queuing.get("handSize", 0)
    if queues > _MAX_QUEUES:
        errors.invalid(f"{path}.queues", queues, f"must not be greater than {_MAX_QUEUES}")
    if hand > queues:
        detail = f"should not be greater than queues ({queues})"
        errors.invalid(f"{path}.handSize", hand, detail)
