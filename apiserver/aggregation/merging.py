"""Discovery of several servers as one: what an extension server tells of its group version, and
where that stands among the others. Pure.

Source: apiserver pkg/endpoints (ConvertGroupVersionIntoToDiscovery), kube-aggregator
pkg/apiserver/handler_discovery.go, pkg/apis/apiregistration/v1/helper (SortedByGroupAndVersion).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from podwire.api.crd.served import version_rank
from podwire.api.untrusted import decoded
from podwire.api.view import JSON

CURRENT, STALE = "Current", "Stale"
_MAX_RESOURCES = 1000


@dataclass(frozen=True, slots=True)
class Served:
    """What an extension server serves of its group version; hashable."""

    resources: bytes = b"[]"
    """``resources`` of an APIVersionDiscovery, encoded."""
    openapi: str = ""
    """Where its OpenAPI v3 document lies, with its hash; "" when it has none."""
    swagger: bytes = b""
    """Its part of OpenAPI v2 (``swagger.part_of``)."""
    fresh: bool = False
    ours: bool = False
    """Whether it is a modelled server that leaves its answers to this one."""

    @property
    def freshness(self) -> str:
        """As discovery tells it."""
        return CURRENT if self.fresh else STALE

    def stale(self) -> Served:
        """The same, but nobody knows whether it still holds."""
        return replace(self, fresh=False)


class _Resource(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    singular_name: str = ""
    namespaced: bool = False
    group: str = ""
    version: str = ""
    kind: str = ""
    verbs: list[str] = []
    short_names: list[str] = []
    categories: list[str] = []


class _List(msgspec.Struct):
    resources: list[_Resource] = []


class _Document(msgspec.Struct, rename="camel"):
    server_relative_url: str = msgspec.field(name="serverRelativeURL")


class _Index(msgspec.Struct):
    paths: dict[str, _Document] = {}


def document_of(body: bytes, path: str) -> str:
    """Where the OpenAPI v3 index of an extension server says that a document lies, "" when it has
    none there. Raises ValueError.
    """
    found = decoded(body, _Index).paths.get(path)
    return found.server_relative_url if found is not None else ""


def resources_of(body: bytes, group: str, version: str) -> bytes:
    """``resources`` of an APIVersionDiscovery out of an APIResourceList. Raises ValueError."""
    listed = decoded(body, _List).resources
    if len(listed) > _MAX_RESOURCES:
        raise ValueError(f"more than {_MAX_RESOURCES} resources")
    found: dict[str, JSON] = {}
    for resource in listed:
        name, slash, sub = resource.name.partition("/")
        kind = {
            "group": resource.group or group, "version": resource.version or version,
            "kind": resource.kind,
        }  # fmt: skip
        if not slash:
            found[name] = {**found.get(name, {}), **_whole(resource, kind)}
            continue
        parent = found.setdefault(name, _bare(name, resource))
        part = {"subresource": sub, "responseKind": kind, "verbs": resource.verbs}
        parent.setdefault("subresources", []).append(part)
    return msgspec.json.encode(list(found.values()))


def _bare(name: str, resource: _Resource) -> JSON:
    """A resource of which only a subresource is told (so far)."""
    return {"resource": name, "scope": _scope(resource), "verbs": []}


def _whole(resource: _Resource, kind: JSON) -> JSON:
    told: JSON = {
        "resource": resource.name, "responseKind": kind, "scope": _scope(resource),
        "singularResource": resource.singular_name, "verbs": resource.verbs,
    }  # fmt: skip
    if resource.short_names:
        told["shortNames"] = resource.short_names
    if resource.categories:
        told["categories"] = resource.categories
    return told


def _scope(resource: _Resource) -> str:
    return "Namespaced" if resource.namespaced else "Cluster"


GroupVersion = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What extension servers serve; hashable."""

    versions: tuple[tuple[GroupVersion, Served], ...] = ()
    order: tuple[GroupVersion, ...] = ()
    """Of all group versions, this server's own too; () when no other server has any."""

    def served(self, group: str, version: str) -> Served | None:
        """What is known of a group version, None when it is this server's to tell."""
        found = next((s for known, s in self.versions if known == (group, version)), None)
        return None if found is not None and found.ours and found.fresh else found


NOTHING = Elsewhere()
"""Everything is this server's."""


@dataclass(frozen=True, slots=True)
class Priority:
    """What an APIService says of the place of its group version."""

    group_minimum: int
    version: int


def in_order(
    local: Iterable[GroupVersion],
    remote: Iterable[GroupVersion],
    priorities: Mapping[GroupVersion, Priority],
) -> list[GroupVersion]:
    """All group versions as discovery lists them: groups by what their APIServices demand at least
    (what is equal stays in the order given, extension servers' last), the versions of a group that
    has several servers by their priority, then the newest first. A group of this server without an
    APIService stays behind the one before it.
    """
    versions: dict[str, list[str]] = {}
    shared: dict[str, None] = {}
    for group, version in local:
        versions.setdefault(group, []).append(version)
    for group, version in sorted(remote):
        known = versions.setdefault(group, [])
        if version not in known:
            known.append(version)
            shared[group] = None
    for group in shared:
        versions[group].sort(key=lambda v, g=group: _version_key(priorities.get((g, v)), v))  # type: ignore[misc]
    minimum: dict[str, int] = {}
    before = 0
    for group, known in versions.items():
        told = [priorities[group, v].group_minimum for v in known if (group, v) in priorities]
        before = minimum[group] = max(told, default=before or _FIRST)
    ranked = sorted(versions, key=lambda group: -minimum[group])
    return [(group, version) for group in ranked for version in versions[group]]


_FIRST = 1 << 31


def _version_key(told: Priority | None, version: str) -> tuple[int, object]:
    return (-told.version if told else 0, version_rank(version))
