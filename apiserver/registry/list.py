"""GET of a collection: selectors, consistent paging, resourceVersion rules.

Source: apiserver pkg/storage (interfaces.go, continue.go), metainternalversion/validation.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api.status import ApiError, Cause
from podwire.api.untrusted import decoded
from podwire.api.view import JSON
from podwire.apiserver import answers, calls
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.cache.fields import Selection
from podwire.apiserver.cache.kind import KindCache, TooOld
from podwire.apiserver.calls import Call
from podwire.client.counters import Response
from podwire.store import CompactedError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_MATCHES = ("Exact", "NotOlderThan")
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


async def handle(server: Apiserver, call: Call) -> Response:
    """The collection, or a page of it."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    try:
        entries, meta = await page(server, call)
    except ExpiredPageError as error:
        return _expired_continue(error.rest)
    return server.many(call.kind, entries, meta, shape)


class ExpiredPageError(ApiError):
    """410 for a continue token whose revision is gone; ``rest`` continues inconsistently."""

    def __init__(self, rest: str) -> None:
        super().__init__("Expired", _EXPIRED)
        self.rest = rest


async def page(server: Apiserver, call: Call) -> tuple[Sequence[Entry], JSON]:
    """The objects a call's parameters choose (all of them, or a page), and their ListMeta.

    Raises ApiError.
    """
    query = call.query
    limit = max(0, query.number("limit") or 0)  # as upstream: a negative one is none
    token = query.get("continue")
    selection = select(call)
    validate(call)
    current = await state_asked_for(server, call)
    cache = server.caches.of(call.kind)
    prefix = cache.key(call.namespace, "") if call.namespace else cache.prefix
    after = ""
    if token:
        revision, after = _decode_token(token, prefix)
        if revision > current:
            raise ApiError("BadRequest", "continue key is not valid: it is of a future revision")
        revision = revision if revision > 0 else current
    else:
        revision = _wanted(call, current, limit)
    try:
        entries = await _state(server, cache, call.namespace, revision, current)
    except (TooOld, CompactedError):
        if token:
            raise ExpiredPageError(_encode_token(-1, after.removeprefix(prefix))) from None
        raise expired(f"The provided resource version is too old: {revision}") from None
    chosen, more, left = _page(entries, selection, after, limit)
    meta: JSON = {"resourceVersion": str(revision)}
    if more:
        meta["continue"] = _encode_token(revision, chosen[-1].key.removeprefix(prefix))
        if selection.everything:
            meta["remainingItemCount"] = left
    return chosen, meta


def select(call: Call) -> Selection:
    """The call's selectors. Raises ApiError BadRequest."""
    query = call.query
    return Selection(call.kind, query.get("labelSelector"), query.get("fieldSelector"))


def validate(call: Call) -> None:
    """The rules for resourceVersion, resourceVersionMatch and continue. Raises ApiError."""
    query = call.query
    version, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
    watching = call.verb == "watch"
    initial = query.has("sendInitialEvents")
    field = "resourceVersionMatch"
    if not watching and initial:
        why = "Forbidden: sendInitialEvents is forbidden for list"
        raise calls.bad_option(call, "sendInitialEvents", "FieldValueForbidden", why)
    if watching and initial and match != "NotOlderThan":
        why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise calls.bad_option(call, field, "FieldValueForbidden", why)
    if match and not (watching and initial):
        if watching:
            why = (
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents "
                "is provided"
            )
            raise calls.bad_option(call, field, "FieldValueForbidden", why)
        if not version:
            why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            raise calls.bad_option(call, field, "FieldValueForbidden", why)
        if query.get("continue"):
            why = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
            raise calls.bad_option(call, field, "FieldValueForbidden", why)
        if match not in _MATCHES:
            listed = ", ".join(f'"{m}"' for m in (*_MATCHES, ""))
            why = f'Unsupported value: "{match}": supported values: {listed}'
            raise calls.bad_option(call, field, "FieldValueNotSupported", why)
        if match == "Exact" and version == "0":
            why = 'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
            raise calls.bad_option(call, field, "FieldValueForbidden", why)
    if version not in {"", "0"} and query.get("continue"):
        message = "specifying resource version is not allowed when using continue"
        raise ApiError("BadRequest", message)
    asked_revision(call)


def asked_revision(call: Call) -> int:
    """The resourceVersion parameter as a number, 0 when absent. Raises ApiError."""
    text = call.query.get("resourceVersion")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        why = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise calls.bad_option(call, "resourceVersion", "FieldValueInvalid", why)
    return int(text)


async def state_asked_for(server: Apiserver, call: Call) -> int:
    """The revision of the cache once it is new enough: resourceVersion 0 takes it as it is, also
    while the store is away.
    """
    if call.query.get("resourceVersion") == "0":
        return server.caches.revision
    return await server.caches.fresh()


def not_newer(call: Call, current: int) -> int:
    """The asked revision; 504 when it has not happened yet. Raises ApiError."""
    wanted = asked_revision(call)
    if wanted > current:
        text = f"Too large resource version: {wanted}, current: {current}"
        raise ApiError(
            "Timeout",
            text,
            details={"retryAfterSeconds": 1},
            causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
        )
    return wanted


def expired(message: str) -> ApiError:
    """410 with reason Expired."""
    return ApiError("Expired", message)


def _expired_continue(token: str) -> Response:
    """410 whose ListMeta carries a token for an inconsistent rest of the list."""
    body = ApiError("Expired", _EXPIRED).status()
    body["metadata"] = {"continue": token}
    return answers.json(body, body["code"])


def _wanted(call: Call, current: int, limit: int) -> int:
    """The revision to list at: only Exact (said, or implied by a limit) looks back."""
    wanted = not_newer(call, current)
    match = call.query.get("resourceVersionMatch")
    if wanted and (match == "Exact" or (not match and limit)):
        return wanted
    return current


async def _state(
    server: Apiserver, cache: KindCache, namespace: str, revision: int, current: int
) -> Sequence[Entry]:
    if revision == current:
        return cache.entries(namespace)
    try:
        return cache.entries_at(revision, namespace)
    except TooOld:
        prefix = cache.key(namespace, "") if namespace else cache.prefix
        page = await server.store.range(prefix, revision=revision)
        return [cache.entry(kv) for kv in page.kvs]


def _page(
    entries: Sequence[Entry], selection: Selection, after: str, limit: int
) -> tuple[Sequence[Entry], bool, int]:
    """A page behind ``after``, whether more follow, and (without selectors) how many."""
    start = bisect_right(entries, after, key=lambda entry: entry.key) if after else 0
    if selection.everything:
        if not limit:
            return (entries[start:] if start else entries), False, 0
        end = start + limit
        return entries[start:end], end < len(entries), max(0, len(entries) - end)
    page: list[Entry] = []
    for entry in entries[start:] if start else entries:
        if selection.matches(entry):
            if limit and len(page) == limit:
                return page, True, 0
            page.append(entry)
    return page, False, 0


def _encode_token(revision: int, start: str) -> str:
    body = {"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"}
    return base64.urlsafe_b64encode(msgspec.json.encode(body)).decode().rstrip("=")


def _decode_token(token: str, prefix: str) -> tuple[int, str]:
    """(revision, key to start behind). Raises ApiError BadRequest."""
    body: Any = None
    try:
        padded = token + "=" * (-len(token) % 4)
        body = decoded(base64.urlsafe_b64decode(padded), object)
    except ValueError:
        raise ApiError("BadRequest", "continue key is not valid: encoded in error") from None
    if (
        not isinstance(body, dict)
        or body.get("v") != "meta.k8s.io/v1"
        or not isinstance(body.get("rv"), int)
        or not isinstance(body.get("start"), str)
        or ".." in body["start"]
    ):
        raise ApiError("BadRequest", "continue key is not valid: unrecognised version or content")
    return body["rv"], prefix + body["start"].removesuffix("\0")
