"""What a pod's claims say of where it may go (pure).

Source: kube-scheduler's plugin VolumeBinding. Nothing here binds volumes, so: a claim that is not
there, is being deleted, or should have been bound at once keeps the pod waiting, as in a cluster
without a provisioner; a bound claim's volume decides by its node affinity; a claim that waits for
its first consumer is taken to be served on any node. Not modelled: matching claims with volumes,
allowed topologies, storage capacity, VolumeZone, NodeVolumeLimits, VolumeRestrictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from podwire.api.views import (
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    Volume,
)
from podwire.api.volumes import DELAYED, NO_PROVISIONER, find, is_bound, reachable
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.verdicts import NO_MATCH, NO_VOLUME, OTHER_VOLUME_NODE, Refusal

_UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


@dataclass(frozen=True, slots=True)
class Claims:
    """How to find claims (namespace, name), volumes and classes (name)."""

    claim: Callable[[str, str], PersistentVolumeClaim | None]
    volume: Callable[[str], PersistentVolume | None]
    storage_class: Callable[[str], StorageClass | None]
    volumes: Callable[[], Sequence[PersistentVolume]] = tuple
    """All volumes."""

    def problem(self, pod: Pod) -> str:
        """Why no node at all will do, as PreFilter says it; "" if some may."""
        for name in _claims(pod):
            claim = self.claim(pod.metadata.namespace, name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim.metadata.deletion_timestamp:
                return f'persistentvolumeclaim "{name}" is being deleted'
            if not is_bound(claim) and not self._waits(claim):
                return _UNBOUND
        return ""

    def _waits(self, claim: PersistentVolumeClaim) -> bool:
        found = self.storage_class(claim.spec.storage_class_name or "")
        return found is not None and found.volume_binding_mode == DELAYED

    def delayed(self, pod: Pod) -> list[PersistentVolumeClaim]:
        """The claims that are bound once the pod has a node."""
        found = (self.claim(pod.metadata.namespace, name) for name in _claims(pod))
        return [claim for claim in found if claim is not None and not is_bound(claim)]

    def match(self, claim: PersistentVolumeClaim, node: Node) -> PersistentVolume | None:
        """A free volume that the node reaches, for a claim that waits."""
        meta = node.metadata
        near = (v for v in self.volumes() if reachable(v, meta.labels, meta.name))
        return find(claim, near)

    def _unmatched(self, claim: PersistentVolumeClaim, node: Node) -> bool:
        """Whether nobody will make a volume and none that is there fits."""
        known = self.storage_class(claim.spec.storage_class_name or "")
        return (
            known is not None
            and known.provisioner == NO_PROVISIONER
            and self.match(claim, node) is None
        )

    def refusal(self, pod: Pod, node: Node) -> Refusal | None:
        """Why the pod's bound claims keep it off the node."""
        for name in _claims(pod):
            claim = self.claim(pod.metadata.namespace, name)
            if claim is None:
                continue
            if not is_bound(claim):
                if self._unmatched(claim, node):
                    return NO_MATCH
                continue
            volume = self.volume(claim.spec.volume_name)
            if volume is None:
                return NO_VOLUME
            if not reachable(volume, node.metadata.labels, node.metadata.name):
                return OTHER_VOLUME_NODE
        return None

    def nodes(self, pod: Pod, cluster: Cluster) -> int | None:
        """The nodes that the bound claims allow; None if they say nothing."""
        if not any(True for _ in _claims(pod)):
            return None
        mask = 0
        for state in cluster.nodes.values():
            if self.refusal(pod, state.node) is None:
                mask |= 1 << state.slot
        return mask

    def refusals(self, pod: Pod, cluster: Cluster, nodes: int) -> list[tuple[Refusal, int]]:
        """Why the bound claims keep the pod off nodes."""
        if not any(True for _ in _claims(pod)):
            return []
        found: dict[Refusal, int] = {}
        for state in cluster.nodes.values():
            refused = self.refusal(pod, state.node) if (nodes >> state.slot) & 1 else None
            if refused is not None:
                found[refused] = found.get(refused, 0) | 1 << state.slot
        return list(found.items())


def _claims(pod: Pod) -> Iterator[str]:
    """The names of the claims; a generic ephemeral volume's is made of the pod's and its own."""
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield str(volume.persistent_volume_claim.get("claimName", ""))
        elif volume.ephemeral is not None:
            yield _ephemeral(pod, volume)


def _ephemeral(pod: Pod, volume: Volume) -> str:
    return f"{pod.metadata.name}-{volume.name}"


def claims_of(pod: Pod) -> tuple[str, ...]:
    """The names of the claims that a pod waits for."""
    return tuple(_claims(pod))


NO_CLAIMS = Claims(lambda _namespace, _name: None, lambda _name: None, lambda _name: None)
