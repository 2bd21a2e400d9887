"""The Ingress controller of class nginx: follows Ingresses, terminates TLS, proxies HTTP.

Runs as pods: ``host(ctx)`` implements the image ``registry.k8s.io/ingress-nginx/controller`` for
kubelet. Follows the API by informers and speaks through its pod's sockets; never to the fabric,
never to another room. What it decides about a request is ``podwire.l7``'s; ``core.py`` is the rest
that is pure (flags, addresses and status, who is served).

Not modelled, and answered so: upgrades (501), HTTP/2, snippets, the ConfigMap, the validating
webhook, leader election, keep-alive towards endpoints, the time a reload takes.
"""

from __future__ import annotations

from podwire.client import images
from podwire.client.counters import Process
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost


def host(ctx: Ctx) -> RoomHost:
    """The container host of ingress-nginx."""

    async def program(process: Process) -> int:
        from podwire.ingress.shell import serve  # noqa: PLC0415  most clusters start none

        return await serve(ctx, process)

    return RoomHost(images.INGRESS_NGINX, program)
