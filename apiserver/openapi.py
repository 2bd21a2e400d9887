"""OpenAPI over HTTP: v3 as kubectl reads it, v2 for older clients; made when first asked for.

A v3 document is immutable under its hash, so that kubectl keeps it on disk.
Source of the behaviour: kube-openapi pkg/handler and pkg/handler3.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from podwire.apiserver import answers
from podwire.apiserver.calls import Query
from podwire.apiserver.discovery import group_versions
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


def _takes_json(request: Request) -> bool:
    """Whether Accept admits JSON; the gnostic protobuf forms are not modelled."""
    header = request.headers.get("accept", "") or "*/*"
    medias = (clause.partition(";")[0].strip() for clause in header.split(","))
    return any(media in {"application/json", "application/*", "*/*"} for media in medias)


def _answer(request: Request, body: bytes, digest: str) -> Response:
    """The document, 304 when the client has it, 406 when it wants another form."""
    if not _takes_json(request):
        return Response(406, b"", {"vary": "Accept"})
    headers = {"content-type": "application/json", "etag": f'"{digest}"', "vary": "Accept"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(304, b"", headers)
    return Response(200, body, headers)


async def index(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3."""
    paths = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(path)}"} for path in _paths()
    }
    return _answer(request, msgspec.json.encode({"paths": paths}), _digest(""))


async def serve(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3/..."""
    wanted = request.path.removeprefix("/openapi/v3/").strip("/")
    if wanted not in _paths():
        return answers.page_not_found()
    digest = _digest(wanted)
    asked = Query(request.query).get("hash")
    if asked and asked != digest:
        return Response(301, b"", {"location": f"/openapi/v3/{wanted}?hash={digest}"})
    response = _answer(request, _document(wanted), digest)
    if asked:
        response.headers["cache-control"] = "public, immutable"
        response.headers["expires"] = "Thu, 31 Dec 2037 23:55:55 GMT"
    return response


async def swagger(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v2: every definition, in JSON only."""
    if not _takes_json(request):
        return Response(406, b"", {"vary": "Accept"})
    return _answer(request, _swagger(), _digest("v2"))


ROUTES = (
    Route("/openapi/v2", swagger),
    Route("/openapi/v3", index),
    Route("/openapi/v3/*", serve),
)
"""OpenAPI's paths."""
