"""The cluster's DNS server: Corefile, plugin chain, answers.

Runs as pods: ``host(ctx)`` implements the image ``registry.k8s.io/coredns/coredns`` for kubelet.
Follows the API by informers and talks to its pod's sockets; never to the fabric, never to another
room. ``core.py`` and ``records.py`` hold every decision about records and are pure.
"""

from __future__ import annotations

from podwire.client import images
from podwire.client.counters import Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost


def host(ctx: Ctx) -> RoomHost:
    """The container host of CoreDNS."""

    async def program(process: Process) -> int:
        from podwire.coredns.shell import serve  # noqa: PLC0415  most commands start no CoreDNS

        return await serve(ctx, process)

    return RoomHost(images.COREDNS, program)
