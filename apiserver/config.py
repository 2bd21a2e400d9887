"""Settings of the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podwire.api.view import JSON


@dataclass(frozen=True, slots=True)
class Config:
    """What kube-apiserver takes as flags; the defaults are those of the modelled cluster."""

    git_version: str = "v1.37.1"
    service_cidr: str = "10.96.0.0/16"
    """Where Services get addresses: one range, or one of each family, the default one first."""
    node_port_range: tuple[int, int] = (30000, 32767)
    event_ttl_s: float = 3600.0
    min_request_timeout_s: float = 1800.0
    """A watch without timeoutSeconds ends after this up to twice this (seeded)."""
    enable_priority_and_fairness: bool = True
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    """Together the seats of priority and fairness; without it a limit each (0: none)."""
    enable_admission_plugins: tuple[str, ...] = ()
    """Plugins that run though they are off by default, by upstream's names."""
    disable_admission_plugins: tuple[str, ...] = ()
    admission_configuration: Mapping[str, JSON] = field(default_factory=dict)
    """What plugins are told by --admission-control-config-file, by their names."""
    advertise_address: str = "192.168.0.10"
    secure_port: int = 6443
    authorization_mode: str = "AlwaysAllow"
    """One of ``authorizer.MODES``. Compositions say RBAC, and make the roles that it needs."""

    @property
    def advertised(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        host = self.advertise_address
        return f"[{host}]:{self.secure_port}" if ":" in host else f"{host}:{self.secure_port}"
