"""The images that this room implements."""

from __future__ import annotations

from podwire.client.counters import ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.cni.flannel import shell as flannel

FLANNEL_IMAGES = (
    "ghcr.io/flannel-io/flannel",
    "ghcr.io/flannel-io/flannel-cni-plugin",
    "docker.io/flannel/flannel",
    "docker.io/flannel/flannel-cni-plugin",
)


def hosts(ctx: Ctx) -> list[ContainerHost]:
    """Container hosts of the node agents."""
    return [RoomHost(FLANNEL_IMAGES, flannel.program(ctx))]
