"""Kernel parameters of a namespace, with a fresh one's defaults.

Kept and told, but nothing here depends on them: ip_default_ttl, hop_limit, ip_local_port_range,
ip_forward_use_pmtu, bindv6only, proxy_ndp, accept_ra, accept_dad, gc_thresh1,
nf_conntrack_tcp_be_liberal, vs.cache_bypass, vs.nat_icmp_send, vs.sloppy_sctp, vs.snat_reroute.
What they are about is as their defaults say, or not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping

# What a device can have of its own, with a fresh namespace's value: ipv4.conf and ipv6.conf.
DEVICE_DEFAULTS: dict[int, dict[str, str]] = {
    4: {
        "forwarding": "0",
        "rp_filter": "0",
        "route_localnet": "0",
        "accept_local": "0",
        "proxy_arp": "0",
        "arp_ignore": "0",
        "arp_announce": "0",
        "src_valid_mark": "0",
    },
    6: {
        "forwarding": "0",
        "disable_ipv6": "0",
        "proxy_ndp": "0",
        "hop_limit": "64",
        "accept_dad": "0",
        "accept_ra": "0",
    },
}

DEFAULTS: dict[str, str] = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ip_default_ttl": "64",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_forward_use_pmtu": "0",
    "net.ipv4.fib_multipath_hash_policy": "0",
    "net.ipv4.fib_multipath_hash_seed": "0",
    "net.ipv6.fib_multipath_hash_policy": "0",
    "net.ipv4.neigh.default.gc_thresh1": "128",
    "net.ipv4.neigh.default.gc_thresh2": "512",
    "net.ipv4.neigh.default.gc_thresh3": "1024",
    "net.ipv6.neigh.default.gc_thresh1": "128",
    "net.ipv6.neigh.default.gc_thresh2": "512",
    "net.ipv6.neigh.default.gc_thresh3": "1024",
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
    "net.ipv6.icmp.echo_ignore_all": "0",
    "net.ipv6.bindv6only": "0",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
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
    "net.netfilter.nf_conntrack_icmpv6_timeout": "30",
    "net.netfilter.nf_conntrack_generic_timeout": "600",
    "net.netfilter.nf_conntrack_sctp_timeout_closed": "10",
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_wait": "3",
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_echoed": "3",
    "net.netfilter.nf_conntrack_sctp_timeout_established": "210",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_sent": "3",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_recd": "3",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_ack_sent": "3",
    "net.netfilter.nf_conntrack_sctp_timeout_heartbeat_sent": "30",
}
for _number, _keys in DEVICE_DEFAULTS.items():
    for _key, _value in _keys.items():
        DEFAULTS[f"net.ipv{_number}.conf.all.{_key}"] = _value
        DEFAULTS[f"net.ipv{_number}.conf.default.{_key}"] = _value

_SWITCHES = {
    "net.ipv4.ip_forward": "net.ipv4.conf",
    "net.ipv4.conf.all.forwarding": "net.ipv4.conf",
    "net.ipv6.conf.all.forwarding": "net.ipv6.conf",
    "net.ipv6.conf.all.disable_ipv6": "net.ipv6.conf",
}
"""Keys whose writing sets every device's and the default too (inet_forward_change)."""


class _Read:
    """Values as they were asked for, in namespaces that hold the same."""

    __slots__ = ("devices", "numbers", "own")

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.devices: dict[tuple[str, str, int], int] = {}
        self.own: dict[tuple[str, str, int], int] = {}

    def forget(self) -> None:
        """Begin anew: there may be any number of devices' names."""
        self.numbers.clear()
        self.devices.clear()
        self.own.clear()


_FRESH = _Read()
"""Of all namespaces in which nothing was written: most pods'."""
_MOST = 4096


class Sysctls:
    """The parameters of one namespace: defaults with what was written over them."""

    __slots__ = ("_read", "written")

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self._read = _FRESH

    def clone(self) -> Sysctls:
        """An independent copy."""
        copy = Sysctls()
        copy.written = dict(self.written)
        if copy.written:
            copy._read = _Read()
        return copy

    def known(self, key: str) -> bool:
        """Whether a key exists (per-device keys are not checked against devices)."""
        return key in DEFAULTS or key in self.written or _device_default(key) != ""

    def get(self, key: str) -> str:
        """A value as text. Raises KeyError for an unknown key."""
        if key in self.written:
            return self.written[key]
        if key in DEFAULTS:
            return DEFAULTS[key]
        default = _device_default(key)
        if default:
            return self.get(default)
        raise KeyError(key)

    def set(self, key: str, value: str) -> None:
        """Write a value; ip_forward and conf.all.forwarding are one switch, for every device."""
        self.written[key] = value
        conf = _SWITCHES.get(key)
        if conf is not None:
            name = "disable_ipv6" if key.endswith("disable_ipv6") else "forwarding"
            for other in [k for k in self.written if k.startswith(conf) and k.endswith(f".{name}")]:
                del self.written[other]
            self.written[f"{conf}.all.{name}"] = self.written[f"{conf}.default.{name}"] = value
            if key.startswith("net.ipv4"):
                self.written["net.ipv4.ip_forward"] = value
        self._read = _Read()

    def load(self, values: Mapping[str, str]) -> None:
        """Take over what a kernel told of itself, each value for its own key only."""
        self.written.update(values)
        self._read = _Read()

    def number(self, key: str) -> int:
        """A value as a number (cached: asked for every packet)."""
        found = self._read.numbers.get(key)
        if found is None:
            found = self._read.numbers[key] = int(self.get(key))
        return found

    def device(self, key: str, dev: str, family: int = 4) -> int:
        """The effective value of an ipv4.conf (or ipv6.conf) key for a device: the larger of all
        and dev, as the kernel's IN_DEV_MAXCONF and IN_DEV_ORCONF.
        """
        read = self._read
        found = read.devices.get((key, dev, family))
        if found is None:
            if read is _FRESH and len(read.devices) >= _MOST:
                read.forget()
            found = read.devices[key, dev, family] = max(
                self.number(f"net.ipv{family}.conf.all.{key}"), self.own(key, dev, family)
            )
        return found

    def own(self, key: str, dev: str, family: int = 4) -> int:
        """A device's own value alone (IN_DEV_CONF_GET: forwarding)."""
        found = self._read.own.get((key, dev, family))
        if found is None:
            found = self._read.own[key, dev, family] = self.number(
                f"net.ipv{family}.conf.{dev.replace('.', '/')}.{key}"
            )
        return found


def _device_default(key: str) -> str:
    """The ``conf.default`` key behind a device's, "" for what is none."""
    parts = key.split(".")
    if len(parts) < 5 or parts[0] != "net" or parts[2] != "conf":
        return ""
    number = {"ipv4": 4, "ipv6": 6}.get(parts[1], 0)
    if parts[-1] not in DEVICE_DEFAULTS.get(number, {}):
        return ""
    return f"net.{parts[1]}.conf.default.{parts[-1]}"
