"""Access reviews: whether a subject may do something.

Source: upstream pkg/registry/authorization and pkg/apis/authorization/validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.status import ApiError
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.view import JSON
from podwire.apiserver import answers, authorizer, calls, objects
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.calls import Call
from podwire.client.counters import Response, User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def subject(server: Apiserver, call: Call) -> Response:
    """SubjectAccessReview: anybody, anywhere."""
    body, spec = _decoded(call)
    errors = Errors()
    _check_spec(errors, spec)
    _check_subject(errors, spec)
    _check_empty(errors, body["metadata"], "must be empty")
    _refuse(call, errors)
    return _decided(server, body, _user(spec))


async def local(server: Apiserver, call: Call) -> Response:
    """LocalSubjectAccessReview: anybody, in the namespace of the URL."""
    body, spec = _decoded(call)
    meta = body["metadata"]
    given = meta.setdefault("namespace", call.namespace) or call.namespace
    if given != call.namespace:
        message = "the namespace of the provided object does not match the namespace sent on "
        raise ApiError("BadRequest", message + "the request")
    errors = Errors()
    _check_spec(errors, spec)
    _check_subject(errors, spec)
    rest = {key: value for key, value in meta.items() if key != "namespace"}
    _check_empty(errors, rest, "must be empty except for namespace")
    resource = spec.get("resourceAttributes")
    if resource is not None and (resource.get("namespace") or "") != call.namespace:
        why = "must match metadata.namespace"
        errors.invalid("spec.resourceAttributes.namespace", resource.get("namespace") or "", why)
    if spec.get("nonResourceAttributes") is not None:
        why = "disallowed on this kind of request"
        errors.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], why)
    _refuse(call, errors)
    return _decided(server, body, _user(spec))


async def own(server: Apiserver, call: Call) -> Response:
    """SelfSubjectAccessReview: the caller (``kubectl auth can-i``)."""
    body, spec = _decoded(call)
    errors = Errors()
    _check_spec(errors, spec)
    _check_empty(errors, body["metadata"], "must be empty")
    _refuse(call, errors)
    return _decided(server, body, call.user)


async def own_rules(server: Apiserver, call: Call) -> Response:
    """SelfSubjectRulesReview: all that the caller may do (``kubectl auth can-i --list``)."""
    body, spec = _decoded(call)
    namespace = spec.get("namespace")
    if not namespace:
        raise ApiError("BadRequest", "no namespace on request")
    found = authorizer.rules(server, call.user, namespace)
    body["spec"] = {}
    body["status"] = {
        "resourceRules": list(found.resource),
        "nonResourceRules": list(found.non_resource),
        "incomplete": found.incomplete,
    }
    if found.error:
        body["status"]["evaluationError"] = found.error
    return answers.review(body)


def _decoded(call: Call) -> tuple[JSON, JSON]:
    _ = call.dry_run  # a review changes nothing anyway, but a wrong value is told
    body = objects.decode(call, call.kind)
    spec: JSON = body.setdefault("spec", {})
    return body, spec


def _check_spec(errors: Errors, spec: JSON) -> None:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        errors.invalid("spec.nonResourceAttributes", other, why)
    if resource is None and other is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.invalid("spec.resourceAttributes", None, why)


def _check_subject(errors: Errors, spec: JSON) -> None:
    if not spec.get("user") and not spec.get("groups"):
        errors.invalid("spec.user", "", "at least one of user or group must be specified")


def _check_empty(errors: Errors, meta: JSON, why: str) -> None:
    held = {k: v for k, v in meta.items() if v and k not in {"creationTimestamp", "managedFields"}}
    if held:
        errors.invalid("metadata", held, why)


def _refuse(call: Call, errors: Errors) -> None:
    if errors.causes:
        raise invalid_error(call.kind, "", errors.causes)


def _user(spec: JSON) -> User:
    extra = spec.get("extra") or {}
    return User(
        spec.get("user") or "",
        tuple(spec.get("groups") or ()),
        spec.get("uid") or "",
        tuple((key, tuple(values or ())) for key, values in sorted(extra.items())),
    )


def _attributes(server: Apiserver, user: User, spec: JSON) -> Attributes:
    other = spec.get("nonResourceAttributes")
    if other is not None:
        return Attributes(user, other.get("verb") or "", path=other.get("path") or "")
    asked = spec["resourceAttributes"]
    keys = ("group", "version", "resource", "subresource", "namespace", "name")
    where = {key: asked.get(key) or "" for key in keys}
    return Attributes(user, asked.get("verb") or "", **where, fields=_fields(server, asked))


def _fields(server: Apiserver, asked: JSON) -> tuple[tuple[str, str], ...]:
    """The fields for which a fieldSelector demands one value: as text, or as requirements."""
    selector = asked.get("fieldSelector") or {}
    if selector.get("rawSelector"):
        kind = server.kinds.by_plural(
            asked.get("group") or "", asked.get("version") or "v1", asked.get("resource") or ""
        )
        return calls.demanded(kind, selector["rawSelector"]) if kind is not None else ()
    return tuple(
        (term.get("key") or "", term["values"][0])
        for term in selector.get("requirements") or ()
        if term.get("operator") == "In" and len(term.get("values") or ()) == 1
    )


def _decided(server: Apiserver, body: JSON, user: User) -> Response:
    allowed, reason = authorizer.authorize(server, _attributes(server, user, body["spec"]))
    status: JSON = {"allowed": allowed}
    if reason:
        status["reason"] = reason
    body["status"] = status
    return answers.review(body)
