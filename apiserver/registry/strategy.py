"""What each kind drops, keeps or adds on create and update, and which writes it permits.

Source: upstream pkg/registry/*/*/strategy.go.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from podwire.api import kinds
from podwire.api.crd import definitions
from podwire.api.defaults.workloads import TEMPLATE_GENERATION
from podwire.api.kinds import Kind
from podwire.api.qos import qos_class
from podwire.api.schema import type_of
from podwire.api.structure import fresh
from podwire.api.view import JSON
from podwire.apiserver.registry import scheduling

_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"

_CREATED_BY_UPDATE = frozenset((
    ("", "Endpoints"), ("", "Event"), ("", "LimitRange"), ("", "Service"),
    ("coordination.k8s.io", "Lease"), ("coordination.k8s.io", "LeaseCandidate"),
    ("events.k8s.io", "Event"), (_RBAC, "ClusterRole"), (_RBAC, "ClusterRoleBinding"),
    (_RBAC, "Role"), (_RBAC, "RoleBinding"),
))  # fmt: skip
_NEED_REVISION = frozenset((
    ("", "ServiceAccount"), ("coordination.k8s.io", "Lease"),
    ("coordination.k8s.io", "LeaseCandidate"), ("policy", "PodDisruptionBudget"),
    ("node.k8s.io", "RuntimeClass"), (_STORAGE, "CSIDriver"), (_STORAGE, "CSINode"),
    (_STORAGE, "CSIStorageCapacity"), (_STORAGE, "VolumeAttachment"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"), ("certificates.k8s.io", "ClusterTrustBundle"),
    ("certificates.k8s.io", "PodCertificateRequest"),
))  # fmt: skip


def creates_by_update(kind: Kind[Any]) -> bool:
    """Whether PUT of an absent object creates it (AllowCreateOnUpdate)."""
    return (kind.group, kind.kind) in _CREATED_BY_UPDATE


def needs_revision(kind: Kind[Any]) -> bool:
    """Whether PUT must name a resourceVersion (not AllowUnconditionalUpdate)."""
    if kind.custom is not None:
        return True
    return (kind.group, kind.kind) in _NEED_REVISION


@cache
def _empty_status(kind: Kind[Any]) -> JSON:
    """A status that nobody reported yet, with what Go always prints (``replicas: 0``)."""
    found = type_of(kind)
    return {} if found is None else found.always.get("status") or {}


def on_create(kind: Kind[Any], obj: JSON) -> None:
    """Status belongs to controllers: a new object starts without one."""
    if kind.custom is not None:
        if kind.custom.has_status:
            obj.pop("status", None)
        return
    if "status" in kind.parts and kind is not kinds.NODE:
        obj["status"] = fresh(_empty_status(kind))
        phase = _FIRST_PHASE.get((kind.group, kind.kind))
        if phase is not None:
            obj["status"]["phase"] = phase
    if kind is kinds.NAMESPACE:
        finalizers = obj.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
    elif kind is kinds.DAEMON_SET:
        _count_template(obj, max(1, _template_count(obj)))
    elif kind is kinds.JOB:
        _job_selector(obj)
    elif kind is kinds.SERVICE_ACCOUNT:
        _secret_names(obj)
    elif kind is kinds.POD:
        scheduling.prepare(obj)
    elif kind is kinds.CUSTOM_RESOURCE_DEFINITION:
        definitions.store(obj)


_FIRST_PHASE = {
    ("", "Namespace"): "Active",
    ("", "PersistentVolume"): "Pending",
    ("", "PersistentVolumeClaim"): "Pending",
    ("", "Pod"): "Pending",
}

_UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")


def _job_selector(job: JSON) -> None:
    """A Job finds its pods by its own uid, unless it was told to use a selector of the user's."""
    spec = job.get("spec") or {}
    if spec.get("manualSelector") or not isinstance(spec.get("template"), dict):
        return
    metadata = job["metadata"]
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for keys, value in ((_UID_LABELS, metadata["uid"]), (_NAME_LABELS, metadata.get("name", ""))):
        for key in keys:
            labels.setdefault(key, value)
    chosen = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    chosen.setdefault(_UID_LABELS[1], metadata["uid"])


def _template_count(daemon_set: JSON) -> int:
    """How often its template changed; 0 when the annotation does not say."""
    text = daemon_set["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0


def _count_template(daemon_set: JSON, number: int) -> None:
    """Only the server counts (daemonset/strategy.go)."""
    annotations = daemon_set["metadata"].setdefault("annotations", {})
    annotations[TEMPLATE_GENERATION] = str(number)


def _secret_names(account: JSON) -> None:
    """Of references to Secrets only the names are kept."""
    for reference in account.get("secrets") or ():
        for key in [key for key in reference if key != "name"]:
            del reference[key]


def after_defaults(kind: Kind[Any], obj: JSON) -> None:
    """What follows from the defaulted object: a pod's quality of service."""
    if kind is kinds.POD:
        obj["status"]["qosClass"] = qos_class(obj["spec"])


def on_update(kind: Kind[Any], new: JSON, old: JSON, subresource: str) -> None:
    """The main resource cannot change status; /status cannot change anything but status and
    metadata.
    """
    if kind.custom is not None and subresource == "status":
        for key in [key for key in new if key not in {"status", "apiVersion", "kind"}]:
            del new[key]
        new.update((key, value) for key, value in old.items() if key != "status")
        new["metadata"] = dict(old["metadata"])
        return
    if subresource == "status":
        for key in [key for key in new if key not in _STATUS_MAY]:
            if key not in old:
                del new[key]
        new.update((key, value) for key, value in old.items() if key not in _STATUS_MAY)
        if kind is kinds.DEPLOYMENT:
            _keep(new["metadata"], old["metadata"], "labels")
        if kind is kinds.POD:
            _keep(new["metadata"], old["metadata"], "ownerReferences")
    elif subresource not in _OWN_RULES and "status" in kind.parts:
        _keep(new, old, "status")
        if kind in {kinds.NAMESPACE, kinds.CERTIFICATE_SIGNING_REQUEST}:
            _keep(new, old, "spec")
    if kind is kinds.DAEMON_SET:
        changed = new["spec"].get("template") != old["spec"].get("template")
        _count_template(new, _template_count(old) + changed)
    elif kind is kinds.SERVICE_ACCOUNT:
        _secret_names(new)
    elif kind is kinds.CUSTOM_RESOURCE_DEFINITION and not subresource:
        new["status"] = dict(new.get("status") or {})
        definitions.store(new)


_OWN_RULES = ("finalize", "approval")
"""Subresources whose handlers decide themselves what may change."""
_STATUS_MAY = ("apiVersion", "kind", "metadata", "status")


def _keep(new: JSON, old: JSON, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)
