"""``ip addr`` and ``ip link``: devices with their addresses, as text (plain or ``-d``) or JSON."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from podwire.dataplane.addr import ZERO_MAC, Prefix, canonical, parse_prefix
from podwire.dataplane.dump.text import Line, Section
from podwire.dataplane.link import Address, Beyond, Link

_HEAD = re.compile(r"(\d+): ([^\s:@]+)(?:@(\S+?))?: <([^>]*)>(.*)")
KINDS = (
    "bridge", "vxlan", "ipip", "dummy", "wireguard", "geneve", "veth", "gre", "gretap", "sit",
    "ip6tnl", "ip6gre", "vti", "xfrm", "vrf", "vlan", "macvlan", "macvtap", "ipvlan", "bond", "tun",
    "ifb", "team", "netkit", "nlmon", "openvswitch", "hsr", "erspan", "gtp", "can", "vcan",
    "bareudp", "l2tp", "amt", "batadv", "macsec", "ipoib", "dsa", "lowpan",
)  # fmt: skip
"""Kinds of devices that Linux has, as ``ip -d`` names them."""
_SENDS_NOTHING_KNOWN = ("gre", "gretap", "sit", "ip6tnl", "ip6gre", "vti", "xfrm", "erspan", "gtp",
                        "bareudp", "l2tp", "amt", "batadv", "team", "macsec")  # fmt: skip
"""Kinds that wrap packets in others, which pass this machine's hooks again."""
_FLAGS = ("dynamic", "secondary", "tentative", "deprecated", "noprefixroute", "mngtmpaddr",
          "temporary", "permanent", "nodad", "optimistic", "dadfailed", "autojoin", "home",
          "stable-privacy")  # fmt: skip


class Device(msgspec.Struct):
    """A device as it was told of."""

    link: Link
    index: int
    flags: tuple[str, ...]
    other: str = ""
    """What follows ``@``: the lower device, or ``if7`` for one in another namespace."""
    netns: str = ""
    """Where that is, as far as it is told."""
    medium: str = "ether"
    told_kind: bool = False
    xdp: bool = False
    addresses: list[Address] = []


def read(section: Section) -> list[Device]:
    """All devices. Raises DumpError."""
    if section.text.lstrip().startswith("["):
        return _read_json(section)
    found: list[Device] = []
    for line in section.lines():
        if not line.text[0].isspace():
            found.append(_head(line))
        elif not found:
            raise line.section.error("a device is expected first: 1: lo: <LOOPBACK,UP> ...",
                                     line.number)  # fmt: skip
        else:
            _body(line, found[-1])
    return found


def _new(name: str, flags: tuple[str, ...]) -> Link:
    kind = "loopback" if "LOOPBACK" in flags else "phys"
    link = Link(name=name, index=0, kind=kind, mac=ZERO_MAC, up="UP" in flags, mtu_fixed=True)
    link.arp = "NOARP" not in flags
    return link


def _head(line: Line) -> Device:
    found = _HEAD.fullmatch(line.text.rstrip())
    if found is None:
        raise line.section.error(
            'a device is expected, such as "2: eth0: <BROADCAST,UP> mtu 1500 ..."', line.number
        )
    index, name, other, told, rest = found.groups()
    flags = tuple(told.split(",")) if told else ()
    made = Device(link=_new(name, flags), index=int(index), flags=flags, other=other or "")
    words = iter(rest.split())
    for word in words:
        if word == "mtu":
            value = next(words, "")
            if not value.isdigit():
                raise line.section.error("mtu wants a number", line.number, found.start(5) + 1)
            made.link.mtu_bytes = int(value)
        elif word == "master":
            made.link.master = next(words, "")
        elif word.startswith(("xdp", "prog/xdp")):
            made.xdp = True
    return made


def _body(line: Line, made: Device) -> None:
    word = line.next()
    link = made.link
    if word.startswith("link/"):
        made.medium = word.removeprefix("link/")
        link.mac = line.next() if line.peek().count(":") == 5 else ZERO_MAC
        while line:
            word = line.next()
            if word in {"link-netns", "link-netnsid"}:
                made.netns = line.next()
            elif word.startswith(("prog/xdp", "xdp")):
                made.xdp = True
    elif word in {"inet", "inet6"}:
        made.addresses.append(_address(line, six=word == "inet6"))
    elif word.startswith("prog/xdp"):
        made.xdp = True
    elif word in KINDS:
        link.kind, made.told_kind = word, True
        _details(line, link)
    elif word == "bridge_slave":
        _slave(line, link)
    elif word.endswith("_slave") or word in {"valid_lft", "altname", "alias", "vf", "promiscuity"}:
        return
    elif made.told_kind or not word.isidentifier():
        return  # further lines of a kind's details
    else:
        link.kind, made.told_kind = word, True


def _address(line: Line, *, six: bool) -> Address:
    ip, prefix = _cidr(line, line.next("an address"), six=six)
    told, scope, flags, peer = "", "global", "", False
    while line:
        word = line.next()
        if word == "peer":
            _, prefix = _cidr(line, line.next("the peer's address"), six=six)
            peer = True
        elif word in {"brd", "any", "metric"}:
            told = f"{told} {word} {line.next()}".strip()
        elif word == "scope":
            scope = line.next("a scope")
        elif word in _FLAGS:
            flags = f"{flags} {word}".strip()
        elif word == "proto":
            line.next()
    if scope not in {"global", "link", "host"}:
        scope = "global"
    return Address(ip, prefix, scope, peer=peer, told=told, flags=flags)


def _cidr(line: Line, text: str, *, six: bool) -> tuple[str, Prefix]:
    try:
        return canonical(text.partition("/")[0]), parse_prefix(text, 128 if six else 32)
    except ValueError:
        raise line.error(f'an address is expected rather than "{text}"') from None


def _details(line: Line, link: Link) -> None:
    """``vxlan id 1 local 10.0.0.5 dev eth0 ...``, ``ipip any remote any local 10.0.0.5 ...``."""
    while line:
        word = line.next()
        value = line.peek()
        if word in {"id", "vni"} and value.isdigit():
            link.vni = int(value)
        elif word == "dstport" and value.isdigit():
            link.dst_port = int(value)
        elif word in {"local", "remote"} and value != "any" and _is_address(value):
            setattr(link, word, canonical(value))
        elif word == "dev":
            link.dev = value
        elif word == "nolearning":
            link.learning = False
        elif word == "external":
            link.beyond = Beyond("its packets say themselves where they go (external)", sends=False)
        elif word == "ageing_time" and value.isdigit():
            link.ageing_s = int(value) // 100
        elif word == "vlan_filtering" and value == "1":
            link.beyond = Beyond(
                "not modelled: a bridge that filters VLANs", sends=False, takes=False
            )


def _is_address(text: str) -> bool:
    try:
        canonical(text)
    except ValueError:
        return False
    return True


def _slave(line: Line, link: Link) -> None:
    while line:
        if line.next() == "hairpin":
            link.hairpin = line.next() == "on"


# ---------------------------------------------------------------- JSON


def _read_json(section: Section) -> list[Device]:
    try:
        told: Any = msgspec.json.decode(section.text)
        return [_from_json(entry) for entry in told if entry]
    except msgspec.DecodeError as error:
        at = re.search(r"byte (\d+)", str(error))
        before = section.text.encode()[: int(at.group(1)) if at else 0].decode(errors="replace")
        column = len(before) - before.rfind("\n")
        raise section.error(str(error), before.count("\n") + 1, column) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"not what ip -j addr prints: {type(error).__name__} {error}"
        raise section.error(why) from None


def _from_json(entry: dict[str, Any]) -> Device:
    flags = tuple(entry.get("flags", ()))
    link = _new(str(entry["ifname"]), flags)
    link.mtu_bytes, link.master = int(entry.get("mtu", 1500)), str(entry.get("master", ""))
    mac = str(entry.get("address", ""))
    link.mac = mac if mac.count(":") == 5 else ZERO_MAC
    other = str(entry.get("link") or "")
    if "link_index" in entry and not other:
        other = f"if{entry['link_index']}"
    where = entry.get("link_netns", entry.get("link_netnsid", ""))
    made = Device(link=link, index=int(entry["ifindex"]), flags=flags, other=other)
    made.netns, made.xdp = str(where), "xdp" in entry
    made.medium = str(entry.get("link_type", "ether"))
    info = entry.get("linkinfo", {})
    if "info_kind" in info:
        link.kind, made.told_kind = str(info["info_kind"]), True
        _json_details(info.get("info_data") or {}, link)
    if info.get("info_slave_kind") == "bridge":
        link.hairpin = bool(info.get("info_slave_data", {}).get("hairpin"))
    made.addresses = [_json_address(a) for a in entry.get("addr_info", ()) if a.get("local")]
    return made


def _json_details(data: dict[str, Any], link: Link) -> None:
    words = [link.kind]
    for key, word in (("id", "id"), ("port", "dstport"), ("local", "local"), ("local6", "local"),
                      ("remote", "remote"), ("remote6", "remote"), ("link", "dev"),
                      ("ageing_time", "ageing_time"),
                      ("vlan_filtering", "vlan_filtering")):  # fmt: skip
        words += [word, str(data[key])] if key in data else []
    words += ["nolearning"] if data.get("learning") is False else []
    words += ["external"] if data.get("external") else []
    _details(Line(" ".join(words), 1, Section("")), link)


def _json_address(told: dict[str, Any]) -> Address:
    six = told["family"] == "inet6"
    peer = str(told.get("address", ""))
    cidr = f"{peer or told['local']}/{told['prefixlen']}"
    words = [f"metric {told['metric']}"] if "metric" in told else []
    words += [f"brd {told['broadcast']}"] if "broadcast" in told else []
    flags = " ".join(flag for flag in _FLAGS if told.get(flag))
    prefix = parse_prefix(cidr, 128 if six else 32)
    scope = str(told.get("scope", "global"))
    return Address(canonical(told["local"]), prefix, scope, bool(peer), " ".join(words), flags)


# ---------------------------------------------------------------- what is behind a device


def settle(found: list[Device], *, fdb: bool) -> list[str]:
    """Say of every device what its far side is; ``fdb``: whether forwarding tables were told.

    The notes that people should read.
    """
    masters = {device.link.master for device in found if device.link.master}
    cilium = any(device.link.name == "cilium_host" for device in found)
    notes = ["Cilium's programs at cilium_* and lxc* are not in the dump"] if cilium else []
    for device in found:
        link = device.link
        if not device.told_kind and link.kind == "phys":
            _guess_kind(device, masters)
        if device.xdp:
            link.beyond = Beyond("not modelled: its XDP program", sends=False, takes=False)
        elif cilium and link.name.startswith(("cilium_", "lxc")):
            words = "Cilium's programs here are not in the dump"
            link.beyond = Beyond(words, sends=False, takes=False)
        elif link.beyond is None:
            link.beyond = _beyond(device, fdb=fdb)
        if link.beyond is not None:
            link.beyond = msgspec.structs.replace(
                link.beyond,
                other=device.other,
                netns=device.netns,
                flags=",".join(device.flags),
                medium=device.medium,
            )
    return notes


def _guess_kind(device: Device, masters: set[str]) -> None:
    """What ``ip addr`` without ``-d`` lets know."""
    link = device.link
    if link.name in masters and "MASTER" not in device.flags and link.name != "ovs-system":
        link.kind = "bridge"
    elif device.netns or re.fullmatch(r"if\d+", device.other):
        link.kind = "veth"
    elif "MASTER" in device.flags:
        link.kind = "vrf" if "NOARP" in device.flags else "bond"


def _beyond(device: Device, *, fdb: bool) -> Beyond | None:
    link, kind = device.link, device.link.kind
    carrier = "NO-CARRIER" not in device.flags
    if kind in {"loopback", "bridge", "dummy"}:
        return None
    if kind == "vxlan":
        if not fdb:
            return Beyond("its forwarding table is not in the dump (bridge fdb show)", sends=False)
        return None if link.local and link.vni else Beyond("its settings are not told", sends=False)
    if kind == "geneve":
        return None if link.remote else Beyond("its settings are not told", sends=False)
    if kind == "ipip":
        return None if device.told_kind else Beyond("its settings are not told", sends=False)
    if kind == "wireguard":
        return Beyond("its peers are not in the dump", sends=False)
    if kind in _SENDS_NOTHING_KNOWN:
        return Beyond(f"not modelled: devices of kind {kind}", sends=False)
    if kind == "vrf":
        return Beyond("not modelled: devices of kind vrf", sends=False, takes=False)
    if kind == "veth" or device.other.startswith("if"):
        where = f" in netns {device.netns}" if device.netns else ""
        peer = f" {device.other}{where}" if device.other else ""
        return Beyond(f"its peer{peer} is not in the dump", carrier=carrier)
    if kind != "phys":
        lower = f" on {device.other}" if device.other and device.other != "NONE" else ""
        return Beyond(f"a device of kind {kind}{lower}", carrier=carrier)
    return Beyond("the network there is not in the dump", carrier=carrier)
