"""When a cluster counts as up: nodes, kube-system and the Ingress controller Ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from podwire.api import kinds
from podwire.api.views import Node, Pod
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.runtime.tasks import Nursery
from podwire.sim.settings import ClusterSettings

_COREDNS_REPLICAS = 2
INGRESS_NAMESPACE = "ingress-nginx"


_NONE: frozenset[str] = frozenset()


def is_up(
    settings: ClusterSettings,
    nodes: Sequence[Node],
    system_pods: Sequence[Pod],
    ingress_pods: Sequence[Pod],
    past: frozenset[str] = _NONE,
) -> bool:
    """Whether what exists is all that should, and Ready.

    ``past``: boot and container ids of an earlier life, whose word counts no more.
    """
    agents = 3 if settings.cni == "calico" else 2
    if settings.ingress != "none" and not any(pod.ready for pod in ingress_pods):
        return False
    return (
        len(nodes) >= settings.nodes
        and all(node.ready for node in nodes)
        and len(system_pods) >= agents * len(nodes) + _COREDNS_REPLICAS
        and all(pod.ready for pod in system_pods)
        and past.isdisjoint(life_ids(nodes, system_pods))
    )


def obstacle(nodes: Iterable[Node], pods: Iterable[Pod]) -> Node | Pod | None:
    """The first that is not Ready. As long as it is not, nothing else need be looked at: who waits
    for a thousand nodes must not look at all of them after each of their changes.
    """
    for node in nodes:
        if not node.ready:
            return node
    return next((pod for pod in pods if not pod.ready), None)


def life_ids(nodes: Iterable[Node], pods: Iterable[Pod]) -> Iterator[str]:
    """What is new after a reboot: boot ids and container ids."""
    for node in nodes:
        yield node.status.node_info.get("bootID", "")
    for pod in pods:
        for container in pod.status.container_statuses:
            yield container.container_id


async def wait_until_up(
    settings: ClusterSettings, client: Client, ctx: Ctx, past: frozenset[str] = _NONE
) -> None:
    """Watch nodes, kube-system and the Ingress controller until the cluster is up (``is_up``)."""
    informers = Informers(client, ctx)
    nodes = informers.informer(kinds.NODE)
    pods = informers.informer(kinds.POD, namespace="kube-system")
    doors = informers.informer(kinds.POD, namespace=INGRESS_NAMESPACE)
    changed = asyncio.Event()
    waiting_for = ""

    def notice(old: Node | Pod | None, new: Node | Pod | None) -> None:
        about = new or old
        if about is not None and waiting_for in ("", about.key):
            changed.set()

    for informer in (nodes, pods, doors):
        informer.on_change(notice)
    async with Nursery() as nursery:
        nursery.start(informers.run(), name="readiness informers")
        await informers.wait_synced()
        while not is_up(settings, nodes.list(), pods.list(), doors.list(), past):
            changed.clear()
            found = obstacle(nodes.list(), pods.list())
            waiting_for = found.key if found is not None else ""
            await changed.wait()
        nursery.cancel()
