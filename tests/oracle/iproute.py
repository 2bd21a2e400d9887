"""The model's commands in the words of ``ip``."""

from __future__ import annotations

from collections.abc import Callable

from podwire.dataplane import commands as c


def ip_words(command: c.Command, path: Callable[[str], str]) -> list[str]:
    """The lines of ``ip -batch`` for a command; ``path`` tells how ``ip`` finds a namespace.

    Raises NotImplementedError for what ``ip`` does not do (or only with an option before it).
    """
    match command:
        case c.LinkAdd():
            return [_link_add(command, path)]
        case c.LinkSet():
            return _link_set(command)
        case c.LinkDel():
            return [f"link del {command.name}"]
        case c.AddrAdd():
            return [f"addr add {command.cidr} dev {command.dev}"]
        case c.AddrDel():
            return [f"addr del {command.cidr} dev {command.dev}"]
        case c.RouteReplace():
            return [_route(command)]
        case c.RouteDel():
            via = f" via {command.via}" if command.via else ""
            dev = f" dev {command.dev}" if command.dev else ""
            return [f"route del {command.dst}{via}{dev} table {command.table}"]
        case c.NeighReplace():
            where = f"dev {command.dev} nud {command.state.lower()}"
            return [f"neigh replace {command.dst} lladdr {command.mac} {where}"]
        case c.NeighDel():
            return [f"neigh del {command.dst} dev {command.dev}"]
    raise NotImplementedError(command)


def _link_add(command: c.LinkAdd, path: Callable[[str], str]) -> str:
    words = [f"link add {command.name} mtu {command.mtu_bytes}"]
    words += [f"address {command.mac}"] if command.mac else []
    if command.kind == "veth":
        words.append(f"type veth peer name {command.peer_name} mtu {command.mtu_bytes}")
        words += [f"address {command.peer_mac}"] if command.peer_mac else []
        words += [f"netns {path(command.peer_netns)}"] if command.peer_netns else []
    elif command.kind == "vxlan":
        learning = "learning" if command.learning else "nolearning"
        words.append(
            f"type vxlan id {command.vni} local {command.local} dev {command.dev} "
            f"dstport {command.dst_port} {learning}"
        )
    else:
        words.append(f"type {command.kind}")
    return " ".join(words)


def _link_set(command: c.LinkSet) -> list[str]:
    lines = []
    if command.master is not None:
        master = f"master {command.master}" if command.master else "nomaster"
        lines.append(f"link set {command.name} {master}")
    if command.hairpin is not None:
        state = "on" if command.hairpin else "off"
        lines.append(f"link set {command.name} type bridge_slave hairpin {state}")
    changes = []
    changes += [f"address {command.mac}"] if command.mac is not None else []
    changes += [f"mtu {command.mtu_bytes}"] if command.mtu_bytes is not None else []
    changes += [("up" if command.up else "down")] if command.up is not None else []
    return [*lines, *([f"link set {command.name} {' '.join(changes)}"] if changes else [])]


def _route(command: c.RouteReplace) -> str:
    words = [f"route {command.verb}"]
    words += [command.type] if command.type != "unicast" else []
    words.append(command.dst)
    words += [f"via {command.via}"] if command.via else []
    words += [f"dev {command.dev}"] if command.dev else []
    words += [f"src {command.src}"] if command.src else []
    words += [f"proto {command.proto}"] if command.proto else []
    words += [f"scope {command.scope}"] if command.scope else []
    words += [f"table {command.table}"] if command.table != "main" else []
    words += [f"metric {command.metric}"] if command.metric else []
    lock = "lock " if command.mtu_lock else ""
    words += [f"mtu {lock}{command.mtu_bytes}"] if command.mtu_bytes else []
    words += [f"advmss {command.advmss_bytes}"] if command.advmss_bytes else []
    words += ["onlink"] if command.onlink else []
    for hop in command.nexthops:
        words.append(f"nexthop via {hop.via} dev {hop.dev} weight {hop.weight}")
    return " ".join(words)
