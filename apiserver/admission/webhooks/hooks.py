"""Webhook configurations, read once per version, and which of their hooks a write concerns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.cel.admission import Conditions
from podwire.api.kinds import Kind
from podwire.api.selectors import Selector, from_json
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_GROUP = "admissionregistration.k8s.io"
MUTATING = kinds.named(f"{_GROUP}/v1", "MutatingWebhookConfiguration")
VALIDATING = kinds.named(f"{_GROUP}/v1", "ValidatingWebhookConfiguration")
EXEMPT = (
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
)  # fmt: skip
"""Kinds of the group that no hook sees, so that a broken one can be removed."""


_ALWAYS = Conditions(())


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of a configuration; defaults are filled in."""

    configuration: str
    name: str
    uid: str
    """Names it among all hooks."""
    body: JSON
    namespaces: Selector
    objects: Selector
    conditions: Conditions = _ALWAYS
    """What more must be true, as CEL says it."""

    @property
    def ignores_failures(self) -> bool:
        """Whether writes go on when the hook cannot be asked."""
        return bool(self.body.get("failurePolicy") == "Ignore")


@dataclass(frozen=True, slots=True)
class Match:
    """A hook that a write concerns, and the version in which it sees the object."""

    hook: Hook
    kind: Kind[Any]
    """Of the resource; ``review.object_kind`` is of the object where that is another."""


class Hooks:
    """The hooks of one kind of configuration, in order of the configurations' names."""

    def __init__(self, kind: Kind[Any]) -> None:
        self._kind = kind
        self._seen: list[Entry] = []
        self._hooks: tuple[Hook, ...] = ()

    def all(self, server: Apiserver) -> tuple[Hook, ...]:
        """Every hook there is now."""
        entries = server.caches.of(self._kind).entries()
        if not entries:
            return ()
        if entries is not self._seen:
            self._hooks = tuple(hook for entry in entries for hook in _read(entry))
            self._seen = entries
        return self._hooks


def _read(entry: Entry) -> list[Hook]:
    found: list[Hook] = []
    count: dict[str, int] = {}
    for body in entry.json().get("webhooks") or ():
        name = body.get("name", "")
        number = count.get(name, 0)
        count[name] = number + 1
        uid = f"{entry.name}/{name}/{number}"
        namespaces = from_json(body.get("namespaceSelector") or {})
        objects = from_json(body.get("objectSelector") or {})
        ignore = body.get("failurePolicy") == "Ignore"
        conditions = Conditions(body.get("matchConditions") or (), ignore=ignore)
        found.append(Hook(entry.name, name, uid, body, namespaces, objects, conditions))
    return found


# ---------------------------------------------------------------- matching


def exempt(review: Review) -> bool:
    """Whether no hook may see the write."""
    return review.kind.group == _GROUP and review.kind.kind in EXEMPT


def match(review: Review, hook: Hook) -> Match | None:
    """Whether (and how) a write concerns a hook, its matchConditions aside.

    Raises ApiError NotFound for a namespace that is missing.
    """
    kind = _version(review, hook)
    if kind is None or not _object_matches(review, hook.objects):
        return None
    if not _namespace_matches(review, hook.namespaces):
        return None
    return Match(hook, kind)


def names(review: Review, hook: Hook) -> bool:
    """Whether a hook's rules name what is written, whatever the object says."""
    return _version(review, hook) is not None


def _version(review: Review, hook: Hook) -> Kind[Any] | None:
    """The version of the resource that a rule names; of equivalent ones the first that any does."""
    asked = review.call.kind
    if kinds.stored(asked) is not review.kind:
        asked = review.kind  # a resource that the call only leads to (bindings)
    rules = hook.body.get("rules") or ()
    if any(_rule_matches(review, rule, asked) for rule in rules):
        return asked
    if hook.body.get("matchPolicy") != "Exact":
        for rule in rules:
            for other in _equivalents(review.kind):
                if other is not asked and _rule_matches(review, rule, other):
                    return other
    return None


def _equivalents(stored: Kind[Any]) -> list[Kind[Any]]:
    return [kind for kind in kinds.ALL if kinds.stored(kind) is stored]


def _rule_matches(review: Review, rule: JSON, kind: Kind[Any]) -> bool:
    return (
        _named(rule.get("operations"), review.operation)
        and _named(rule.get("apiGroups"), kind.group)
        and _named(rule.get("apiVersions"), kind.version)
        and _resource(rule.get("resources") or (), kind.plural, review.subresource)
        and _scope(rule.get("scope") or "*", review)
    )


def _named(items: Sequence[str] | None, wanted: str) -> bool:
    return items is not None and ("*" in items or wanted in items)


def _resource(items: Sequence[str], plural: str, subresource: str) -> bool:
    for item in items:
        resource, _, part = item.partition("/")
        if resource in {"*", plural} and part in {"*", subresource}:
            return True
    return False


def _scope(scope: str, review: Review) -> bool:
    if scope == "*":
        return True
    namespaced = bool(review.namespace) and review.kind is not kinds.NAMESPACE
    return namespaced if scope == "Namespaced" else not namespaced


def _object_matches(review: Review, selector: Selector) -> bool:
    """Either of the two objects may match; what has no labels at all is as if it had none."""
    if selector.everything:
        return True
    return any(
        selector.matches((obj.get("metadata") or {}).get("labels") or {})
        for obj in (review.obj, review.old)
        if obj
    )


def _namespace_matches(review: Review, selector: Selector) -> bool:
    if selector.everything:
        return True
    name = review.namespace
    if review.kind is kinds.NAMESPACE:
        if not review.subresource and review.operation in {"CREATE", "UPDATE"}:
            return selector.matches(review.obj["metadata"].get("labels") or {})
        name = review.name
    elif not name:
        return True
    entry = review.server.caches.of(kinds.NAMESPACE).get("", name)
    if entry is None:
        raise calls.not_found(kinds.NAMESPACE, name)
    return selector.matches(entry.view.metadata.labels)
