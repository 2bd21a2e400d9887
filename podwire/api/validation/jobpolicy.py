"""Validation of a Job's podFailurePolicy and successPolicy.

Source: kubernetes pkg/apis/batch/validation (validatePodFailurePolicy, validateSuccessPolicy).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MAX_RULES = 20
_MAX_PATTERNS = 20
_MAX_CODES = 255
_MAX_INDEXES_BYTES = 64 * 1024


def _quoted(values: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def check_failure_policy(errors: Errors, path: str, spec: JSON) -> None:
    """What happens to a Job when a pod fails in a certain way."""
    rules = spec["podFailurePolicy"].get("rules") or []
    if len(rules) > _MAX_RULES:
        errors.too_many(f"{path}.rules", len(rules), _MAX_RULES)
    pod = spec["template"]["spec"]
    known = [
        container.get("name", "")
        for group in ("containers", "initContainers")
        for container in pod.get(group) or ()
    ]
    for i, rule in enumerate(rules):
        where = f"{path}.rules[{i}]"
        action = rule.get("action", "")
        if not action:
            errors.required(f"{where}.action", f"valid values: {_quoted(_ACTIONS)}")
        elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            detail = "requires the backoffLimitPerIndex to be set"
            errors.invalid(f"{where}.action", action, detail)
        else:
            errors.one_of(f"{where}.action", action, _ACTIONS)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            _exit_codes(errors, f"{where}.onExitCodes", codes, known)
        _pod_conditions(errors, f"{where}.onPodConditions", conditions)
        both = "OnExitCodes and OnPodConditions"
        if codes is not None and conditions:
            errors.omitted(where, f"specifying both {both} is not supported")
        if codes is None and not conditions:
            errors.omitted(where, f"specifying one of {both} is required")


def _pod_conditions(errors: Errors, path: str, conditions: list[JSON]) -> None:
    if len(conditions) > _MAX_PATTERNS:
        errors.too_many(path, len(conditions), _MAX_PATTERNS)
    for i, pattern in enumerate(conditions):
        kind, status = pattern.get("type", ""), pattern.get("status", "")
        errors.complaints(f"{path}[{i}].type", kind, names.label_key(kind))
        if not status:
            errors.required(f"{path}[{i}].status", f"valid values: {_quoted(_STATUSES)}")
        else:
            errors.one_of(f"{path}[{i}].status", status, _STATUSES)


def _exit_codes(errors: Errors, path: str, codes: JSON, known: list[str]) -> None:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        errors.required(f"{path}.operator", f"valid values: {_quoted(_OPERATORS)}")
    else:
        errors.one_of(f"{path}.operator", operator, _OPERATORS)
    container = codes.get("containerName")
    if container is not None and container not in known:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.invalid(f"{path}.containerName", container, detail)
    if not values:
        errors.invalid(f"{path}.values", values, "at least one value is required")
    elif len(values) > _MAX_CODES:
        errors.too_many(f"{path}.values", len(values), _MAX_CODES)
    seen: dict[int, None] = {}
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator")
        if value in seen:
            errors.duplicate(f"{path}.values[{i}]", value)
        seen[value] = None
    if values != sorted(values):
        errors.invalid(f"{path}.values", values, "must be ordered")


def check_success_policy(errors: Errors, path: str, spec: JSON) -> None:
    """When an indexed Job has succeeded before all its indexes have."""
    rules = spec["successPolicy"].get("rules") or []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.required(f"{path}.rules", detail)
    if len(rules) > _MAX_RULES:
        errors.too_many(f"{path}.rules", len(rules), _MAX_RULES)
    for i, rule in enumerate(rules):
        _success_rule(errors, f"{path}.rules[{i}]", rule, spec["completions"])


def _success_rule(errors: Errors, path: str, rule: JSON, completions: int) -> None:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.required(path, detail)
    total = 0
    if indexes is not None:
        if len(indexes) > _MAX_INDEXES_BYTES:
            errors.too_long(f"{path}.succeededIndexes", _MAX_INDEXES_BYTES)
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            detail = f"error parsing succeededIndexes: {error}"
            errors.invalid(f"{path}.succeededIndexes", indexes, detail)
    if count is None:
        return
    where = f"{path}.succeededCount"
    errors.not_negative(where, count)
    limit = f"must be less than or equal to {completions} (the number of specified completions)"
    if count > completions:
        errors.invalid(where, count, limit)
    if indexes is not None and count > total:
        named = "(the number of indexes in the specified succeededIndexes field)"
        errors.invalid(where, count, f"must be less than or equal to {total} {named}")


def count_indexes(text: str, completions: int) -> int:
    """How many indexes ``1,3-5,7`` names. Raises ValueError."""
    if not text:
        return 0
    last, total = -1, 0
    for part in text.split(","):
        bounds = part.split("-")
        if len(bounds) > 2:
            why = "violates the requirement that an index interval can have at most two parts"
            raise ValueError(f"the fragment \"{part}\" {why} separated by '-'")
        numbers = [_index(bound, completions) for bound in bounds]
        if len(numbers) == 2 and numbers[0] >= numbers[1]:
            last, numbers = numbers[0], [numbers[1]]
        if last >= numbers[0]:
            raise ValueError(f"non-increasing order, previous: {last}, current: {numbers[0]}")
        last = numbers[-1]
        total += last - numbers[0] + 1
    return total


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)
