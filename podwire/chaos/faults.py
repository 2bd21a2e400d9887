"""Faults: each does something to the cluster and knows how to undo it."""

from __future__ import annotations

from collections.abc import Callable

from podwire.api import kinds
from podwire.chaos.scenario import LinkPartition, PodKill, Scale, ScenarioError
from podwire.runtime.ports import Rng
from podwire.sim.virtual import VirtualCluster

Undo = Callable[[], None]


def inject(
    fault: PodKill | LinkPartition | Scale, cluster: VirtualCluster, rng: Rng
) -> tuple[str, Undo | None]:
    """Do it; what was done in words, and how to undo it (None: nothing to undo).

    Raises ScenarioError when there is nothing to do it to.
    """
    if isinstance(fault, PodKill):
        return _kill(fault, cluster, rng), None
    if isinstance(fault, LinkPartition):
        return _partition(fault, cluster)
    return _scale(fault, cluster)


def _kill(fault: PodKill, cluster: VirtualCluster, rng: Rng) -> str:
    victims = [
        pod
        for pod in sorted(cluster.pods(fault.namespace), key=lambda p: p.metadata.name)
        if all(pod.metadata.labels.get(k) == v for k, v in fault.selector.items())
        and not pod.metadata.deletion_timestamp
    ]
    if not victims:
        raise ScenarioError(f"pod-kill: no pod in {fault.namespace} has {fault.selector}")
    chosen = [rng.choice(victims)] if fault.mode == "one" else victims
    for pod in chosen:
        cluster.delete(kinds.POD, pod.metadata.name, fault.namespace, grace_s=0)
    return f"killed {', '.join(pod.key for pod in chosen)}"


def _partition(fault: LinkPartition, cluster: VirtualCluster) -> tuple[str, Undo]:
    fabric = cluster.cluster.fabric
    for host in (fault.a, fault.b):
        if host not in fabric.hosts:
            known = ", ".join(fabric.hosts)
            raise ScenarioError(f"link-partition: no host {host!r}; there are {known}")
    fabric.wire.set_link(fault.a, fault.b, up=False)
    cluster.env.trace.record("link", fault.a, fault.b, "down")

    def undo() -> None:
        fabric.wire.set_link(fault.a, fault.b, up=True)
        cluster.env.trace.record("link", fault.a, fault.b, "up")

    return f"cut the link {fault.a} - {fault.b}", undo


def _scale(fault: Scale, cluster: VirtualCluster) -> tuple[str, Undo]:
    view = cluster.get(kinds.DEPLOYMENT, fault.deployment, fault.namespace)
    if view is None:
        raise ScenarioError(f"scale: no Deployment {fault.namespace}/{fault.deployment}")

    def set_replicas(count: int) -> None:
        patch = {"spec": {"replicas": count}}
        client = cluster.cluster.client
        cluster.run(client.patch(kinds.DEPLOYMENT, fault.deployment, patch, fault.namespace))

    set_replicas(fault.replicas)
    named = f"{fault.namespace}/{fault.deployment}"
    return (
        f"scaled {named} from {view.spec.replicas} to {fault.replicas}",
        lambda: set_replicas(view.spec.replicas),
    )
