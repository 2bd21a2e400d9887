"""Deciding from a cache that may lag behind the store.

A verb first decides from the cache as it is. A write is guarded by the store, so a stale view costs
it a second round; a refusal (or "nothing to do") counts only when the cache held everything that
was written before the request came. Source: etcd3 store.go GuaranteedUpdate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from podwire.api.status import ApiError
from podwire.apiserver.storage import Lost

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

T = TypeVar("T")

_ATTEMPTS = 5
_FINAL = frozenset(("BadRequest", "AlreadyExists", "RequestEntityTooLarge"))
"""Refusals that do not come from the cache."""


async def judged(server: Apiserver, decide: Callable[[], Awaitable[T]]) -> T:
    """``decide()``, once more if it refused and the cache was behind. Raises ApiError."""
    seen = server.caches.revision
    try:
        return await decide()
    except ApiError as refusal:
        if refusal.reason in _FINAL or await server.caches.fresh() == seen:
            raise
    return await decide()


async def settle(
    server: Apiserver,
    attempt: Callable[[], Awaitable[tuple[T, bool]]],
    conflict: Callable[[], ApiError],
    *,
    fresh: bool = False,
) -> T:
    """``attempt()`` (a result, and whether it wrote) until it can stand. ``fresh``: from the start.

    Raises ApiError: the attempt's refusal, or ``conflict()`` when others always come between.
    """
    caches = server.caches
    if fresh:
        await caches.fresh()
    for _ in range(_ATTEMPTS):
        seen = caches.revision
        refusal: ApiError | None = None
        try:
            result, wrote = await attempt()
            if wrote or fresh:
                return result
        except Lost:
            await caches.fresh()
            fresh = True
            continue
        except ApiError as error:
            if fresh or error.reason in _FINAL:
                raise
            refusal = error
        if await caches.fresh() == seen:
            if refusal is not None:
                raise refusal
            return result
        fresh = True
    raise conflict()
