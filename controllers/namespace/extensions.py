"""What extension API servers keep in namespaces, asked live as everything in a namespace is.

An APIService that is not available keeps every namespace from ending, as upstream's does.
Source: kubernetes pkg/controller/namespace/deletion, client-go discovery/aggregated_discovery.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.untrusted import decoded
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.client.api import Client
from podwire.client.counters import Response

_MAX_BYTES = 16 * 1024 * 1024


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Spec(msgspec.Struct):
    group: str = ""
    version: str = ""
    service: JSON | None = None


class _Service(msgspec.Struct):
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


class _Services(msgspec.Struct):
    items: list[_Service]


class _Resource(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    namespaced: bool = False
    singular_name: str = ""
    verbs: list[str] = []


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


class _Items(msgspec.Struct):
    items: list[Object] = []


@dataclass(slots=True)
class Extensions:
    """The kinds that can be deleted, and what of discovery failed, in words by group version."""

    kinds: list[Kind[Any]] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)


async def discovered(client: Client) -> Extensions:
    """What extension servers serve now. A resource of several versions counts once."""
    found, seen = Extensions(), set[tuple[str, str]]()
    answer = await client.send("GET", kinds.API_SERVICE.path())
    for item in decoded(answer.body, _Services).items:
        spec = item.spec
        if spec.service is None:
            continue
        version = f"{spec.group}/{spec.version}"
        if ("Available", "True") not in [(c.type, c.status) for c in item.status.conditions]:
            found.failing[version] = f"stale GroupVersion discovery: {version}"
            continue
        try:
            body = await _body(await client.send("GET", f"/apis/{version}"))
            resources = decoded(body, _Resources).resources
        except (ApiError, ConnectionError, ValueError) as error:
            found.failing[version] = str(error)
            continue
        for resource in resources:
            wanted = resource.namespaced and {"delete", "list"} <= set(resource.verbs)
            if wanted and "/" not in resource.name and (spec.group, resource.name) not in seen:
                seen.add((spec.group, resource.name))
                found.kinds.append(_kind(spec, resource))
    return found


async def held(client: Client, kind: Kind[Any], namespace: str) -> list[Object]:
    """What a namespace holds of a kind. Raises ApiError, ConnectionError, ValueError."""
    body = await _body(await client.send("GET", kind.path(namespace)))
    return decoded(body, _Items).items


async def _body(response: Response) -> bytes:
    if response.stream is None:
        return response.body
    found = bytearray()
    async for frame in response.stream:
        found += frame.data
        if len(found) > _MAX_BYTES:
            raise ValueError(f"an answer of more than {_MAX_BYTES} bytes")
    return bytes(found)


def _kind(spec: _Spec, resource: _Resource) -> Kind[Any]:
    return Kind(
        Object, spec.group, spec.version, resource.kind, resource.name,
        resource.singular_name or resource.kind.lower(), namespaced=True,
    )  # fmt: skip
