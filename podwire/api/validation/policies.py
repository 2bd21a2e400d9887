"""Validation of admission policies and their bindings.

Wrong expressions are told before they are stored. Source: kubernetes
pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podwire.api import names
from podwire.api.cel.declarations import RESERVED
from podwire.api.validation import meta
from podwire.api.validation.extension import (
    FAILURE,
    MATCH,
    REINVOCATION,
    check_conditions,
    check_rule,
)
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

if TYPE_CHECKING:
    from podwire.api.cel.admission import Compiler, Expression

_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
"""The operations that have something to change."""

_MAX_ANNOTATIONS = 20
_MAX_ANNOTATION_BYTES = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_EITHER = "validations or auditAnnotations must contain at least one item"


def check_admission_policy(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Validating- or MutatingAdmissionPolicy."""
    spec: JSON = new["spec"]
    if not spec.get("failurePolicy"):
        errors.required("spec.failurePolicy")
    else:
        errors.one_of("spec.failurePolicy", spec["failurePolicy"], FAILURE)
    _param_kind(errors, spec.get("paramKind"))
    mutating = new.get("kind") == "MutatingAdmissionPolicy"
    match = spec.get("matchConstraints")
    if match is None:
        errors.required("spec.matchConstraints")
    else:
        _match(errors, "spec.matchConstraints", match)
        if not match.get("resourceRules"):
            errors.required("spec.matchConstraints.resourceRules")
        if mutating:
            _operations(errors, "spec.matchConstraints", match)
    was: JSON = (old or {}).get("spec") or {}
    if not was or any(was.get(key) != spec.get(key) for key in ("paramKind", "matchConditions")):
        check_conditions(errors, "spec.matchConditions", spec.get("matchConditions") or [])
    for i, one in enumerate(spec.get("variables") or ()):
        _variable(errors, f"spec.variables[{i}]", one)
    if mutating:
        _mutations(errors, spec)
    else:
        _validations(errors, spec, new["metadata"].get("name", ""))
    _check_expressions(errors, spec, was, mutating=mutating)


def _param_kind(errors: Errors, kind: JSON | None) -> None:
    if kind is None:
        return
    path = "spec.paramKind"
    version, name = kind.get("apiVersion", ""), kind.get("kind", "")
    group, _, short = version.rpartition("/")
    if not version:
        errors.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        errors.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        if group and (wrong := names.dns1123_subdomain(group)):
            errors.invalid(f"{path}.apiVersion", group, ",".join(wrong))
        if not short:
            errors.invalid(f"{path}.apiVersion", version, "version must be specified")
        elif wrong := names.dns1035_label(short):
            errors.invalid(f"{path}.apiVersion", short, ",".join(wrong))
    if not name:
        errors.required(f"{path}.kind")
    elif wrong := names.dns1035_label(name.lower()):
        detail = "may have mixed case, but should otherwise match: "
        errors.invalid(f"{path}.kind", name, detail + ",".join(wrong))


def _match(errors: Errors, path: str, match: JSON) -> None:
    errors.one_of(f"{path}.matchPolicy", match.get("matchPolicy", ""), MATCH)
    for field in ("namespaceSelector", "objectSelector"):
        if field not in match:
            errors.required(f"{path}.{field}")
        meta.label_selector(errors, f"{path}.{field}", match.get(field))
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            where = f"{path}.{field}[{i}]"
            seen: dict[str, None] = {}
            for j, name in enumerate(rule.get("resourceNames") or ()):
                errors.complaints(f"{where}.resourceNames[{j}]", name, names.path_segment(name))
                if name in seen:
                    errors.duplicate(f"{where}.resourceNames[{j}]", name)
                seen[name] = None
            check_rule(errors, where, rule)


def _operations(errors: Errors, path: str, match: JSON) -> None:
    for rule in match.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            errors.one_of(f"{path}.resourceRules.operations", operation, _MUTABLE)


def _variable(errors: Errors, path: str, one: JSON) -> None:
    name = one.get("name", "")
    if not name.strip():
        errors.required(f"{path}.name", "name is not specified")
    elif not _IDENTIFIER.fullmatch(name) or name in RESERVED:
        errors.invalid(f"{path}.name", name, "name is not a valid CEL identifier")
    if not one.get("expression", "").strip():
        errors.required(f"{path}.expression", "expression is not specified")


def _validations(errors: Errors, spec: JSON, name: str) -> None:
    checks, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not checks and not annotations:
        errors.required("spec.validations", _EITHER)
        errors.required("spec.auditAnnotations", _EITHER)
    for i, check in enumerate(checks):
        _validation(errors, f"spec.validations[{i}]", check)
    if len(annotations) > _MAX_ANNOTATIONS:
        detail = f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        errors.invalid("spec.auditAnnotations", annotations, detail)
    seen: dict[str, None] = {}
    for i, one in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{i}]", one.get("key", "")
        whole = f"{name}/{key}"
        if name:
            errors.complaints(f"{path}.key", whole, names.label_key(whole))
        else:
            errors.invalid(f"{path}.key", key, "requires metadata.name be non-empty")
        text = one.get("valueExpression", "").strip()
        if not text:
            errors.required(f"{path}.valueExpression", "valueExpression is not specified")
        elif len(text.encode()) > _MAX_ANNOTATION_BYTES:
            detail = f"must not exceed {_MAX_ANNOTATION_BYTES} bytes in length"
            errors.required(f"{path}.valueExpression", detail)
        if key in seen:
            errors.duplicate(f"{path}.key", key)
        seen[key] = None


def _validation(errors: Errors, path: str, check: JSON) -> None:
    if not check.get("expression", "").strip():
        errors.required(f"{path}.expression", "expression is not specified")
    told = check.get("messageExpression", "")
    if told and not told.strip():
        errors.invalid(f"{path}.messageExpression", told, "must be non-empty if specified")
    message = check.get("message", "")
    if message and not message.strip():
        errors.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        errors.invalid(f"{path}.message", message, "message must not contain line breaks")
    if "reason" in check:
        errors.one_of(f"{path}.reason", check["reason"], _REASONS)


def _mutations(errors: Errors, spec: JSON) -> None:
    from podwire.api.cel.admission import MUTATIONS  # noqa: PLC0415  as in _check_expressions

    if not spec.get("mutations"):
        errors.required("spec.mutations", "mutations must contain at least one item")
    types = {kind: part for part, (kind, _) in MUTATIONS.items()}
    for i, one in enumerate(spec.get("mutations") or ()):
        path, kind = f"spec.mutations[{i}]", one.get("patchType", "")
        if kind not in types:
            if kind:
                errors.unsupported(f"{path}.patchType", kind, sorted(types))
            else:
                errors.required(f"{path}.patchType")
            continue
        if one.get(types[kind]) is None:
            detail = f"must be specified when patchType is {kind}"
            errors.required(f"{path}.{types[kind]}", detail)
        elif not one[types[kind]].get("expression", "").strip():
            errors.required(f"{path}.{types[kind]}.expression")
        for other, part in types.items():
            if other != kind and one.get(part) is not None:
                detail = f"must not be specified when patchType is {kind}"
                errors.invalid(f"{path}.{part}", f"{{{part}}}", detail)
    if not spec.get("reinvocationPolicy"):
        errors.required("spec.reinvocationPolicy")
    else:
        errors.one_of("spec.reinvocationPolicy", spec["reinvocationPolicy"], REINVOCATION)


def check_policy_binding(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A binding of an admission policy."""
    spec: JSON = new["spec"]
    name = spec.get("policyName", "")
    if not name:
        errors.required("spec.policyName")
    else:
        errors.complaints("spec.policyName", name, names.dns1123_subdomain(name))
    if spec.get("paramRef") is not None:
        _param_ref(errors, "spec.paramRef", spec["paramRef"])
    if new.get("kind") == "MutatingAdmissionPolicyBinding":
        if "matchResources" in spec:
            _match(errors, "spec.matchResources", spec["matchResources"])
            _operations(errors, "spec.matchResources", spec["matchResources"])
        return
    if "matchResources" in spec:
        _match(errors, "spec.matchResouces", spec["matchResources"])  # upstream writes it so
    actions = spec.get("validationActions") or []
    seen: dict[str, None] = {}
    for i, action in enumerate(actions):
        errors.one_of(f"spec.validationActions[{i}]", action, _ACTIONS)
        if action in seen:
            errors.duplicate(f"spec.validationActions[{i}]", action)
        seen[action] = None
    if {"Deny", "Warn"} <= set(actions):
        detail = "must not contain both Deny and Warn (repeating the same validation failure "
        errors.invalid(
            "spec.validationActions",
            actions,
            f"{detail}information in the API response and headers serves no purpose)",
        )
    if not actions:
        errors.required("spec.validationActions", "at least one validation action is required")


def _param_ref(errors: Errors, path: str, reference: JSON) -> None:
    name, selector = reference.get("name", ""), reference.get("selector")
    exclusive = "name and selector are mutually exclusive"
    if name:
        errors.complaints(f"{path}.name", name, names.path_segment(name))
        if selector is not None:
            errors.forbidden(f"{path}.name", exclusive)
    if selector is not None:
        meta.label_selector(errors, f"{path}.selector", selector)
        if name:
            errors.forbidden(f"{path}.selector", exclusive)
    elif not name:
        errors.required(path, "one of name or selector must be specified")
    action = reference.get("parameterNotFoundAction")
    if not action:
        errors.required(f"{path}.parameterNotFoundAction")
    else:
        errors.one_of(f"{path}.parameterNotFoundAction", action, ("Deny", "Allow"))


def _check_expressions(errors: Errors, spec: JSON, was: JSON, *, mutating: bool) -> None:
    """Add what is wrong with a policy's expressions; those that are stored already are let be."""
    # CEL is large, and most who import validation never see a policy
    from podwire.api.cel.admission import Compiler  # noqa: PLC0415

    variables = spec.get("variables") or ()
    compiler = Compiler(
        params=spec.get("paramKind") is not None,
        patches=mutating,
        variables=[(one.get("name", ""), one.get("expression", "")) for one in variables],
    )
    kept = frozenset(text.strip() for text in _texts(was))
    for path, expression in _compiled(compiler, spec):
        text = expression.text.strip()
        if expression.error and text and text not in kept:
            errors.invalid(path, expression.text, expression.error)


def _compiled(compiler: Compiler, spec: JSON) -> Iterator[tuple[str, Expression]]:
    from podwire.api.cel.admission import MUTATIONS, Compiler  # noqa: PLC0415  as above
    from podwire.api.cel.types import BOOL, NULL, STRING  # noqa: PLC0415  as above

    conditions = Compiler(params=spec.get("paramKind") is not None)
    for i, one in enumerate(spec.get("matchConditions") or ()):
        text = one.get("expression", "").strip()
        yield f"spec.matchConditions[{i}].expression", conditions.compile(text, BOOL)
    for i, expression in enumerate(compiler.variables.values()):
        yield f"spec.variables[{i}].expression", expression
    for i, one in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{i}]"
        yield f"{path}.expression", compiler.compile(one.get("expression", ""), BOOL)
        if message := one.get("messageExpression"):
            made = compiler.compile(message, STRING, authorizer=False)
            yield f"{path}.messageExpression", made
    for i, one in enumerate(spec.get("auditAnnotations") or ()):
        made = compiler.compile(one.get("valueExpression", ""), STRING, NULL)
        yield f"spec.auditAnnotations[{i}].valueExpression", made
    for i, one in enumerate(spec.get("mutations") or ()):
        for part, (kind, wanted) in MUTATIONS.items():
            text = (one.get(part) or {}).get("expression", "").strip()
            if text and one.get("patchType") == kind:
                yield f"spec.mutations[{i}].{part}.expression", compiler.compile(text, wanted)


def _texts(spec: JSON) -> Iterator[str]:
    """Every expression of a policy."""
    for group in ("matchConditions", "variables", "validations", "auditAnnotations", "mutations"):
        for one in spec.get(group) or ():
            for holder in (one, *(value for value in one.values() if isinstance(value, dict))):
                for name in ("expression", "messageExpression", "valueExpression"):
                    if text := holder.get(name):
                        yield text
