"""What each controller is built from: client, shared informers, settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.custom import CustomKinds
from podwire.client.driver import Driver, OnFailure, Reconcile
from podwire.client.informer import Informer, Informers
from podwire.client.workqueue import FIRST_RETRY_S, MAX_RETRY_S
from podwire.controllers.config import ControllersConfig


@dataclass(frozen=True, slots=True)
class World:
    """Shared by all controllers of one process."""

    ctx: Ctx
    client: Client
    informers: Informers
    config: ControllersConfig
    custom: CustomKinds
    """The kinds of CustomResourceDefinitions."""

    def driver(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        expect: tuple[Informer[Any], ...] = (),
        hears_itself: bool = False,
        on_failure: OnFailure | None = None,
        component: str = "",
        workers: int = 1,
        retry_s: tuple[float, float] = (FIRST_RETRY_S, MAX_RETRY_S),
    ) -> Driver:
        """A driver on the shared client."""
        return Driver(
            self.ctx,
            self.client,
            name,
            reconcile,
            workers,
            expect=expect,
            hears_itself=hears_itself,
            on_failure=on_failure,
            component=component,
            retry_s=retry_s,
        )

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.ctx.clock.now_ns()
