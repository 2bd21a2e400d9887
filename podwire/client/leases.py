"""Holds a Lease: proof of life, renewed every period until cancelled.

Source: component-helpers apimachinery/lease (kubelet's node heartbeats). Times are MicroTime with
six decimals, which client-go insists on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_micro_time
from podwire.api.view import JSON
from podwire.client.api import Client
from podwire.client.ctx import Ctx

JITTER = 0.04
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 7.0


class LeaseHolder:
    """Renews one Lease every ``period_s`` (up to 4 % later, by the seed)."""

    def __init__(
        self,
        ctx: Ctx,
        client: Client,
        name: str,
        *,
        namespace: str,
        identity: str,
        duration_s: int = 40,
        period_s: float = 10.0,
        owner: Callable[[], Awaitable[JSON]] | None = None,
    ) -> None:
        self._clock = ctx.clock
        self._rng = ctx.rng.child(f"lease {namespace}/{name}")
        self._log = ctx.log.bind(lease=f"{namespace}/{name}")
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._duration_s = duration_s
        self._period_s = period_s
        self._owner = owner

    async def run(self) -> None:
        """Create or take over the Lease, then renew it until cancelled."""
        while True:
            await self._renew_at_any_cost()
            await self._clock.sleep(self._period_s * (1 + JITTER * self._rng.random()))

    async def _renew_at_any_cost(self) -> None:
        """Renew, retrying with growing delays as long as the server refuses or is away."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await self._renew()
            except (ApiError, ConnectionError) as error:
                self._log.info("lease not renewed", error=str(error), retry_after_s=delay_s)
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)
            else:
                return

    async def _renew(self) -> None:
        spec: JSON = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": format_micro_time(self._clock.now_ns()),
        }
        try:
            await self._client.patch(kinds.LEASE, self._name, {"spec": spec}, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            meta: JSON = {"name": self._name, "namespace": self._namespace}
            if self._owner is not None:
                meta["ownerReferences"] = [await self._owner()]
            body = {"metadata": meta, "spec": spec}
            await self._client.create(kinds.LEASE, body, self._namespace)
