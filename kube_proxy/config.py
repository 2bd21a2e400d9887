"""KubeProxyConfiguration and the flags that override it.

Source: k8s.io/kube-proxy config/v1alpha1 (fields, defaults), cmd/kube-proxy (flags).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")


class ConfigError(Exception):
    """The configuration cannot be used; the message is for the log."""


@dataclass(frozen=True, slots=True)
class Config:
    """What of the configuration podwire's iptables mode acts on."""

    mode: str = "iptables"
    mode_given: bool = False
    cluster_cidr: str = ""
    detect_local_mode: str = "ClusterCIDR"
    bridge_interface: str = ""
    interface_prefix: str = ""
    masquerade_bit: int = 14
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    min_sync_period_s: float = 1.0
    sync_period_s: float = 30.0
    node_port_addresses: tuple[str, ...] = ()
    healthz_port: int = 10256
    metrics_address: str = "127.0.0.1"
    metrics_port: int = 10249
    hostname_override: str = ""
    conntrack_max_per_core: int = 32768
    conntrack_min: int = 131072
    conntrack_established_s: float = 86400.0
    conntrack_close_wait_s: float = 3600.0

    @property
    def mark(self) -> str:
        """The masquerade mark, ``0x4000``."""
        return f"0x{1 << self.masquerade_bit:x}"


def duration_s(text: str | None, default: float) -> float:
    """A Go duration in seconds; absent or zero gives the default. Raises ConfigError."""
    if not text or text == "0":
        return default
    parts = _DURATION.findall(text)
    if "".join(f"{n}{u}" for n, u in parts) != text:
        raise ConfigError(f'invalid duration "{text}"')
    return sum(float(n) * _UNITS_S[u] for n, u in parts) or default


@lru_cache(maxsize=64)
def parse(data: bytes) -> Config:
    """The configuration of a config.conf. Raises ConfigError."""
    import yaml  # noqa: PLC0415  only where YAML is read

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        raw: Any = yaml.load(data, loader) or {}  # noqa: S506  both loaders are safe ones
    except yaml.YAMLError as error:
        raise ConfigError(f"failed to decode: {error}") from None
    if not isinstance(raw, dict) or raw.get("kind") not in {None, "KubeProxyConfiguration"}:
        raise ConfigError("no kind KubeProxyConfiguration is registered")
    ipt, track, local = (raw.get(k) or {} for k in ("iptables", "conntrack", "detectLocal"))
    bit = ipt.get("masqueradeBit")
    metrics, _, metrics_port = str(raw.get("metricsBindAddress") or "127.0.0.1:10249").rpartition(
        ":"
    )
    healthz = str(raw.get("healthzBindAddress") or "0.0.0.0:10256").rpartition(":")[2]
    return Config(
        mode=raw.get("mode") or "iptables",
        mode_given=bool(raw.get("mode")),
        cluster_cidr=next(
            (c for c in str(raw.get("clusterCIDR") or "").split(",") if c and ":" not in c), ""
        ),
        detect_local_mode=raw.get("detectLocalMode") or "ClusterCIDR",
        bridge_interface=local.get("bridgeInterface") or "",
        interface_prefix=local.get("interfaceNamePrefix") or "",
        masquerade_bit=14 if bit is None else int(bit),
        masquerade_all=bool(ipt.get("masqueradeAll")),
        localhost_node_ports=ipt.get("localhostNodePorts") is not False,
        min_sync_period_s=duration_s(ipt.get("minSyncPeriod"), 1.0),
        sync_period_s=duration_s(ipt.get("syncPeriod"), 30.0),
        node_port_addresses=tuple(raw.get("nodePortAddresses") or ()),
        healthz_port=int(healthz),
        metrics_address=metrics,
        metrics_port=int(metrics_port),
        hostname_override=raw.get("hostnameOverride") or "",
        conntrack_max_per_core=_or(track.get("maxPerCore"), 32768),
        conntrack_min=_or(track.get("min"), 131072),
        conntrack_established_s=duration_s(track.get("tcpEstablishedTimeout"), 86400.0),
        conntrack_close_wait_s=duration_s(track.get("tcpCloseWaitTimeout"), 3600.0),
    )


def with_flags(config: Config, argv: tuple[str, ...]) -> Config:
    """Flags that podwire's manifests may use, over the file."""
    override = flag(argv, "hostname-override")
    mode = flag(argv, "proxy-mode")
    if override:
        config = replace(config, hostname_override=override)
    if mode and not config.mode_given:
        config = replace(config, mode=mode, mode_given=True)
    return config


def flag(argv: tuple[str, ...], name: str) -> str:
    """The value of ``--name=value`` (or ``--name value``), "" when absent."""
    for index, word in enumerate(argv):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
        if word == f"--{name}" and index + 1 < len(argv):
            return argv[index + 1]
    return ""


def _or(value: int | None, default: int) -> int:
    return default if value is None else int(value)
