"""Policies for what IPVS sends on: its packets pass INPUT and OUTPUT, never FORWARD.

INPUT tells by the destination whether a packet is the node's own or a Service's, and marks the
latter with the endpoint that sent it; OUTPUT judges what is marked as FORWARD would have done.
Which Service addresses a node has does not matter: whatever is none of its own is a Service's.

Source: projectcalico/calico felix/rules/static.go (StaticFilterInputForwardCheckChain,
StaticFilterOutputForwardEndpointMarkChain), dispatch.go, epmark.go. Felix knows endpoints by their
devices; behind flannel's bridge they are known by their addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.cni.iptables import quoted

DEVICE = "kube-ipvs0"
"""Its presence says that kube-proxy runs in IPVS mode (felix: KubeIPVSInterface)."""
NODE_PORTS = "30000:32767"
"""felix: KubeNodePortRanges."""
MASK = 0xFFF00000
NON_CALI = 0x00100000
"""The mark of what no endpoint with egress policies sent."""
FORWARD_CHECK, FORWARD_MARKED = "cali-forward-check", "cali-forward-endpoint-mark"
SET_MARK, FROM_MARK = "cali-set-endpoint-mark", "cali-from-endpoint-mark"

_SHIFT = 20
_POSITIONS = 4096


def host_set(version: int) -> str:
    """The ipset of the node's own addresses."""
    return "cali60this-host" if version == 6 else "cali40this-host"


def own_addresses(listing: str, version: int) -> list[str]:
    """The node's own addresses of a family, out of what ``ip addr show`` printed: all but those of
    IPVS' device (felix: InterfaceExclude kube-ipvs0).
    """
    found: dict[str, None] = {}
    device, word = "", "inet6" if version == 6 else "inet"
    for line in listing.splitlines():
        words = line.split()
        if line[:1].isdigit():
            device = words[1].rstrip(":").partition("@")[0]
        elif words[:1] == [word] and device != DEVICE:
            found[words[1].partition("/")[0]] = None
    return list(found)


def host_set_text(version: int, addresses: Sequence[str]) -> str:
    """``ipset restore -exist`` input that makes the set hold these addresses."""
    name = host_set(version)
    family = "inet6" if version == 6 else "inet"
    lines = [f"create {name} hash:ip family {family} maxelem 1048576", f"flush {name}"]
    lines += [f"add {name} {address}" for address in addresses]
    return "\n".join(lines) + "\n"


def marks(names: Sequence[str]) -> dict[str, int]:
    """The mark of each endpoint: its name's FNV-1 hash, the next free position when taken."""
    taken = {0: "", NON_CALI >> _SHIFT: ""}
    found: dict[str, int] = {}
    for name in names:
        position = _fnv1(name) % _POSITIONS
        while position in taken:
            position = (position + 1) % _POSITIONS
        taken[position] = name
        found[name] = position << _SHIFT
    return found


def _fnv1(text: str) -> int:
    value = 0x811C9DC5
    for byte in text.encode():
        value = value * 0x01000193 & 0xFFFFFFFF ^ byte
    return value


def _marked(mark: int) -> str:
    return f"-m mark --mark {mark:#x}/{MASK:#x}"


def _set(mark: int) -> str:
    return f"-j MARK --set-xmark {mark:#x}/{MASK:#x}"


INPUT_HEAD = (
    _set(0),
    f"-j {FORWARD_CHECK}",
    f"-m mark ! --mark 0x0/{MASK:#x} -j RETURN",
)
"""Before INPUT treats a packet as the node's own."""
OUTPUT_HEAD = (f"-m mark ! --mark 0x0/{MASK:#x} -g {FORWARD_MARKED}",)
"""Before OUTPUT treats a packet as the node's own."""


def chains(
    version: int, senders: Sequence[tuple[str, str, str]], to_workloads: str
) -> dict[str, tuple[str, ...]]:
    """The chains behind both heads. ``senders``: device name, ``-s`` match and policy chain of each
    endpoint that is isolated for egress; ``to_workloads``: the dispatch of ingress policies.
    """
    own = f"--match-set {host_set(version)} dst"
    node_port = quoted("To kubernetes NodePort service")
    mark_of = marks([device for device, _, _ in senders])
    made = {
        FORWARD_CHECK: (
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            *(
                f"-p {protocol} {node_port} -m multiport --dports {NODE_PORTS} -m set {own} "
                f"-g {SET_MARK}"
                for protocol in ("tcp", "udp")
            ),
            f"{quoted('To kubernetes service')} -m set ! {own} -j {SET_MARK}",
        ),
        SET_MARK: (
            *(f"{match} -g {_setter(device)}" for device, match, _ in senders),
            f"{quoted('Non-Cali endpoint mark')} {_set(NON_CALI)}",
        ),
        FROM_MARK: (
            *(f"{_marked(mark_of[device])} -g {chain}" for device, _, chain in senders),
            f"{quoted('Unknown interface')} -j DROP",
        ),
        FORWARD_MARKED: (
            f"-m mark ! --mark {NON_CALI:#x}/{MASK:#x} -j {FROM_MARK}",
            f"-j {to_workloads}",
            _set(0),
        ),
    }
    for device, _, _ in senders:
        made[_setter(device)] = (_set(mark_of[device]),)
    return made


def _setter(device: str) -> str:
    return f"cali-sm-{device}"
