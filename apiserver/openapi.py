"""OpenAPI over HTTP: v3 as JSON, v2 as JSON and protobuf; made when first asked for.

A v3 document is immutable under its hash, so that kubectl keeps it on disk.
Source of the behaviour: kube-openapi pkg/handler and pkg/handler3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import msgspec

from podwire.api.crd import documents
from podwire.apiserver import answers, openapi_gnostic
from podwire.apiserver.aggregation import swagger as merging
from podwire.apiserver.aggregation.checks import AGGREGATOR
from podwire.apiserver.calls import Query
from podwire.apiserver.discovery import Kinds, elsewhere, established, group_versions
from podwire.apiserver.negotiation import clauses
from podwire.apiserver.openapi_documents import Definitions, ingredients
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def _paths(own: Kinds) -> dict[str, tuple[str, str]]:
    """Group and version of every v3 document by its path below /openapi/v3."""
    return {f"apis/{g}/{v}" if g else f"api/{v}": (g, v) for g, v in group_versions(own)}


@cache
def _digest_of(path: str) -> str:
    return hashlib.sha512(f"{ingredients()} {path}".encode()).hexdigest().upper()


def _digest(path: str, own: Kinds) -> str:
    """The hash of a document: of all it is made of, so that telling it costs no document."""
    group, version = _paths(own).get(path, ("", ""))
    part = [k for k in own if not group or (k.group, k.version) == (group, version)]
    if not part:
        return _digest_of(path)
    made = " ".join(documents.digest(kind) for kind in part)
    return hashlib.sha512(f"{_digest_of(path)} {made}".encode()).hexdigest().upper()


@lru_cache(maxsize=256)
def _document(path: str, own: Kinds) -> bytes:
    group, version = _paths(own)[path]
    return msgspec.json.encode(Definitions(own).v3(group, version))


@lru_cache(maxsize=2)
def _swagger(own: Kinds, parts: tuple[bytes, ...], taken: tuple[str, ...]) -> bytes:
    document = Definitions(own).v2()
    if taken:
        document = merging.merged(document, parts, taken)
    return msgspec.json.encode(document)


@lru_cache(maxsize=2)
def _gnostic(own: Kinds, parts: tuple[bytes, ...], taken: tuple[str, ...]) -> bytes:
    return openapi_gnostic.document(msgspec.json.decode(_swagger(own, parts, taken)))


_GNOSTIC = "com.github.proto-openapi.spec.v2"
_FORMS = {
    "json": "application/json",
    f"{_GNOSTIC}@v1.0+protobuf": f"application/{_GNOSTIC}.v1.0+protobuf",
    f"{_GNOSTIC}.v1.0+protobuf": f"application/{_GNOSTIC}.v1.0+protobuf",
}
"""Content types by the subtypes that Accept names (an @ is no part of a content type)."""


def _form(request: Request, *subtypes: str) -> str | None:
    """Which of the subtypes Accept asks for first, None when for no one."""
    for type_, subtype, _ in clauses(request.headers.get("accept", "") or "*/*"):
        if type_ in {"application", "*"}:
            for own in subtypes:
                if subtype in {own, "*"}:
                    return own
    return None


def _answer(
    request: Request, make: Callable[[str], bytes], digest: str, *subtypes: str
) -> Response:
    """The document, 304 when the client has it, 406 when it wants another form."""
    form = _form(request, "json", *subtypes)
    if form is None:
        return Response(406, b"", {"vary": "Accept"})
    tag = f'"{digest}"' if form == "json" else f'"{digest}PB"'
    headers = {"content-type": _FORMS[form], "etag": tag, "vary": "Accept"}
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", headers)
    return Response(200, make(form), headers)


async def index(server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3."""
    own, others = established(server), elsewhere(server)
    paths = {
        path: f"/openapi/v3/{path}?hash={_digest(path, own)}"
        for path, group_version in _paths(own).items()
        if others.served(*group_version) is None
    }
    digest = _digest("", own)
    for (group, version), served in others.versions:
        if served.openapi:
            paths[f"apis/{group}/{version}" if group else f"api/{version}"] = served.openapi
    if others.versions:
        digest = hashlib.sha512(f"{digest} {paths}".encode()).hexdigest().upper()
    told = {path: {"serverRelativeURL": url} for path, url in paths.items()}
    return _answer(request, lambda _: msgspec.json.encode({"paths": told}), digest)


async def serve(server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3/..."""
    own = established(server)
    wanted = request.path.removeprefix("/openapi/v3/").strip("/")
    remote = server.aggregator.of(f"/{wanted}")
    if remote is not None:
        return await server.aggregator.handle(replace(request, user=AGGREGATOR), remote)
    if wanted not in _paths(own):
        return answers.page_not_found()
    digest = _digest(wanted, own)
    group, version = _paths(own)[wanted]
    own = tuple(kind for kind in own if (kind.group, kind.version) == (group, version))
    asked = Query(request.query).get("hash")
    if asked and asked != digest:
        return Response(301, b"", {"location": f"/openapi/v3/{wanted}?hash={digest}"})
    response = _answer(request, lambda _: _document(wanted, own), digest)
    if asked:
        response.headers["cache-control"] = "public, immutable"
        response.headers["expires"] = "Thu, 31 Dec 2037 23:55:55 GMT"
    return response


async def swagger(server: Apiserver, request: Request) -> Response:
    """GET /openapi/v2: every definition, as JSON or as gnostic's protobuf."""
    own, others = established(server), elsewhere(server)
    known = dict(others.versions)
    remote = [
        (f"/apis/{group}/{version}" if group else f"/api/{version}", known[group, version].swagger)
        for group, version in others.order
        if (group, version) in known and others.served(group, version) is not None
    ]
    taken, parts = tuple(root for root, _ in remote), tuple(part for _, part in remote if part)
    digest = _digest("v2", own)
    if taken:
        digest = hashlib.sha512(b"\0".join((f"{digest} {taken}".encode(), *parts))).hexdigest()

    def made(form: str) -> bytes:
        make = _swagger if form == "json" else _gnostic
        return make(own, parts, taken)

    return _answer(request, made, digest.upper(), *list(_FORMS)[1:])


ROUTES = (
    Route("/openapi/v2", swagger),
    Route("/openapi/v3", index),
    Route("/openapi/v3/*", serve),
)
"""OpenAPI's paths."""
