"""The settings of the controllers, with kube-controller-manager's names and defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ControllersConfig:
    """Flags of kube-controller-manager that podwire models."""

    sign: Callable[[Any, Sequence[str], int | None, int], bytes] | None = None
    """Signs certificate requests: ``apiserver.certs.Authority.sign``. None signs (and looks at)
    nothing.
    """
    sign_token: Callable[[str, str, str, str], str] | None = None
    """The token of an account (namespace, name, uid) that lies in a Secret of that name. None
    fills no Secrets.
    """
    root_ca: str = ""
    """PEM text published as kube-root-ca.crt; "" publishes nothing."""
    cluster_cidr: str = "10.244.0.0/16"
    """One range of pod addresses, or one of each family with a comma between."""
    node_cidr_mask_size: int = 24
    node_cidr_mask_size_ipv6: int = 64
    node_monitor_period_s: float = 5.0
    node_monitor_grace_period_s: float = 50.0
    """50 s since 1.32 (40 s before)."""
    node_startup_grace_period_s: float = 60.0
    node_eviction_rate: float = 0.1
    """Nodes per second that get a NoExecute taint, in each healthy zone."""
    secondary_node_eviction_rate: float = 0.01
    """The same in a partially disrupted zone that is large; smaller ones evict nobody."""
    unhealthy_zone_threshold: float = 0.55
    """Share of nodes that are not Ready (three at least) which disrupts a zone partially."""
    large_cluster_size_threshold: int = 50
    """A zone with more nodes is large."""
    terminated_pod_gc_threshold: int = 12_500
    """So many pods that have ended are kept; 0 keeps all."""
