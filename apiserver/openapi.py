"""OpenAPI over HTTP: v3 as JSON, v2 as JSON and protobuf; made when first asked for.

A v3 document is immutable under its hash, so that kubectl keeps it on disk.
Source of the behaviour: kube-openapi pkg/handler and pkg/handler3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from podwire.apiserver import answers, openapi_gnostic
from podwire.apiserver.calls import Query
from podwire.apiserver.discovery import group_versions
from podwire.apiserver.negotiation import clauses
from podwire.apiserver.openapi_documents import Definitions, ingredients
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def _paths() -> dict[str, tuple[str, str]]:
    """Group and version of every v3 document by its path below /openapi/v3."""
    return {f"apis/{g}/{v}" if g else f"api/{v}": (g, v) for g, v in group_versions()}


@cache
def _digest(path: str) -> str:
    """The hash of a document: of all it is made of, so that telling it costs no document."""
    return hashlib.sha512(f"{ingredients()} {path}".encode()).hexdigest().upper()


@cache
def _document(path: str) -> bytes:
    return msgspec.json.encode(Definitions().v3(*_paths()[path]))


@cache
def _swagger() -> bytes:
    return msgspec.json.encode(Definitions().v2())


@cache
def _gnostic() -> bytes:
    return openapi_gnostic.document(msgspec.json.decode(_swagger()))


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


async def index(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3."""
    paths = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(path)}"} for path in _paths()
    }
    return _answer(request, lambda _: msgspec.json.encode({"paths": paths}), _digest(""))


async def serve(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3/..."""
    wanted = request.path.removeprefix("/openapi/v3/").strip("/")
    if wanted not in _paths():
        return answers.page_not_found()
    digest = _digest(wanted)
    asked = Query(request.query).get("hash")
    if asked and asked != digest:
        return Response(301, b"", {"location": f"/openapi/v3/{wanted}?hash={digest}"})
    response = _answer(request, lambda _: _document(wanted), digest)
    if asked:
        response.headers["cache-control"] = "public, immutable"
        response.headers["expires"] = "Thu, 31 Dec 2037 23:55:55 GMT"
    return response


async def swagger(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v2: every definition, as JSON or as gnostic's protobuf."""

    def made(form: str) -> bytes:
        return _swagger() if form == "json" else _gnostic()

    return _answer(request, made, _digest("v2"), *list(_FORMS)[1:])


ROUTES = (
    Route("/openapi/v2", swagger),
    Route("/openapi/v3", index),
    Route("/openapi/v3/*", serve),
)
"""OpenAPI's paths."""
