"""Service account tokens for a pod's projected volumes: asked for, kept, renewed in time.

Source: kubernetes pkg/kubelet/token (token_manager.go): renewed once four fifths of its life or a
day are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import NS
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.client.api import Client
from podwire.runtime.ports import Clock

DEFAULT_S = 3600
MOST_S = 24 * 3600
RETRY_S = 60.0
Wanted = tuple[str, int]
"""An audience ("" is the API server's own) and a life in seconds."""


@dataclass(frozen=True, slots=True)
class _Held:
    token: bytes
    renew_ns: int


class TokenError(Exception):
    """The API server gave no token; the message says why."""


def wanted(sources: list[JSON]) -> Iterator[Wanted]:
    """The tokens that a projected volume's sources name."""
    for source in sources:
        if (asked := source.get("serviceAccountToken")) is not None:
            yield wish(asked)


def wish(asked: JSON) -> Wanted:
    """What one serviceAccountToken source asks for."""
    return asked.get("audience", ""), asked.get("expirationSeconds") or DEFAULT_S


class PodTokens:
    """The tokens of one pod, bound to it."""

    def __init__(self, pod: Callable[[], Pod], client: Client, clock: Clock) -> None:
        self._pod = pod
        self._client = client
        self._clock = clock
        self._held: dict[Wanted, _Held] = {}

    def of(self, asked: JSON) -> bytes:
        """The token of a serviceAccountToken source; ``fetch`` got it before."""
        return self._held[wish(asked)].token

    async def fetch(self, sources: list[JSON]) -> None:
        """Have a token that is not due for every one that the sources name. Raises TokenError."""
        for key in wanted(sources):
            held = self._held.get(key)
            if held is None or held.renew_ns <= self._clock.now_ns():
                self._held[key] = await self._ask(*key)

    def renewal_s(self) -> float | None:
        """Seconds until the first of them is due; None while there are none."""
        if not self._held:
            return None
        first = min(held.renew_ns for held in self._held.values())
        return max(first - self._clock.now_ns(), 0) / NS

    async def _ask(self, audience: str, seconds: int) -> _Held:
        meta = self._pod().metadata
        account = self._pod().spec.service_account_name
        body: JSON = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid,
                },
            },
        }  # fmt: skip
        path = kinds.SERVICE_ACCOUNT.path(meta.namespace, account, "token")
        asked_ns = self._clock.now_ns()
        try:
            response = await self._client.send("POST", path, body=body)
        except (ApiError, ConnectionError) as error:
            raise TokenError(f"failed to fetch token: {error}") from None
        token: str = msgspec.json.decode(response.body)["status"]["token"]
        return _Held(token.encode(), asked_ns + min(seconds * 4 // 5, MOST_S) * NS)
