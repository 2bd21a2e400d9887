"""The images that this room implements."""

from __future__ import annotations

from podwire.client import images
from podwire.client.common import Commons
from podwire.client.counters import ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.cni.calico import shell as calico
from podwire.cni.flannel import shell as flannel


def hosts(ctx: Ctx, commons: Commons | None = None) -> list[ContainerHost]:
    """Container hosts of the node agents; flannel's of nodes with the same ``commons`` follow
    Nodes together.
    """
    return [
        RoomHost(images.FLANNEL, flannel.program(ctx, commons)),
        RoomHost(images.CALICO, calico.program(ctx)),
    ]
