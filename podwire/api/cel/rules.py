"""``x-kubernetes-validations``: CEL rules in a structural schema.

Two calls for those who serve CustomResourceDefinitions:

- ``check(schema, path, errors)`` when a CRD is created or its schema changes (after its schema was
  found to be structural): compile errors, estimated costs, misuse of oldSelf. In ``checking``.
- ``compile_rules(schema)`` once per served schema, None where there are no rules; its
  ``validate(obj, old, errors, warnings)`` on every write, after the schema's own validation found
  nothing. Status is validated as part of the whole object, as upstream does.

``schema`` is an ``openAPIV3Schema`` as JSON. Source of the behaviour: apiextensions-apiserver
pkg/apiserver/schema/cel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire.api.cel import fieldpath
from podwire.api.cel.checking import check, compile_rule
from podwire.api.cel.correlation import Pair, Ratchet, old_items
from podwire.api.cel.declarations import declare, escape
from podwire.api.cel.environment import PER_CALL_LIMIT
from podwire.api.cel.evaluator import Program
from podwire.api.cel.types import Type
from podwire.api.cel.values import NONE, CostError, EvalError, Optional
from podwire.api.status import Cause
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

BUDGET = 10_000_000
"""What all rules may cost for one object (upstream's RuntimeCELCostBudget)."""

_MAX_MESSAGE_BYTES = 5 * 1024
_OUT = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class _Spent(Exception):  # noqa: N818 - it ends the validation; what is wrong is noted already
    """No further rules will be run."""


class _Run:
    """One validation: what is left of the budget, and what was found."""

    __slots__ = ("budget", "errors", "per_call", "warnings")

    def __init__(self, errors: Errors, warnings: list[str], budget: int, per_call: int) -> None:
        self.errors = errors
        self.warnings = warnings
        self.budget = budget
        self.per_call = per_call

    def charge(self, cost: int) -> bool:
        """Take a cost from the budget; whether there was enough."""
        if cost > self.budget:
            return False
        self.budget -= cost
        return True


class _Rule:
    """One rule, compiled; ``problem`` is why it could not be."""

    __slots__ = (
        "message",
        "message_text",
        "optional",
        "path",
        "problem",
        "program",
        "spec",
        "uses_old",
    )

    def __init__(self, spec: JSON, one: Type, schema: Mapping[str, Any]) -> None:
        compiled = compile_rule(spec, one)
        self.spec = spec
        self.program = compiled.program
        self.problem = compiled.error
        self.message = compiled.message
        self.optional = bool(spec.get("optionalOldSelf"))
        self.uses_old = compiled.uses_old
        self.path = ""
        self.message_text = (spec.get("message") or "").strip()
        if spec.get("fieldPath"):
            try:
                self.path = fieldpath.resolve(spec["fieldPath"], schema)
            except fieldpath.PathError:
                self.path = ""

    @property
    def shown(self) -> str:
        """How errors of evaluating name the rule."""
        return self.message_text or str(self.spec.get("rule") or "").strip()


class _Node:
    """The rules of one place in a schema and below it."""

    __slots__ = ("all_of", "items", "properties", "rules", "schema", "type", "values")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.type = str(schema.get("type") or "")
        self.rules: list[_Rule] = []
        self.items: _Node | None = None
        self.values: _Node | None = None
        self.properties: dict[str, _Node] = {}
        self.all_of: list[_Node] = []

    def needed(self) -> bool:
        """Whether there is a rule here or below."""
        return bool(self.rules or self.items or self.values or self.properties or self.all_of)

    def validate(self, run: _Run, path: str, obj: Any, old: Any, ratchet: Ratchet) -> None:
        """Run every rule here and below. Raises _Spent."""
        if obj is None:
            return
        if self.rules:
            self._here(run, path, obj, old, ratchet)
        for node in self.all_of:
            node.validate(run, path, obj, old, ratchet.within())
        if isinstance(obj, list) and self.items is not None:
            held = old_items(self.schema, old)
            for place, item in enumerate(obj):
                was = None if held is None else held.get(item)
                self.items.validate(run, f"{path}[{place}]", item, was, ratchet.item(place))
        elif isinstance(obj, dict):
            self._entries(run, path, obj, old if isinstance(old, dict) else {}, ratchet)

    def _entries(self, run: _Run, path: str, obj: JSON, old: JSON, ratchet: Ratchet) -> None:
        if self.values is not None:
            for name, value in obj.items():
                place = f"{path}[{name}]"
                self.values.validate(run, place, value, old.get(name), ratchet.key(name))
        for name, node in self.properties.items():
            value = obj.get(name)
            if value is not None:
                place = f"{path}.{name}" if path else name
                node.validate(run, place, value, old.get(name), ratchet.key(name))

    def _here(self, run: _Run, path: str, obj: Any, old: Any, ratchet: Ratchet) -> None:
        shown = path or "<nil>"
        if run.budget <= 0:
            run.errors.invalid(shown, self.type, _OUT)
            raise _Spent
        for rule in self.rules:
            if rule.program is None:
                if rule.problem:
                    run.errors.invalid(shown, self.type, f"rule compile error: {rule.problem}")
                continue
            if rule.uses_old and old is None and not rule.optional:
                continue
            values = [obj, old]
            if rule.optional:
                values[1] = NONE if old is None else Optional(old)
            if not self._holds(run, shown, rule, rule.program, values):
                self._complain(run, path, rule, values, ratchet)

    def _holds(
        self, run: _Run, shown: str, rule: _Rule, program: Program, values: list[Any]
    ) -> bool:
        """Evaluate a rule; what went wrong is noted, and then the rule is as good as held."""
        wrong: EvalError | None = None
        try:
            result, cost = program.evaluate(values, run.per_call)
        except EvalError as error:
            result, cost, wrong = True, error.cost, error
        if not run.charge(cost):
            run.errors.invalid(shown, self.type, _OUT)
            raise _Spent
        if wrong is None:
            return result is True
        if isinstance(wrong, CostError):
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            run.errors.invalid(shown, self.type, f"'{wrong}': {why}: {rule.shown}")
            raise _Spent
        if str(wrong).startswith("no such overload"):
            why = (
                "call arguments did not match a supported operator, function or macro signature "
                "for rule"
            )
            run.errors.invalid(shown, self.type, f"'{wrong}': {why}: {rule.shown}")
        else:
            run.errors.invalid(shown, self.type, f"{wrong} evaluating rule: {rule.shown}")
        return True

    def _complain(
        self, run: _Run, path: str, rule: _Rule, values: list[Any], ratchet: Ratchet
    ) -> None:
        """Tell that a rule does not hold: with its message, at its path, for its reason."""
        place = f"{path}.{rule.path}" if path and rule.path else (path or rule.path or "<nil>")
        found = Errors()
        detail = rule.message_text or f"failed rule: {rule.shown}"
        last = False
        if rule.message is not None:
            told, problem = _message(run, rule.message, rule.spec["messageExpression"], values)
            if problem:
                found.invalid(place, self.type, problem)
                last = True
            detail = told or detail
        if not last:
            value = values[0]
            bare = self.type in {"object", "array"}
            match rule.spec.get("reason"):
                case "FieldValueForbidden":
                    found.forbidden(place, detail)
                case "FieldValueRequired":
                    found.required(place, detail)
                case "FieldValueDuplicate" if bare:
                    found.causes.append(Cause("FieldValueDuplicate", "Duplicate value", place))
                case "FieldValueDuplicate":
                    found.duplicate(place, value)
                case _:
                    found.omitted(place, detail) if bare else found.invalid(place, value, detail)
        if not rule.uses_old and ratchet.holds():
            run.warnings += [f"{cause.field}: {cause.message}" for cause in found.causes]
        else:
            run.errors.causes += found.causes
        if last:
            raise _Spent


def _message(run: _Run, program: Program, text: str, values: list[Any]) -> tuple[str, str]:
    """What a messageExpression says, or why nothing more can be said. ('', '') if it has failed."""
    try:
        said, cost = program.evaluate(values, run.per_call)
    except EvalError as wrong:
        if not run.charge(wrong.cost):
            return "", _MESSAGE_OUT
        if isinstance(wrong, CostError):
            why = "no further validation rules will be run due to call cost exceeds limit for"
            return "", f'{why} messageExpression: "{text}"'
        return "", ""
    if not run.charge(cost):
        return "", _MESSAGE_OUT
    said = said.strip() if isinstance(said, str) else ""
    if len(said.encode()) > _MAX_MESSAGE_BYTES or "\n" in said:
        return "", ""
    return said, ""


_MESSAGE_OUT = (
    "messageExpression evaluation failed due to running out of cost budget, no further validation "
    "rules will be run"
)


class Rules:
    """The compiled rules of one schema; keep it as long as the schema is served."""

    def __init__(self, root: _Node) -> None:
        self._root = root

    def validate(
        self,
        obj: JSON,
        old: JSON | None,
        errors: Errors,
        warnings: list[str],
        budget: int = BUDGET,
        per_call: int = PER_CALL_LIMIT,
        *,
        ratcheting: bool = True,
    ) -> int:
        """Add what the rules find wrong in ``obj``; ``old`` is the stored object of an update.

        What was wrong already and is unchanged becomes a warning unless ``ratcheting`` is off. The
        answer is what is left of the budget, -1 when it ran out.
        """
        run = _Run(errors, warnings, budget, per_call)
        pair = Pair(obj, old, self._root.schema) if ratcheting and old is not None else None
        try:
            self._root.validate(run, "", obj, old, Ratchet(pair))
        except _Spent:
            return -1
        return run.budget


def compile_rules(schema: JSON, *, root: bool = True) -> Rules | None:
    """The rules of ``schema``, or None when it has none. ``root``: of a resource's root."""
    if not _mentions_rules(schema):
        return None
    node = _compile(schema, schema, declare(schema, root=root))
    return Rules(node) if node.needed() else None


def _mentions_rules(schema: Any) -> bool:
    """Whether there is a rule anywhere; upstream does not look into allOf for the first one."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("x-kubernetes-validations"):
        return True
    below = [schema.get("items"), schema.get("additionalProperties")]
    below += (schema.get("properties") or {}).values()
    return any(map(_mentions_rules, below))


def _compile(
    rules: Mapping[str, Any],
    schema: Mapping[str, Any],
    one: Type | None,
) -> _Node:
    """The node of the rules in ``rules`` for values of ``schema``, whose type is ``one``."""
    node = _Node(schema)
    for spec in rules.get("x-kubernetes-validations") or ():
        if one is not None and str(spec.get("rule") or "").strip():
            node.rules.append(_Rule(spec, one, schema))
    inner, under = rules.get("items"), schema.get("items")
    element = one.params[-1] if one is not None and one.kind in {"list", "map"} else None
    if isinstance(inner, Mapping) and isinstance(under, Mapping):
        made = _compile(inner, under, element)
        node.items = made if made.needed() else None
    inner, under = rules.get("additionalProperties"), schema.get("additionalProperties")
    if isinstance(inner, Mapping) and isinstance(under, Mapping):
        made = _compile(inner, under, element)
        node.values = made if made.needed() else None
    for name, inner in (rules.get("properties") or {}).items():
        under = (schema.get("properties") or {}).get(name)
        found = _property(name, under, one) if isinstance(under, Mapping) else None
        if found is not None and isinstance(under, Mapping):
            made = _compile(inner, under, found)
            if made.needed():
                node.properties[name] = made
    for inner in rules.get("allOf") or ():
        made = _compile(inner, schema, one)
        if made.needed():
            node.all_of.append(made)
    return node


def _property(name: str, schema: Mapping[str, Any], one: Type | None) -> Type | None:
    """The type of a property, or None where rules do not see it."""
    escaped = escape(name)
    if escaped is None:
        return declare(schema, root=bool(schema.get("x-kubernetes-embedded-resource")))
    field = None if one is None else (one.fields or {}).get(escaped)
    return None if field is None else field.type


__all__ = ["BUDGET", "Rules", "check", "compile_rules"]
