"""Faults: each does something to the cluster and knows how to undo it."""

from __future__ import annotations

from collections.abc import Callable

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import to_json
from podwire.chaos.scenario import (
    Fault,
    KubeletStop,
    LinkPartition,
    NodeCordon,
    NodePowerOff,
    NodeTaint,
    PodKill,
    Scale,
    ScenarioError,
)
from podwire.client.api import Client
from podwire.runtime.ports import Rng
from podwire.sim.virtual import VirtualCluster

Undo = Callable[[], None]


def inject(fault: Fault, cluster: VirtualCluster, rng: Rng) -> tuple[str, Undo | None]:
    """Do it; what was done in words, and how to undo it (None: nothing to undo).

    Raises ScenarioError when there is nothing to do it to.
    """
    match fault:
        case PodKill():
            return _kill(fault, cluster, rng), None
        case LinkPartition():
            return _partition(fault, cluster)
        case Scale():
            return _scale(fault, cluster)
        case KubeletStop():
            return _stop_kubelets(_nodes(fault, cluster), cluster)
        case NodePowerOff():
            return _power_off(_nodes(fault, cluster), cluster)
        case NodeCordon():
            return _cordon(_nodes(fault, cluster), cluster)
        case NodeTaint():
            return _taint(fault, _nodes(fault, cluster), cluster)


def node_named(name: str, namespace: str, cluster: VirtualCluster) -> str:
    """The node of a name, or of the pod in ``pod/NAME``. Raises ScenarioError."""
    kind, slash, pod_name = name.partition("/")
    if not slash:
        return name
    if kind != "pod":
        raise ScenarioError(f"node: {name!r} is neither NODE nor pod/NAME")
    pod = cluster.get(kinds.POD, pod_name, namespace)
    if pod is None or not pod.spec.node_name:
        raise ScenarioError(f"node: no pod {namespace}/{pod_name} is on a node")
    return str(pod.spec.node_name)


def _nodes(
    fault: KubeletStop | NodePowerOff | NodeCordon | NodeTaint, cluster: VirtualCluster
) -> list[str]:
    known = {n.metadata.name: n.metadata.labels for n in cluster.objects(kinds.NODE)}
    if fault.selector:
        wanted = fault.selector.items()
        found = [name for name, labels in known.items() if wanted <= labels.items()]
        if not found:
            raise ScenarioError(f"{fault.kind}: no node has {fault.selector}")
        return found
    name = node_named(fault.node, fault.namespace, cluster)
    if name not in known:
        raise ScenarioError(f"{fault.kind}: no node {name!r}; there are {', '.join(known)}")
    return [name]


def _stop_kubelets(nodes: list[str], cluster: VirtualCluster) -> tuple[str, Undo]:
    for node in nodes:
        cluster.stop_kubelet(node)

    def undo() -> None:
        for node in nodes:
            cluster.start_kubelet(node)

    return f"stopped the kubelet of {', '.join(nodes)}", undo


def _power_off(nodes: list[str], cluster: VirtualCluster) -> tuple[str, Undo]:
    for node in nodes:
        cluster.power_off(node)

    def undo() -> None:
        for node in nodes:
            cluster.power_on(node)

    return f"powered off {', '.join(nodes)}", undo


def _cordon(nodes: list[str], cluster: VirtualCluster) -> tuple[str, Undo]:
    def mark(*, unschedulable: bool) -> None:
        patch = {"spec": {"unschedulable": unschedulable or None}}
        for node in nodes:
            cluster.run(cluster.cluster.client.patch(kinds.NODE, node, patch))

    mark(unschedulable=True)
    return f"cordoned {', '.join(nodes)}", lambda: mark(unschedulable=False)


def _taint(fault: NodeTaint, nodes: list[str], cluster: VirtualCluster) -> tuple[str, Undo]:
    client = cluster.cluster.client

    def put(*, wanted: bool) -> None:
        for node in nodes:
            cluster.run(_retaint(client, node, fault, wanted=wanted))

    put(wanted=True)
    named = f"{fault.key}={fault.value}:{fault.effect}"
    return f"tainted {', '.join(nodes)} {named}", lambda: put(wanted=False)


async def _retaint(client: Client, node: str, fault: NodeTaint, *, wanted: bool) -> None:
    """Replace the list of taints; again when somebody else changed the node meanwhile."""
    while True:
        view = await client.get(kinds.NODE, node)
        taints = [
            to_json(t) for t in view.spec.taints if (t.key, t.effect) != (fault.key, fault.effect)
        ]
        if wanted:
            taints.append({"key": fault.key, "value": fault.value, "effect": fault.effect})
        meta = {"resourceVersion": view.metadata.resource_version}
        try:
            await client.patch(kinds.NODE, node, {"metadata": meta, "spec": {"taints": taints}})
        except ApiError as error:
            if error.reason != "Conflict":
                raise
        else:
            return


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
