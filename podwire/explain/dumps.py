"""Traces through nodes that were loaded from dumps: no cluster, no objects, the kernels alone."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from podwire.dataplane.addr import canonical
from podwire.dataplane.dump.load import NOW_NS, Loaded
from podwire.dataplane.fib import Route
from podwire.dataplane.kernel import HOST, Kernel
from podwire.dataplane.netns import Netns
from podwire.dataplane.outside import MAC, Outside
from podwire.dataplane.verdict import Branch, Fate, Hop, Step, WalkAnswer, WalkRequest
from podwire.dataplane.world import World
from podwire.explain.cause import cause
from podwire.explain.compose import compose, worth_explaining
from podwire.explain.objects import Objects
from podwire.explain.report import Cause, Report, TraceSpec
from podwire.runtime.ports import Rng


class PlaceError(ValueError):
    """A question that these dumps cannot be asked; the message is for people."""


class Start(NamedTuple):
    """Where a packet begins: at a node; ``device`` "" means that the node itself sends it."""

    node: str
    device: str
    address: str
    label: str


def world_of(loaded: list[Loaded]) -> World:
    """The loaded nodes, with everything else around them. Raises PlaceError.

    The network cards of several nodes are on one segment: a frame reaches the node whose MAC it
    bears, whatever is between them in life.
    """
    world = World()
    for node in loaded:
        if node.name in world.kernels:
            raise PlaceError(f"two dumps of a node {node.name}")
        world.add(node.kernel)
    if len(loaded) > 1:
        for node in loaded:
            for link in _host(node.kernel).links.values():
                if link.beyond is not None and link.arp and link.up and not link.master:
                    world.attach(node.name, link.name)
    world.outside = Outside(
        tuple((node.name, dev, address) for node in loaded for dev, address in node.silent)
    )
    return world


def _host(kernel: Kernel) -> Netns:
    found = kernel.peek(HOST)
    assert found is not None
    return found


class Walked(NamedTuple):
    """A question and its answer: what source and destination are called, and the walks."""

    labels: tuple[str, str]
    request: WalkRequest
    answer: WalkAnswer


def walk(loaded: list[Loaded], spec: TraceSpec, rng: Rng, entry: str = "") -> Walked:
    """Walk a packet through dumps. ``entry`` is the device it comes in by (``DEVICE``, or
    ``NODE/DEVICE``), when its source address does not say. Raises PlaceError.
    """
    world = world_of(loaded)
    target, dst, port = _target(world, spec.destination, spec.protocol)
    start = _start(world, spec.source, entry, dst)
    request = WalkRequest(
        node=start.node,
        protocol=spec.protocol,
        src=start.address,
        in_dev=start.device,
        src_port=spec.source_port,
        dst=dst,
        dst_port=port,
        draw=spec.draw,
        size_bytes=spec.size_bytes,
    )
    answer = world.walk(request, rng, NOW_NS)
    return Walked((start.label, target), request, answer)


def trace(loaded: list[Loaded], spec: TraceSpec, rng: Rng, entry: str = "") -> Report:
    """``walk``, as a report. Raises PlaceError."""
    walked = walk(loaded, spec, rng, entry)
    worst = worth_explaining(walked.answer)
    notes = [note for node in loaded for note in node.notes if _matters(note, worst)]
    reason = _reason(worst, notes)
    report = compose(
        spec, walked.request, walked.answer, labels=walked.labels, worst=worst, reason=reason
    )
    return msgspec.structs.replace(
        report,
        hops=_honest(report.hops),
        reply_hops=_honest(report.reply_hops),
        replay=f"{report.replay} --in {entry}" if entry else report.replay,
    )


def _honest(hops: list[Hop]) -> list[Hop]:
    """Without the MAC that stands for one nobody told."""
    return [
        msgspec.structs.replace(
            hop,
            steps=[
                msgspec.structs.replace(step, detail=step.detail.replace(MAC, "(not in the dump)"))
                for step in hop.steps
            ],
        )
        for hop in hops
    ]


# ---------------------------------------------------------------- places


def _target(world: World, text: str, protocol: str) -> tuple[str, str, int]:
    """Label, address and port of a destination."""
    head, colon, tail = text.rpartition(":")
    if text.count(":") > 1 and not text.startswith("["):
        head, colon, tail = text, "", ""
    elif not colon or not tail.isdigit():
        head, tail = text, ""
    head = head.strip("[]")
    port = int(tail) if tail else 0
    if protocol != "icmp" and not port:
        raise PlaceError(f"{text}: a port is needed ({head}:PORT), or --protocol icmp")
    if port > 65535:
        raise PlaceError(f"{text}: there is no port {port}")
    return head, _address(world, head), port


def _address(world: World, text: str) -> str:
    kind, slash, name = text.partition("/")
    if kind == "node" and slash:
        if name not in world.kernels:
            raise PlaceError(f"there is no dump of node {name}")
        return _own(world.kernels[name], name)
    try:
        return canonical(text)
    except ValueError:
        raise PlaceError(
            f"{text!r} is no address: dumps know addresses and node/NAME, no names"
        ) from None


def _own(kernel: Kernel, name: str) -> str:
    """The address by which a node is known: of the device that its default route leaves by."""
    ns = _host(kernel)
    default = next((r for r in ns.fib.routes("main") if not r.prefix.length), None)
    found = ns.primary_address(default.dev if default is not None else "", "")
    if not found:
        raise PlaceError(f"node {name} has no address")
    return found


def _start(world: World, text: str, entry: str, dst: str) -> Start:
    node, slash, device = entry.rpartition("/")
    if slash and node not in world.kernels:
        raise PlaceError(f"there is no dump of node {node}")
    if text.startswith("node/"):
        name = text.removeprefix("node/")
        if name not in world.kernels:
            raise PlaceError(f"there is no dump of node {name}")
        if entry:
            raise PlaceError("what a node sends itself comes in by no device")
        return Start(name, "", "", text)
    address = _address(world, text)
    if (":" in address) != (":" in dst):
        raise PlaceError(f"{address} and {dst} are of different families")
    if entry:
        return _by_device(world, node, device, address)
    for name, kernel in world.kernels.items():
        if address in _host(kernel).local:
            return Start(name, "", address, f"node/{name}")
    return _by_route(world, address)


def _by_device(world: World, node: str, device: str, address: str) -> Start:
    having = [n for n, k in world.kernels.items() if device in _host(k).links and node in {"", n}]
    if not having:
        known = ", ".join(d for k in world.kernels.values() for d in _host(k).links)
        raise PlaceError(f"there is no device {device}; there are {known}")
    if len(having) > 1:
        names = ", ".join(f"{name}/{device}" for name in having)
        raise PlaceError(f"--in {device} may be {names}: say which")
    return Start(having[0], device, address, address)


def _by_route(world: World, address: str) -> Start:
    """A source elsewhere comes in where answers to it would leave; of several nodes, at the one
    that has it on a network of its own, the closest first.
    """
    found: list[tuple[tuple[bool, int], str, Route]] = []
    for name, kernel in world.kernels.items():
        route = _host(kernel).fib_of(address).lookup(address)
        if route is not None and route.type == "unicast" and route.dev:
            found.append(((not route.via, route.prefix.length), name, route))
    if not found:
        raise PlaceError(f"no node has a route to {address}: say by --in where it comes in")
    best = max(rank for rank, _, _ in found)
    nearest = [(name, route) for rank, name, route in found if rank == best]
    if len(nearest) > 1:
        names = ", ".join(f"--in {name}/{route.dev}" for name, route in nearest)
        raise PlaceError(f"{address} may come in by several nodes: say {names}")
    name, route = nearest[0]
    device = _port(_host(world.kernels[name]), route.dev, address)
    return Start(name, device, address, address)


def _port(ns: Netns, dev: str, address: str) -> str:
    """The port of a bridge behind which an address is, if that is known or there is only one."""
    link = ns.links.get(dev)
    if link is None or link.kind != "bridge":
        return dev
    neighbour = ns.neighbours.get(dev, address)
    entry = ns.fdb.get(dev, {}).get(neighbour.mac) if neighbour is not None else None
    if entry is not None and entry.port in ns.links:
        return entry.port
    ports = ns.ports(dev)
    return ports[0].name if len(ports) == 1 else dev


# ---------------------------------------------------------------- causes


_BY_RULES = (Fate.NO_ENDPOINTS, Fate.DENIED_IN, Fate.DENIED_OUT)


def _reason(branch: Branch, notes: list[str]) -> Cause:
    """Why a branch ended so, in words that speak of no cluster."""
    found = cause(branch, Objects())
    if branch.fate is Fate.EXITS_CLUSTER:
        step = _last(branch, "leave")
        found = Cause(summary=step.detail if step else "it leaves", step=found.step)
        if branch.reply_hops:
            last = branch.reply_hops[-1].steps[-1]
            how = f"arrives at {branch.reply_hops[-1].node}" if last.result == "deliver" else (
                last.detail if last.result == "leave" else "goes back")  # fmt: skip
            found = msgspec.structs.replace(
                found, summary=f"{found.summary}; an answer that comes back by there {how}"
            )
    elif branch.fate in _BY_RULES and found.rule:
        # no object is known that the rule comes from: it speaks for itself
        verb = "rejects" if "reject" in found.rule.lower() else "drops"
        summary = f"a rule on {branch.node} {verb} it: {found.rule}"
        found = msgspec.structs.replace(found, summary=summary, objects=[])
    elif branch.fate is Fate.DELIVERED:
        found = msgspec.structs.replace(found, summary=f"it is for {branch.node} itself")
    if notes:
        summary = "; ".join([found.summary, *notes])
        found = msgspec.structs.replace(found, summary=summary)
    return found


def _last(branch: Branch, result: str) -> Step | None:
    steps = [step for hop in branch.hops for step in hop.steps if step.result == result]
    return steps[-1] if steps else None


def _matters(note: str, branch: Branch) -> bool:
    """Whether something that was assumed may have decided this branch."""
    steps = [step for hop in (*branch.hops, *branch.reply_hops) for step in hop.steps]
    if note.startswith("no sysctl"):
        return any(step.result == "forward" for step in steps)
    if note.startswith("no ss "):
        return branch.fate is Fate.DELIVERED
    if note.startswith(("no ip route", "no ip addr")):
        return branch.fate in {Fate.NO_ROUTE, Fate.NULL_ROUTED}
    return "tables-legacy" in note
