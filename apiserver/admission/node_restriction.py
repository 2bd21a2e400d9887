"""NodeRestriction: what a kubelet may write, of the objects that the node authorizer lets it write.

Its own Node (without labels that would steer work to it), the status of its own pods, mirror pods,
its Lease and CSINode, evictions of its pods and tokens for them.

Source: kubernetes plugin/pkg/admission/noderestriction. Not modelled: the audiences of tokens
(validateNodeServiceAccountAudience) and PodCertificateRequests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from podwire.api import certificates, kinds
from podwire.api.certificates import RequestError
from podwire.api.kinds import Kind
from podwire.api.podrefs import MIRROR, references
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review
from podwire.apiserver.authorization.node import NODE_LEASES, PREFIX, node_of

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_RESTRICTED = "node-restriction.kubernetes.io"
_KUBELET_LABELS = frozenset((
    "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", "kubernetes.io/os",
    "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
))  # fmt: skip
_KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBELET_SIGNERS = (certificates.KUBELET_CLIENT, certificates.KUBELET_SERVING)
_OWN_STATUS = "can only update pod status for pods with spec.nodeName set to itself"
_STATUS_CLAIMS = (
    ("resourceClaimStatuses", "resource claim statues"),  # upstream's spelling
    ("extendedResourceClaimStatus", "extended resource claim status"),
    ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
)


def admit(review: Review) -> None:
    """Whether a node may do it; others are not asked. Raises ApiError Forbidden, NotFound."""
    node = node_of(review.user)
    if node is None or not review.server.authorizer.enforces:
        return
    if not node:
        _refuse(review, f'could not determine node from user "{review.user.name}"')
    _CHECKS[review.kind](review.server, node, review)


_CSI_NODE = kinds.named("storage.k8s.io/v1", "CSINode")
_SLICE = kinds.named("resource.k8s.io/v1", "ResourceSlice")


def _refuse(review: Review, why: str) -> NoReturn:
    name = review.name or review.obj.get("metadata", {}).get("name", "")
    raise calls.forbidden(review.kind, name, why)


def _stored_pod(server: Apiserver, review: Review, name: str) -> JSON:
    entry = server.caches.of(kinds.POD).get(review.namespace, name)
    if entry is None:
        raise calls.not_found(kinds.POD, name)
    return entry.json()


# ---------------------------------------------------------------- pods


def _pod(server: Apiserver, node: str, review: Review) -> None:
    match review.subresource:
        case "":
            _whole_pod(server, node, review)
        case "status":
            _pod_status(node, review)
        case "eviction":
            if _node_name(_stored_pod(server, review, review.name)) != node:
                _refuse(
                    review,
                    f"node {node} can only evict pods with spec.nodeName set to itself",
                )
        case other:
            _refuse(
                review,
                f"unexpected pod subresource \"{other}\", only 'status' and 'eviction' are allowed",
            )


def _node_name(pod: JSON) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _whole_pod(server: Apiserver, node: str, review: Review) -> None:
    if review.operation == "DELETE":
        if _node_name(_stored_pod(server, review, review.name)) != node:
            why = f'node "{node}" can only delete pods with spec.nodeName set to itself'
            _refuse(review, why)
    elif review.operation == "CREATE":
        _mirror_pod(server, node, review)
    else:
        why = f'unexpected operation "{review.operation}", node "{node}" can only create and delete'
        _refuse(review, f"{why} mirror pods")


def _mirror_pod(server: Apiserver, node: str, review: Review) -> None:
    meta, who = review.obj["metadata"], f'node "{node}"'
    if MIRROR not in (meta.get("annotations") or {}):
        why = f'pod does not have "{MIRROR}" annotation, {who} can only create mirror pods'
        _refuse(review, why)
    if _node_name(review.obj) != node:
        _refuse(review, f"{who} can only create pods with spec.nodeName set to itself")
    owners = meta.get("ownerReferences") or []
    if len(owners) > 1:
        why = f"{who} can only create pods with a single owner reference set to itself"
        _refuse(review, why)
    itself = f"{who} can only create pods with an owner reference set to itself"
    if not owners:
        _refuse(review, itself)
    owner = owners[0]
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        _refuse(review, itself)
    if not owner.get("controller"):
        why = f"{who} can only create pods with a controller owner reference set to itself"
        _refuse(review, why)
    if owner.get("blockOwnerDeletion"):
        _refuse(review, f"{who} must not set blockOwnerDeletion on an owner reference")
    entry = server.caches.of(kinds.NODE).get("", node)
    if entry is None:
        raise calls.not_found(kinds.NODE, node)
    if owner.get("uid") != (uid := entry.view.metadata.uid):
        _refuse(review, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")
    named = _named(review.obj)
    if named:
        _refuse(review, f"{who} can not create pods that reference {named}")


def _named(pod: JSON) -> str:
    """The first kind of object that a pod refers to (HasAPIObjectReference), "" none."""
    account = (pod.get("spec") or {}).get("serviceAccountName")
    if account:
        return "serviceaccounts"
    found = references(msgspec.convert(pod, Pod))
    for word, names in (
        ("secrets", found.secrets), ("configmaps", found.config_maps),
        ("persistentvolumeclaims", found.claims),
    ):  # fmt: skip
        if names:
            return word
    return "resourceclaims" if (pod.get("spec") or {}).get("resourceClaims") else ""


def _pod_status(node: str, review: Review) -> None:
    old, new = review.old or {}, review.obj
    if review.operation != "UPDATE":
        _refuse(review, f'unexpected operation "{review.operation}"')
    if _node_name(old) != node:
        _refuse(review, f'node "{node}" {_OWN_STATUS}')
    if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
        _refuse(review, f'node "{node}" cannot update labels through pod status')
    before, after = old.get("status") or {}, new.get("status") or {}
    for field, words in _STATUS_CLAIMS:
        if (before.get(field) or None) != (after.get(field) or None):
            _refuse(review, f'node "{node}" cannot update {words}')


# ---------------------------------------------------------------- the node's own objects


def _node(_server: Apiserver, node: str, review: Review) -> None:
    name = review.name or review.obj["metadata"].get("name", "")
    if name != node:
        _refuse(review, f'node "{node}" is not allowed to modify node "{name}"')
    if review.operation == "CREATE":
        if wrong := _forbidden_labels(review.obj, None):
            listed = ", ".join(wrong)
            why = f'node "{node}" is not allowed to set the following labels: {listed}'
            _refuse(review, why)
    elif review.operation == "UPDATE":
        new, old = review.obj, review.old or {}
        mine, theirs = new.get("spec") or {}, old.get("spec") or {}
        if (mine.get("taints") or []) != (theirs.get("taints") or []):
            _refuse(review, f'node "{node}" is not allowed to modify taints')
        own = (obj["metadata"].get("ownerReferences") or [] for obj in (new, old))
        if next(own) != next(own):
            _refuse(review, f'node "{node}" is not allowed to modify ownerReferences')
        if wrong := _forbidden_labels(new, old):
            _refuse(review, f"is not allowed to modify labels: {', '.join(wrong)}")


def _forbidden_labels(new: JSON, old: JSON | None) -> list[str]:
    mine = new["metadata"].get("labels") or {}
    theirs = (old["metadata"].get("labels") or {}) if old is not None else {}
    modified = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    return sorted(key for key in modified if not _free(key))


def _free(label: str) -> bool:
    namespace, slash, _ = label.partition("/")
    if not slash:
        return True
    if _within(namespace, _RESTRICTED):
        return False
    if not (_within(namespace, "kubernetes.io") or _within(namespace, "k8s.io")):
        return True
    return label in _KUBELET_LABELS or any(_within(namespace, of) for of in _KUBELET_NAMESPACES)


def _within(namespace: str, of: str) -> bool:
    return namespace == of or namespace.endswith(f".{of}")


def _lease(_server: Apiserver, node: str, review: Review) -> None:
    if review.namespace != NODE_LEASES:
        _refuse(review, f'can only access leases in the "{NODE_LEASES}" system namespace')
    if (review.name or review.obj["metadata"].get("name", "")) != node:
        _refuse(review, "can only access node lease with the same name as the requesting node")


def _csi_node(_server: Apiserver, node: str, review: Review) -> None:
    if (review.name or review.obj["metadata"].get("name", "")) != node:
        _refuse(review, "can only access CSINode with the same name as the requesting node")


def _slice(_server: Apiserver, node: str, review: Review) -> None:
    if review.operation == "CREATE" and (review.obj.get("spec") or {}).get("nodeName") != node:
        why = "can only create ResourceSlice with the same NodeName as the requesting node"
        _refuse(review, why)


def _claim(_server: Apiserver, _node: str, review: Review) -> None:
    if review.subresource != "status":
        _refuse(review, "may only update PVC status")


def _request(_server: Apiserver, node: str, review: Review) -> None:
    spec = review.obj.get("spec") or {}
    if review.operation != "CREATE" or spec.get("signerName") not in _KUBELET_SIGNERS:
        return
    try:
        asked = certificates.parse(spec.get("request") or "")
    except RequestError as error:
        _refuse(review, f"unable to parse csr: {error}")
    if asked.common_name != f"{PREFIX}{node}":
        _refuse(review, f"can only create a node CSR with CN={PREFIX}{node}")


def _token(server: Apiserver, node: str, review: Review) -> None:
    if review.subresource != "token":
        return
    ref = (review.obj.get("spec") or {}).get("boundObjectRef") or {}
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
        _refuse(review, "node requested token not bound to a pod")
    if not ref.get("uid"):
        _refuse(review, "node requested token with a pod binding without a uid")
    pod = _stored_pod(server, review, ref["name"])
    if pod["metadata"]["uid"] != ref["uid"]:
        why = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in "
        _refuse(review, f"{why}record. The object might have been deleted and then recreated")
    if _node_name(pod) != node:
        _refuse(review, "node requested token bound to a pod scheduled on a different node")


_CHECKS: dict[Kind[Any], Callable[[Apiserver, str, Review], None]] = {
    kinds.POD: _pod,
    kinds.NODE: _node,
    kinds.LEASE: _lease,
    kinds.SERVICE_ACCOUNT: _token,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.CERTIFICATE_SIGNING_REQUEST: _request,
    _CSI_NODE: _csi_node,
    _SLICE: _slice,
}
PLUGIN = Plugin(
    "NodeRestriction",
    admit,
    kinds=frozenset(_CHECKS),
    operations=("CREATE", "UPDATE", "DELETE"),
    subresources=None,
    repeats=lambda review: node_of(review.user) is None,
)
