"""Holds a Lease: proof of life, renewed every period until cancelled.

Source: component-helpers apimachinery/lease (kubelet's node heartbeats). Times are MicroTime with
six decimals, which client-go insists on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_micro_time
from podwire.api.view import JSON
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.runtime.tasks import Event

COMPONENT = "podwire.dev/component"
"""Label of the Leases that say which rooms are alive."""
MESSAGE = "podwire.dev/message"
"""Annotation: what keeps the room from doing its work; '' for nothing."""
COMPONENT_NAMESPACE = "kube-system"
COMPONENT_DURATION_S = 15
COMPONENT_PERIOD_S = 5.0
"""Of a room's Lease: leader election's own defaults upstream (15 s, renewed well before)."""

JITTER = 0.04
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 7.0


class LeaseHolder:
    """Renews one Lease every ``period_s`` (up to 4 % later, by the seed).

    ``message`` tells what is wrong with its holder ('' for nothing); it is written beside the
    renewal, and at once when ``kick`` says that it changed.
    """

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
        labels: Mapping[str, str] | None = None,
        message: Callable[[], str] = str,
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
        self._labels = dict(labels or {})
        self._message = message
        self._kicked = Event()

    def kick(self) -> None:
        """Renew now: the holder's message changed."""
        self._kicked.set()

    async def run(self) -> None:
        """Create or take over the Lease, then renew it until cancelled."""
        while True:
            self._kicked.clear()
            await self._renew_at_any_cost()
            delay_s = self._period_s * (1 + JITTER * self._rng.random())
            timer = self._clock.call_later(delay_s, self._kicked.set)
            try:
                await self._kicked.wait()
            finally:
                timer.cancel()

    async def release(self) -> None:
        """Give the Lease up: its holder stops of its own accord. Raises ApiError,
        ConnectionError.
        """
        await self._client.patch(
            kinds.LEASE, self._name, {"spec": {"holderIdentity": ""}}, self._namespace
        )

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
        patch: JSON = {"spec": spec}
        meta: JSON = {}
        if self._labels:
            meta = {"labels": self._labels, "annotations": {MESSAGE: self._message()}}
            patch["metadata"] = meta
        try:
            await self._client.patch(kinds.LEASE, self._name, patch, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            meta = {**meta, "name": self._name, "namespace": self._namespace}
            if self._owner is not None:
                meta["ownerReferences"] = [await self._owner()]
            body = {"metadata": meta, "spec": spec}
            await self._client.create(kinds.LEASE, body, self._namespace)


def of_component(
    ctx: Ctx, client: Client, component: str, identity: str, message: Callable[[], str] = str
) -> LeaseHolder:
    """The Lease by which a room shows that it lives."""
    return LeaseHolder(
        ctx,
        client,
        f"podwire-{component}",
        namespace=COMPONENT_NAMESPACE,
        identity=identity,
        duration_s=COMPONENT_DURATION_S,
        period_s=COMPONENT_PERIOD_S,
        labels={COMPONENT: component},
        message=message,
    )
