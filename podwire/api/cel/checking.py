"""What is wrong with the rules of a CustomResourceDefinition, before there is an object.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation (validation.go,
cel_validation.go) and pkg/apiserver/schema/cel/compilation.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from podwire.api.cel import fieldpath
from podwire.api.cel.declarations import MAX_REQUEST_BYTES, declare
from podwire.api.cel.environment import CompileError, Environment
from podwire.api.cel.estimate import estimate
from podwire.api.cel.evaluator import Program
from podwire.api.cel.parser import children
from podwire.api.cel.syntax import Ident, Node
from podwire.api.cel.types import UNBOUNDED, Type, optional_of
from podwire.api.cel.values import CelError
from podwire.api.status import Cause
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

COST_LIMIT = 10_000_000
"""What one rule may be estimated to cost over a whole object."""

TOTAL_LIMIT = 100_000_000
"""What all rules of a schema may be estimated to cost together."""

_REASONS = (
    "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired",
)  # fmt: skip
_BREAK = re.compile(r"[\n\r]+")
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, "
    "maps, and strings are declared)"
)


class Compiled(NamedTuple):
    """One rule: its programs, or why there are none; the most that it may cost each time."""

    program: Program | None = None
    error: str = ""
    uses_old: bool = False
    cost: int = 0
    message: Program | None = None
    message_error: str = ""
    message_cost: int = 0


def compile_rule(spec: JSON, one: Type) -> Compiled:
    """Compile a rule and its messageExpression for values of a type."""
    text = str(spec.get("rule") or "")
    if not text.strip():
        return Compiled()
    old = optional_of(one) if spec.get("optionalOldSelf") else one
    environment = Environment({"self": one, "oldSelf": old})
    program, tree, error = _compile(
        environment, text, "compilation failed", "bool", "cel expression"
    )
    if program is None or tree is None:
        return Compiled(error=error)
    made = Compiled(program, "", mentions(tree, "oldSelf"), estimate(tree, one).high)
    message = spec.get("messageExpression")
    if not message:
        return made
    words = "messageExpression compilation failed", "string", "messageExpression"
    told, tree, error = _compile(environment, message, *words)
    if told is None or tree is None:
        return made._replace(message_error=error)
    return made._replace(message=told, message_cost=estimate(tree, one).high)


def _compile(
    environment: Environment, text: str, failed: str, wanted: str, what: str
) -> tuple[Program | None, Node | None, str]:
    try:
        tree = environment.check(text)
    except CompileError as wrong:
        return None, None, f"{failed}: {wrong}"
    if tree.type.kind != wanted:
        return None, None, f"{what} must evaluate to a {wanted}"
    try:
        return environment.program(tree), tree, ""
    except CelError as wrong:
        start = "program" if wanted == "bool" else "messageExpression"
        return None, None, f"{start} instantiation failed: {wrong}"


def mentions(tree: Node, name: str) -> bool:
    """Whether an expression refers to a variable."""
    waiting = [tree]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Ident) and node.name == name:
            return True
        if id(node) not in seen:
            seen.add(id(node))
            waiting += children(node)
    return False


class _Total:
    """The estimated costs of a whole schema, and the most expensive rules."""

    def __init__(self, stored: frozenset[str]) -> None:
        self.stored = stored
        self.cost = 0
        self.most: list[tuple[int, str]] = []

    def add(self, path: str, cost: int) -> None:
        """Note what one expression may cost."""
        self.cost = min(self.cost + cost, UNBOUNDED)
        if cost >= TOTAL_LIMIT // 100:
            self.most.append((cost, path))
            self.most = sorted(self.most, key=lambda one: -one[0])[:4]


class _Place(NamedTuple):
    """Where in a schema a rule is: how often it may run, what forbids to ask for old values."""

    times: int | None = 1
    """How many values there may be at most; None when nothing bounds them."""

    uncorrelated: str = ""
    rules: bool = True
    """Whether rules are checked here: not below not, allOf, anyOf and oneOf."""


def check(schema: JSON, path: str, errors: Errors, stored: JSON | None = None) -> None:
    """Add what is wrong with the rules of a CRD's schema that stands at ``path``.

    ``stored`` is the schema before an update: its expressions are not held to the limits again.
    """
    total = _Total(frozenset(_texts(stored)))
    _walk(schema, declare(schema, root=True), path, errors, total, _Place())
    if total.cost > TOTAL_LIMIT:
        for _, rule in total.most:
            errors.forbidden(
                rule,
                "contributed to estimated rule cost total exceeding cost limit for entire "
                "OpenAPIv3 schema",
            )
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.forbidden(path, _exceeded(what, total.cost, TOTAL_LIMIT))


def _texts(schema: Any) -> list[str]:
    """The expressions that a schema has."""
    if not isinstance(schema, Mapping):
        return []
    found = [
        str(rule.get(name) or "")
        for rule in schema.get("x-kubernetes-validations") or ()
        for name in ("rule", "messageExpression")
    ]
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        found += _texts(inner)
    for inner in (schema.get("properties") or {}).values():
        found += _texts(inner)
    return found


def _walk(
    schema: Any, one: Type | None, path: str, errors: Errors, total: _Total, place: _Place
) -> None:
    if not isinstance(schema, Mapping):
        return
    below = place._replace(times=_times(place.times, _elements(schema)))
    element = one.params[-1] if one is not None and one.kind in {"list", "map"} else None
    values = schema.get("additionalProperties")
    _walk(values, element, f"{path}.additionalProperties", errors, total, below)
    forbidden = below
    if schema.get("x-kubernetes-map-type") not in {None, "granular", "atomic"}:
        forbidden = below._replace(uncorrelated=place.uncorrelated or path)
    fields = (one.fields if one is not None else None) or {}
    by_name = {field.json: field.type for field in fields.values()}
    for name, inner in (schema.get("properties") or {}).items():
        kind = by_name.get(name) or declare(
            inner, root=bool(inner.get("x-kubernetes-embedded-resource"))
        )
        _walk(inner, kind, f"{path}.properties[{name}]", errors, total, forbidden)
    if schema.get("x-kubernetes-list-type") != "map":
        below = below._replace(uncorrelated=place.uncorrelated or path)
    _walk(schema.get("items"), element, f"{path}.items", errors, total, below)
    for number, inner in enumerate(schema.get("allOf") or ()):
        nested = place._replace(rules=False)
        _walk(inner, one, f"{path}.allOf[{number}]", errors, total, nested)
    rules = schema.get("x-kubernetes-validations") or ()
    before = len(errors.causes)
    for number, rule in enumerate(rules):
        _form(rule, schema, f"{path}.x-kubernetes-validations[{number}]", errors)
    if len(errors.causes) == before and place.rules and one is not None:
        for number, rule in enumerate(rules):
            at = f"{path}.x-kubernetes-validations[{number}]"
            _rule(rule, one, at, errors, total, place)


def _elements(schema: Mapping[str, Any]) -> int | None:
    """How many values may be below one of a schema."""
    match schema.get("type"):
        case "object" if schema.get("additionalProperties"):
            limit = schema.get("maxProperties")
        case "array":
            limit = schema.get("maxItems")
        case _:
            return 1
    return None if limit is None else max(limit, 0)


def _times(count: int | None, more: int | None) -> int | None:
    return None if count is None or more is None else min(count * more, UNBOUNDED)


def _form(rule: JSON, schema: Mapping[str, Any], path: str, errors: Errors) -> None:
    """What is wrong with a rule as a piece of data."""
    text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
    if not text.strip():
        errors.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        errors.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif _BREAK.search(message.strip()):
        errors.invalid(f"{path}.message", message, "must not contain line breaks")
    elif _BREAK.search(text.strip()) and not message.strip():
        detail = "message must be specified if rule contains line breaks"
        errors.required(f"{path}.message", detail)
    expression = str(rule.get("messageExpression") or "")
    if expression and not expression.strip():
        detail = "messageExpression must be non-empty if specified"
        errors.required(f"{path}.messageExpression", detail)
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        errors.unsupported(f"{path}.reason", reason, _REASONS)
    field = str(rule.get("fieldPath") or "")
    if field and not field.strip():
        errors.invalid(f"{path}.fieldPath", field, "must be non-empty if specified")
    if _BREAK.search(field):
        errors.invalid(f"{path}.fieldPath", field, "must not contain line breaks")
    if field:
        try:
            fieldpath.resolve(field, schema)
        except fieldpath.PathError:
            errors.invalid(f"{path}.fieldPath", field, "must be a valid path")


def _rule(rule: JSON, one: Type, path: str, errors: Errors, total: _Total, place: _Place) -> None:
    """Compile a rule and estimate what it costs."""
    made = compile_rule(rule, one)
    count = place.times
    if count is None:
        count = MAX_REQUEST_BYTES // (one.min_size_bytes + 1)
    cost = min(made.cost * count, UNBOUNDED)
    if cost > COST_LIMIT and rule.get("rule") not in total.stored:
        detail = _exceeded("estimated rule cost", cost, COST_LIMIT)
        errors.forbidden(f"{path}.rule", detail)
    total.add(f"{path}.rule", cost)
    if made.error:
        _broken(errors, f"{path}.rule", rule, made.error)
    if made.message_error:
        _broken(errors, f"{path}.messageExpression", rule, made.message_error)
    elif made.message is not None:
        told = rule.get("messageExpression")
        if made.message_cost > COST_LIMIT and told not in total.stored:
            detail = _exceeded("estimated messageExpression cost", made.message_cost, COST_LIMIT)
            errors.forbidden(f"{path}.messageExpression", detail)
        total.add(f"{path}.messageExpression", made.message_cost)
    if made.uses_old:
        if place.uncorrelated:
            errors.invalid(
                f"{path}.rule",
                rule.get("rule"),
                "oldSelf cannot be used on the uncorrelatable portion of the schema within "
                f"{place.uncorrelated}",
            )
    elif rule.get("optionalOldSelf") is not None:
        detail = "may not be set if oldSelf is not used in rule"
        errors.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], detail)


def _broken(errors: Errors, path: str, rule: JSON, why: str) -> None:
    """An expression that cannot be compiled; the rule is shown as upstream prints its structure."""
    shown = {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    errors.causes.append(Cause("FieldValueInvalid", f"Invalid value: {text}: {why}", path))


def _exceeded(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_HINT}"
