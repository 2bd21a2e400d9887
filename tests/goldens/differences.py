"""Where our text differs from the real tools' on purpose, and why."""

from __future__ import annotations

_COUNTERS = "the counters of devices are not modelled, and ours says so"
_CARD = "a node's eth0 is a network card; in the capture it is one end of a veth"

DIFFERENCES: dict[str, dict[str, str]] = {
    "devices": {"cat /proc/net/dev": _COUNTERS},
    "ip": {
        "ip -s link show eth0": _COUNTERS,
        "ip -s link show flannel.1": _COUNTERS,
        "ip -s neigh": "what a neighbour's entry counts is not modelled, and ours says so",
        "ip -br link": _CARD,
        "bridge fdb show br cni0": "multicast groups of bridges are not modelled",
    },
    "netfilter": {
        "iptables-save -t nat": "a modelled kernel has no calendar",
        "nft list tables": "the rules of iptables are kept apart from those of nft",
    },
    "sockets": {
        "netstat -an": "sockets of the UNIX domain are not modelled",
        "netstat -i": _COUNTERS,
        "ifconfig": _COUNTERS,
        "ifconfig eth0": _COUNTERS,
    },
}
"""Family -> command -> reason."""
