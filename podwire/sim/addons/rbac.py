"""Who may do what beside the API server's own policy: what kubeadm binds, and podwire's own rooms.

Source: kubernetes cmd/kubeadm/app/phases (uploadconfig, bootstraptoken, addons); metrics-server's
components.yaml for the reader of metrics.k8s.io. Bootstrap tokens are not modelled, nor are the
bindings of their groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podwire.api.view import JSON
from podwire.apiserver.authorization import bootstrap
from podwire.controllers.registry import CONTROLLERS, account_of
from podwire.sim.addons.base import service_account

GROUP = "rbac.authorization.k8s.io"
_ROOMS = "system:podwire:rooms"
_MAKES = ("create", "update", "patch", "delete")
_READ = ("get", "list", "watch")


def rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str]) -> JSON:
    """A PolicyRule."""
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}


def role(name: str, rules: Sequence[JSON], namespace: str = "", **meta: Any) -> JSON:
    """A ClusterRole, or the Role of a namespace."""
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": {"name": name, **where, **meta},
        "rules": list(rules),
    }


def binding(
    name: str, to: str, subjects: Sequence[JSON], namespace: str = "", kind: str = "", **meta: Any
) -> JSON:
    """A ClusterRoleBinding, or the RoleBinding of a namespace; ``kind`` is the role's where it is
    not the binding's own.
    """
    where = {"namespace": namespace} if namespace else {}
    own = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": f"{own}Binding",
        "metadata": {"name": name, **where, **meta},
        "roleRef": {"apiGroup": GROUP, "kind": kind or own, "name": to},
        "subjects": list(subjects),
    }


def account(name: str, namespace: str = "kube-system") -> JSON:
    """A service account as a subject."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def subject(kind: str, name: str) -> JSON:
    """A User or Group as a subject."""
    return {"apiGroup": GROUP, "kind": kind, "name": name}


_MORE: dict[str, tuple[JSON, ...]] = {
    # Upstream the API server itself makes IPAddresses; here a controller does.
    "service-cidrs-controller": (rule(["networking.k8s.io"], ["ipaddresses"], _MAKES),),
}
"""What podwire's controllers do that upstream's do not."""


def controllers() -> list[JSON]:
    """The controllers' service accounts, and what they need beside upstream's roles: where
    upstream's write a whole object (update), these patch it.
    """
    manager = [subject("User", "system:kube-controller-manager")]
    made: list[JSON] = [
        # The token controller is the manager itself; upstream's updates Secrets.
        role("podwire:controller-manager", [rule([""], ["secrets"], ["patch"])]),
        binding("podwire:controller-manager", "podwire:controller-manager", manager),
    ]
    for name in dict.fromkeys(account_of(name) for name, _ in CONTROLLERS):
        if not name:
            continue
        made.append(service_account(name))
        rules = [*_patches(name), *_MORE.get(name, ())]
        if rules:
            role_name = f"podwire:controller:{name}"
            made.append(role(role_name, rules))
            made.append(binding(role_name, role_name, [account(name)]))
    return made


def _patches(name: str) -> list[JSON]:
    try:
        rules = bootstrap.rules_of(f"system:controller:{name}")
    except LookupError:
        return []
    return [
        rule(r.groups, r.resources, ["patch"])
        for r in rules
        if "update" in r.verbs and "patch" not in r.verbs
    ]


def objects() -> list[JSON]:
    """The roles and bindings."""
    signers = "system:certificates.k8s.io:certificatesigningrequests"
    return [
        binding(
            "kubeadm:cluster-admins", "cluster-admin", [subject("Group", "kubeadm:cluster-admins")]
        ),
        binding(
            "kubeadm:node-autoapprove-certificate-rotation", f"{signers}:selfnodeclient",
            [subject("Group", "system:nodes")],
        ),
        role(
            "system:aggregated-metrics-reader",
            [rule(["metrics.k8s.io"], ["pods", "nodes"], _READ)],
            labels={f"{GROUP}/aggregate-to-{to}": "true" for to in ("admin", "edit", "view")},
        ),
        role(
            "podwire:rooms",
            [rule(["coordination.k8s.io"], ["leases"], ["get", "create", "update", "patch"])],
            "kube-system",
        ),
        binding("podwire:rooms", "podwire:rooms", [subject("Group", _ROOMS)], "kube-system"),
        role(
            "podwire:publisher",
            [
                rule([""], ["services"], ["list", "watch"]),
                rule(["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]),  # attachments
            ],
        ),
        binding(
            "podwire:publisher", "podwire:publisher",
            [
                subject("User", f"system:podwire:{room}")
                for room in ("attachments", "fabric", "publisher")
            ],
        ),
    ]  # fmt: skip
