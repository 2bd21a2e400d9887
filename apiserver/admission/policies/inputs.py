"""What a write gives to the expressions of policies and conditions."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.cel.admission import Inputs
from podwire.api.cel.functions.authz import Ask, Decision
from podwire.api.cel.functions.authz import Question as Asked
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks.hooks import Hook, Match
from podwire.apiserver.admission.webhooks.reviews import Question
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorizer import authorize
from podwire.client.counters import User


def inputs(
    question: Question, kind: Kind[Any], params: JSON | None = None, *, conditions: bool = False
) -> Inputs:
    """The values of one write in one version; ``conditions`` see no namespace.

    Raises ApiError NotFound for a namespace that is missing.
    """
    review = question.review
    shown, old = question.objects(kind)
    return Inputs(
        shown,
        old,
        lambda: _request(question, kind),
        None if conditions else _namespace(review),
        params,
        _ask(review),
        Asked(
            group=review.kind.group,
            resource=review.kind.plural,
            subresource=review.subresource,
            namespace=review.namespace,
            name=review.name,
        ),
    )


def _request(question: Question, kind: Kind[Any]) -> JSON:
    nobody: Hook = None  # type: ignore[assignment]  # a hook's body does not show in the request
    raw = question.body(Match(nobody, kind), "v1", "")
    found: JSON = msgspec.json.decode(raw)["request"]
    for name in ("object", "oldObject", "uid"):
        found.pop(name, None)
    return found


def _namespace(review: Review) -> JSON | None:
    if not review.namespace or review.kind is kinds.NAMESPACE:
        return None
    entry = review.server.caches.of(kinds.NAMESPACE).get("", review.namespace)
    if entry is None:
        raise calls.not_found(kinds.NAMESPACE, review.namespace)
    found = entry.json()
    found["metadata"].pop("managedFields", None)
    return found


def _ask(review: Review) -> Ask:
    """Questions to the server's authorizer; the same one is answered once per write."""
    answers: dict[Asked, Decision] = {}

    def ask(asked: Asked) -> Decision:
        found = answers.get(asked)
        if found is None:
            allowed, reason = authorize(review.server, _attributes(review.user, asked))
            found = answers[asked] = Decision(allowed, reason)
        return found

    return ask


def _attributes(user: User, asked: Asked) -> Attributes:
    if asked.service_account is not None:
        namespace, name = asked.service_account
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        user = User(f"system:serviceaccount:{namespace}:{name}", (*groups, "system:authenticated"))
    if asked.path:
        return Attributes(user, asked.verb, path=asked.path)
    return Attributes(
        user, asked.verb, asked.group, "*", asked.resource, asked.subresource, asked.namespace,
        asked.name,
    )  # fmt: skip
