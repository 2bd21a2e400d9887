"""Who may do what: the one decision, and the words in which it is refused.

The order of the authorizers is upstream's: members of system:masters may do everything, then the
node authorizer and RBAC are asked (``Node,RBAC``); nobody else has a say. With ``AlwaysAllow`` any
authenticated identity may do everything. Source: kubernetes pkg/kubeapiserver/authorizer
(reload.go), apiserver pkg/authorization/union; of the words: pkg/endpoints/handlers/responsewriters
(errors.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.authorization import bootstrap, node
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorization.rbac import Policy
from podwire.apiserver.cache.entry import Entry
from podwire.client.counters import ANONYMOUS, User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
RBAC, ALWAYS_ALLOW = "RBAC", "AlwaysAllow"
MODES = (RBAC, ALWAYS_ALLOW)
"""``RBAC`` is upstream's ``Node,RBAC``."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user may do in a namespace, as SelfSubjectRulesReview tells it."""

    resource: tuple[dict[str, Any], ...]
    non_resource: tuple[dict[str, Any], ...]
    incomplete: bool = False
    error: str = ""


class Authorizer:
    """The authorizers of one server. ``mode`` is one of MODES."""

    def __init__(self, server: Apiserver, mode: str) -> None:
        self.policy = Policy()
        self.enforces = mode == RBAC
        """Whether roles decide."""
        if not self.enforces:
            return
        caches = server.caches
        self._nodes = node.NodeAuthorizer(caches, bootstrap.rules_of("system:node"))
        for kind in (kinds.ROLE, kinds.CLUSTER_ROLE):
            caches.of(kind).listeners.append(self._role_changed)
        for kind in (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING):
            caches.of(kind).listeners.append(self._binding_changed)

    def _role_changed(self, old: Entry | None, new: Entry | None) -> None:
        about = new or old
        assert about is not None, "a change has a before or an after"
        self.policy.role(about.namespace, about.name, _json(new))

    def _binding_changed(self, old: Entry | None, new: Entry | None) -> None:
        about = new or old
        assert about is not None, "a change has a before or an after"
        self.policy.bound(about.namespace, about.name, _json(new))

    def allows(self, asked: Attributes) -> bool:
        """Whether it is allowed: ``decide`` without words."""
        user = asked.user
        if MASTERS in user.groups:
            return True
        if not self.enforces:
            return self._is_somebody(user)
        name = node.node_of(user)
        if name is not None and self._nodes.decide(name, asked)[0]:
            return True
        return self.policy.allows(asked)

    def decide(self, asked: Attributes) -> tuple[bool, str]:
        """Whether it is allowed, and why (or why not; "" when there is nothing to say)."""
        user = asked.user
        if MASTERS in user.groups:
            return True, ""
        if not self.enforces:
            return self._is_somebody(user), ""
        reasons: list[str] = []
        name = node.node_of(user)
        if name is not None:
            allowed, why = self._nodes.decide(name, asked)
            if allowed:
                return True, why
            if why:
                reasons.append(f"node: {why}")
        allowed, why = self.policy.decide(asked)
        if allowed:
            return True, why
        if why:
            reasons.append(f"rbac: {why}")
        return False, "\n".join(reasons)

    @staticmethod
    def _is_somebody(user: User) -> bool:
        if user.name == ANONYMOUS.name or UNAUTHENTICATED in user.groups:
            return False
        return bool(user.name or user.groups)

    def rules(self, user: User, namespace: str) -> Rules:
        """All that ``decide`` would allow a user in a namespace, as far as rules tell it."""
        if not self.enforces:
            if not self._is_somebody(user):
                return Rules((), ())
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return Rules((everything,), ({"verbs": ["*"], "nonResourceURLs": ["*"]},))
        found, errors = self.policy.rules(user, namespace)
        incomplete = node.node_of(user) is not None
        if incomplete:
            errors.insert(0, "node authorizer does not support user rule resolution")
        resource, other = list[JSON](), list[JSON]()
        for rule in found:
            if rule.resources:
                told = {
                    "verbs": list(rule.verbs), "apiGroups": list(rule.groups),
                    "resources": list(rule.resources),
                }  # fmt: skip
                if rule.names:
                    told["resourceNames"] = list(rule.names)
                resource.append(told)
            if rule.urls:
                other.append({"verbs": list(rule.verbs), "nonResourceURLs": list(rule.urls)})
        error = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]" if errors else ""
        return Rules(tuple(resource), tuple(other), incomplete, error)


def _json(entry: Entry | None) -> JSON | None:
    return entry.json() if entry is not None else None


def authorize(server: Apiserver, asked: Attributes) -> tuple[bool, str]:
    """Whether it is allowed, and why (or why not; "" when there is nothing to say)."""
    return server.authorizer.decide(asked)


def rules(server: Apiserver, user: User, namespace: str) -> Rules:
    """Everything that ``authorize`` would allow a user in a namespace."""
    return server.authorizer.rules(user, namespace)


def demand(server: Apiserver, asked: Attributes) -> None:
    """Raise ApiError Forbidden unless it is allowed."""
    if not server.authorizer.allows(asked):
        raise forbidden(asked, server.authorizer.decide(asked)[1])


def forbidden(asked: Attributes, reason: str = "") -> ApiError:
    """403: ``pods "x" is forbidden: User "u" cannot get resource ...``."""
    why = f"{asked.words}: {reason}" if reason else asked.words
    resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    if not resource:
        return ApiError("Forbidden", f"forbidden: {why}")
    subject = f'{resource} "{asked.name}"' if asked.name else resource
    details = {"name": asked.name} if asked.name else {}
    if asked.group:
        details["group"] = asked.group
    details["kind"] = asked.resource
    return ApiError("Forbidden", f"{subject} is forbidden: {why}", 0, details)
