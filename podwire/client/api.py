"""``Client``: typed calls over the API counter, for every room."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Generic
from urllib.parse import quote

import msgspec

from podwire.api.kinds import Kind
from podwire.api.status import ApiError, from_status
from podwire.api.untrusted import decoded
from podwire.api.view import JSON, V, View, to_json
from podwire.client.counters import Api, Frame, Request, Response, User

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Listed(Generic[V]):
    """A list answer: frozen views and the revision it was read at."""

    items: list[V]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[V]):
    """ADDED, MODIFIED, DELETED or BOOKMARK with a frozen view."""

    type: str
    object: V


class _ListMeta(View, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _RawList(View, frozen=True, kw_only=True):
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] = []


class _RawEvent(View, frozen=True, kw_only=True):
    type: str
    object: msgspec.Raw


_raw_list = msgspec.json.Decoder(_RawList)
_raw_event = msgspec.json.Decoder(_RawEvent)
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def decoder(view: type[V]) -> msgspec.json.Decoder[V]:
    """The (cached) JSON decoder of a view class."""
    found = _decoders.get(view)
    if found is None:
        found = _decoders[view] = msgspec.json.Decoder(view)
    return found


def decode_event(frame: Frame, view: type[V]) -> WatchEvent[V]:
    """The event in a frame; decoded once per frame and view, then shared.

    Raises ApiError for an ERROR event (410 Gone among them).
    """
    event = frame.memo.get(view)
    if event is None:
        raw = _raw_event.decode(frame.data)
        if raw.type == "ERROR":
            body = msgspec.json.decode(raw.object)
            raise from_status(body.get("code", 500), body)
        event = WatchEvent(raw.type, decoder(view).decode(raw.object))
        frame.memo[view] = event
    return event


def check(response: Response) -> Response:
    """The response, or its Status as an ApiError."""
    if response.status < 400:
        return response
    try:
        body = decoded(response.body, dict)
    except ValueError:
        body = {"message": response.body.decode(errors="replace"), "reason": "InternalError"}
    raise from_status(response.status, body)


def viewed(response: Response, kind: Kind[V]) -> V:
    """The object of an answer: the view that the answer brought, or one made of its body."""
    view = response.view
    if view.__class__ is kind.view:
        return view
    return decoder(kind.view).decode(response.body)


class Client:
    """Typed API calls under one identity. All calls raise ApiError or ConnectionError."""

    def __init__(self, api: Api, user: User | None = None, user_agent: str = "podwire") -> None:
        self.api = api
        self._user = user
        self._headers = {"user-agent": user_agent, "accept": "application/json"}

    async def send(
        self,
        method: str,
        path: str,
        query: tuple[tuple[str, str], ...] = (),
        body: Any = None,
        content_type: str = "application/json",
    ) -> Response:
        """One request; the answer is checked."""
        headers = self._headers
        data = b""
        if body is not None:
            headers = {**headers, "content-type": content_type}
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return check(await self.api.send(Request(method, path, query, headers, data, self._user)))

    async def get(self, kind: Kind[V], name: str, namespace: str = "") -> V:
        """One object."""
        response = await self.send("GET", kind.path(namespace, name))
        return viewed(response, kind)

    async def get_json(self, kind: Kind[Any], name: str, namespace: str = "") -> JSON:
        """One object, whole."""
        response = await self.send("GET", kind.path(namespace, name))
        body: JSON = msgspec.json.decode(response.body)
        return body

    async def list(
        self,
        kind: Kind[V],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Listed[V]:
        """A collection (all namespaces when ``namespace`` is "")."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            limit=str(limit) if limit else "",
            **{"continue": continue_token},
        )
        response = await self.send("GET", kind.path(namespace), query)
        raw = _raw_list.decode(response.body)
        decode = decoder(kind.view).decode
        return Listed(
            [decode(item) for item in raw.items], raw.metadata.resource_version,
            raw.metadata.continue_,
        )  # fmt: skip

    async def create(self, kind: Kind[V], body: JSON | View, namespace: str = "") -> V:
        """Create an object; ``body`` may omit apiVersion and kind."""
        full = _complete(kind, body)
        response = await self.send("POST", kind.path(namespace or _namespace(full)), body=full)
        return viewed(response, kind)

    async def update(self, kind: Kind[V], body: JSON, subresource: str = "") -> V:
        """Replace an object (metadata.resourceVersion in ``body`` makes it conditional)."""
        full = _complete(kind, body)
        meta = full["metadata"]
        path = kind.path(meta.get("namespace", ""), meta["name"], subresource)
        response = await self.send("PUT", path, body=full)
        return viewed(response, kind)

    async def patch(
        self,
        kind: Kind[V],
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        content_type: str = MERGE,
    ) -> V:
        """Patch an object or a subresource."""
        path = kind.path(namespace, name, subresource)
        response = await self.send("PATCH", path, body=patch, content_type=content_type)
        return viewed(response, kind)

    async def delete(
        self,
        kind: Kind[Any],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        """Delete an object."""
        options: JSON = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        await self.send("DELETE", kind.path(namespace, name), body=options)

    async def watch(
        self,
        kind: Kind[V],
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        initial_events: bool = False,
    ) -> AsyncGenerator[WatchEvent[V], None]:
        """Events from a revision on, bookmarks included; ends when the server ends it.

        Leaving early: ``aclose`` (or contextlib.aclosing) ends the server's stream at once.

        With ``initial_events`` (WatchList) the state comes first as ADDED events and then a
        BOOKMARK with annotation ``k8s.io/initial-events-end``.
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            sendInitialEvents="true" if initial_events else "",
            resourceVersionMatch="NotOlderThan" if initial_events else "",
        )
        response = await self.send("GET", kind.path(namespace), query)
        assert response.stream is not None, "a watch answers with a stream"
        stream = response.stream
        try:
            async for frame in stream:
                yield decode_event(frame, kind.view)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()


def _query(**parameters: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in parameters.items() if value)


def _complete(kind: Kind[Any], body: JSON | View) -> JSON:
    full = to_json(body) if isinstance(body, View) else body
    return {"apiVersion": kind.api_version, "kind": kind.kind, **full}


def _namespace(body: JSON) -> str:
    return str(body.get("metadata", {}).get("namespace", ""))


def url(request: Request) -> str:
    """Path and query of a request, escaped, as a real HTTP client sends it."""
    if not request.query:
        return request.path
    pairs = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in request.query)
    return f"{request.path}?{pairs}"


__all__ = ["ApiError", "Client", "Listed", "WatchEvent", "decode_event", "decoder", "url"]
