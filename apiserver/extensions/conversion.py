"""Conversion by webhook: the objects of a definition as another version shows them.

A version that a webhook makes cannot follow the store at once, as other caches do: it is a cache of
its own that catches up before a request reads it, after one wrote, and while somebody watches it.
Source: apiextensions-apiserver pkg/apiserver/conversion/webhook_converter.go.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import codec
from podwire.api.crd import served
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.view import JSON
from podwire.apiserver.cache.fields import triggers
from podwire.apiserver.cache.kind import KindCache, TooOld
from podwire.apiserver.storage import encode
from podwire.apiserver.webhookclient import CallError, target_of
from podwire.store import Event

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_TIMEOUT_S = 30.0
_REMEMBERED = 1024
_VERSIONS = ("v1", "v1beta1")


class Follower:
    """The cache of one version that a webhook makes."""

    def __init__(self, server: Apiserver, kind: Kind[Any], stored: KindCache) -> None:
        self.kind = kind
        self._server = server
        self._stored = stored
        self._made: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = asyncio.Lock()
        self.cache = KindCache(kind, stored.prefix, triggers(kind), convert=self._known)
        self.cache.complete = -1

    def _known(self, value: bytes) -> bytes:
        """The converted value, which was asked for before."""
        found = self._made.get(value)
        if found is None:
            entries = self.cache.entries()
            found = next((e.value for e in entries if (e.raw or e.value) == value), None)
        if found is None:
            raise ApiError("", f"no conversion of a {self.kind.kind} is at hand", 500)
        return found

    async def catch_up(self) -> None:
        """Show what the store's cache shows. Raises ApiError when the webhook fails."""
        async with self._lock:
            assert self.cache.complete is not None
            revision = self._server.caches.revision
            if self.cache.complete >= revision:
                return
            try:
                changes = self._stored.since(self.cache.complete)
            except TooOld:
                await self._load(revision)
                return
            values = [c.new.raw or c.new.value for c in changes if c.new is not None]
            await self.learn(values)
            for change in changes:
                new = change.new
                kv = self._stored.pair(new) if new is not None else None
                self.cache.apply(Event(change.revision, change.subject.key, kv, None))
            self.cache.complete = revision

    async def _load(self, revision: int) -> None:
        pairs = self._stored.stored()
        await self.learn([pair.value for pair in pairs])
        self.cache.load(pairs, revision)
        self.cache.complete = revision

    async def learn(self, values: list[bytes]) -> None:
        """Have stored values converted, all in one question. Raises ApiError."""
        waiting = list(dict.fromkeys(value for value in values if value not in self._made))
        objects = [msgspec.json.decode(value) for value in waiting]
        made = await converted(self._server, self.kind, objects)
        for value, obj in zip(waiting, made, strict=True):
            self._made[value] = encode(self.kind, served.shown(self.kind, obj))
        while len(self._made) > max(_REMEMBERED, len(values)):
            self._made.popitem(last=False)


async def refresh(server: Apiserver, stored: KindCache) -> None:
    """Have objects converted that were stored before the storage version changed; the watches of
    what was shown of them until now end. Raises ApiError.
    """
    kind = stored.kind
    assert kind.custom is not None, f"{kind} is custom"
    known = kind.custom.definition.converted
    old = [
        entry.raw
        for entry in stored.entries()
        if entry.raw is not None
        and entry.raw not in known
        and served.served_version(entry.raw) != kind.version
    ]
    if not old:
        return
    made = await converted(server, kind, [msgspec.json.decode(value) for value in old])
    for value, obj in zip(old, made, strict=True):
        known[value] = encode(kind, served.shown(kind, obj))
    stored.load(stored.stored(), server.caches.revision)


async def converted(server: Apiserver, kind: Kind[Any], objects: list[JSON]) -> list[JSON]:
    """Objects in the version of ``kind``; those that are in it already are not sent.

    Raises ApiError 500 with upstream's words.
    """
    custom = kind.custom
    assert custom is not None, f"{kind} is custom"
    others = [obj for obj in objects if obj["apiVersion"] != kind.api_version]
    if not others:
        return objects
    group, _, version = others[0]["apiVersion"].rpartition("/")
    about = f"conversion webhook for {group}/{version}, Kind={kind.kind}"
    webhook = custom.definition.conversion.get("webhook") or {}
    reviews = webhook.get("conversionReviewVersions") or ()
    review = next((v for v in reviews if v in _VERSIONS), None)
    if review is None:
        raise ApiError("", "no supported conversion review versions", 500)
    uid = server.world.ids.uid()
    api_version = f"apiextensions.k8s.io/{review}"
    question = {"uid": uid, "desiredAPIVersion": kind.api_version, "objects": others}
    body = {"kind": "ConversionReview", "apiVersion": api_version, "request": question}
    try:
        target = target_of(webhook.get("clientConfig") or {})
        raw = await server.webhooks.client.post(target, msgspec.json.encode(body), _TIMEOUT_S)
        made = _answered(raw, api_version, uid)
    except (CallError, _AnswerError) as error:
        raise ApiError("", f"{about} failed: {error}", 500) from None
    if len(made) != len(others):
        why = f"{about} returned {len(made)} objects, expected {len(others)}"
        raise ApiError("", why, 500)
    for i, (old, new) in enumerate(zip(others, made, strict=True)):
        if why := _unfit(kind, old, new):
            raise ApiError("", f"{about} returned invalid object at index {i}: {why}", 500)
        if why := _restore(old, new):
            raise ApiError("", f"{about} returned invalid metadata: {why}", 500)
    left = iter(made)
    return [obj if obj["apiVersion"] == kind.api_version else next(left) for obj in objects]


class _AnswerError(ValueError):
    """The answer is not one to the question."""


def _answered(raw: bytes, api_version: str, uid: str) -> list[Any]:
    """The objects of an answer. Raises _AnswerError."""
    try:
        review = codec.load_json(raw)
    except codec.JsonError as error:
        raise _AnswerError(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(review, dict):
        raise _AnswerError("the answer is no object")
    if api_version.endswith("/v1"):
        given = (review.get("apiVersion"), review.get("kind"))
        if given != (api_version, "ConversionReview"):
            wanted = f"{api_version}, Kind=ConversionReview"
            raise _AnswerError(
                f"expected webhook response of {wanted}, got {given[0]}, Kind={given[1]}"
            )
    response = review.get("response")
    if not isinstance(response, dict):
        raise _AnswerError("no response provided")
    if api_version.endswith("/v1") and response.get("uid") != uid:
        raise _AnswerError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    if not isinstance(result, dict):
        raise _AnswerError("response.result is no object")
    if result.get("status") != "Success":
        status = result.get("status", "")
        why = f"response.result.status was '{status}', not 'Success'"
        raise _AnswerError(result.get("message") or why)
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _unfit(kind: Kind[Any], old: JSON, new: Any) -> str:
    """Why an object is not what was asked for, '' when it is."""
    if not isinstance(new, dict) or new.get("apiVersion") != kind.api_version:
        given = new.get("apiVersion", "") if isinstance(new, dict) else ""
        return f"invalid groupVersion (expected {kind.api_version}, received {given})"
    if new.get("kind") != kind.kind:
        return f"invalid kind (expected {kind.kind}, received {new.get('kind', '')})"
    metadata = new.get("metadata")
    if not isinstance(metadata, dict):
        return "missing metadata in converted object"
    for name, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        had, has = old["metadata"].get(name, ""), metadata.get(name, "")
        if had != has:
            return f"must have the same {word}: {had} != {has}"
    return ""


def _restore(old: JSON, new: JSON) -> str:
    """A webhook may change labels and annotations only; the rest is put back. Why it may not."""
    given, metadata = new["metadata"], dict(old["metadata"])
    errors = Errors()
    for name in ("labels", "annotations"):
        found = given.get(name)
        if found is None:
            metadata.pop(name, None)
            continue
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            return f"invalid metadata.{name} in converted object"
        if found != metadata.get(name):
            check = meta.check_labels if name == "labels" else meta.check_annotations
            check(errors, f"metadata.{name}", found)
        metadata[name] = found
    new["metadata"] = metadata
    return "; ".join(f"{cause.field}: {cause.message}" for cause in errors.causes)
