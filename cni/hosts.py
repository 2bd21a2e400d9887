"""The images that this room implements."""

from __future__ import annotations

from podwire.client.counters import ContainerHost
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.cni.calico import shell as calico
from podwire.cni.flannel import shell as flannel

FLANNEL_IMAGES = (
    "ghcr.io/flannel-io/flannel",
    "ghcr.io/flannel-io/flannel-cni-plugin",
    "docker.io/flannel/flannel",
    "docker.io/flannel/flannel-cni-plugin",
)
CALICO_IMAGES = ("quay.io/calico/node", "docker.io/calico/node")


def hosts(ctx: Ctx) -> list[ContainerHost]:
    """Container hosts of the node agents."""
    return [
        RoomHost(FLANNEL_IMAGES, flannel.program(ctx)),
        RoomHost(CALICO_IMAGES, calico.program(ctx)),
    ]
