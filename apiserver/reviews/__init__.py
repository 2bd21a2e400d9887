"""Create-only kinds: questions that are answered and not stored (reviews, token requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.apiserver.reviews import access, token, tokenreview, whoami

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io/v1", "authorization.k8s.io/v1"


def install(server: Apiserver) -> None:
    """Enter the handlers into the server's table."""
    add = server.routes.add_verb
    add("create", token.handle, "token", kinds.SERVICE_ACCOUNT)
    for api_version, name, handler in (
        (_AUTHENTICATION, "TokenReview", tokenreview.handle),
        (_AUTHENTICATION, "SelfSubjectReview", whoami.handle),
        (_AUTHORIZATION, "SubjectAccessReview", access.subject),
        (_AUTHORIZATION, "LocalSubjectAccessReview", access.local),
        (_AUTHORIZATION, "SelfSubjectAccessReview", access.own),
        (_AUTHORIZATION, "SelfSubjectRulesReview", access.own_rules),
    ):
        add("create", handler, kind=_kind(api_version, name))
    for route in token.ROUTES:
        server.routes.add(route)


def _kind(api_version: str, name: str) -> Kind[Any]:
    kind = kinds.by_gvk(api_version, name)
    assert kind is not None, f"{api_version} {name} is served"
    return kind
