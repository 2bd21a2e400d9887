"""``bridge``: forwarding databases and ports as iproute2 6.1 prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.link import Link
from podwire.dataplane.neigh import SECOND_NS
from podwire.dataplane.tools.ip_link import flags
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import (
    Result,
    UsageError,
    Words,
    abbreviates,
    not_modelled,
    unknown_object,
    verb_of,
)

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, now_ns: int) -> Result:
    """Run ``bridge`` with its arguments."""
    options, words = Options(), Words(argv)
    try:
        while words.peek().startswith("-"):
            options.take(words.next())
        if options.statistics:
            raise not_modelled("option -s")
        name = words.next() if words else "help"
        found = abbreviates(name, "link", "fdb", "vlan", "mdb")
        ns = kernel.netns(netns)
        if found == "fdb":
            return _fdb(kernel, ns, words, now_ns), "", 0
        if found == "link":
            return _link(kernel, ns, words, options, now_ns), "", 0
        if found:
            raise not_modelled(f"bridge {found}")
        return "", unknown_object(name, "bridge").text, 255
    except UsageError as error:
        return "", error.text, error.code
    except CommandError as error:
        return "", f"{error}\n", 255


def _fdb(kernel: Kernel, ns: Netns, words: Words, now_ns: int) -> str:
    verb = (
        abbreviates(words.next(), "show", "list", "lst", "append", "add", "replace", "delete")
        or "?"
        if words
        else "show"
    )
    if verb in {"append", "add", "replace", "delete"}:
        _change(kernel, ns, verb, words, now_ns)
        return ""
    dev = bridge = ""
    for word in words:
        if word in {"dev", "brport"}:
            dev = words.next()
        elif word == "br":
            bridge = words.next()
        elif word != "dynamic":
            raise not_modelled(f"bridge fdb show {word}")
    if dev and dev not in ns.links:
        raise UsageError(f'Cannot find device "{dev}"')
    return "".join(_entries(ns, dev, bridge, now_ns))


def _entries(ns: Netns, dev: str, bridge: str, now_ns: int) -> list[str]:
    lines = []
    for link in ns.links.values():
        where = "" if dev else f"dev {link.name} "
        if dev not in {"", link.name} or (bridge and bridge not in {link.name, link.master}):
            continue
        if link.kind == "vxlan":
            for mac, entry in ns.fdb.get(link.name, {}).items():
                kind = " permanent" if entry.permanent else ""
                lines.append(f"{mac} {where}dst {entry.dst} self{kind}\n")
        elif link.master:
            lines.append(f"{link.mac} {where}master {link.master} permanent\n")
            age_ns = ns.links[link.master].ageing_s * SECOND_NS
            for mac, entry in ns.fdb.get(link.master, {}).items():
                fresh = entry.permanent or now_ns - entry.seen_ns < age_ns
                if entry.port == link.name and mac != link.mac and fresh:
                    kind = "permanent" if entry.permanent else ""
                    lines.append(f"{mac} {where}master {link.master} {kind}\n")
    return lines


def _change(kernel: Kernel, ns: Netns, verb: str, words: Words, now_ns: int) -> None:
    mac, dev, dst = words.next(), "", ""
    for word in words:
        if word == "dev":
            dev = words.next()
        elif word == "dst":
            dst = words.next()
        elif word not in {"self", "master", "permanent", "static", "local", "dynamic"}:
            raise not_modelled(f"bridge fdb {verb} {word}")
    if verb == "delete":
        kernel.execute(c.FdbDel(netns=ns.name, dev=dev, mac=mac), now_ns)
    else:
        kernel.execute(c.FdbReplace(netns=ns.name, dev=dev, mac=mac, dst=dst), now_ns)


def _shown(kernel: Kernel, ns: Netns, link: Link) -> str:
    """A port's name; ``bridge`` looks the peer's index up among the names of this namespace."""
    peer = kernel.peer_of(link) if link.kind == "veth" else None
    if peer is None:
        return link.name
    index = peer[1].index
    named = [other.name for other in ns.links.values() if other.index == index]
    return f"{link.name}@{named[0] if named else f'if{index}'}"


def _link(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    verb = verb_of(words, "show", "list", "lst", "set")
    dev = ""
    changes: dict[str, str] = {}
    for word in words:
        if word == "dev":
            dev = words.next()
        elif verb == "set":
            changes[word] = words.next()
        else:
            raise not_modelled(f"bridge link show {word}")
    if verb == "set":
        if list(changes) != ["hairpin"]:
            raise not_modelled("bridge link set of anything but hairpin")
        on = changes["hairpin"] == "on"
        kernel.execute(c.LinkSet(netns=ns.name, name=dev, hairpin=on), now_ns)
        return ""
    lines = []
    for link in ns.links.values():
        if not link.master or dev not in {"", link.name}:
            continue
        condition = "forwarding" if link.up else "disabled"
        lines.append(
            f"{link.index}: {_shown(kernel, ns, link)}: <{flags(kernel, ns, link)}> "
            f"mtu {link.mtu_bytes} master {link.master} state {condition} priority 32 cost 2 \n"
        )
        if options.details:
            lines.append(
                f"    hairpin {'on' if link.hairpin else 'off'} guard off root_block off "
                "fastleave off learning on flood on mcast_flood on bcast_flood on mcast_router 1 "
                "mcast_to_unicast off neigh_suppress off vlan_tunnel off isolated off locked off \n"
            )
    return "".join(lines)
