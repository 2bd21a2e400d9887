"""FlowSchemas and PriorityLevelConfigurations, read once per version, and which a request matches.

Source: apiserver pkg/util/flowcontrol (rule.go), pkg/apis/flowcontrol/bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from podwire.api.view import JSON
from podwire.client.counters import User

EXEMPT, CATCH_ALL = "exempt", "catch-all"
_ACCOUNT = "system:serviceaccount:"


class Digest(NamedTuple):
    """What of a request counts: a resource request, or (with ``path``) another."""

    user: User
    verb: str
    group: str = ""
    resource: str = ""
    """With its subresource: ``pods/log``."""
    namespace: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """A FlowSchema."""

    name: str
    uid: str
    level: str
    precedence: int
    distinguisher: str
    """ByUser, ByNamespace, or "" for one flow."""
    rules: Sequence[JSON]

    def concerns(self, user: User) -> bool:
        """Whether any of its rules is about the user."""
        return any(_subjects(rule, user) for rule in self.rules)

    def matches(self, asked: Digest) -> bool:
        """Whether any of its rules is about the request."""
        return any(_rule(rule, asked) for rule in self.rules)

    def flow(self, asked: Digest) -> str:
        """What tells the request's flow from others of the schema."""
        if self.distinguisher == "ByUser":
            return asked.user.name
        return asked.namespace if self.distinguisher == "ByNamespace" else ""


@dataclass(frozen=True, slots=True)
class Level:
    """A PriorityLevelConfiguration."""

    name: str
    uid: str
    exempt: bool
    shares: int
    lendable: int
    borrow: int | None
    queues: int = 0
    hand: int = 0
    length_limit: int = 0


_ANYBODY: JSON = {
    "subjects": [
        {"kind": "Group", "group": {"name": name}}
        for name in ("system:unauthenticated", "system:authenticated")
    ],
    "resourceRules": [{
        "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
        "clusterScope": True,
    }],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}  # fmt: skip
_MASTERS: JSON = {
    **_ANYBODY, "subjects": [{"kind": "Group", "group": {"name": "system:masters"}}],
}  # fmt: skip
MANDATORY_SCHEMAS = (
    Schema(EXEMPT, "", EXEMPT, 1, "", (_MASTERS,)),
    Schema(CATCH_ALL, "", CATCH_ALL, 10000, "ByUser", (_ANYBODY,)),
)
MANDATORY_LEVELS = (
    Level(EXEMPT, "", exempt=True, shares=0, lendable=0, borrow=None),
    Level(CATCH_ALL, "", exempt=False, shares=5, lendable=0, borrow=None),
)
"""What there is also without objects."""


def schema_of(body: JSON) -> Schema:
    """A FlowSchema object."""
    metadata, spec = body["metadata"], body["spec"]
    return Schema(
        metadata["name"], metadata.get("uid", ""),
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence") or 1000,
        (spec.get("distinguisherMethod") or {}).get("type", ""), spec.get("rules") or (),
    )  # fmt: skip


def level_of(body: JSON) -> Level:
    """A PriorityLevelConfiguration object."""
    metadata, spec = body["metadata"], body["spec"]
    name, uid = metadata["name"], metadata.get("uid", "")
    if spec.get("type") == "Exempt":
        common = spec.get("exempt") or {}
        return Level(
            name, uid, exempt=True, shares=common.get("nominalConcurrencyShares") or 0,
            lendable=common.get("lendablePercent") or 0, borrow=None,
        )  # fmt: skip
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    shares = limited.get("nominalConcurrencyShares")
    return Level(
        name, uid, exempt=False, shares=30 if shares is None else shares,
        lendable=limited.get("lendablePercent") or 0, borrow=limited.get("borrowingLimitPercent"),
        queues=queuing.get("queues") or 0, hand=queuing.get("handSize") or 0,
        length_limit=queuing.get("queueLengthLimit") or 0,
    )  # fmt: skip


def in_order(schemas: Iterable[Schema]) -> list[Schema]:
    """As they are asked: by precedence, then by name."""
    return sorted(schemas, key=lambda schema: (schema.precedence, schema.name))


# ---------------------------------------------------------------- rules


def _rule(rule: JSON, asked: Digest) -> bool:
    if not _subjects(rule, asked.user):
        return False
    if asked.path:
        return any(_path(r, asked) for r in rule.get("nonResourceRules") or ())
    return any(_resource(r, asked) for r in rule.get("resourceRules") or ())


def _subjects(rule: JSON, user: User) -> bool:
    return any(_subject(subject, user) for subject in rule.get("subjects") or ())


def _subject(subject: JSON, user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        name = (subject.get("user") or {}).get("name")
        return name in {"*", user.name}
    if kind == "Group":
        name = (subject.get("group") or {}).get("name")
        return name == "*" or name in user.groups
    account = subject.get("serviceAccount") or {}
    namespace, name = account.get("namespace", ""), account.get("name", "")
    start = f"{_ACCOUNT}{namespace}:"
    return user.name.startswith(start) if name == "*" else user.name == start + name


def _named(items: Sequence[str] | None, wanted: str) -> bool:
    return items is not None and ("*" in items or wanted in items)


def _resource(rule: JSON, asked: Digest) -> bool:
    if not (
        _named(rule.get("verbs"), asked.verb)
        and _named(rule.get("resources"), asked.resource)
        and _named(rule.get("apiGroups"), asked.group)
    ):
        return False
    if not asked.namespace:
        return bool(rule.get("clusterScope"))
    return _named(rule.get("namespaces"), asked.namespace)


def _path(rule: JSON, asked: Digest) -> bool:
    if not _named(rule.get("verbs"), asked.verb):
        return False
    for wanted in rule.get("nonResourceURLs") or ():
        if wanted in {"*", asked.path}:
            return True
        start = wanted.removesuffix("*")
        if asked.path.startswith(start if start.endswith("/") else f"{start}/"):
            return True
    return False
