"""Starts every controller over one shared set of informers.

The informers read as the manager; each controller writes under its own service account.
"""

from __future__ import annotations

from dataclasses import replace

from podwire.api import kinds
from podwire.client.accounts import service_account
from podwire.client.api import Client
from podwire.client.counters import User
from podwire.client.ctx import Ctx
from podwire.client.custom import CustomKinds
from podwire.client.informer import Informers
from podwire.controllers.config import ControllersConfig
from podwire.controllers.registry import CONTROLLERS, account_of
from podwire.controllers.world import World
from podwire.runtime.tasks import Nursery

USER = User("system:kube-controller-manager")
AGENT = "kube-controller-manager"


async def run(ctx: Ctx) -> None:
    """Run all controllers until cancelled. ``ctx.config``: ControllersConfig, or None."""
    client = Client(ctx.api, USER, user_agent=AGENT)
    config = ctx.config if ctx.config is not None else ControllersConfig()
    informers = Informers(client, ctx)
    custom = CustomKinds(informers.informer(kinds.CUSTOM_RESOURCE_DEFINITION))
    world = World(ctx, client, informers, config, custom)
    drivers = [build(_under_its_account(world, name)) for name, build in CONTROLLERS]
    async with Nursery() as nursery:
        nursery.start(world.informers.run(), name="controllers informers")
        await world.informers.wait_synced()
        for driver in drivers:
            nursery.start(driver.run(), name=f"controller {driver.name}")


def _under_its_account(world: World, name: str) -> World:
    account = account_of(name)
    if not account:
        return world
    user = service_account("kube-system", account)
    return replace(world, client=Client(world.ctx.api, user, user_agent=AGENT))
