"""What a node may do: what its pods refer to, and the fixed rules of ``system:node``.

Upstream keeps a graph of everything that leads to a node; here the node's pods are an index, and
what they refer to is looked up when the node asks. What the objects may contain is the part of
NodeRestriction (``admission/node_restriction.py``).

Source: kubernetes plugin/pkg/auth/authorizer/node (node_authorizer.go, graph.go). Volumes' own
secrets (CSI's nodePublishSecretRef of a PersistentVolume) are not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from podwire.api import kinds
from podwire.api.podrefs import MIRROR, references
from podwire.apiserver.authorization import rules
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorization.rules import Rule
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.cache.hub import Caches
from podwire.client.counters import User

NODES = "system:nodes"
PREFIX = "system:node:"
NODE_LEASES = "kube-node-lease"
_OWN = ("get", "create", "update", "patch", "delete")
_STORAGE, _RESOURCE = "storage.k8s.io", "resource.k8s.io"

Verdict = tuple[bool, str]


def node_of(user: User) -> str | None:
    """The node that a user is; "" one that does not say which; None: he is no node."""
    if NODES not in user.groups or not user.name.startswith(PREFIX):
        return None
    return user.name.removeprefix(PREFIX)


_REMEMBERED = 1024


class _Spec(msgspec.Struct, rename="camel", frozen=True, gc=False):
    node_name: str = ""


class _Pod(msgspec.Struct, frozen=True, gc=False):
    """All that is read of each pod that is written."""

    spec: _Spec = _Spec()


_read = msgspec.json.Decoder(_Pod).decode


def _placed_on(pod: Entry) -> str:
    """The node of a pod, "" for none yet; its view is not made for that alone."""
    if pod.viewed is not None:
        return str(pod.viewed.spec.node_name)
    return _read(pod.value).spec.node_name if b'"nodeName"' in pod.value else ""


class _Check(Protocol):
    def __call__(self, node: str, asked: Attributes) -> Verdict: ...


class NodeAuthorizer:
    """Decides for nodes. ``fixed`` are the rules of the ClusterRole system:node."""

    def __init__(self, caches: Caches, fixed: Sequence[Rule]) -> None:
        self._caches = caches
        self._fixed = tuple(fixed)
        self._named = any(rule.names for rule in fixed)
        """Whether the fixed rules look at names, too."""
        self._known: dict[tuple[str, str, str, str], bool] = {}
        """What they allow, by verb, group, resource and subresource."""
        self._pods: dict[str, dict[str, Entry]] = {}
        """Node -> key -> pod."""
        caches.of(kinds.POD).listeners.append(self._pod_changed)
        self._checks: dict[tuple[str, str], _Check] = {
            ("", "secrets"): self._related_reads,
            ("", "configmaps"): self._related_reads,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._related_get,
            (_RESOURCE, "resourceclaims"): self._related_get,
            (_STORAGE, "volumeattachments"): self._related_get,
            ("", "serviceaccounts"): self._account,
            ("coordination.k8s.io", "leases"): _lease,
            (_STORAGE, "csinodes"): _csi_node,
            (_RESOURCE, "resourceslices"): self._slice,
            ("", "nodes"): _node,
            ("", "pods"): self._pod,
        }

    def _pod_changed(self, old: Entry | None, new: Entry | None) -> None:
        before = _placed_on(old) if old is not None else ""
        after = _placed_on(new) if new is not None else ""
        if old is not None and before and before != after:
            pods = self._pods.get(before)
            if pods is not None and pods.pop(old.key, None) is not None and not pods:
                del self._pods[before]
        if new is not None and after:
            self._pods.setdefault(after, {})[new.key] = new

    def decide(self, node: str, asked: Attributes) -> Verdict:
        """Whether a node may do something, and why not."""
        if not node:
            return False, f'unknown node for user "{asked.user.name}"'
        check = None if asked.path else self._checks.get((asked.group, asked.resource))
        if check is not None:
            return check(node, asked)
        if asked.path or self._named:
            return any(rules.allows(rule, asked) for rule in self._fixed), ""
        key = (asked.verb, asked.group, asked.resource, asked.subresource)
        allowed = self._known.get(key)
        if allowed is None:
            allowed = any(rules.allows(rule, asked) for rule in self._fixed)
            if len(self._known) < _REMEMBERED:
                self._known[key] = allowed
        return allowed, ""

    # ------------------------------------------------------------ what leads to a node

    def _pods_of(self, node: str, namespace: str) -> Iterator[Entry]:
        """The pods of a node in a namespace ("" all) that refer to anything."""
        for entry in self._pods.get(node, {}).values():
            if namespace in ("", entry.namespace):
                yield entry

    def _leads(self, node: str, resource: str, namespace: str, name: str) -> bool:
        match resource:
            case "pods":
                return f"{self._caches.of(kinds.POD).key(namespace, name)}" in self._pods.get(
                    node, {}
                )
            case "persistentvolumes":
                return any(name == volume for volume in self._volumes(node))
            case "volumeattachments" | "resourceslices":
                group = _STORAGE if resource == "volumeattachments" else _RESOURCE
                return self._names_node(group, resource, name, node)
        for entry in self._pods_of(node, namespace):
            if MIRROR in entry.view.metadata.annotations:
                continue
            if resource == "serviceaccounts":
                if entry.view.spec.service_account_name == name:
                    return True
            elif resource == "resourceclaims":
                if name in _resource_claims(entry):
                    return True
            elif name in _referred(entry, resource):
                return True
        return False

    def _volumes(self, node: str) -> Iterator[str]:
        claims = self._caches.of(kinds.PERSISTENT_VOLUME_CLAIM)
        for entry in self._pods_of(node, ""):
            for name in _referred(entry, "persistentvolumeclaims"):
                claim = claims.get(entry.namespace, name)
                if claim is not None:
                    yield claim.view.spec.volume_name

    def _names_node(self, group: str, resource: str, name: str, node: str) -> bool:
        kind = kinds.by_plural(group, "v1", resource)
        entry = self._caches.of(kind).get("", name) if kind is not None else None
        return entry is not None and (entry.json().get("spec") or {}).get("nodeName") == node

    def _related(self, node: str, asked: Attributes) -> Verdict:
        if not asked.name:
            return False, "No Object name found"
        if self._leads(node, asked.resource, asked.namespace, asked.name):
            return True, ""
        return False, f"no relationship found between node '{node}' and this object"

    # ------------------------------------------------------------ by resource

    def _related_get(self, node: str, asked: Attributes) -> Verdict:
        if asked.verb != "get":
            return False, "can only get individual resources of this type"
        if asked.subresource:
            return False, "cannot get subresource"
        return self._related(node, asked)

    def _related_reads(self, node: str, asked: Attributes) -> Verdict:
        if asked.verb not in {"get", "list", "watch"}:
            return False, "can only read resources of this type"
        if asked.subresource:
            return False, "cannot read subresource"
        if not asked.namespace:
            return False, "can only read namespaced object of this type"
        return self._related(node, asked)

    def _claim(self, node: str, asked: Attributes) -> Verdict:
        if asked.subresource != "status":
            return self._related_get(node, asked)
        if asked.verb not in {"update", "patch"}:
            return False, "can only get/update/patch this type"
        return self._related(node, asked)

    def _account(self, node: str, asked: Attributes) -> Verdict:
        if asked.verb == "get" and not asked.subresource:
            return self._related_reads(node, asked)
        if asked.verb != "create" or not asked.name:
            return False, "can only create tokens for individual service accounts"
        if asked.subresource != "token":
            return False, "can only create token subresource of serviceaccount"
        return self._related(node, asked)

    def _slice(self, node: str, asked: Attributes) -> Verdict:
        if asked.subresource:
            return False, "cannot authorize ResourceSlice subresources"
        if asked.verb == "create":
            return True, ""
        if asked.verb in {"get", "update", "patch", "delete"}:
            return self._related(node, asked)
        if ("spec.nodeName", node) in asked.fields:
            return True, ""
        return (
            False,
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        )

    def _pod(self, node: str, asked: Attributes) -> Verdict:
        match asked.subresource, asked.verb:
            case "", "get":
                return self._related_get(node, asked)
            case "", "list" | "watch":
                if ("spec.nodeName", node) in asked.fields:
                    return True, ""
                if asked.name:
                    return self._related(node, asked)
                return False, "can only list/watch pods with spec.nodeName field selector"
            case (
                ("", "create" | "delete")
                | ("status", "update" | "patch")
                | (
                    "eviction",
                    "create",
                )
            ):
                return True, ""
        return False, ""


def _referred(entry: Entry, resource: str) -> Sequence[str]:
    found = references(entry.view)
    match resource:
        case "secrets":
            return found.secrets
        case "configmaps":
            return found.config_maps
    return found.claims


def _resource_claims(entry: Entry) -> list[Any]:
    pod = entry.json()
    named = [claim.get("resourceClaimName") for claim in pod["spec"].get("resourceClaims") or ()]
    made = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    return [*named, *(claim.get("resourceClaimName") for claim in made)]


def _lease(node: str, asked: Attributes) -> Verdict:
    if asked.verb not in _OWN:
        return False, "can only get, create, update, patch, or delete a node lease"
    if asked.namespace != NODE_LEASES:
        return False, f'can only access leases in the "{NODE_LEASES}" system namespace'
    if asked.verb != "create" and asked.name != node:
        return False, "can only access node lease with the same name as the requesting node"
    return True, ""


def _csi_node(node: str, asked: Attributes) -> Verdict:
    if asked.subresource:
        return False, "cannot authorize CSINode subresources"
    if asked.verb not in _OWN:
        return False, "can only get, create, update, patch, or delete a CSINode"
    if asked.verb != "create" and asked.name != node:
        return False, "can only access CSINode with the same name as the requesting node"
    return True, ""


def _node(node: str, asked: Attributes) -> Verdict:
    match asked.subresource, asked.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return True, ""
        case "", "get" | "list" | "watch":
            if asked.name == node:
                return True, ""
            if not asked.name:
                return False, f"node '{node}' cannot read all nodes, only its own Node object"
            return False, f"node '{node}' cannot read '{asked.name}', only its own Node object"
    return False, ""
