"""``ip link`` and ``ip addr``: devices as iproute2 6.1 prints them, and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.dataplane import commands as c
from podwire.dataplane.link import Beyond, Link
from podwire.dataplane.tools.ip_link_add import link_add
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import UsageError, Words, not_modelled, verb_of

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

FOREVER = "       valid_lft forever preferred_lft forever"
_TAIL = (
    "addrgenmode eui64 numtxqueues 1 numrxqueues 1 gso_max_size 65536 gso_max_segs 65535 "
    "tso_max_size 524280 tso_max_segs 65535 gro_max_size 65536 "
)


# ---------------------------------------------------------------- state of a device


def carrier(kernel: Kernel, ns: Netns, link: Link) -> bool:
    """Whether the far side is there: a veth's peer is up, a bridge has a port that is."""
    if link.kind == "bridge":
        return any(port.up and kernel.carrier(port) for port in ns.ports(link.name))
    return kernel.carrier(link)


def flags(kernel: Kernel, ns: Netns, link: Link) -> str:
    """``BROADCAST,MULTICAST,UP,LOWER_UP``."""
    if link.beyond is not None and link.beyond.flags:
        return link.beyond.flags
    words = []
    alive = carrier(kernel, ns, link)
    if link.up and not alive:
        words.append("NO-CARRIER")
    words += {
        "loopback": ["LOOPBACK"],
        "dummy": ["BROADCAST", "NOARP"],
        "ipip": ["NOARP"] if not link.remote else ["POINTOPOINT", "NOARP"],
    }.get(link.kind, ["BROADCAST", "MULTICAST"] if link.arp else ["POINTOPOINT", "NOARP"])
    if link.up:
        words += ["UP", "LOWER_UP"] if alive else ["UP"]
    return ",".join(words)


def state(kernel: Kernel, ns: Netns, link: Link) -> str:
    """The operational state."""
    if not link.up:
        return "DOWN"
    if link.kind in {"loopback", "vxlan", "dummy", "geneve", "ipip", "wireguard"}:
        return "UNKNOWN"
    if link.kind == "tun" and link.beyond is not None and link.beyond.carrier:
        return "UNKNOWN"
    if carrier(kernel, ns, link):
        return "UP"
    return "LOWERLAYERDOWN" if link.kind == "veth" else "DOWN"


def full_name(kernel: Kernel, ns: Netns, link: Link) -> str:
    """``eth0@if2`` for a veth whose peer is elsewhere, ``v0@v1`` for one whose peer is here."""
    if link.beyond is not None:
        return f"{link.name}@{link.beyond.other}" if link.beyond.other else link.name
    if link.kind == "ipip":
        return f"{link.name}@{link.dev or 'NONE'}"
    if link.kind != "veth":
        return link.name
    if link.peer_netns == ns.name:
        return f"{link.name}@{link.peer_name}"
    peer = kernel.peer_of(link)
    return f"{link.name}@if{peer[1].index if peer is not None else 0}"


def qdisc(link: Link) -> str:
    """The queueing discipline of a device."""
    if link.qdisc is not None:
        return "netem"
    if link.kind == "loopback":
        return "noqueue"
    return "noop" if not link.up else "fq_codel" if link.kind == "phys" else "noqueue"


def _head(kernel: Kernel, ns: Netns, link: Link, *, mode: str) -> str:
    master = f" master {link.master}" if link.master else ""
    return (
        f"{link.index}: {full_name(kernel, ns, link)}: <{flags(kernel, ns, link)}> "
        f"mtu {link.mtu_bytes} qdisc {qdisc(link)}{master} state {state(kernel, ns, link)} "
        f"{mode}group default qlen 1000"
    )


def _beyond(link: Link, beyond: Beyond) -> str:
    """What a dump told of a device's own address and far side."""
    text = f"    link/{beyond.medium} "
    if beyond.medium == "ether":
        text = f"    link/ether {link.mac} brd ff:ff:ff:ff:ff:ff"
    if beyond.netns:
        word = "link-netnsid" if beyond.netns.isdigit() else "link-netns"
        text += f" {word} {beyond.netns}"
    return text


def _ether(ns: Netns, link: Link) -> str:
    if link.beyond is not None:
        return _beyond(link, link.beyond)
    if link.kind == "wireguard":
        return "    link/none "
    if link.kind == "ipip":
        return f"    link/ipip {link.local or '0.0.0.0'} brd {link.remote or '0.0.0.0'}"
    kind = "loopback" if link.kind == "loopback" else "ether"
    broadcast = "00:00:00:00:00:00" if link.kind == "loopback" else "ff:ff:ff:ff:ff:ff"
    text = f"    link/{kind} {link.mac} brd {broadcast}"
    return text + _elsewhere(ns, link)


def _elsewhere(ns: Netns, link: Link) -> str:
    """Where the other end of a veth is: a node knows the names, a pod only a number."""
    if link.kind != "veth" or link.peer_netns == ns.name:
        return ""
    return f" link-netns {link.peer_netns}" if link.peer_netns else " link-netnsid 0"


def _geneve(link: Link) -> str:
    return (
        f"geneve id {link.vni} remote {link.remote} ttl auto dstport {link.dst_port} "
        "noudpcsum noudp6zerocsumtx udp6zerocsumrx"
    )


def _ipip(link: Link) -> str:
    lower = f"dev {link.dev} " if link.dev else ""
    return (
        f"ipip any remote {link.remote or 'any'} local {link.local or 'any'} {lower}"
        "ttl inherit nopmtudisc"
    )


def _wireguard(_link: Link) -> str:
    return "wireguard"


_TUNNELS = {"geneve": _geneve, "ipip": _ipip, "wireguard": _wireguard}
"""After iproute2's print functions; no kernel here has these devices to compare with."""


def _details(link: Link) -> list[str]:
    if link.kind == "vxlan":
        learning = "" if link.learning else "nolearning "
        text = (
            f"    vxlan id {link.vni} local {link.local} dev {link.dev} srcport 0 0 "
            f"dstport {link.dst_port} {learning}ttl auto ageing 300 udpcsum noudp6zerocsumtx "
            f"noudp6zerocsumrx {_TAIL}"
        )
        return [text]
    if link.kind in _TUNNELS:
        return [f"    {_TUNNELS[link.kind](link)} {_TAIL}"]
    lines = [f"    {link.kind} "] if link.kind in {"bridge", "veth", "dummy"} else []
    if link.master:
        hairpin = "on" if link.hairpin else "off"
        lines.append(f"    bridge_slave state forwarding priority 32 cost 2 hairpin {hairpin} ")
    return [*lines[:-1], lines[-1] + _TAIL] if lines else []


# ---------------------------------------------------------------- printing


class _Filter:
    """``[dev] NAME``, ``type KIND``, ``master BRIDGE``, ``up``."""

    def __init__(self, ns: Netns, words: Words) -> None:
        self.dev = self.kind = self.master = ""
        self.up = False
        for word in words:
            if word in {"dev", "type", "master", "scope"}:
                value = words.next()
                if word == "scope":
                    raise not_modelled("a filter by scope")
                setattr(self, {"type": "kind"}.get(word, word), value)
            elif word == "up":
                self.up = True
            else:
                self.dev = word
        if self.dev and self.dev not in ns.links:
            raise UsageError(f'Device "{self.dev}" does not exist.', 1)

    def keeps(self, link: Link) -> bool:
        """Whether a device is shown."""
        return (
            self.dev in {"", link.name}
            and self.kind in {"", link.kind}
            and self.master in {"", link.master}
            and (link.up or not self.up)
        )


def _text(blocks: list[list[str]], options: Options) -> str:
    if options.oneline:
        return "".join("\\".join(lines) + "\n" for lines in blocks)
    return "".join(line + "\n" for lines in blocks for line in lines)


def links(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip link [show ...]`` or ``ip link set ...``."""
    from podwire.dataplane.tools import ip_json, statistics  # noqa: PLC0415  # they need this

    verb = verb_of(words, "show", "list", "lst", "set", "delete", "add")
    if verb == "set":
        kernel.execute(_link_set(ns, words), now_ns)
        return ""
    if verb == "delete":
        name = words.next()
        kernel.execute(
            c.LinkDel(netns=ns.name, name=words.next() if name == "dev" else name), now_ns
        )
        return ""
    if verb == "add":
        kernel.execute(link_add(ns, words), now_ns)
        return ""
    wanted = _Filter(ns, words)
    shown = [link for link in ns.links.values() if wanted.keeps(link)]
    if options.json:
        told = [
            ip_json.link(kernel, ns, x, mode=True) | ip_json.counted(kernel, ns, x, options)
            for x in shown
        ]
        return ip_json.text(told, options)
    if options.brief:
        return "".join(
            f"{full_name(kernel, ns, x):<16} {state(kernel, ns, x):<14} {x.mac} "
            f"<{flags(kernel, ns, x)}> \n"
            for x in shown
        )
    blocks = []
    for link in shown:
        ether = _ether(ns, link)
        if options.details:
            ether += " promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 "
        lines = [_head(kernel, ns, link, mode="mode DEFAULT "), ether]
        lines += _details(link) if options.details else []
        if options.statistics:
            lines += statistics.lines(kernel, ns, link, options)
        blocks.append(lines)
    return _text(blocks, options)


def _link_set(ns: Netns, words: Words) -> c.LinkSet:
    name = words.next()
    name = words.next() if name == "dev" else name
    changes: dict[str, Any] = {}
    for word in words:
        if word in {"up", "down"}:
            changes["up"] = word == "up"
        elif word == "mtu":
            changes["mtu_bytes"] = int(words.next())
        elif word == "address":
            changes["mac"] = words.next()
        elif word == "master":
            changes["master"] = words.next()
        elif word == "nomaster":
            changes["master"] = ""
        else:
            raise not_modelled(f"ip link set {word}")
    return c.LinkSet(netns=ns.name, name=name, **changes)


def addresses(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip addr [show ...]``, ``ip addr add|del CIDR dev DEV``."""
    from podwire.dataplane.tools import ip_json, statistics  # noqa: PLC0415  # they need this

    verb = verb_of(words, "show", "list", "lst", "add", "delete", "replace", "flush")
    if verb in {"add", "delete"}:
        cidr = words.next()
        dev = words.next()
        dev = words.next() if dev == "dev" else dev
        made = c.AddrAdd if verb == "add" else c.AddrDel
        full = cidr if "/" in cidr else f"{cidr}/{128 if ':' in cidr else 32}"
        for word in words:
            if word != "nodad":
                raise not_modelled(f"ip addr {verb} {word}")
        kernel.execute(made(netns=ns.name, dev=dev, cidr=full), now_ns)
        return ""
    if verb in {"replace", "flush"}:
        raise not_modelled(f"ip addr {verb}")
    wanted = _Filter(ns, words)
    shown = [link for link in ns.links.values() if wanted.keeps(link)]
    if options.json:
        told = [
            ip_json.link(kernel, ns, x, mode=False)
            | {"addr_info": ip_json.addresses(x, options)}
            | ip_json.counted(kernel, ns, x, options)
            for x in shown
        ]
        return ip_json.text([x for x in told if x["addr_info"] or not options.family], options)
    if options.brief:
        return "".join(_brief(kernel, ns, link, options) for link in shown)
    blocks: list[list[str]] = []
    for link in shown:
        inet = _inet(link, options)
        if options.oneline:
            blocks += [[f"{link.index}: {link.name}{a}", life] for a, life in inet]
        elif inet or not options.family:
            ether = [] if options.family else [_ether(ns, link)]
            body = [line for pair in inet for line in pair]
            if options.statistics:
                body += statistics.lines(kernel, ns, link, options)
            end = _elsewhere(ns, link) if options.family else ""
            blocks.append([_head(kernel, ns, link, mode="") + end, *ether, *body])
    return _text(blocks, options)


def _inet(link: Link, options: Options) -> list[tuple[str, str]]:
    pairs = []
    if options.family != "6":
        for address in link.addresses:
            name = "lo" if address.scope == "host" else link.name
            words = [address.cidr, address.told, "scope", address.scope, address.flags, name]
            pairs.append((f"    inet {' '.join(filter(None, words))}", FOREVER))
    if options.family != "4":
        pairs += [
            (f"    inet6 {address.cidr} scope {address.scope} {_blank(address.flags)}", FOREVER)
            for address in link.addresses6
        ]
    return pairs


def _blank(words: str) -> str:
    return f"{words} " if words else ""


def _brief(kernel: Kernel, ns: Netns, link: Link, options: Options) -> str:
    shown = "".join(f"{a.cidr} " for a in link.addresses) if options.family != "6" else ""
    if options.family != "4":
        shown += "".join(f"{a.cidr} " for a in link.addresses6)
    if not shown and options.family:
        return ""
    return f"{full_name(kernel, ns, link):<16} {state(kernel, ns, link):<14} {shown}\n"
