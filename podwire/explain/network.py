"""Routes, neighbours, devices, MTU, conntrack: why the network itself lost a packet.

The commands proposed restore what the node agents set up (flannel's route, neighbour and FDB
entries come from the annotations it leaves on Nodes); each is tried on a fork like any other edit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import msgspec

from podwire.api.views import Node
from podwire.dataplane.commands import (
    Command,
    FdbReplace,
    LinkSet,
    NeighReplace,
    RouteReplace,
    RulesRestore,
    SysctlSet,
)
from podwire.dataplane.verdict import Edit, Fate, Flow, Step, WireEdit
from podwire.explain.candidate import Candidate
from podwire.explain.ends import End
from podwire.explain.objects import Objects, declared_ports, range_of

_WIRE = re.compile(r"(\S+) - (\S+)")
_TAKES = re.compile(r"(?:mtu|takes) (\d+)")
_NOBODY = re.compile(r"nobody on (\S+) answers for (\S+)")
_COMMENT = re.compile(r'--comment "([^"]*)"|--comment (\S+)')
_TEXT = {
    Fate.TTL_EXCEEDED: "the hop limit ran out on {node}",
    Fate.MARTIAN: "{node} drops it: its source could not be reached back that way (rp_filter)",
    Fate.CT_INVALID: "conntrack on {node} finds it in no known connection",
    Fate.CT_FULL: "the conntrack table of {node} is full (net.netfilter.nf_conntrack_max)",
    Fate.LOOP: "it circles",
    Fate.LOST: "the link lost it",
    Fate.TIMED_OUT: "no answer came back from the address that was asked",
}


def comment_of(rule: str) -> str:
    """The comment of a rule's text, or ""."""
    found = _COMMENT.search(rule)
    return (found.group(1) or found.group(2)) if found else ""


def lost(fate: Fate, flow: Flow, end: End, objects: Objects) -> str:
    """The cause of a fate that the network itself decides."""
    step, node = end.step, end.node
    detail = step.detail if step else ""
    if fate is Fate.LINK_DOWN:
        return _link_down(step, node, flow, objects)
    if fate is Fate.DROPPED_BY_RULE:
        return _by_rule(step, node, "drops")
    if fate is Fate.NEIGHBOR_UNREACHABLE:
        return _neighbor(detail, flow, node, end, objects)
    if fate in {Fate.NO_ROUTE, Fate.NULL_ROUTED}:
        return _route(fate, detail, flow, node, end, objects)
    if fate is Fate.MTU_EXCEEDED:
        device = f"{step.object} of " if step and step.stage in {"out", "route"} else ""
        return f"the packet does not fit {device}{node} and may not be fragmented ({detail})"
    text = _TEXT.get(fate, fate.value).format(node=node or "the network")
    return f"{text} ({detail})" if detail and detail not in text else text


def rejected(step: Step | None, node: str) -> str:
    """The cause of a REFUSED that a rule decided."""
    return _by_rule(step, node, "rejects")


def unknown(step: Step | None, node: str) -> str:
    """The cause of UNKNOWN: what is not modelled, and the rule that needs it."""
    if step is None:
        return "not modelled"
    rule = f": {step.rule}" if step.rule else ""
    if step.stage in {"link", "route"}:
        return f"{step.detail or 'not modelled'} ({step.object} of {node})"
    return f"{step.detail or 'not modelled'} (chain {step.object} of {node}{rule})"


def _by_rule(step: Step | None, node: str, verb: str) -> str:
    if step is None:
        return f"a rule {verb} it"
    if not step.rule:
        return f"the policy of chain {step.object} on {node} {verb} it"
    return f"a rule on {node} {verb} it: {step.rule}"


def _link_down(step: Step | None, node: str, flow: Flow, objects: Objects) -> str:
    if step is None:
        return "a link is down"
    if step.stage == "wire":
        return f"the link {step.object} is down"
    if step.detail.startswith("the peer of"):
        detail = step.detail.removesuffix(" is down")
        pod = objects.pod_at(flow.src)
        return f"{detail} of {pod.key if step.netns and pod else node} is down"
    return f"device {step.object} of {node} is down"


def _neighbor(detail: str, flow: Flow, node: str, end: End, objects: Objects) -> str:
    found = _NOBODY.search(detail)
    if found is None:
        return f"{node}: {detail}" if detail else "nobody answers ARP"
    device, address = found.groups()
    told = f"nobody on {device} of {node} answers for {address}"
    if end.step is not None and end.step.netns:
        return f"{told}, the gateway of a pod: see cni0 there"
    if address != flow.dst:
        owner = objects.node_of_range(address)
        of = f", where {node} sends packets for {flow.dst}"
        if device.startswith("flannel") and owner is not None:
            of = f": {node} lacks flannel's neighbour entry for {owner.metadata.name}"
        return told + of
    pod = objects.pod_at(address)
    if pod is not None:
        return f"{told}, the address of {pod.key}: its veth is down or not on {device}"
    done = objects.finished_at(address)
    if done is not None:
        return f"{told}: {done.key} had it and is {done.status.phase}"
    return f"{told}: no pod has it"


def _route(fate: Fate, detail: str, flow: Flow, node: str, end: End, objects: Objects) -> str:
    closed = _CLOSED.search(detail)
    if closed is not None:
        return f"{node} does not forward packets: {closed[1]} is 0"
    owner = objects.node_of_range(flow.dst)
    names = [n.metadata.name for n in objects.nodes]
    if owner is not None:
        name = owner.metadata.name
        cidr = range_of(owner, flow.dst)
        of = f"{cidr} ({'its own pods' if name == node else f'pods of {name}'})"
        if node in names:
            if fate is Fate.NULL_ROUTED:
                return f"{node} discards packets to {of}: {detail}"
            return f"{node} has no route to {of}"
        via, used = _last_route(end, names)
        if via:
            of = f"{cidr} ({'its own pods' if name == via else f'pods of {name}'})"
            return f"{via} has no route to {of} and sends it out by {used}; {node} discards it"
    if fate is Fate.NULL_ROUTED:
        known = objects.name_of(flow.dst)
        what = "no pod, Service or node has it" if known == flow.dst else known
        if node in names:
            return f"{node} discards packets to {flow.dst}: {detail}"
        return f"{flow.dst} is private and not in the cluster ({what}): {node} discards it"
    return f"{node} has no route to {flow.dst}" + (f" ({detail})" if detail else "")


def _last_route(end: End, names: Sequence[str]) -> tuple[str, str]:
    """The last cluster node on the way, and the route it took."""
    for hop in reversed(end.hops):
        if hop.node in names:
            for step in reversed(hop.steps):
                if step.stage == "route":
                    return hop.node, step.detail
    return "", ""


# ---------------------------------------------------------------- what would mend it


def mend(fate: Fate, flow: Flow, end: End, objects: Objects) -> Iterator[Candidate]:
    """Commands for nodes (and wires) that might let the packet through, smallest first."""
    step = end.step
    if step is None:
        return
    if step.stage == "wire" and (found := _WIRE.search(step.object)) is not None:
        a, b = found.groups()
        wires = (WireEdit(a=a, b=b), WireEdit(a=b, b=a))
        yield Candidate(f"bring the link between {a} and {b} up", objects, wires)
        return
    if fate is Fate.MTU_EXCEEDED and (takes := _TAKES.search(step.detail)) is not None:
        size = int(takes.group(1))
        yield Candidate(f"send at most {size} bytes", objects, size_bytes=size)
    if fate is Fate.CT_FULL:
        yield _on(objects, end.node, SysctlSet(key=_CT_MAX, value=str(_CT_DEFAULT)))
    closed = _CLOSED.search(step.detail)
    if closed is not None:
        yield _on(objects, end.node, SysctlSet(key=closed[1], value="1"))
    if fate in {Fate.DROPPED_BY_RULE, Fate.REFUSED} and step.rule.startswith("-A "):
        yield _without_rule(step, end.node, objects)
    yield from _devices(fate, step, flow, end, objects)


_CLOSED = re.compile(r"(net\.\S+(?:ip_forward|\.forwarding)) is 0")
_CT_MAX, _CT_DEFAULT = "net.netfilter.nf_conntrack_max", 131072


def _without_rule(step: Step, node: str, objects: Objects) -> Candidate:
    words = "-D " + step.rule.removeprefix("-A ")
    text = f"*{step.stage}\n{words}\nCOMMIT\n"
    edit = Edit(node=node, command=RulesRestore(text=text))
    change = f"on {node}: iptables -t {step.stage} {words}"
    return Candidate(change, objects, edits=(edit,))


def _devices(fate: Fate, step: Step, flow: Flow, end: End, objects: Objects) -> Iterator[Candidate]:
    if fate not in {Fate.LINK_DOWN, Fate.NO_ROUTE, Fate.NULL_ROUTED, Fate.NEIGHBOR_UNREACHABLE}:
        return
    names = [n.metadata.name for n in objects.nodes]
    if fate is Fate.LINK_DOWN and not step.netns and end.node in names:
        yield _on(objects, end.node, LinkSet(name=step.object, up=True))
        return
    owner = objects.node_of_range(flow.dst)
    for name in [name for name in end.nodes if name in names]:
        if owner is None or name == owner.metadata.name:
            yield _on(objects, name, LinkSet(name="cni0", up=True))
    for name in [name for name in end.nodes if name in names]:
        if owner is not None and name != owner.metadata.name:
            up = LinkSet(name=_tunnel(flow.dst), up=True)
            way = _flannel(owner, flow.dst)
            for commands in ([c] for c in way):
                yield _on(objects, name, *commands)
            yield _on(objects, name, up)
            if len(way) > 1:
                yield _on(objects, name, *way)
            yield _on(objects, name, up, *way)


def _tunnel(address: str) -> str:
    """Flannel's device of an address' family."""
    return "flannel-v6.1" if ":" in address else "flannel.1"


def _flannel(owner: Node, dst: str) -> list[Command]:
    """What flannel sets on another node for the pods of ``owner``, in the family of ``dst``: route,
    neighbour, FDB.
    """
    cidr, dev = range_of(owner, dst), _tunnel(dst)
    via = str(ip_network(cidr).network_address)
    route = RouteReplace(dst=cidr, via=via, dev=dev, onlink=True)
    notes = owner.metadata.annotations
    prefix, six = "flannel.alpha.coreos.com/", ":" in dst
    data_key, address_key = (
        ("backend-v6-data", "public-ipv6") if six else ("backend-data", "public-ip")
    )
    data = msgspec.json.decode(notes.get(prefix + data_key) or "null") or {}
    mac, address = str(data.get("VtepMAC", "")), notes.get(prefix + address_key, "")
    if not mac or not address:
        return [route]
    return [
        route,
        NeighReplace(dev=dev, dst=via, mac=mac),
        FdbReplace(dev=dev, mac=mac, dst=address),
    ]


def _on(objects: Objects, node: str, *commands: Command) -> Candidate:
    text = " && ".join(_words(command) for command in commands)
    edits = tuple(Edit(node=node, command=c) for c in commands)  # type: ignore[arg-type]
    return Candidate(f"on {node}: {text}", objects, edits=edits)


def _words(command: Command) -> str:
    """A command as the tool's own words."""
    match command:
        case LinkSet(name=name):
            return f"ip link set {name} up"
        case RouteReplace(dst=dst, via=via, dev=dev):
            return f"ip route replace {dst} via {via} dev {dev} onlink"
        case NeighReplace(dst=dst, mac=mac, dev=dev):
            return f"ip neigh replace {dst} lladdr {mac} dev {dev} nud permanent"
        case FdbReplace(mac=mac, dev=dev, dst=dst):
            return f"bridge fdb replace {mac} dev {dev} dst {dst} self permanent"
        case SysctlSet(key=key, value=value):
            return f"sysctl -w {key}={value}"
    return type(command).__name__


def listens(flow: Flow, node: str, objects: Objects) -> str:
    """Why it was DELIVERED: who took it."""
    if flow.protocol == "icmp":
        return f"{objects.name_of(flow.dst)} answers echo requests"
    what = f"{flow.protocol.upper()}/{flow.dst_port}"
    pod = objects.listener_at(flow.dst, flow.protocol, flow.dst_port)
    if pod is None:
        return f"{node or flow.dst} listens on {what}"
    key = (flow.protocol, flow.dst_port)
    named = next((n for p, port, n in declared_ports(pod) if (p.lower(), port) == key), "")
    host = f" on {pod.spec.node_name}" if pod.spec.host_network else ""
    return f"{pod.key}{host} listens on {what}" + (f" ({named})" if named else "")
