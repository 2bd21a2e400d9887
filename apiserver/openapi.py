"""OpenAPI v3: what ``kubectl explain`` reads and ``kubectl apply`` validates and patches by.

One document per group version: the schemas of its kinds, and the few paths kubectl looks at.
Source of what kubectl looks at: cli-runtime query_param_verifier_v3, kubectl's patcher.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver import answers
from podwire.apiserver.calls import Query
from podwire.apiserver.discovery import group_versions, kinds_of
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_REF = "#/components/schemas/"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_documents: dict[str, tuple[bytes, str]] = {}


def _definitions() -> dict[str, JSON]:
    data = resources.files("podwire.api.data").joinpath("openapi.json.gz").read_bytes()
    decoded: dict[str, JSON] = msgspec.json.decode(gzip.decompress(data))
    return decoded


def _gvk(kind: Kind[Any]) -> JSON:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema_of(kind: Kind[Any], definitions: dict[str, JSON]) -> str:
    """The name of a kind's definition, '' when upstream has none (podwire's own kinds)."""
    gvk = _gvk(kind)
    for name, definition in definitions.items():
        if gvk in definition.get("x-kubernetes-group-version-kind", ()):
            return name
    return ""


def _closure(names: list[str], definitions: dict[str, JSON]) -> list[str]:
    """Every definition that these refer to, in order of discovery."""
    found = dict.fromkeys(names)
    queue = list(found)
    while queue:
        for ref in _refs(definitions[queue.pop()]):
            if ref not in found:
                found[ref] = None
                queue.append(ref)
    return list(found)


def _refs(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for item in node for ref in _refs(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].removeprefix(_REF)] if isinstance(node.get("$ref"), str) else []
    return own + [ref for value in node.values() for ref in _refs(value)]


def _served(node: Any) -> Any:
    """A definition as kube-apiserver serves it: a reference with words beside it is an allOf."""
    if isinstance(node, list):
        return [_served(item) for item in node]
    if not isinstance(node, dict):
        return node
    fields = {key: _served(value) for key, value in node.items()}
    if isinstance(fields.get("$ref"), str) and len(fields) > 1:
        return {"allOf": [{"$ref": fields.pop("$ref")}], **fields}
    return fields


def _paths(kind: Kind[Any], schema: str) -> JSON:
    gvk = _gvk(kind)
    reference = {"$ref": f"{_REF}{schema}"}
    ok = {"description": "OK", "content": {"application/json": {"schema": reference}}}

    def operation(action: str, body: JSON | None = None) -> JSON:
        parameters = [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in ("dryRun", "fieldManager", "fieldValidation")
        ]
        told: JSON = {
            "operationId": f"{action}{kind.kind}",
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "parameters": parameters if action != "get" else [],
            "responses": {"200": ok},
        }
        return told | ({"requestBody": body} if body else {})

    patch = {
        "content": {
            media: {"schema": {"$ref": f"{_REF}io.k8s.apimachinery.pkg.apis.meta.v1.Patch"}}
            for media in _PATCHES
        }
    }
    whole = {"content": {"application/json": {"schema": reference}}}
    namespace = "{namespace}" if kind.namespaced else ""
    return {
        kind.path(namespace): {"post": operation("post", whole)},
        kind.path(namespace, "{name}"): {
            "get": operation("get"),
            "put": operation("put", whole),
            "patch": operation("patch", patch),
        },
    }


def document(group: str, version: str) -> tuple[bytes, str]:
    """The document of a group version and its hash; made once."""
    key = f"{group}/{version}"
    if key in _documents:
        return _documents[key]
    definitions = _definitions()
    served = [(kind, _schema_of(kind, definitions)) for kind in kinds_of(group, version)]
    named = [(kind, schema) for kind, schema in served if schema]
    schemas: JSON = {
        name: _served(definitions[name])
        for name in _closure([schema for _, schema in named], definitions)
    }
    schemas.setdefault("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", {"type": "object"})
    paths: JSON = {}
    for kind, schema in named:
        paths |= _paths(kind, schema)
    body = msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )
    _documents[key] = body, hashlib.sha512(body).hexdigest().upper()
    return _documents[key]


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


async def index(_server: Apiserver, _request: Request) -> Response:
    """GET /openapi/v3."""
    paths = {}
    for group, version in group_versions():
        path = _path(group, version)
        digest = document(group, version)[1]
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return answers.json({"paths": paths})


async def serve(_server: Apiserver, request: Request) -> Response:
    """GET /openapi/v3/...: immutable under its hash, so that kubectl keeps it on disk."""
    wanted = request.path.removeprefix("/openapi/v3/").strip("/")
    for group, version in group_versions():
        if _path(group, version) != wanted:
            continue
        body, digest = document(group, version)
        headers = {"content-type": "application/json", "etag": f'"{digest}"', "vary": "Accept"}
        asked = Query(request.query).get("hash")
        if asked and asked != digest:
            location = f"/openapi/v3/{wanted}?hash={digest}"
            return Response(301, b"", {"location": location})
        if asked:
            headers["cache-control"] = "public, immutable"
            headers["expires"] = "Thu, 31 Dec 2037 23:55:55 GMT"
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(304, b"", headers)
        return Response(200, body, headers)
    return answers.page_not_found()


ROUTES = (Route("/openapi/v3", index), Route("/openapi/v3/*", serve))
"""OpenAPI's paths."""
