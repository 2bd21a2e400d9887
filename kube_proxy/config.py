"""KubeProxyConfiguration and the flags that override it.

Source: k8s.io/kube-proxy config/v1alpha1 (fields, defaults), cmd/kube-proxy (flags).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from podwire.kube_proxy import cilium

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")


class ConfigError(Exception):
    """The configuration cannot be used; the message is for the log."""


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """What every mode's section of the configuration may say."""

    masquerade_bit: int = 14
    masquerade_all: bool = False
    min_sync_period_s: float = 1.0
    sync_period_s: float = 30.0

    @property
    def mark(self) -> str:
        """The masquerade mark, ``0x4000``."""
        return f"0x{1 << self.masquerade_bit:x}"


@dataclass(frozen=True, slots=True)
class IpvsConfig:
    """The ``ipvs`` section, besides what it shares with others."""

    scheduler: str = ""
    strict_arp: bool = False
    exclude_cidrs: tuple[str, ...] = ()
    tcp_timeout_s: float = 0.0
    tcp_fin_timeout_s: float = 0.0
    udp_timeout_s: float = 0.0
    """Timeouts of 0 leave the kernel's own."""


@dataclass(frozen=True, slots=True)
class Config:
    """What of the configuration podwire acts on."""

    mode: str = "iptables"
    mode_given: bool = False
    cluster_cidr: str = ""
    """One CIDR, or one of each family, with a comma between."""
    detect_local_mode: str = "ClusterCIDR"
    bridge_interface: str = ""
    interface_prefix: str = ""
    iptables: RuleConfig = RuleConfig()
    ipvs: RuleConfig = RuleConfig(min_sync_period_s=0.0)
    """Rules of ipvs mode: masqueradeAll and masqueradeBit are those of the iptables section."""
    nftables: RuleConfig = RuleConfig()
    ipvs_only: IpvsConfig = IpvsConfig()
    cilium: cilium.CiliumConfig = field(default_factory=cilium.CiliumConfig)
    """Of the eBPF mode."""
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()
    healthz_address: str = ""
    healthz_port: int = 10256
    metrics_address: str = "127.0.0.1"
    metrics_port: int = 10249
    hostname_override: str = ""
    conntrack_max_per_core: int = 32768
    conntrack_min: int = 131072
    conntrack_established_s: float = 86400.0
    conntrack_close_wait_s: float = 3600.0
    conntrack_be_liberal: bool = False
    conntrack_udp_s: float = 0.0
    conntrack_udp_stream_s: float = 0.0

    @property
    def rules(self) -> RuleConfig:
        """The section of the chosen mode (other modes than these use the iptables section)."""
        sections = {"ipvs": self.ipvs, "nftables": self.nftables}
        return sections.get(self.mode, self.iptables)

    def cluster_cidr_of(self, family: str) -> str:
        """The cluster CIDR of a family, "" when none is given."""
        cidrs = (c.strip() for c in self.cluster_cidr.split(","))
        return next((c for c in cidrs if c and (":" in c) == (family == "ipv6")), "")

    def local_match(self, family: str, pod_cidrs: tuple[str, ...]) -> tuple[str, str]:
        """What tells traffic of this cluster's pods: ("cidr" | "interface" | "prefix" | "", value).

        Raises ConfigError for a mode that does not exist. Source: getLocalDetectors.
        """
        mode = self.detect_local_mode
        if mode == "ClusterCIDR":
            cidr = self.cluster_cidr_of(family)
            return ("cidr", cidr) if cidr else ("", "")
        if mode == "NodeCIDR":
            own = next((c for c in pod_cidrs if (":" in c) == (family == "ipv6")), "")
            return ("cidr", own) if own else ("", "")
        if mode == "BridgeInterface":
            return "interface", self.bridge_interface
        if mode == "InterfaceNamePrefix":
            return "prefix", self.interface_prefix
        raise ConfigError(f'unknown detect-local-mode: "{mode}"')


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
    ipvs, nft = (raw.get(k) or {} for k in ("ipvs", "nftables"))
    metrics, metrics_port = _address(raw.get("metricsBindAddress"), "127.0.0.1", 10249)
    healthz, healthz_port = _address(raw.get("healthzBindAddress"), "", 10256)
    return Config(
        mode=raw.get("mode") or "iptables",
        mode_given=bool(raw.get("mode")),
        cluster_cidr=str(raw.get("clusterCIDR") or ""),
        detect_local_mode=raw.get("detectLocalMode") or "ClusterCIDR",
        bridge_interface=local.get("bridgeInterface") or "",
        interface_prefix=local.get("interfaceNamePrefix") or "",
        iptables=_rules(ipt, ipt, 1.0),
        ipvs=_rules(ipt, ipvs, 0.0),
        nftables=_rules(nft, nft, 1.0),
        ipvs_only=_ipvs(ipvs),
        cilium=_cilium(raw.get("cilium") or {}),
        localhost_node_ports=ipt.get("localhostNodePorts") is not False,
        node_port_addresses=tuple(raw.get("nodePortAddresses") or ()),
        healthz_address=healthz,
        healthz_port=healthz_port,
        metrics_address=metrics,
        metrics_port=metrics_port,
        hostname_override=raw.get("hostnameOverride") or "",
        conntrack_max_per_core=_or(track.get("maxPerCore"), 32768),
        conntrack_min=_or(track.get("min"), 131072),
        conntrack_established_s=duration_s(track.get("tcpEstablishedTimeout"), 86400.0),
        conntrack_close_wait_s=duration_s(track.get("tcpCloseWaitTimeout"), 3600.0),
        conntrack_be_liberal=bool(track.get("tcpBeLiberal")),
        conntrack_udp_s=duration_s(track.get("udpTimeout"), 0.0),
        conntrack_udp_stream_s=duration_s(track.get("udpStreamTimeout"), 0.0),
    )


def _rules(marking: dict[str, Any], timing: dict[str, Any], min_sync_s: float) -> RuleConfig:
    bit = marking.get("masqueradeBit")
    return RuleConfig(
        masquerade_bit=14 if bit is None else int(bit),
        masquerade_all=bool(marking.get("masqueradeAll")),
        min_sync_period_s=duration_s(timing.get("minSyncPeriod"), min_sync_s),
        sync_period_s=duration_s(timing.get("syncPeriod"), 30.0),
    )


def _ipvs(section: dict[str, Any]) -> IpvsConfig:
    return IpvsConfig(
        scheduler=section.get("scheduler") or "",
        strict_arp=bool(section.get("strictARP")),
        exclude_cidrs=tuple(section.get("excludeCIDRs") or ()),
        tcp_timeout_s=duration_s(section.get("tcpTimeout"), 0.0),
        tcp_fin_timeout_s=duration_s(section.get("tcpFinTimeout"), 0.0),
        udp_timeout_s=duration_s(section.get("udpTimeout"), 0.0),
    )


def _cilium(section: Any) -> cilium.CiliumConfig:
    if not isinstance(section, dict):
        raise ConfigError("cilium: must be a mapping of Cilium's keys")
    try:
        return cilium.parse(section)
    except cilium.CiliumError as error:
        raise ConfigError(str(error)) from None


def _address(text: str | None, host: str, port: int) -> tuple[str, int]:
    """``host:port`` of a bind address; absent, the default. A wildcard host is ""."""
    if not text:
        return host, port
    found, _, number = str(text).rpartition(":") if ":" in text else (str(text), "", "")
    found = found.strip("[]")
    try:
        return "" if found in {"0.0.0.0", "::"} else found, int(number or port)
    except ValueError:
        raise ConfigError(f'must be IP:port, got "{text}"') from None


def validate(config: Config, modes: tuple[str, ...]) -> None:
    """Raises ConfigError in upstream's words for what cannot be served.

    Source: pkg/proxy/apis/config/validation (validateProxyModeLinux, validateDetectLocalMode).
    """
    wrong = []
    if config.mode not in modes:
        wrong.append(
            f'KubeProxyConfiguration.Mode.ProxyMode: Invalid value: "{config.mode}": must be '
            f"{', '.join(sorted(modes))} or blank (blank means the best-available proxy "
            "[currently iptables])"
        )
    local_modes = ("BridgeInterface", "ClusterCIDR", "InterfaceNamePrefix", "NodeCIDR")
    if config.detect_local_mode not in local_modes:
        listed = ", ".join(f'"{mode}"' for mode in local_modes)
        wrong.append(
            "KubeProxyConfiguration.DetectLocalMode: Unsupported value: "
            f'"{config.detect_local_mode}": supported values: {listed}'
        )
    bit = config.rules.masquerade_bit
    if not 0 <= bit <= 31:
        wrong.append(
            f"KubeProxyConfiguration.IPTables.MasqueradeBit: Invalid value: {bit}: "
            "must be within the range [0, 31]"
        )
    section = {"ipvs": "IPVS", "nftables": "NFTables"}.get(config.mode, "IPTables")
    if config.rules.min_sync_period_s > config.rules.sync_period_s:
        path = f"KubeProxyConfiguration.KubeProxy{section}Configuration"
        wrong.append(
            f"{path}.SyncPeriod: Invalid value: {config.rules.min_sync_period_s:g}s: "
            f"must be greater than or equal to {path}.MinSyncPeriod"
        )
    if wrong:
        text = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise ConfigError(f"failed validate: {text}")


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
