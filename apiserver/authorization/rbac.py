"""The roles and bindings of a cluster, indexed by subject: the RBAC decision.

A user's bindings are merged into one table (a *grant*) per scope when he first asks: by API group
and resource the verbs, the names and the binding that gives them. A decision is a few dict look-ups
however many bindings there are. Any change of a role or binding drops all grants.

Source: kubernetes plugin/pkg/auth/authorizer/rbac (rbac.go) and pkg/registry/rbac/validation
(rule.go). Upstream asks bindings in no order; here they are asked in order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from podwire.api.view import JSON
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorization.rules import Rule, parsed, url_covers
from podwire.client.counters import User

GROUP = "rbac.authorization.k8s.io"
_ACCOUNT = "system:serviceaccount:"
_REMEMBERED = 4096
"""Grants that are kept at most; they are few (who asks) unless somebody impersonates at random."""

_Verbs = frozenset[str] | None
"""None: every verb."""
_Names = frozenset[str] | None
"""None: every name."""
_Entry = tuple[_Verbs, _Names, int]
"""What a rule gives, and whose binding it is (an index of ``Grant.sources``)."""


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A RoleBinding (of ``namespace``) or ClusterRoleBinding ("")."""

    namespace: str
    name: str
    role_kind: str
    role: str
    subjects: tuple[tuple[str, str, str], ...]
    """Kind, namespace, name."""

    def words(self, subject: int) -> str:
        """``ClusterRoleBinding "x" of ClusterRole "y" to Group "z"``."""
        kind, namespace, name = self.subjects[subject]
        # Upstream prints name/namespace, in this order.
        who = f"{name}/{namespace or self.namespace}" if kind == "ServiceAccount" else name
        own = "ClusterRoleBinding"
        shown = self.name
        if self.namespace:
            own, shown = "RoleBinding", f"{self.name}/{self.namespace}"
        return f'{own} "{shown}" of {self.role_kind} "{self.role}" to {kind} "{who}"'


def binding(obj: JSON) -> Binding:
    """A binding of its object."""
    meta, role = obj["metadata"], obj["roleRef"]
    subjects = tuple(
        (s.get("kind") or "", s.get("namespace") or "", s.get("name") or "")
        for s in obj.get("subjects") or ()
    )
    namespace = meta.get("namespace", "")
    return Binding(namespace, meta["name"], role["kind"], role["name"], subjects)


@dataclass(slots=True)
class Grant:
    """What one user may do by the bindings of one scope."""

    table: dict[tuple[str, str], list[_Entry]] = field(default_factory=dict)
    urls: list[tuple[_Verbs, tuple[str, ...], int]] = field(default_factory=list)
    sources: list[tuple[Binding, int]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, bound: Binding, subject: int, rules: Iterable[Rule]) -> None:
        """Take in what a binding gives."""
        source = len(self.sources)
        self.sources.append((bound, subject))
        for rule in rules:
            self.rules.append(rule)
            verbs = None if "*" in rule.verbs else frozenset(rule.verbs)
            names = frozenset(rule.names) or None
            for group in rule.groups:
                for resource in rule.resources:
                    entries = self.table.setdefault((group, resource), [])
                    entries.append((verbs, names, source))
            if rule.urls:
                self.urls.append((verbs, rule.urls, source))

    def source(self, asked: Attributes) -> int:
        """Which binding allows a request, -1 for none."""
        if asked.path:
            for verbs, urls, source in self.urls:
                if (verbs is None or asked.verb in verbs) and any(
                    url_covers(url, asked.path) for url in urls
                ):
                    return source
            return -1
        verb, name, table = asked.verb, asked.name, self.table
        for key in _keys(asked):
            for verbs, names, source in table.get(key, ()):
                if (verbs is None or verb in verbs) and (names is None or name in names):
                    return source
        return -1


def _keys(asked: Attributes) -> tuple[tuple[str, str], ...]:
    group, resource = asked.group, asked.resource
    if asked.subresource:
        whole, any_of = f"{resource}/{asked.subresource}", f"*/{asked.subresource}"
        return (
            (group, whole), (group, "*"), ("*", "*"), ("*", whole), (group, any_of), ("*", any_of),
        )  # fmt: skip
    return ((group, resource), (group, "*"), ("*", "*"), ("*", resource))


_NOTHING = Grant()


class Policy:
    """All roles and bindings. Objects are told as they come, change and go."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._bindings: dict[tuple[str, str], Binding] = {}
        self._subjects: dict[str, dict[str, dict[str, None]]] = {}
        """Scope -> subject (``u:NAME``, ``g:NAME``) -> names of bindings."""
        self._grants: dict[tuple[str, tuple[str, ...], str], Grant] = {}

    # ------------------------------------------------------------ what there is

    def role(self, namespace: str, name: str, obj: JSON | None) -> None:
        """A Role, or (``namespace`` "") a ClusterRole is as ``obj`` says; None: it is gone."""
        self._grants.clear()
        if obj is None:
            self._roles.pop((namespace, name), None)
        else:
            self._roles[namespace, name] = parsed(obj.get("rules"))

    def bound(self, namespace: str, name: str, obj: JSON | None) -> None:
        """A RoleBinding, or (``namespace`` "") a ClusterRoleBinding; None: it is gone."""
        self._grants.clear()
        before = self._bindings.pop((namespace, name), None)
        scope = self._subjects.setdefault(namespace, {})
        for subject in _subjects(before) if before is not None else ():
            names = scope.get(subject)
            if names is not None and names.pop(name, 0) is None and not names:
                del scope[subject]
        if obj is not None:
            made = self._bindings[namespace, name] = binding(obj)
            for subject in _subjects(made):
                scope.setdefault(subject, {})[name] = None
        if not scope:
            del self._subjects[namespace]

    # ------------------------------------------------------------ questions

    def decide(self, asked: Attributes) -> tuple[bool, str]:
        """Whether a request is allowed, and by which binding; or what is wrong with the bindings
        that might have allowed it ("" for nothing).
        """
        grant = self._grant(asked.user, "")
        source = grant.source(asked)
        local = _NOTHING
        if source < 0 and asked.namespace:
            local = self._grant(asked.user, asked.namespace)
            grant, source = local, local.source(asked)
        if source >= 0:
            bound, subject = grant.sources[source]
            return True, f"RBAC: allowed by {bound.words(subject)}"
        errors = self._grant(asked.user, "").errors + local.errors
        if not errors:
            return False, ""
        told = list(dict.fromkeys(errors))
        return False, f"RBAC: {told[0] if len(told) == 1 else '[' + ', '.join(told) + ']'}"

    def allows(self, asked: Attributes) -> bool:
        """``decide`` without words."""
        if self._grant(asked.user, "").source(asked) >= 0:
            return True
        return bool(asked.namespace) and self._grant(asked.user, asked.namespace).source(asked) >= 0

    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that apply to a user in a namespace ("" the cluster), and what is wrong."""
        grants = [self._grant(user, "")]
        if namespace:
            grants.append(self._grant(user, namespace))
        return (
            [rule for grant in grants for rule in grant.rules],
            [error for grant in grants for error in grant.errors],
        )

    def rules_of(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...] | None:
        """The rules of a role as a binding of a namespace names it, None when it is not there."""
        return self._roles.get((namespace if kind == "Role" else "", name))

    def _grant(self, user: User, scope: str) -> Grant:
        if scope and scope not in self._subjects:
            return _NOTHING
        key = (user.name, user.groups, scope)
        grant = self._grants.get(key)
        if grant is None:
            if len(self._grants) >= _REMEMBERED:
                self._grants.clear()
            grant = self._grants[key] = self._made(user, scope)
        return grant

    def _made(self, user: User, scope: str) -> Grant:
        grant = Grant()
        for bound, subject in self._bindings_of(user, scope):
            rules = self.rules_of(bound.role_kind, bound.role, scope)
            if rules is None:
                grant.errors.append(not_found(bound.role_kind, bound.role))
            else:
                grant.add(bound, subject, rules)
        return grant

    def _bindings_of(self, user: User, scope: str) -> Iterator[tuple[Binding, int]]:
        subjects = self._subjects.get(scope, {})
        mine = [f"u:{user.name}", *(f"g:{group}" for group in user.groups)]
        names = {name: None for subject in mine for name in subjects.get(subject, ())}
        for name in sorted(names):
            bound = self._bindings[scope, name]
            first = next(i for i, subject in enumerate(_subjects(bound)) if subject in mine)
            yield bound, first


def _subjects(bound: Binding) -> list[str]:
    """The keys of a binding's subjects, in their order; "" for one that cannot be anybody."""
    keys: list[str] = []
    for kind, namespace, name in bound.subjects:
        at = namespace or bound.namespace
        match kind:
            case "User":
                keys.append(f"u:{name}")
            case "Group":
                keys.append(f"g:{name}")
            case "ServiceAccount" if at:
                keys.append(f"u:{_ACCOUNT}{at}:{name}")
            case _:
                keys.append("")
    return keys


def not_found(kind: str, name: str) -> str:
    """``clusterrole.rbac.authorization.k8s.io "x" not found``."""
    return f'{kind.lower()}.{GROUP} "{name}" not found'
