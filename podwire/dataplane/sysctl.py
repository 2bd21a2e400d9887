"""Kernel parameters that change what happens to packets, with a fresh namespace's defaults."""

from __future__ import annotations

DEFAULTS: dict[str, str] = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ip_default_ttl": "64",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.conf.all.forwarding": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.all.route_localnet": "0",
    "net.ipv4.conf.all.proxy_arp": "0",
    "net.ipv4.conf.all.accept_local": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.default.route_localnet": "0",
    "net.ipv4.conf.default.proxy_arp": "0",
    "net.ipv4.icmp_echo_ignore_all": "0",
    "net.ipv4.vs.cache_bypass": "0",
    "net.ipv4.vs.conn_reuse_mode": "1",
    "net.ipv4.vs.conntrack": "0",
    "net.ipv4.vs.expire_nodest_conn": "0",
    "net.ipv4.vs.expire_quiescent_template": "0",
    "net.ipv4.vs.lblc_expiration": "86400",
    "net.ipv4.vs.lblcr_expiration": "86400",
    "net.ipv4.vs.nat_icmp_send": "0",
    "net.ipv4.vs.sloppy_sctp": "0",
    "net.ipv4.vs.sloppy_tcp": "0",
    "net.ipv4.vs.snat_reroute": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.netfilter.nf_conntrack_max": "262144",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
    "net.netfilter.nf_conntrack_tcp_loose": "1",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_sent": "120",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_recv": "60",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "432000",
    "net.netfilter.nf_conntrack_tcp_timeout_fin_wait": "120",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "60",
    "net.netfilter.nf_conntrack_tcp_timeout_last_ack": "30",
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": "120",
    "net.netfilter.nf_conntrack_tcp_timeout_close": "10",
    "net.netfilter.nf_conntrack_udp_timeout": "30",
    "net.netfilter.nf_conntrack_udp_timeout_stream": "120",
    "net.netfilter.nf_conntrack_icmp_timeout": "30",
    "net.netfilter.nf_conntrack_generic_timeout": "600",
}

DEVICE_KEYS = ("rp_filter", "route_localnet", "proxy_arp", "accept_local", "forwarding")


class Sysctls:
    """The parameters of one namespace: defaults with what was written over them."""

    __slots__ = ("_devices", "_numbers", "written")

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._devices: dict[tuple[str, str], int] = {}

    def clone(self) -> Sysctls:
        """An independent copy."""
        copy = Sysctls()
        copy.written = dict(self.written)
        return copy

    def known(self, key: str) -> bool:
        """Whether a key exists (per-device keys are not checked against devices)."""
        if key in DEFAULTS or key in self.written:
            return True
        parts = key.split(".")
        return key.startswith("net.ipv4.conf.") and parts[-1] in DEVICE_KEYS

    def get(self, key: str) -> str:
        """A value as text. Raises KeyError for an unknown key."""
        if key in self.written:
            return self.written[key]
        if key in DEFAULTS:
            return DEFAULTS[key]
        if self.known(key):
            return (
                self.get("net.ipv4.conf.default." + key.rsplit(".", 1)[1])
                if ("net.ipv4.conf.default." + key.rsplit(".", 1)[1] in DEFAULTS)
                else "0"
            )
        raise KeyError(key)

    def set(self, key: str, value: str) -> None:
        """Write a value; ip_forward and conf.all.forwarding are one switch."""
        self.written[key] = value
        if key == "net.ipv4.ip_forward":
            self.written["net.ipv4.conf.all.forwarding"] = value
        elif key == "net.ipv4.conf.all.forwarding":
            self.written["net.ipv4.ip_forward"] = value
        self._numbers.clear()
        self._devices.clear()

    def number(self, key: str) -> int:
        """A value as a number (cached: asked for every packet)."""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = int(self.get(key))
        return found

    def device(self, key: str, dev: str) -> int:
        """The effective value of an ipv4.conf key for a device: the larger of all and dev."""
        found = self._devices.get((key, dev))
        if found is None:
            found = self._devices[key, dev] = max(
                self.number(f"net.ipv4.conf.all.{key}"),
                self.number(f"net.ipv4.conf.{dev.replace('.', '/')}.{key}"),
            )
        return found
