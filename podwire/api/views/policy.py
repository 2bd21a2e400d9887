"""Views of NetworkPolicy and PodDisruptionBudget."""

from __future__ import annotations

import msgspec

from podwire.api.view import View
from podwire.api.views.meta import Condition, LabelSelector, Object


class IPBlock(View, frozen=True, kw_only=True):
    """networkpolicy peer ipBlock."""

    cidr: str = ""
    except_: list[str] = msgspec.field(default_factory=list, name="except")


class NetworkPolicyPeer(View, frozen=True, kw_only=True):
    """from[] / to[]."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = msgspec.field(default=None, name="ipBlock")


class NetworkPolicyPort(View, frozen=True, kw_only=True):
    """ports[]."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class NetworkPolicyIngressRule(View, frozen=True, kw_only=True):
    """spec.ingress[]; empty lists mean all."""

    from_: list[NetworkPolicyPeer] = msgspec.field(default_factory=list, name="from")
    ports: list[NetworkPolicyPort] = []


class NetworkPolicyEgressRule(View, frozen=True, kw_only=True):
    """spec.egress[]; empty lists mean all."""

    to: list[NetworkPolicyPeer] = []
    ports: list[NetworkPolicyPort] = []


class NetworkPolicySpec(View, frozen=True, kw_only=True):
    """networkpolicy spec; the API server defaults policyTypes."""

    pod_selector: LabelSelector = LabelSelector()
    ingress: list[NetworkPolicyIngressRule] = []
    egress: list[NetworkPolicyEgressRule] = []
    policy_types: list[str] = []


class NetworkPolicy(Object, frozen=True, kw_only=True):
    """networking.k8s.io/v1 NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()


class PodDisruptionBudgetSpec(View, frozen=True, kw_only=True):
    """poddisruptionbudget spec."""

    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    unhealthy_pod_eviction_policy: str = ""


class PodDisruptionBudgetStatus(View, frozen=True, kw_only=True):
    """poddisruptionbudget status."""

    observed_generation: int = 0
    disrupted_pods: dict[str, str | None] = {}
    """When a pod was evicted, by its name; Go keeps a null of its clients."""
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    conditions: list[Condition] = []


class PodDisruptionBudget(Object, frozen=True, kw_only=True):
    """policy/v1 PodDisruptionBudget."""

    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()
