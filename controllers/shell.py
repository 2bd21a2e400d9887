"""Starts every controller over one shared set of informers."""

from __future__ import annotations

from podwire.api import kinds
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.client.custom import CustomKinds
from podwire.client.informer import Informers
from podwire.controllers.config import ControllersConfig
from podwire.controllers.registry import CONTROLLERS
from podwire.controllers.world import World
from podwire.runtime.tasks import Nursery

USER = User("system:kube-controller-manager")


async def run(ctx: Ctx) -> None:
    """Run all controllers until cancelled. ``ctx.config``: ControllersConfig, or None."""
    client = Client(ctx.api, USER, user_agent="kube-controller-manager")
    config = ctx.config if ctx.config is not None else ControllersConfig()
    informers = Informers(client, ctx)
    custom = CustomKinds(informers.informer(kinds.CUSTOM_RESOURCE_DEFINITION))
    world = World(ctx, client, informers, config, custom)
    drivers = [build(world) for _, build in CONTROLLERS]
    async with Nursery() as nursery:
        nursery.start(world.informers.run(), name="controllers informers")
        await world.informers.wait_synced()
        for driver in drivers:
            nursery.start(driver.run(), name=f"controller {driver.name}")
