"""The keys of Cilium's ConfigMap ``cilium-config`` that shape its load balancer.

The eBPF mode reads them from the section ``cilium`` of kube-proxy's configuration. Source:
cilium pkg/loadbalancer/config.go (names, defaults), Documentation/network/kubernetes/
kubeproxy-free.rst. A value that is not modelled is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podwire.dataplane.ebpf import maglev

BOOLEANS = ("true", "false")
MODELLED: dict[str, tuple[str, ...]] = {
    "bpf-lb-mode": ("snat", "dsr", "hybrid"),
    "bpf-lb-algorithm": ("random", "maglev"),
    "bpf-lb-maglev-table-size": tuple(str(size) for size in maglev.SIZES),
    "bpf-lb-sock-hostns-only": BOOLEANS,
    "bpf-lb-mode-annotation": BOOLEANS,
    "bpf-lb-algorithm-annotation": BOOLEANS,
    "bpf-lb-dsr-dispatch": ("opt",),
    "bpf-lb-acceleration": ("disabled",),
    "bpf-lb-external-clusterip": ("false",),
    "bpf-lb-sock": ("true",),
    "kube-proxy-replacement": ("true",),
}
"""The modelled values of each key; the first is the default where the mode has one."""


class CiliumError(Exception):
    """A key or a value that does not exist, or is not modelled; the message names it."""


@dataclass(frozen=True, slots=True)
class CiliumConfig:
    """What of it podwire acts on."""

    mode: str = "snat"
    algorithm: str = "random"
    table_size: int = maglev.DEFAULT_SIZE
    host_namespace_only: bool = False
    mode_annotation: bool = False
    """Whether ``service.cilium.io/forwarding-mode`` counts."""
    algorithm_annotation: bool = False
    """Whether ``service.cilium.io/lb-algorithm`` counts."""

    def is_dsr(self, protocol: str) -> bool:
        """Whether Services of a protocol answer clients from the backend's node."""
        return self.mode == "dsr" or (self.mode == "hybrid" and protocol.lower() == "tcp")


def parse(section: Mapping[str, Any]) -> CiliumConfig:
    """Raises CiliumError."""
    words: dict[str, str] = {}
    for key, value in section.items():
        word = str(value).lower() if isinstance(value, bool) else str(value)
        if key not in MODELLED:
            raise CiliumError(f"cilium.{key}: not modelled; known are {', '.join(MODELLED)}")
        if word not in MODELLED[key]:
            raise CiliumError(
                f'cilium.{key}: "{word}" is not modelled; choose {" or ".join(MODELLED[key])}'
            )
        words[key] = word
    return CiliumConfig(
        mode=words.get("bpf-lb-mode", "snat"),
        algorithm=words.get("bpf-lb-algorithm", "random"),
        table_size=int(words.get("bpf-lb-maglev-table-size", maglev.DEFAULT_SIZE)),
        host_namespace_only=words.get("bpf-lb-sock-hostns-only") == "true",
        mode_annotation=words.get("bpf-lb-mode-annotation") == "true",
        algorithm_annotation=words.get("bpf-lb-algorithm-annotation") == "true",
    )
