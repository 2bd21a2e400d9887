"""Discovery: what is served. Aggregated (apidiscovery.k8s.io/v2) and legacy, from kinds.ALL, the
kinds of definitions, and what extension servers tell (``aggregation/merging.py``).

Source of the forms: KEP-3352, apiserver pkg/endpoints/discovery, kubernetes api/discovery.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind, Subresource
from podwire.api.view import JSON
from podwire.apiserver import answers
from podwire.apiserver.aggregation.merging import NOTHING, Elsewhere
from podwire.apiserver.negotiation import clauses
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_GROUP, _LIST = "apidiscovery.k8s.io", "APIGroupDiscoveryList"
_AGGREGATED = f"application/json;g={_GROUP};v={{}};as={_LIST}"
_VERSIONS = ("v2", "v2beta1")


Kinds = tuple[Kind[Any], ...]
"""Kinds of CustomResourceDefinitions, which are told behind the API's own."""


def established(server: Apiserver) -> Kinds:
    """The kinds of a server's definitions that it tells of."""
    return tuple(
        kind
        for kind in server.kinds.own
        if kind.custom is not None and kind.custom.definition.established
    )


def elsewhere(server: Apiserver) -> Elsewhere:
    """What extension servers serve."""
    return server.aggregator.elsewhere(lambda: group_versions(established(server)))


def group_versions(own: Kinds = (), others: Elsewhere = NOTHING) -> list[tuple[str, str]]:
    """(group, version) pairs in the order of kinds.ALL, or as APIServices say."""
    if others.order:
        return list(others.order)
    return list(dict.fromkeys((kind.group, kind.version) for kind in (*kinds.ALL, *own)))


def kinds_of(group: str, version: str, own: Kinds = ()) -> list[Kind[Any]]:
    """The kinds of a group version."""
    return [k for k in (*kinds.ALL, *own) if (k.group, k.version) == (group, version)]


_UNDER_WAY = ("create", "patch", "update")
"""What is not told of kinds whose definition is about to go."""


def _verbs(kind: Kind[Any]) -> list[str]:
    if kind.custom is not None and kind.custom.definition.terminating:
        return [verb for verb in kind.verbs if verb not in _UNDER_WAY]
    return list(kind.verbs)


# ---------------------------------------------------------------- aggregated


def _resource(kind: Kind[Any]) -> JSON:
    resource: JSON = {
        "resource": kind.plural,
        "responseKind": _response_kind(kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if kind.parts:
        resource["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": _response_kind(part.kind, part.group_version),
                "verbs": list(part.verbs),
            }
            for part in kind.parts.values()
        ]
    return resource


def _response_kind(kind: str, group_version: str = "") -> JSON:
    """Group and version are told only where they are not the list's own, as upstream does."""
    group_name, _, version = group_version.rpartition("/")
    return {"group": group_name, "version": version, "kind": kind}


def aggregated(
    core: bool, version: str, own: Kinds = (), others: Elsewhere = NOTHING
) -> tuple[bytes, str]:
    """The APIGroupDiscoveryList of /api or /apis, and its ETag."""
    if core:
        own = ()
    told = tuple(k.custom is not None and k.custom.definition.terminating for k in own)
    return _aggregated(core, version, own, told, others)


@lru_cache(maxsize=16)
def _aggregated(
    core: bool, version: str, own: Kinds, _terminating: tuple[bool, ...], others: Elsewhere
) -> tuple[bytes, str]:
    groups: dict[str, list[JSON]] = {}
    for group, group_version in group_versions(own, others):
        if (group == "") is not core:
            continue
        told: JSON = {"version": group_version, "freshness": "Current"}
        served = others.served(group, group_version)
        if served is None:
            told["resources"] = [_resource(kind) for kind in kinds_of(group, group_version, own)]
        else:
            told |= {"freshness": served.freshness, "resources": msgspec.Raw(served.resources)}
        groups.setdefault(group, []).append(told)
    items = [
        {"metadata": {"name": group} if group else {}, "versions": versions}
        for group, versions in groups.items()
    ]
    body = msgspec.json.encode(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
    )
    return body, f'"{hashlib.sha256(body).hexdigest().upper()}"'


def _wants_aggregated(request: Request) -> str:
    """The apidiscovery version that the client accepts first, or ''."""
    for type_, subtype, params in clauses(request.headers.get("accept", "")):
        if (type_, subtype) != ("application", "json"):
            continue
        if params.get("g") == _GROUP and params.get("as") == _LIST:
            if params.get("v") in _VERSIONS:
                return params["v"]
        elif "as" not in params:
            return ""
    return ""


def _answer_aggregated(
    server: Apiserver, request: Request, version: str, *, core: bool
) -> Response:
    body, etag = aggregated(core, version, established(server), elsewhere(server))
    headers = {
        "content-type": _AGGREGATED.format(version),
        "etag": etag,
        "cache-control": "public",
        "vary": "Accept",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", headers)
    return Response(200, body, headers)


# ---------------------------------------------------------------- legacy


async def core_root(server: Apiserver, request: Request) -> Response:
    """GET /api."""
    version = _wants_aggregated(request)
    if version:
        return _answer_aggregated(server, request, version, core=True)
    address = server.config.advertised
    return answers.json(
        {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }
    )


async def groups_root(server: Apiserver, request: Request) -> Response:
    """GET /apis."""
    version = _wants_aggregated(request)
    if version:
        return _answer_aggregated(server, request, version, core=False)
    served = group_versions(established(server), elsewhere(server))
    names = dict.fromkeys(group for group, _ in served if group)
    groups = [_group(name, served) for name in names]
    return answers.json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


def _group(name: str, served: list[tuple[str, str]]) -> JSON:
    versions = [
        {"groupVersion": f"{group}/{version}", "version": version}
        for group, version in served
        if group == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


async def group(server: Apiserver, request: Request) -> Response:
    """GET /apis/GROUP."""
    name = request.path.rstrip("/").rpartition("/")[2]
    told = _group(name, group_versions(established(server), elsewhere(server)))
    return answers.json({"kind": "APIGroup", "apiVersion": "v1", **told})


async def resources(server: Apiserver, request: Request) -> Response:
    """GET /api/v1 and /apis/GROUP/VERSION."""
    parts = request.path.strip("/").split("/")
    name, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
    listed: list[JSON] = []
    for kind in kinds_of(name, version, established(server)):
        listed.append(_legacy(kind))
        listed += [_legacy_subresource(kind, part) for part in kind.parts.values()]
    group_version = f"{name}/{version}" if name else version
    return answers.json(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": listed,
        }
    )


def _legacy(kind: Kind[Any]) -> JSON:
    resource: JSON = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if "watch" in kind.verbs:
        resource["storageVersionHash"] = storage_version_hash(kind)
    return resource


def storage_version_hash(kind: Kind[Any]) -> str:
    """Tells clients when the stored version changes.

    Source: apiserver pkg/endpoints/discovery/storageversionhash.go.
    """
    return base64.b64encode(hashlib.sha256(kind.hashed_as.encode()).digest()[:8]).decode()


def _legacy_subresource(kind: Kind[Any], part: Subresource) -> JSON:
    resource: JSON = {
        "name": f"{kind.plural}/{part.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": part.kind,
        "verbs": list(part.verbs),
    }
    if part.group_version:
        group_name, _, version = part.group_version.rpartition("/")
        resource |= {"group": group_name, "version": version}
    return resource


def routes() -> list[Route]:
    """Discovery's paths."""
    names = dict.fromkeys(name for name, _ in group_versions() if name)
    versions = [f"/apis/{g}/{v}" if g else f"/api/{v}" for g, v in group_versions()]
    return [
        Route("/api", core_root),
        Route("/apis", groups_root),
        *(Route(f"/apis/{name}", group) for name in names),
        *(Route(path, resources) for path in versions),
    ]
