"""The registry of kinds: the one list of what this API server serves.

What a default API server of Kubernetes 1.37 serves stands in data/kinds.json (derived by
data/derive_kinds.py), in discovery's order: groups by priority, resources by name. Here are the
names by which rooms speak of kinds, and the views they read them with; any other kind is read as
``views.Object``. ``Kind`` is generic in its view, so ``client.get(kinds.POD, ...)`` is a ``Pod``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from podwire.api import views
from podwire.api.view import V

if TYPE_CHECKING:
    from podwire.api.crd.served import Custom

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource as discovery describes it; ``group_version`` is '' when the parent's."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group_version: str = ""


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
    parts: dict[str, Subresource] = field(default_factory=dict)
    """Subresources by name."""
    behaves: bool = True
    """Whether podwire models what the kind does (False: stored only)."""
    returned: bool = False
    """Whether a completed deletion is answered with the object, not with a Status."""
    hashed_as: str = ""
    """What storageVersionHash is made of: ``group/version/kind`` of the stored version."""
    listed_as: str = ""
    """The kind of its lists when that is not the kind with List behind it."""
    custom: Custom | None = None
    """What a CustomResourceDefinition says of it; None for the API's own kinds."""

    @property
    def list_kind(self) -> str:
        """``PodList``."""
        return self.listed_as or f"{self.kind}List"

    @property
    def subresources(self) -> tuple[str, ...]:
        """Names of the subresources."""
        return tuple(self.parts)

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


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """One line of kinds.json; its columns are told in derive_kinds.py."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = False
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[Any, ...] = ()
    stored_as: str = ""
    hashed_as: str = ""
    returned: bool = False


def _rows() -> dict[tuple[str, str], _Row]:
    data = Path(__file__).with_name("data").joinpath("kinds.json").read_bytes()
    found = msgspec.json.decode(data, type=list[_Row])
    return {(f"{r.group}/{r.version}" if r.group else r.version, r.kind): r for r in found}


_ROWS = _rows()
_named: dict[tuple[str, str], Kind[Any]] = {}


def _kind(api_version: str, kind: str, view: type[V], *, behaves: bool = True) -> Kind[V]:
    """The kind of a row of the table, read as ``view``."""
    row = _ROWS[api_version, kind]
    parts = {part[0]: Subresource(*part) for part in row.subresources}
    made = Kind(
        view, row.group, row.version, row.kind, row.plural, row.kind.lower(), row.namespaced,
        row.short_names, row.categories, row.verbs or ALL_VERBS, parts, behaves,
        row.returned,
        row.hashed_as or row.stored_as or f"{row.group}/{row.version}/{row.kind}",
    )  # fmt: skip
    _named[api_version, kind] = made
    return made


def _idle(api_version: str, kind: str) -> Kind[views.Object]:
    """A kind that nothing acts on (yet), unless it is a question that the server answers."""
    answered = _ROWS[api_version, kind].verbs in _ANSWERED
    return _kind(api_version, kind, views.Object, behaves=answered)


_ANSWERED = (("create",), ("get", "list"))
"""The verbs of kinds that are not stored: reviews and bindings, component statuses."""


NAMESPACE = _kind("v1", "Namespace", views.Namespace)
NODE = _kind("v1", "Node", views.Node)
POD = _kind("v1", "Pod", views.Pod)
SERVICE = _kind("v1", "Service", views.Service)
ENDPOINTS = _kind("v1", "Endpoints", views.Endpoints)
CONFIG_MAP = _kind("v1", "ConfigMap", views.ConfigMap)
SECRET = _kind("v1", "Secret", views.Secret)
RESOURCE_QUOTA = _kind("v1", "ResourceQuota", views.ResourceQuota)
SERVICE_ACCOUNT = _kind("v1", "ServiceAccount", views.ServiceAccount)
EVENT = _kind("v1", "Event", views.Event)
REPLICATION_CONTROLLER = _kind("v1", "ReplicationController", views.ReplicationController)
DEPLOYMENT = _kind("apps/v1", "Deployment", views.Deployment)
REPLICA_SET = _kind("apps/v1", "ReplicaSet", views.ReplicaSet)
STATEFUL_SET = _kind("apps/v1", "StatefulSet", views.StatefulSet)
DAEMON_SET = _kind("apps/v1", "DaemonSet", views.DaemonSet)
CONTROLLER_REVISION = _kind("apps/v1", "ControllerRevision", views.ControllerRevision)
ENDPOINT_SLICE = _kind("discovery.k8s.io/v1", "EndpointSlice", views.EndpointSlice)
JOB = _kind("batch/v1", "Job", views.Job)
CRON_JOB = _kind("batch/v1", "CronJob", views.CronJob)
LEASE = _kind("coordination.k8s.io/v1", "Lease", views.Lease)
NETWORK_POLICY = _kind("networking.k8s.io/v1", "NetworkPolicy", views.NetworkPolicy)
SERVICE_CIDR = _kind("networking.k8s.io/v1", "ServiceCIDR", views.ServiceCIDR, behaves=False)
IP_ADDRESS = _kind("networking.k8s.io/v1", "IPAddress", views.IPAddress)
INGRESS = _kind("networking.k8s.io/v1", "Ingress", views.Ingress)
INGRESS_CLASS = _kind("networking.k8s.io/v1", "IngressClass", views.IngressClass)
POD_DISRUPTION_BUDGET = _kind("policy/v1", "PodDisruptionBudget", views.PodDisruptionBudget)
PRIORITY_CLASS = _kind("scheduling.k8s.io/v1", "PriorityClass", views.PriorityClass)
CERTIFICATE_SIGNING_REQUEST = _kind(
    "certificates.k8s.io/v1", "CertificateSigningRequest", views.CertificateSigningRequest
)
CUSTOM_RESOURCE_DEFINITION = _kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", views.CustomResourceDefinition
)
VALIDATING_ADMISSION_POLICY = _kind(
    "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", views.ValidatingAdmissionPolicy
)
ROLE = _kind("rbac.authorization.k8s.io/v1", "Role", views.Object)
ROLE_BINDING = _kind("rbac.authorization.k8s.io/v1", "RoleBinding", views.Object)
CLUSTER_ROLE = _kind("rbac.authorization.k8s.io/v1", "ClusterRole", views.ClusterRole)
CLUSTER_ROLE_BINDING = _kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", views.Object)
HORIZONTAL_POD_AUTOSCALER = _kind(
    "autoscaling/v2", "HorizontalPodAutoscaler", views.HorizontalPodAutoscaler
)
HORIZONTAL_POD_AUTOSCALER_V1 = _idle("autoscaling/v1", "HorizontalPodAutoscaler")
EVENTS_EVENT = _kind("events.k8s.io/v1", "Event", views.Object)
PERSISTENT_VOLUME_CLAIM = _kind("v1", "PersistentVolumeClaim", views.PersistentVolumeClaim)
PERSISTENT_VOLUME = _kind("v1", "PersistentVolume", views.PersistentVolume)
STORAGE_CLASS = _kind("storage.k8s.io/v1", "StorageClass", views.StorageClass)
TRACE = Kind(
    views.Object, "podwire.dev", "v1alpha1", "Trace", "traces", "trace", False, verbs=("create",)
)

POD_METRICS = Kind(
    views.PodMetrics, "metrics.k8s.io", "v1beta1", "PodMetrics", "pods", "", verbs=("get", "list")
)
NODE_METRICS = Kind(
    views.NodeMetrics, "metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", "", False,
    verbs=("get", "list"),
)  # fmt: skip
COMPUTED = (POD_METRICS, NODE_METRICS)
"""Kinds that are asked of kubelets and stored nowhere."""

ALL: tuple[Kind[Any], ...] = (
    *(_named.get(name) or _idle(*name) for name in _ROWS), TRACE, *COMPUTED,
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


def named(api_version: str, kind: str) -> Kind[Any]:
    """The same of a kind that is served for certain. Raises KeyError."""
    return _BY_GVK[api_version, kind]


def _stored_as() -> dict[Kind[Any], Kind[Any]]:
    found = {}
    for name, row in _ROWS.items():
        if row.stored_as:
            api_version, _, kind = row.stored_as.lstrip("/").rpartition("/")
            found[_BY_GVK[name]] = _BY_GVK[api_version, kind]
    return found


_STORED_AS = _stored_as()


def stored(kind: Kind[Any]) -> Kind[Any]:
    """The kind in whose version objects of this kind are stored: itself but for a few."""
    if kind.custom is not None:
        return kind.custom.stored
    return _STORED_AS.get(kind, kind)


def judged(kind: Kind[Any]) -> Kind[Any]:
    """The kind in whose version objects are admitted and checked: the stored one, but of custom
    objects the one that was asked for.
    """
    return kind if kind.custom is not None else stored(kind)


STORED: tuple[Kind[Any], ...] = tuple(
    kind for kind in ALL if kind not in _STORED_AS and kind not in COMPUTED
)
"""Every kind once, where ALL has versions: for whoever goes over objects, not over paths."""


class Registry:
    """What one server serves: the API's own kinds, and those of its CustomResourceDefinitions.

    Source of the order: kube-aggregator, which puts groups of CustomResourceDefinitions last.
    """

    def __init__(self) -> None:
        self.own: tuple[Kind[Any], ...] = ()
        """Kinds of definitions, in discovery's order."""
        self.generation = 0
        """Counts the changes."""
        self.meanings: dict[str, Any] = {}
        """What paths mean (``calls.parse``); forgotten when kinds change."""
        self._by_plural = _BY_PLURAL
        self._by_gvk = _BY_GVK

    @property
    def all(self) -> tuple[Kind[Any], ...]:
        """Every kind served, in discovery's order."""
        return (*ALL, *self.own)

    def by_plural(self, group: str, version: str, plural: str) -> Kind[Any] | None:
        """The kind served at a group, version and plural name."""
        return self._by_plural.get((group, version, plural))

    def by_gvk(self, api_version: str, kind: str) -> Kind[Any] | None:
        """The kind of an object's apiVersion and kind."""
        return self._by_gvk.get((api_version, kind))

    def replace(self, own: Iterable[Kind[Any]]) -> None:
        """Serve these kinds beside the API's own, which no definition can replace."""
        self.own = tuple(
            kind for kind in own if (kind.group, kind.version, kind.plural) not in _BY_PLURAL
        )
        self._by_plural = {**{(k.group, k.version, k.plural): k for k in self.own}, **_BY_PLURAL}
        self._by_gvk = {**{(k.api_version, k.kind): k for k in self.own}, **_BY_GVK}
        self.changed()

    def changed(self) -> None:
        """Paths mean something else than before."""
        self.generation += 1
        self.meanings = {}
