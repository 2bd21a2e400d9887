"""When a cluster counts as up: nodes, kube-system and the Ingress controller Ready."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.views import Node, Pod
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.runtime.tasks import Nursery
from podwire.sim.settings import ClusterSettings

_COREDNS_REPLICAS = 2
INGRESS_NAMESPACE = "ingress-nginx"


def is_up(
    settings: ClusterSettings,
    nodes: Sequence[Node],
    system_pods: Sequence[Pod],
    ingress_pods: Sequence[Pod],
) -> bool:
    """Whether what exists is all that should, and Ready."""
    agents = 3 if settings.cni == "calico" else 2
    if settings.ingress != "none" and not any(pod.ready for pod in ingress_pods):
        return False
    return (
        len(nodes) >= settings.nodes
        and all(node.ready for node in nodes)
        and len(system_pods) >= agents * len(nodes) + _COREDNS_REPLICAS
        and all(pod.ready for pod in system_pods)
    )


async def wait_until_up(settings: ClusterSettings, client: Client, ctx: Ctx) -> None:
    """Watch nodes, kube-system and the Ingress controller until the cluster is up."""
    informers = Informers(client, ctx)
    nodes = informers.informer(kinds.NODE)
    pods = informers.informer(kinds.POD, namespace="kube-system")
    doors = informers.informer(kinds.POD, namespace=INGRESS_NAMESPACE)
    changed = asyncio.Event()
    for informer in (nodes, pods, doors):
        informer.on_change(lambda _old, _new: changed.set())
    async with Nursery() as nursery:
        nursery.start(informers.run(), name="readiness informers")
        await informers.wait_synced()
        while not is_up(settings, nodes.list(), pods.list(), doors.list()):
            changed.clear()
            await changed.wait()
        nursery.cancel()
