"""POST serviceaccounts/NAME/token, and the paths by which others learn the public key.

Source: upstream pkg/registry/core/serviceaccount/storage/token.go, pkg/serviceaccount/claims.go
and pkg/routes/openidmetadata.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.times import NS, format_time
from podwire.api.validation.field import Errors
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver import accounts, answers, calls, objects
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.routes import Route
from podwire.apiserver.tokens import Issuer
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_API_VERSION, _KIND = "authentication.k8s.io/v1", "TokenRequest"
TOKEN_REQUEST = Kind(
    Object, "authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest"
)
"""The subresource's own kind; it is served nowhere else."""
_DEFAULT_S = 3600
_LEAST_S, _MOST_S = 600, 1 << 32
_EXTENDED_FROM_S, _EXTENDED_S = 3607, 365 * 24 * 3600
"""What kubelet asks for in projected volumes lives a year and warns after the hour
(--service-account-extend-token-expiration).
"""
_BY_KIND: dict[str, Kind[Any]] = {
    "Pod": kinds.POD, "Secret": kinds.SECRET, "Node": kinds.NODE,
}  # fmt: skip


@dataclass(slots=True)
class _Bound:
    """What a token is bound to: the claims that name it."""

    pod: JSON | None = None
    claims: dict[str, JSON] = field(default_factory=dict)


async def handle(server: Apiserver, call: Call) -> Response:
    """201 with a token for the service account. Raises ApiError."""
    known = server.authenticator.accounts
    if known is None:
        raise ApiError("NotFound", "the server could not find the requested resource")
    body = objects.decode_as(call, _API_VERSION, _KIND)
    meta, spec = body["metadata"], body.setdefault("spec", {})
    _fit(call, meta)
    await server.caches.fresh()
    entry = server.caches.of(kinds.SERVICE_ACCOUNT).get(call.namespace, call.name)
    if entry is None:
        raise call.not_found()
    uid = entry.view.metadata.uid
    if meta.get("uid") and meta["uid"] != uid:
        why = (
            f"the UID in the token request ({meta['uid']}) does not match the UID of the service "
            f"account ({uid})"
        )
        raise _conflict(f"{_KIND}.authentication.k8s.io", call.name, why)
    await server.admission.admit(Review(
        server, call, call.kind, "CREATE", call.namespace, call.name, body, None, call.subresource,
        TOKEN_REQUEST, call.dry_run,
    ))  # fmt: skip
    spec = body.setdefault("spec", {})
    issuer = known.issuer
    spec["audiences"] = spec.get("audiences") or list(issuer.audiences)
    seconds = spec.setdefault("expirationSeconds", _DEFAULT_S)
    _validate(spec, seconds)
    bound = _bound(server, call, spec.get("boundObjectRef"))
    now_ns = server.world.clock.now_ns()
    meta |= {"name": call.name, "namespace": call.namespace, "uid": uid}
    meta["creationTimestamp"] = format_time(now_ns)
    claims = _claims(server, entry, spec, bound, now_ns // NS, issuer)
    body["status"] = {
        "token": issuer.sign(claims),
        "expirationTimestamp": format_time(now_ns + seconds * NS),
    }
    return answers.review(body)


def _fit(call: Call, meta: JSON) -> None:
    """What the body says of itself must be what the URL says. Raises ApiError Invalid."""
    errors = Errors()
    for key, word, own in (("name", "name", call.name), ("namespace", "namespace", call.namespace)):
        if meta.get(key) and meta[key] != own:
            why = f"must match the service account {word} if specified"
            errors.invalid(f"metadata.{key}", meta[key], why)
    if errors.causes:
        raise _invalid(call.name, errors)


def _validate(spec: JSON, seconds: int) -> None:
    errors = Errors()
    if seconds < _LEAST_S:
        why = "may not specify a duration less than 10 minutes"
        errors.invalid("spec.expirationSeconds", seconds, why)
    if seconds > _MOST_S:
        why = "may not specify a duration larger than 2^32 seconds"
        errors.invalid("spec.expirationSeconds", seconds, why)
    if spec.get("attestations"):
        why = "attestations may only be specified with a webhook bound object reference"
        errors.invalid("spec.attestations", spec["attestations"], why)
    if errors.causes:
        raise _invalid("", errors)


def _bound(server: Apiserver, call: Call, reference: JSON | None) -> _Bound:
    """The object that a token is to die with. Raises ApiError."""
    found = _Bound()
    if reference is None:
        return found
    version, word = reference.get("apiVersion") or "", reference.get("kind") or ""
    name = reference.get("name") or ""
    kind = _BY_KIND.get(word)
    if "/" in version or kind is None:
        shown = f"{version if '/' in version else f'/{version}'}, Kind={word}"
        raise ApiError("BadRequest", f"cannot bind token to object of type {shown}")
    entry = server.caches.of(kind).get(call.namespace if kind.namespaced else "", name)
    if entry is None:
        raise calls.not_found(kind, name)
    uid = entry.view.metadata.uid
    found.claims[word.lower()] = {"name": name, "uid": uid}
    if kind is kinds.POD:
        if entry.view.spec.service_account_name != call.name:
            raise ApiError(
                "BadRequest",
                f'cannot bind token for serviceaccount "{call.name}" to pod running with '
                "different serviceaccount name.",
            )
        found.pod = found.claims["pod"]
        if node := entry.view.spec.node_name:
            found.claims["node"] = _node(server, node)
    if reference.get("uid") and reference["uid"] != uid:
        why = (
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID "
            "in record. The object might have been deleted and then recreated"
        )
        raise _conflict(word, name, why)
    return found


def _node(server: Apiserver, name: str) -> JSON:
    entry = server.caches.of(kinds.NODE).get("", name)
    return {"name": name} if entry is None else {"name": name, "uid": entry.view.metadata.uid}


def _claims(
    server: Apiserver, entry: Entry, spec: JSON, bound: _Bound, now_s: int, issuer: Issuer
) -> JSON:
    namespace, name = entry.namespace, entry.name
    own: JSON = {
        "namespace": namespace,
        "serviceaccount": {"name": name, "uid": entry.view.metadata.uid},
        **bound.claims,
    }
    seconds = spec["expirationSeconds"]
    ours = all(audience in issuer.audiences for audience in spec["audiences"])
    if bound.pod is not None and seconds == _EXTENDED_FROM_S and ours:
        own["warnafter"] = now_s + seconds
        seconds = _EXTENDED_S
    return {
        "sub": f"{accounts.PREFIX}{namespace}:{name}",
        "aud": spec["audiences"],
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + seconds,
        "jti": server.world.ids.uid(),
        "kubernetes.io": own,
    }


def _invalid(name: str, errors: Errors) -> ApiError:
    texts = [f"{cause.field}: {cause.message}" for cause in errors.causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes: tuple[Cause, ...] = tuple(errors.causes)
    details = {"name": name, "group": "authentication.k8s.io", "kind": _KIND}
    message = f'{_KIND}.authentication.k8s.io "{name}" is invalid: {listed}'
    return ApiError("Invalid", message, 0, details, causes)


def _conflict(what: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {what} "{name}": {why}'
    kind, _, group = what.partition(".")
    details = (
        {"name": name, "group": group, "kind": kind} if group else {"name": name, "kind": kind}
    )
    return ApiError("Conflict", message, 0, details)


# ---------------------------------------------------------------- OpenID


async def _configuration(server: Apiserver, _request: Request) -> Response:
    issuer = _issuer(server)
    uri = f"https://{server.config.advertised}/openid/v1/jwks"
    return _cached(msgspec.json.encode(issuer.discovery(uri)), answers.JSON_TYPE)


async def _keys(server: Apiserver, _request: Request) -> Response:
    return _cached(msgspec.json.encode(_issuer(server).jwks()), "application/jwk-set+json")


def _issuer(server: Apiserver) -> Issuer:
    known = server.authenticator.accounts
    if known is None:
        raise ApiError("NotFound", "the server could not find the requested resource")
    return known.issuer


def _cached(body: bytes, content_type: str) -> Response:
    answer = answers.raw(body, 200, content_type)
    answer.headers["cache-control"] = "public, max-age=3600"
    return answer


ROUTES = (
    Route("/.well-known/openid-configuration", _configuration),
    Route("/openid/v1/jwks", _keys),
)
