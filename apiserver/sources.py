"""What SRC of a trace names: the network namespace a packet starts in, and its address."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.api.status import ApiError
from podwire.api.views import Pod
from podwire.apiserver import places
from podwire.client.counters import Fabric, KubeletStreams
from podwire.explain.objects import FINISHED, Objects
from podwire.explain.report import TraceSpec

GATEWAY = "gateway"
"""The host from which an address outside the cluster is taken to send."""
EXTERNAL = "external"
"""Names the outside world as a source."""
EXTERNAL_ADDRESS, EXTERNAL_ADDRESS6 = "198.51.100.10", "2001:db8:1::10"
"""Of the outside world, when none is given (RFC 5737, RFC 3849)."""
_FORMS = "use pod/NAME, deploy/NAME, sts/NAME, ds/NAME, svc/NAME, node/NAME, an address or external"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the packet starts."""

    label: str
    node: str
    netns: str
    address: str
    namespace: str
    pod: str = ""


class Sources:
    """Finds sources through the kubelets and the fabric."""

    def __init__(self, fabric: Fabric, kubelets: KubeletStreams) -> None:
        self._fabric = fabric
        self._kubelets = kubelets

    async def find(self, spec: TraceSpec, objects: Objects) -> Source:
        """The source. Raises ApiError 400, 404, or 503 when its kubelet is gone."""
        if spec.source == EXTERNAL:
            six = ":" in (await self._fabric.node(GATEWAY)).address
            address = EXTERNAL_ADDRESS6 if six else EXTERNAL_ADDRESS
            return Source("outside", GATEWAY, "", address, spec.namespace)
        kind, name = places.kind_and_name(spec.source)
        if kind == "ingress":
            raise places.usage(f"source {spec.source!r}: an Ingress sends nothing; {_FORMS}")
        if kind == "node":
            if not any(node.metadata.name == name for node in objects.nodes):
                raise places.not_found("nodes", name)
            return await self._from_node(f"node/{name}", name, spec.namespace)
        if kind == "":
            return await self._from_address(name, objects, spec)
        return await self.of_pod(places.pod_of(kind, name, spec.namespace, objects))

    async def of_pod(self, pod: Pod) -> Source:
        """A pod as a source. Raises ApiError."""
        meta = pod.metadata
        phase = pod.status.phase or "Pending"
        if phase in FINISHED:
            raise places.usage(f"pod {pod.key} has completed ({phase}): it sends nothing any more")
        if not pod.status.pod_ip:
            raise places.usage(
                f"pod {pod.key} has no address yet (phase {phase}): kubectl describe pod "
                f"{meta.name} -n {meta.namespace}"
            )
        try:
            where = await self._kubelets.resolver(pod.spec.node_name, meta.namespace, meta.name)
        except ConnectionError as error:
            gone = f"the kubelet of {pod.spec.node_name}, where {pod.key} runs, does not answer"
            raise ApiError("ServiceUnavailable", gone) from error
        return Source(
            pod.key, pod.spec.node_name, where.netns, pod.status.pod_ip, meta.namespace, meta.name
        )

    async def _from_node(self, label: str, node: str, namespace: str) -> Source:
        info = await self._fabric.node(node)
        return Source(label, node, "", info.address, namespace)

    async def _from_address(self, text: str, objects: Objects, spec: TraceSpec) -> Source:
        if not places.is_address(text):
            raise places.usage(f"source {text!r}: {_FORMS}")
        pod = objects.pod_at(text)
        if pod is not None:
            return await self.of_pod(pod)
        node = objects.node_at(text)
        if node is not None:
            label = f"node/{node.metadata.name}"
            return await self._from_node(label, node.metadata.name, spec.namespace)
        return Source("outside", GATEWAY, "", text, spec.namespace)
