"""The settings of the controllers, with kube-controller-manager's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllersConfig:
    """Flags of kube-controller-manager that podwire models."""

    root_ca: str = ""
    """PEM text published as kube-root-ca.crt; "" publishes nothing."""
    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask_size: int = 24
    node_monitor_period_s: float = 5.0
    node_monitor_grace_period_s: float = 40.0
    node_startup_grace_period_s: float = 60.0
