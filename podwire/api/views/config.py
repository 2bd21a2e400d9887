"""Views of Namespace, ConfigMap, Secret, ServiceAccount, Event, Lease, PriorityClass."""

from __future__ import annotations

from podwire.api.view import View
from podwire.api.views.meta import Condition, Object, ObjectReference


class NamespaceSpec(View, frozen=True, kw_only=True):
    """namespace spec."""

    finalizers: list[str] = []


class NamespaceStatus(View, frozen=True, kw_only=True):
    """namespace status."""

    phase: str = ""
    conditions: list[Condition] = []


class Namespace(Object, frozen=True, kw_only=True):
    """v1 Namespace."""

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ConfigMap(Object, frozen=True, kw_only=True):
    """v1 ConfigMap."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False


class Secret(Object, frozen=True, kw_only=True):
    """v1 Secret; ``data`` values are base64."""

    type: str = "Opaque"
    data: dict[str, str] = {}
    immutable: bool = False


class ServiceAccount(Object, frozen=True, kw_only=True):
    """v1 ServiceAccount."""

    secrets: list[ObjectReference] = []
    automount_service_account_token: bool | None = None


class Event(Object, frozen=True, kw_only=True):
    """v1 Event."""

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    count: int = 1
    first_timestamp: str = ""
    last_timestamp: str = ""
    source: dict[str, str] = {}


class LeaseSpec(View, frozen=True, kw_only=True):
    """lease spec; times are MicroTime (six decimals)."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0


class Lease(Object, frozen=True, kw_only=True):
    """coordination.k8s.io/v1 Lease."""

    spec: LeaseSpec = LeaseSpec()


class PriorityClass(Object, frozen=True, kw_only=True):
    """scheduling.k8s.io/v1 PriorityClass."""

    value: int = 0
    global_default: bool = False
    preemption_policy: str = "PreemptLowerPriority"
