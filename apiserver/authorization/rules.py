"""One policy rule: what it allows, which other rule it covers, how a refusal shows it.

Source: kubernetes pkg/apis/rbac/v1 (evaluation_helpers.go), component-helpers auth/rbac/validation
(policy_comparator.go) and pkg/registry/rbac/validation (policy_compact.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import msgspec

from podwire.api.view import JSON
from podwire.apiserver.authorization.attributes import Attributes


class Rule(msgspec.Struct, frozen=True, gc=False):
    """A PolicyRule of rbac.authorization.k8s.io/v1."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
        parts = (
            ("APIGroups", self.groups), ("Resources", self.resources),
            ("NonResourceURLs", self.urls), ("ResourceNames", self.names), ("Verbs", self.verbs),
        )  # fmt: skip
        return "{" + ", ".join(f"{name}:{go_list(of)}" for name, of in parts if of) + "}"


EVERYTHING = (Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",)))
"""What cluster-admin may."""


def go_list(texts: Sequence[str]) -> str:
    """A list as Go's %q prints it."""
    return "[" + " ".join(json.dumps(text, ensure_ascii=False) for text in texts) + "]"


def parsed(rules: Iterable[JSON] | None) -> tuple[Rule, ...]:
    """The ``rules`` of a Role or ClusterRole."""
    return tuple(
        Rule(
            tuple(rule.get("verbs") or ()),
            tuple(rule.get("apiGroups") or ()),
            tuple(rule.get("resources") or ()),
            tuple(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )
        for rule in rules or ()
    )


def to_json(rule: Rule) -> JSON:
    """A rule as an object's field."""
    keys = (
        ("verbs", rule.verbs), ("apiGroups", rule.groups), ("resources", rule.resources),
        ("resourceNames", rule.names), ("nonResourceURLs", rule.urls),
    )  # fmt: skip
    return {key: list(of) for key, of in keys if of}


def allows(rule: Rule, asked: Attributes) -> bool:
    """Whether a rule lets a request pass. The index of ``rbac`` gives the same answer faster."""
    if "*" not in rule.verbs and asked.verb not in rule.verbs:
        return False
    if asked.path:
        return any(url_covers(url, asked.path) for url in rule.urls)
    if "*" not in rule.groups and asked.group not in rule.groups:
        return False
    wanted = {asked.combined, "*"}
    if asked.subresource:
        wanted.add(f"*/{asked.subresource}")
    if wanted.isdisjoint(rule.resources):
        return False
    return not rule.names or asked.name in rule.names


def url_covers(owner: str, path: str) -> bool:
    """Whether a nonResourceURL (which may end in ``*``) means a path."""
    if owner == path:
        return True
    return owner.endswith("*") and path.startswith(owner.rstrip("*"))


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of ``wanted`` the ``owned`` rules do not allow, broken down to one verb, one resource
    and one name each.
    """
    atoms = (atom for rule in wanted for atom in _atoms(rule))
    return [atom for atom in atoms if not any(_covers(rule, atom) for rule in owned)]


def _atoms(rule: Rule) -> Iterable[Rule]:
    for group in rule.groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                if rule.names:
                    for name in rule.names:
                        yield Rule((verb,), (group,), (resource,), (name,))
                else:
                    yield Rule((verb,), (group,), (resource,))
    for url in rule.urls:
        for verb in rule.verbs:
            yield Rule((verb,), urls=(url,))


def _covers(owner: Rule, atom: Rule) -> bool:
    if "*" not in owner.verbs and atom.verbs[0] not in owner.verbs:
        return False
    if atom.urls:
        return any(url_covers(url, atom.urls[0]) for url in owner.urls)
    if "*" not in owner.groups and atom.groups[0] not in owner.groups:
        return False
    resource = atom.resources[0]
    if "*" not in owner.resources and resource not in owner.resources:
        _, slash, subresource = resource.partition("/")
        if not slash or f"*/{subresource}" not in owner.resources:
            return False
    return not owner.names or (bool(atom.names) and atom.names[0] in owner.names)


def compact(atoms: Iterable[Rule]) -> list[Rule]:
    """Atoms that differ by verb only, put together."""
    found: dict[tuple[tuple[str, ...], ...], Rule] = {}
    rest: list[Rule] = []
    for atom in atoms:
        if atom.urls:
            rest.append(atom)
            continue
        key = (atom.groups, atom.resources, atom.names)
        before = found.get(key)
        verbs = atom.verbs if before is None else (*before.verbs, *atom.verbs)
        found[key] = Rule(verbs, *key)
    return [*rest, *found.values()]


def escalation(name: str, groups: Sequence[str], missing: Sequence[Rule]) -> str:
    """Why a user may not grant what he does not hold (ConfirmNoEscalation's words)."""
    listed = "\n".join(sorted({rule.words for rule in compact(missing)}))
    return (
        f"user {json.dumps(name, ensure_ascii=False)} (groups={go_list(groups)}) is attempting to "
        f"grant RBAC permissions not currently held:\n{listed}"
    )
