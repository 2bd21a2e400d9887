"""A small cluster's hardware for the tests: two nodes with one pod each, wired by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from podwire.client.counters import Probe
from podwire.dataplane.commands import AddrAdd, LinkAdd, LinkSet, NetnsAdd, RouteReplace
from podwire.fabric.hardware import Fabric
from podwire.runtime import sim
from podwire.runtime.env import Env

T = TypeVar("T")


async def ping(
    fabric: Fabric, node: str, netns: str, address: str, timeout_s: float, sequence: int = 1
) -> float:
    """One echo; the round trip in seconds. Raises TimeoutError, and AssertionError for an error."""
    answer = await fabric.probe(node, netns, Probe(address, sequence=sequence), timeout_s)
    assert answer.kind == "echo", answer
    return answer.seconds


def bare(env: Env, **settings: Any) -> Fabric:
    """Gateway, control plane and two nodes."""
    fabric = Fabric(env.clock, env.rng.child("fabric"), env.ids, env.trace, env.log, **settings)
    fabric.add_gateway()
    fabric.add_control_plane()
    fabric.add_node("node-1", "192.168.0.11")
    fabric.add_node("node-2", "192.168.0.12")
    return fabric


async def add_pod(fabric: Fabric, node: str, name: str, address: str) -> None:
    """A namespace with eth0 on the node's bridge cni0, as bridge and host-local leave it."""
    subnet = address.rsplit(".", 1)[0]
    kernel = fabric.hosts[node].kernel
    if "cni0" not in kernel.netns("").links:
        await fabric.execute(
            node,
            [
                LinkAdd(name="cni0", kind="bridge"),
                LinkSet(name="cni0", up=True),
                AddrAdd(dev="cni0", cidr=f"{subnet}.1/24"),
            ],
        )
    veth = f"veth-{name}"
    await fabric.execute(
        node,
        [
            NetnsAdd(name=name),
            LinkAdd(name=veth, kind="veth", peer_name="eth0", peer_netns=name),
            LinkSet(name=veth, up=True, master="cni0", hairpin=True),
            LinkSet(netns=name, name="eth0", up=True),
            AddrAdd(netns=name, dev="eth0", cidr=f"{address}/24"),
            RouteReplace(netns=name, dst="default", via=f"{subnet}.1", dev="eth0"),
        ],
    )


async def cluster(env: Env, **settings: Any) -> Fabric:
    """``bare`` with pod-1 (10.244.1.2) and pod-2 (10.244.2.2), nodes routing to each other."""
    fabric = bare(env, **settings)
    await add_pod(fabric, "node-1", "pod-1", "10.244.1.2")
    await add_pod(fabric, "node-2", "pod-2", "10.244.2.2")
    for node, subnet, via in (
        ("node-1", "10.244.2.0/24", "192.168.0.12"),
        ("node-2", "10.244.1.0/24", "192.168.0.11"),
    ):
        await fabric.execute(node, [RouteReplace(dst=subnet, via=via, dev="eth0")])
    return fabric


def run(story: Callable[[Env], Awaitable[T]], seed: int = 1, **bounds: Any) -> T:
    """Run a story in virtual time."""

    async def main(env: Env) -> T:
        return await story(env)

    return sim.run(main, seed, **bounds)
