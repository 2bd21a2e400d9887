"""What becomes of claims and volumes (pure).

Source: kubernetes pkg/controller/volume/persistentvolume (pv_controller.go), pvcprotection and
pvprotection; rancher/local-path-provisioner (provisioner.go). Not modelled: Recycle, expansion,
provisioners other than local-path (a claim waits for them as it does upstream).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from podwire.api import kinds, volumes
from podwire.api.view import JSON
from podwire.api.views import PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from podwire.client.effects import Create, Delete, Effect, Emit, Patch

LOCAL_PATH = "rancher.io/local-path"
FOLDER = "/var/local-path-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
_BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
HELPER_IMAGE = "busybox"
HELPER = "helper-pod-delete-"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass over one claim reads."""

    volumes: Sequence[PersistentVolume]
    storage_class: StorageClass | None
    users: Sequence[Pod]
    """The pods that name the claim."""


def finished(pod: Pod) -> bool:
    """Whether a pod uses its volumes no longer."""
    return pod.status.phase in {"Succeeded", "Failed"}


# ---------------------------------------------------------------- claims


def claim(item: PersistentVolumeClaim, seen: Seen) -> list[Effect]:
    """One pass over a claim."""
    effects = _unprotect_claim(item, seen.users)
    if item.metadata.deletion_timestamp:
        return effects
    by_name = {volume.metadata.name: volume for volume in seen.volumes}
    if volumes.is_bound(item):
        return [*effects, *_check_bound(item, by_name.get(item.spec.volume_name))]
    if item.spec.volume_name:
        return [*effects, *_named(item, by_name.get(item.spec.volume_name))]
    return [*effects, *_unbound(item, seen)]


def _unprotect_claim(item: PersistentVolumeClaim, users: Sequence[Pod]) -> list[Effect]:
    meta = item.metadata
    if not meta.deletion_timestamp or CLAIM_PROTECTION not in meta.finalizers:
        return []
    if any(pod.spec.node_name and not finished(pod) for pod in users):
        return []
    return [_without(kinds.PERSISTENT_VOLUME_CLAIM, item, CLAIM_PROTECTION)]


def _without(
    kind: kinds.Kind[PersistentVolume] | kinds.Kind[PersistentVolumeClaim],
    item: PersistentVolume | PersistentVolumeClaim,
    finalizer: str,
) -> Patch:
    meta = item.metadata
    left = [name for name in meta.finalizers if name != finalizer]
    body: JSON = {"metadata": {"uid": meta.uid, "finalizers": left}}
    return Patch(kind, meta.name, body, meta.namespace, missing_ok=True)


def _check_bound(item: PersistentVolumeClaim, volume: PersistentVolume | None) -> list[Effect]:
    if volume is None or volumes.belongs(volume, item) == volumes.OTHERS:
        if item.status.phase == "Lost":
            return []
        if volume is None:
            reason, why = "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the "
            why += "volume is lost!"
        else:
            reason, why = "ClaimMisbound", "Bound claim has lost reference to PersistentVolume. "
            why += "Data on the volume is lost!"
        lost = _claim_status(item, {"phase": "Lost"})
        return [*lost, Emit(item, "Warning", reason, why)]
    return _bound_status(item, volume)


def _named(item: PersistentVolumeClaim, volume: PersistentVolume | None) -> list[Effect]:
    """The claim asks for one volume by name (or was bound halfway)."""
    if volume is None:
        return _pending(item)
    whose = volumes.belongs(volume, item)
    if whose == volumes.OTHERS:
        why = f'volume "{volume.metadata.name}" already bound to a different claim.'
        return [*_pending(item), Emit(item, "Warning", "FailedBinding", why)]
    if whose == volumes.FREE and (wrong := volumes.problem(volume, item)):
        why = f'Cannot bind to requested volume "{volume.metadata.name}": {wrong}'
        return [*_pending(item), Emit(item, "Warning", "VolumeMismatch", why)]
    return bind(item, volume)


def _unbound(item: PersistentVolumeClaim, seen: Seen) -> list[Effect]:
    known, name = seen.storage_class, item.spec.storage_class_name or ""
    node = item.metadata.annotations.get(volumes.SELECTED_NODE, "")
    delayed = known is not None and known.volume_binding_mode == volumes.DELAYED
    found = volumes.find(item, seen.volumes)
    reserved = found is not None and volumes.belongs(found, item) == volumes.MINE
    if found is not None and (reserved or not delayed):
        return bind(item, found)
    waiting = _pending(item)
    if delayed and not node:
        return [*waiting, _first_consumer(item, seen.users)]
    if not name:
        why = "no persistent volumes available for this claim and no storage class is set"
        return [*waiting, Emit(item, "Normal", "FailedBinding", why)]
    if known is None:
        why = f'storageclass.storage.k8s.io "{name}" not found'
        return [*waiting, Emit(item, "Warning", "ProvisioningFailed", why)]
    if known.provisioner == volumes.NO_PROVISIONER:
        return waiting
    return [*waiting, *_provision(item, known, node)]


def _first_consumer(item: PersistentVolumeClaim, users: Sequence[Pod]) -> Emit:
    reason = "WaitForFirstConsumer"
    why = "waiting for first consumer to be created before binding"
    waiting = [pod.metadata.name for pod in users if not pod.spec.node_name and not finished(pod)]
    if waiting:
        reason = "WaitForPodScheduled"
        why = f"waiting for pod {waiting[0]} to be scheduled"
        if len(waiting) > 1:
            why = f"waiting for pods {','.join(waiting)} to be scheduled"
    return Emit(item, "Normal", reason, why)


def _pending(item: PersistentVolumeClaim) -> list[Effect]:
    return _claim_status(item, {"phase": "Pending"})


def _claim_status(item: PersistentVolumeClaim, status: JSON) -> list[Effect]:
    now = item.status
    has = {"phase": now.phase, "accessModes": now.access_modes, "capacity": now.capacity}
    if all(has[key] == value for key, value in status.items()):
        return []
    meta = item.metadata
    body: JSON = {"metadata": {"uid": meta.uid}, "status": status}
    kind = kinds.PERSISTENT_VOLUME_CLAIM
    return [Patch(kind, meta.name, body, meta.namespace, "status", missing_ok=True)]


def _bound_status(item: PersistentVolumeClaim, volume: PersistentVolume) -> list[Effect]:
    spec = volume.spec
    status = {"phase": "Bound", "accessModes": spec.access_modes, "capacity": spec.capacity}
    return _claim_status(item, status)


def bind(item: PersistentVolumeClaim, volume: PersistentVolume) -> list[Effect]:
    """Both sides: the volume first, guarded, so that it never has two claims."""
    meta, held = item.metadata, volume.metadata
    effects: list[Effect] = []
    ref = volume.spec.claim_ref
    if ref is None or ref.uid != meta.uid:
        body: JSON = {
            "metadata": {"uid": held.uid, "resourceVersion": held.resource_version},
            "spec": {"claimRef": _reference(item)},
        }
        if ref is None:
            body["metadata"]["annotations"] = {volumes.BOUND_BY_CONTROLLER: "yes"}
        effects.append(Patch(kinds.PERSISTENT_VOLUME, held.name, body))
    effects += _phase(volume, "Bound")
    marks = {volumes.BIND_COMPLETED: "yes"}
    if not item.spec.volume_name:
        marks[volumes.BOUND_BY_CONTROLLER] = "yes"
    patch: JSON = {
        "metadata": {"uid": meta.uid, "annotations": marks},
        "spec": {"volumeName": held.name},
    }
    effects.append(Patch(kinds.PERSISTENT_VOLUME_CLAIM, meta.name, patch, meta.namespace))
    return [*effects, *_bound_status(item, volume)]


def _reference(item: PersistentVolumeClaim) -> JSON:
    meta = item.metadata
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace,
        "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version,
    }  # fmt: skip


# ---------------------------------------------------------------- volumes


def _phase(volume: PersistentVolume, phase: str) -> list[Effect]:
    if volume.status.phase == phase:
        return []
    meta = volume.metadata
    body: JSON = {"metadata": {"uid": meta.uid}, "status": {"phase": phase}}
    return [Patch(kinds.PERSISTENT_VOLUME, meta.name, body, subresource="status", missing_ok=True)]


def volume(
    item: PersistentVolume, claimed_by: PersistentVolumeClaim | None, helper: Pod | None
) -> list[Effect]:
    """One pass over a volume; ``helper`` is the pod that empties its folder, if it was made."""
    ref, meta = item.spec.claim_ref, item.metadata
    effects: list[Effect] = []
    lost = ref is not None and ref.uid and (
        claimed_by is None or claimed_by.metadata.uid != ref.uid
    )  # fmt: skip
    taken = "Released" if lost else "Bound"
    phase = taken if ref is not None and ref.uid else "Available"
    if not meta.deletion_timestamp:
        effects += _phase(item, phase)
    if lost and item.spec.persistent_volume_reclaim_policy == "Delete":
        effects += _reclaim(item, helper)
    elif meta.deletion_timestamp and phase != "Bound" and VOLUME_PROTECTION in meta.finalizers:
        effects.append(_without(kinds.PERSISTENT_VOLUME, item, VOLUME_PROTECTION))
    return effects


def _reclaim(item: PersistentVolume, helper: Pod | None) -> list[Effect]:
    """As local-path does: a helper pod removes the folder on its node, then the volume goes."""
    meta = item.metadata
    if item.metadata.annotations.get(PROVISIONED_BY) != LOCAL_PATH:
        return []
    if helper is None and not meta.deletion_timestamp:
        return [Create(kinds.POD, _helper(item), "kube-system", exists_ok=True)]
    effects: list[Effect] = []
    if helper is not None and not finished(helper):
        return []
    if helper is not None:
        effects.append(Delete(kinds.POD, helper.metadata.name, "kube-system"))
    if not meta.deletion_timestamp:
        effects.append(Delete(kinds.PERSISTENT_VOLUME, meta.name, uid=meta.uid))
    if VOLUME_PROTECTION in meta.finalizers:
        effects.append(_without(kinds.PERSISTENT_VOLUME, item, VOLUME_PROTECTION))
    return effects


def _node_of(item: PersistentVolume) -> str:
    affinity = item.spec.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else []
    expressions = [one for term in terms for one in term.match_expressions]
    return next((value for one in expressions for value in one.values), "")


def _helper(item: PersistentVolume) -> JSON:
    path = str((item.spec.host_path or {}).get("path", ""))
    parent, _, name = path.rpartition("/")
    return {
        "metadata": {"name": f"{HELPER}{item.metadata.name}", "namespace": "kube-system"},
        "spec": {
            "restartPolicy": "Never",
            "nodeName": _node_of(item),
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "helper-pod", "image": HELPER_IMAGE,
                "command": ["sh", "-c", f"rm -rf '/data/{name}'"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "hostPath": {
                "path": parent, "type": "DirectoryOrCreate",
            }}],
        },
    }  # fmt: skip


# ---------------------------------------------------------------- the provisioner


def _provision(item: PersistentVolumeClaim, known: StorageClass, node: str) -> Iterable[Effect]:
    """Hand the claim to its provisioner; ours is local-path."""
    meta, provisioner = item.metadata, known.provisioner
    effects: list[Effect] = []
    if meta.annotations.get(_PROVISIONER) != provisioner:
        marks = {_PROVISIONER: provisioner, _BETA_PROVISIONER: provisioner}
        body: JSON = {"metadata": {"uid": meta.uid, "annotations": marks}}
        effects.append(Patch(kinds.PERSISTENT_VOLUME_CLAIM, meta.name, body, meta.namespace))
    why = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' "
        "or manually by the system administrator. If volume creation is delayed, please verify "
        "that the provisioner is running and correctly registered."
    )
    effects.append(Emit(item, "Normal", "ExternalProvisioning", why))
    if provisioner != LOCAL_PATH:
        return effects
    name = f"pvc-{meta.uid}"
    about = f'"{meta.namespace}/{meta.name}"'
    if not node or "ReadWriteMany" in item.spec.access_modes:
        why = "configuration error, no node was specified"
        if node:
            why = "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"
        why = f'failed to provision volume with StorageClass "{known.metadata.name}": {why}'
        return [*effects, Emit(item, "Warning", "ProvisioningFailed", why)]
    effects.append(Emit(item, "Normal", "Provisioning",
        f"External provisioner is provisioning volume for claim {about}"))  # fmt: skip
    effects.append(Create(kinds.PERSISTENT_VOLUME, _made(item, known, name, node), exists_ok=True))
    done = f"Successfully provisioned volume {name}"
    return [*effects, Emit(item, "Normal", "ProvisioningSucceeded", done)]


def _made(item: PersistentVolumeClaim, known: StorageClass, name: str, node: str) -> JSON:
    meta, spec = item.metadata, item.spec
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "metadata": {"name": name, "annotations": {
            PROVISIONED_BY: LOCAL_PATH, "local.path.provisioner/selected-node": node,
        }},
        "spec": {
            "accessModes": spec.access_modes,
            "capacity": {"storage": spec.resources.requests.get("storage", "0")},
            "claimRef": _reference(item),
            "hostPath": {
                "path": f"{FOLDER}/{name}_{meta.namespace}_{meta.name}",
                "type": "DirectoryOrCreate",
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "persistentVolumeReclaimPolicy": known.reclaim_policy,
            "storageClassName": known.metadata.name,
            "volumeMode": spec.volume_mode,
        },
    }  # fmt: skip
