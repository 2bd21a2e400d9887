"""The registry of kinds: the one list of what this API server serves.

Source of names, scopes, short names, categories and verbs: discovery of Kubernetes 1.37.
``Kind`` is generic in its view, so ``client.get(kinds.POD, ...)`` is typed as ``Pod``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic

from podwire.api import views
from podwire.api.view import V

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[V]):
    """One resource type as discovery describes it."""

    view: type[V]
    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    behaves: bool = True
    """Whether podwire models what the kind does (False: stored only)."""

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``deployments.apps``, or ``pods`` for the core group (as error messages print it)."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """The URL prefix of the group version: ``/api/v1`` or ``/apis/apps/v1``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object or a subresource."""
        parts = [self.prefix]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def __repr__(self) -> str:
        return f"<Kind {self.resource}/{self.version}>"


_v = views
NAMESPACE = Kind(
    _v.Namespace, "", "v1", "Namespace", "namespaces", "namespace", False, ("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=("status", "finalize"),
)  # fmt: skip
NODE = Kind(
    _v.Node, "", "v1", "Node", "nodes", "node", False, ("no",), subresources=("status", "proxy")
)
POD = Kind(
    _v.Pod, "", "v1", "Pod", "pods", "pod", True, ("po",), ("all",),
    subresources=(
        "status", "binding", "eviction", "attach", "exec", "log", "portforward", "proxy",
    ),
)  # fmt: skip
SERVICE = Kind(
    _v.Service, "", "v1", "Service", "services", "service", True, ("svc",), ("all",),
    subresources=("status", "proxy"),
)  # fmt: skip
ENDPOINTS = Kind(_v.Endpoints, "", "v1", "Endpoints", "endpoints", "endpoints", True, ("ep",))
CONFIG_MAP = Kind(_v.ConfigMap, "", "v1", "ConfigMap", "configmaps", "configmap", True, ("cm",))
SECRET = Kind(_v.Secret, "", "v1", "Secret", "secrets", "secret")
SERVICE_ACCOUNT = Kind(
    _v.ServiceAccount,
    "",
    "v1",
    "ServiceAccount",
    "serviceaccounts",
    "serviceaccount",
    True,
    ("sa",),
)
EVENT = Kind(_v.Event, "", "v1", "Event", "events", "event", True, ("ev",))
DEPLOYMENT = Kind(
    _v.Deployment, "apps", "v1", "Deployment", "deployments", "deployment", True, ("deploy",),
    ("all",), subresources=("status", "scale"),
)  # fmt: skip
REPLICA_SET = Kind(
    _v.ReplicaSet, "apps", "v1", "ReplicaSet", "replicasets", "replicaset", True, ("rs",),
    ("all",), subresources=("status", "scale"),
)  # fmt: skip
STATEFUL_SET = Kind(
    _v.StatefulSet, "apps", "v1", "StatefulSet", "statefulsets", "statefulset", True, ("sts",),
    ("all",), subresources=("status", "scale"),
)  # fmt: skip
DAEMON_SET = Kind(
    _v.DaemonSet, "apps", "v1", "DaemonSet", "daemonsets", "daemonset", True, ("ds",), ("all",),
    subresources=("status",),
)  # fmt: skip
CONTROLLER_REVISION = Kind(
    _v.ControllerRevision, "apps", "v1", "ControllerRevision", "controllerrevisions",
    "controllerrevision",
)  # fmt: skip
ENDPOINT_SLICE = Kind(
    _v.EndpointSlice, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice"
)
LEASE = Kind(_v.Lease, "coordination.k8s.io", "v1", "Lease", "leases", "lease")
NETWORK_POLICY = Kind(
    _v.NetworkPolicy, "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies",
    "networkpolicy", True, ("netpol",),
)  # fmt: skip
INGRESS = Kind(
    _v.Ingress, "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", True, ("ing",),
    subresources=("status",),
)  # fmt: skip
INGRESS_CLASS = Kind(
    _v.IngressClass, "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass",
    False,
)  # fmt: skip
ROLE = Kind(_v.Object, "rbac.authorization.k8s.io", "v1", "Role", "roles", "role", behaves=False)
ROLE_BINDING = Kind(
    _v.Object, "rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "rolebinding",
    behaves=False,
)  # fmt: skip
CLUSTER_ROLE = Kind(
    _v.Object, "rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "clusterrole",
    False, behaves=False,
)  # fmt: skip
CLUSTER_ROLE_BINDING = Kind(
    _v.Object, "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings",
    "clusterrolebinding", False, behaves=False,
)  # fmt: skip
JOB = Kind(
    _v.Object, "batch", "v1", "Job", "jobs", "job", True, (), ("all",), subresources=("status",),
    behaves=False,
)  # fmt: skip
POD_DISRUPTION_BUDGET = Kind(
    _v.PodDisruptionBudget, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets",
    "poddisruptionbudget", True, ("pdb",), subresources=("status",),
)  # fmt: skip
TRACE = Kind(
    _v.Object, "podwire.dev", "v1alpha1", "Trace", "traces", "trace", False, verbs=("create",)
)

ALL: tuple[Kind[Any], ...] = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, EVENT,
    DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION, ENDPOINT_SLICE, LEASE,
    NETWORK_POLICY, INGRESS, INGRESS_CLASS, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING,
    JOB, POD_DISRUPTION_BUDGET, TRACE,
)  # fmt: skip
"""Every kind served, in discovery order."""

_BY_PLURAL = {(k.group, k.version, k.plural): k for k in ALL}
_BY_GVK = {(k.api_version, k.kind): k for k in ALL}


def by_plural(group: str, version: str, plural: str) -> Kind[Any] | None:
    """The kind served at a group, version and plural name."""
    return _BY_PLURAL.get((group, version, plural))


def by_gvk(api_version: str, kind: str) -> Kind[Any] | None:
    """The kind of an object's apiVersion and kind."""
    return _BY_GVK.get((api_version, kind))
