"""Policies and their bindings, compiled once per version, and which of them a write concerns.

Source: apiserver pkg/admission/plugin/policy/{generic,matching}.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.cel.admission import MUTATIONS, Compiler, Conditions, Expression
from podwire.api.cel.types import BOOL, NULL, STRING, Type
from podwire.api.kinds import Kind
from podwire.api.selectors import from_json
from podwire.api.view import JSON
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks import hooks
from podwire.apiserver.admission.webhooks.hooks import Hook
from podwire.apiserver.cache.entry import Entry

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ALL = {
    "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*", "*/*"],
}  # fmt: skip


class Constraints:
    """matchConstraints or matchResources: selectors, rules and what is left out."""

    def __init__(self, name: str, body: JSON | None) -> None:
        self._everything = body is None
        body = body or {}
        self._policy = body.get("matchPolicy") or "Equivalent"
        self._name = name
        self._selectors = body
        rules = body.get("resourceRules") or [_ALL]
        self._included = [self._hook(rule) for rule in rules]
        self._excluded = [self._hook(rule) for rule in body.get("excludeResourceRules") or ()]

    def _hook(self, rule: JSON) -> tuple[Hook, Sequence[str]]:
        """One rule as webhooks have them, and the only names that it is about."""
        body = {"rules": [rule], "matchPolicy": self._policy}
        namespaces = from_json(self._selectors.get("namespaceSelector") or {})
        objects = from_json(self._selectors.get("objectSelector") or {})
        none = Conditions((), ignore=False)
        hook = Hook(self._name, self._name, self._name, body, namespaces, objects, none)
        return hook, rule.get("resourceNames") or ()

    def match(self, review: Review) -> Kind[Any] | None:
        """The version of the resource in which a write is concerned, None when it is not.

        Raises ApiError NotFound for a namespace that is missing.
        """
        if self._everything:
            return review.kind
        if self._first(review, self._excluded) is not None:
            return None
        return self._first(review, self._included)

    @staticmethod
    def _first(review: Review, rules: list[tuple[Hook, Sequence[str]]]) -> Kind[Any] | None:
        for hook, names in rules:
            found = hooks.match(review, hook)
            if found is not None and (not names or review.name in names):
                return found.kind
        return None


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a policy."""

    name: str
    spec: JSON
    constraints: Constraints


@dataclass(frozen=True, slots=True)
class Check:
    """One validation."""

    spec: JSON
    expression: Expression
    message: Expression | None


class Policy:
    """One policy, compiled."""

    def __init__(self, body: JSON) -> None:
        spec: JSON = body["spec"]
        self.name: str = body["metadata"]["name"]
        self.spec = spec
        self.mutating = body["kind"] == "MutatingAdmissionPolicy"
        self.ignores_failures = spec.get("failurePolicy") == "Ignore"
        self.constraints = Constraints(self.name, spec.get("matchConstraints"))
        params = spec.get("paramKind") is not None
        variables = [(one["name"], one["expression"]) for one in spec.get("variables") or ()]
        self.compiler = Compiler(params=params, patches=self.mutating, variables=variables)
        self.conditions = Conditions(
            spec.get("matchConditions") or (),
            ignore=self.ignores_failures,
            compiler=Compiler(params=params),
        )
        self.checks = [self._check(one) for one in spec.get("validations") or ()]
        self.annotations = [
            (one["key"], self._expression(one["valueExpression"], STRING, NULL, asks=True))
            for one in spec.get("auditAnnotations") or ()
        ]
        self.mutations = [self._mutation(one) for one in spec.get("mutations") or ()]
        self.bindings: list[Binding] = []

    def _expression(self, text: str, *returns: Type, asks: bool = False) -> Expression:
        """Messages may not ask the authorizer."""
        return self.compiler.compile(text, *returns, authorizer=asks)

    def _check(self, spec: JSON) -> Check:
        message = spec.get("messageExpression")
        return Check(
            spec,
            self._expression(spec["expression"], BOOL, asks=True),
            self._expression(message, STRING) if message else None,
        )

    def _mutation(self, spec: JSON) -> tuple[str, Expression]:
        kind = spec.get("patchType") or ""
        for part, (name, wanted) in MUTATIONS.items():
            if name == kind:
                text = (spec.get(part) or {}).get("expression") or ""
                return kind, self._expression(text, wanted, asks=True)
        return kind, self._expression("", BOOL)


def concerned(
    active: Sequence[Policy], review: Review
) -> Iterator[tuple[Policy, Kind[Any], Binding]]:
    """The policies that a write concerns, in which version of its resource, by which bindings.

    A step may change the object: what follows is asked of it as it is then. Raises ApiError
    NotFound for a namespace that is missing.
    """
    for policy in active:
        kind = policy.constraints.match(review)
        if kind is None:
            continue
        for binding in policy.bindings:
            if binding.constraints.match(review) is not None:
                yield policy, kind, binding


class Policies:
    """The policies of one kind, in order of their names, with their bindings."""

    def __init__(self, policy: Kind[Any], binding: Kind[Any]) -> None:
        self._policy = policy
        self._binding = binding
        self._seen: tuple[list[Entry], list[Entry]] = ([], [])
        self._compiled: dict[tuple[str, int], Policy] = {}
        self._active: list[Policy] = []

    def active(self, server: Apiserver) -> list[Policy]:
        """Every policy that has a binding. Nothing is compiled twice."""
        bindings = server.caches.of(self._binding).entries()
        if not bindings:
            return []
        policies = server.caches.of(self._policy).entries()
        if (policies, bindings) != self._seen:
            self._seen = list(policies), list(bindings)
            self._active = self._read(*self._seen)
        return self._active

    def _read(self, policies: list[Entry], bindings: list[Entry]) -> list[Policy]:
        compiled: dict[tuple[str, int], Policy] = {}
        by_name: dict[str, Policy] = {}
        for entry in policies:
            key = entry.name, entry.revision
            policy = self._compiled.get(key) or Policy(entry.json())
            policy.bindings = []
            compiled[key] = by_name[entry.name] = policy
        self._compiled = compiled
        for entry in bindings:
            spec = entry.json()["spec"]
            bound = by_name.get(spec["policyName"])
            if bound is not None:
                constraints = Constraints(entry.name, spec.get("matchResources"))
                bound.bindings.append(Binding(entry.name, spec, constraints))
        return [policy for policy in by_name.values() if policy.bindings]


_GROUP = "admissionregistration.k8s.io/v1"
VALIDATING, MUTATING, VALIDATING_BINDING, MUTATING_BINDING = (
    kinds.named(_GROUP, f"{name}AdmissionPolicy{part}")
    for part in ("", "Binding")
    for name in ("Validating", "Mutating")
)


class AdmissionPolicies:
    """The policies of one server."""

    def __init__(self) -> None:
        self.validating = Policies(VALIDATING, VALIDATING_BINDING)
        self.mutating = Policies(MUTATING, MUTATING_BINDING)
