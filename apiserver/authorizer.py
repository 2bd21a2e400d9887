"""Who may do what: the one decision, and the words in which it is refused.

Any authenticated identity may do everything: RBAC objects are stored and not enforced.
Source of the words: apiserver pkg/endpoints/handlers/responsewriters (errors.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api.status import ApiError
from podwire.client.counters import ANONYMOUS, User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

UNAUTHENTICATED = "system:unauthenticated"


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """What an authorizer decides on: a verb on a resource, or (with ``path``) on a URL."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def words(self) -> str:
        """``User "x" cannot get resource "pods" in API group "" in the namespace "y"``."""
        who = f'User "{_plain(self.user.name)}" cannot {_plain(self.verb)}'
        if self.path:
            return f'{who} path "{_plain(self.path)}"'
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f' in the namespace "{self.namespace}"' if self.namespace else ""
        where = _plain(where) or " at the cluster scope"
        return f'{who} resource "{_plain(what)}" in API group "{_plain(self.group)}"{where}'


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user may do in a namespace, as SelfSubjectRulesReview tells it."""

    resource: tuple[dict[str, Any], ...]
    non_resource: tuple[dict[str, Any], ...]
    incomplete: bool = False


def authorize(_server: Apiserver, asked: Attributes) -> tuple[bool, str]:
    """Whether it is allowed, and why (or why not; "" when there is nothing to say)."""
    user = asked.user
    if user.name == ANONYMOUS.name or UNAUTHENTICATED in user.groups:
        return False, ""
    return bool(user.name or user.groups), ""


def rules(server: Apiserver, user: User, _namespace: str) -> Rules:
    """Everything that ``authorize`` would allow a user in a namespace."""
    allowed, _ = authorize(server, Attributes(user, "*"))
    if not allowed:
        return Rules((), ())
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    return Rules((everything,), ({"verbs": ["*"], "nonResourceURLs": ["*"]},))


def demand(server: Apiserver, asked: Attributes) -> None:
    """Raise ApiError Forbidden unless it is allowed."""
    allowed, reason = authorize(server, asked)
    if not allowed:
        raise forbidden(asked, reason)


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


def _plain(text: str) -> str:
    """What a browser would take for HTML is escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
