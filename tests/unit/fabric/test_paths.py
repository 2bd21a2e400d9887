"""Connections through what network plugins and kube-proxy program: VXLAN, DNAT, REJECT, MTU."""

from __future__ import annotations

import pytest

from podwire.dataplane.commands import (
    AddrAdd,
    FdbReplace,
    LinkAdd,
    LinkSet,
    NeighReplace,
    RouteReplace,
    RulesRestore,
)
from podwire.fabric.hardware import Fabric
from podwire.runtime.env import Env
from tests.unit.fabric.world import add_pod, bare, run

NODES = {
    "node-1": ("192.168.0.11", "10.244.1.0", "02:00:00:00:01:01"),
    "node-2": ("192.168.0.12", "10.244.2.0", "02:00:00:00:01:02"),
}
SERVICE = """*nat
-A PREROUTING -d 10.96.0.80/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.2.2:8080
-A OUTPUT -d 10.96.0.80/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.2.2:8080
-A POSTROUTING -s 192.168.0.0/24 -d 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
-A FORWARD -d 10.96.0.81/32 -p tcp -j REJECT
-A FORWARD -d 10.96.0.82/32 -j DROP
-A FORWARD -d 10.96.0.83/32 -p tcp -j REJECT --reject-with tcp-reset
COMMIT
"""


async def overlay(env: Env, *, pod_mtu_bytes: int = 1450) -> Fabric:
    """Two nodes joined by flannel's VXLAN device, each with one pod and SERVICE's rules."""
    fabric = bare(env)
    await add_pod(fabric, "node-1", "pod-1", "10.244.1.2")
    await add_pod(fabric, "node-2", "pod-2", "10.244.2.2")
    for name, (address, subnet, mac) in NODES.items():
        device = "flannel.1"
        commands = [
            LinkAdd(
                name=device, kind="vxlan", mac=mac, mtu_bytes=1450, vni=1, local=address,
                dev="eth0", learning=False,
            ),
            LinkSet(name=device, up=True),
            AddrAdd(dev=device, cidr=f"{subnet}/32"),
            LinkSet(netns=f"pod-{name[-1]}", name="eth0", mtu_bytes=pod_mtu_bytes),
            LinkSet(name=f"veth-pod-{name[-1]}", mtu_bytes=pod_mtu_bytes),
            RulesRestore(text=SERVICE),
        ]  # fmt: skip
        for other, (far, far_subnet, far_mac) in NODES.items():
            if other != name:
                commands += [
                    RouteReplace(dst=f"{far_subnet}/24", via=far_subnet, dev=device, onlink=True),
                    NeighReplace(dev=device, dst=far_subnet, mac=far_mac),
                    FdbReplace(dev=device, mac=far_mac, dst=far),
                ]
        await fabric.execute(name, commands)
    return fabric


def test_a_service_address_leads_to_its_endpoint_and_the_answer_comes_from_the_service() -> None:
    async def story(env: Env) -> tuple[str, tuple[str, int], bytes]:
        fabric = await overlay(env)
        listener = await fabric.listen("node-2", "pod-2", "", 8080)
        client = await fabric.connect("node-1", "pod-1", "10.96.0.80", 80, timeout_s=5)
        server = await listener.accept()
        await client.send(b"ping")
        await server.send((await server.recv()).upper())
        return server.remote[0], client.remote, await client.recv()

    assert run(story) == ("10.244.1.2", ("10.96.0.80", 80), b"PING")


def test_a_node_that_asks_a_service_is_masqueraded() -> None:
    async def story(env: Env) -> str:
        fabric = await overlay(env)
        listener = await fabric.listen("node-2", "pod-2", "", 8080)
        await fabric.connect("node-1", "", "10.96.0.80", 80, timeout_s=5)
        return (await listener.accept()).remote[0]

    assert run(story) == "10.244.1.0"  # the address of flannel.1


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("10.96.0.81", ConnectionRefusedError),
        ("10.96.0.82", TimeoutError),
        ("10.96.0.83", ConnectionRefusedError),
    ],
)
def test_what_a_rule_does_to_a_packet_is_what_the_program_gets(
    address: str, error: type[OSError]
) -> None:
    """REJECT by ICMP and by RST are refusals; DROP is silence."""

    async def story(env: Env) -> None:
        fabric = await overlay(env)
        with pytest.raises(error):
            await fabric.connect("node-1", "pod-1", address, 80, timeout_s=2)

    run(story)


@pytest.mark.parametrize("pod_mtu_bytes", [1450, 1500])
def test_segments_fit_the_tunnel_at_once_or_after_path_mtu_discovery(pod_mtu_bytes: int) -> None:
    async def story(env: Env) -> tuple[int, int]:
        fabric = await overlay(env, pod_mtu_bytes=pod_mtu_bytes)
        listener = await fabric.listen("node-2", "pod-2", "", 8080)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 8080, timeout_s=5)
        server = await listener.accept()
        before = client.conn.mss
        sent = env.rng.bytes(200_000)
        await client.send(sent)
        await client.close()
        received = b""
        while data := await server.recv():
            received += data
        assert received == sent
        return before, client.conn.mss

    assert run(story) == (pod_mtu_bytes - 40, 1410)


def test_the_wire_counts_every_slice_of_a_burst() -> None:
    """One modelled packet may stand for many; the bytes on the wire are those of all of them."""

    async def story(env: Env) -> int:
        fabric = await overlay(env)
        listener = await fabric.listen("node-2", "pod-2", "", 8080)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 8080, timeout_s=5)
        await listener.accept()
        counters = fabric.wire.ports["node-1"].counters
        before = counters.tx_bytes
        await client.send(bytes(1410 * 40))
        return counters.tx_bytes - before

    headers = run(story) - 1410 * 40
    assert 40 * 40 <= headers <= 40 * (40 + 50 + 14)
