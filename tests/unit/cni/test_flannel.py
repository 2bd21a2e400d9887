"""The flannel agent as a story: leases come, peers come and go, the node follows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from podwire.api import kinds
from podwire.client.counters import ContainerSpec
from podwire.client.ctx import Ctx
from podwire.cni.flannel import core
from podwire.cni.flannel.shell import program
from podwire.dataplane import commands as c
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.cni.conftest import FakeFabric

NET_CONF = b'{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'


class FakeProcess:
    """A container with two configuration files."""

    def __init__(self, net_conf: bytes = NET_CONF, argv: tuple[str, ...] = ()) -> None:
        self.spec = ContainerSpec(
            "id", "node-1", "", "kube-system", "flannel-x", "uid", "192.168.0.11", "kube-flannel",
            "ghcr.io/flannel-io/flannel:v0.28.9", argv,
        )  # fmt: skip
        self.sockets: Any = None
        self.lines: list[str] = []
        self.files = {
            "/etc/kube-flannel/net-conf.json": net_conf,
            "/etc/kube-flannel/cni-conf.json": b'{"name": "cbr0"}',
        }

    def out(self, line: str) -> None:
        self.lines.append(line)

    err = out

    async def read_file(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def write_file(self, path: str, data: bytes) -> None:
        self.files[path] = data

    async def remove_file(self, path: str) -> None:
        del self.files[path]

    async def list_files(self, prefix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(prefix))

    def deliver(self, signal: str) -> None:
        raise NotImplementedError(signal)

    async def terminated(self) -> str:
        await asyncio.get_running_loop().create_future()
        return "TERM"


async def start(ctx: Ctx, process: FakeProcess) -> int:
    return await program(ctx)(process)


def node(number: int, *, announced: bool = True, cidr: bool = True) -> dict[str, Any]:
    notes = {
        core.PREFIX + "kube-subnet-manager": "true",
        core.PREFIX + "public-ip": f"192.168.0.1{number}",
        core.PREFIX + "backend-data": json.dumps(
            {"VNI": 1, "VtepMAC": f"02:00:00:00:00:0{number}"}
        ),
    }
    return {
        "metadata": {"name": f"node-{number}", "annotations": notes if announced else {}},
        "spec": {"podCIDR": f"10.244.{number}.0/24"} if cidr else {},
    }


def story(body: Any, process: FakeProcess | None = None) -> None:
    async def main(env: Env) -> None:
        api, fabric = FakeApi(env), FakeFabric()
        fabric.addresses.add(("", "eth0", "192.168.0.11/24"))
        ctx = make_ctx(env, api)
        object.__setattr__(ctx, "fabric", fabric)
        async with Nursery() as nursery:
            nursery.start(start(ctx, process or FakeProcess()), name="flannel")
            await body(env, api, fabric)
            nursery.cancel()

    sim.run(main, horizon_s=3600)


def test_a_node_gets_its_device_files_and_annotations_once_it_has_a_subnet():
    """No podCIDR: only the conflist; with it, flannel.1, subnet.env and the announcement."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NODE, node(1, announced=False, cidr=False))
        await env.clock.sleep(1)
        assert list(fabric.disk) == ["/etc/cni/net.d/10-flannel.conflist"]
        api.put(kinds.NODE, node(1, announced=False))
        await env.clock.sleep(1)
        assert fabric.disk["/run/flannel/subnet.env"] == (
            b"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"
            b"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        )
        [vxlan] = fabric.of(c.LinkAdd)
        assert (vxlan.name, vxlan.vni, vxlan.dst_port, vxlan.learning, vxlan.mtu_bytes) == (
            "flannel.1", 1, 8472, False, 1450,
        )  # fmt: skip
        assert ("", "flannel.1", "10.244.1.0/32") in fabric.addresses
        notes = api.get(kinds.NODE, "node-1")["metadata"]["annotations"]
        assert json.loads(notes[core.PREFIX + "backend-data"])["VtepMAC"] == vxlan.mac
        assert notes[core.PREFIX + "public-ip"] == "192.168.0.11"
        [condition] = api.get(kinds.NODE, "node-1")["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("NetworkUnavailable", "False")

    story(body)


def test_peers_are_programmed_when_they_announce_and_forgotten_when_they_go():
    """Per peer a permanent neighbour, an FDB entry and an onlink route; deletion undoes all."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NODE, node(1, announced=False))
        api.put(kinds.NODE, node(2, announced=False))
        await env.clock.sleep(1)
        assert fabric.of(c.RouteReplace) == []
        api.put(kinds.NODE, node(2))
        await env.clock.sleep(1)
        mac = "02:00:00:00:00:02"
        assert fabric.log[-3:] == [
            c.NeighReplace(dev="flannel.1", dst="10.244.2.0", mac=mac),
            c.FdbReplace(dev="flannel.1", mac=mac, dst="192.168.0.12"),
            c.RouteReplace(dst="10.244.2.0/24", via="10.244.2.0", dev="flannel.1", onlink=True),
        ]
        count = len(fabric.log)
        api.put(kinds.NODE, {**node(2), "status": {"conditions": [{"type": "Ready"}]}})
        await env.clock.sleep(1)
        assert len(fabric.log) == count, "a heartbeat changes nothing"
        api.remove(kinds.NODE, "node-2")
        await env.clock.sleep(1)
        assert [type(x) for x in fabric.log[count:]] == [c.NeighDel, c.FdbDel, c.RouteDel]

    story(body)


def test_of_many_peers_only_those_that_changed_are_programmed():
    """One moved, one went, one came: the node is told of these, removals first."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        for number in range(1, 7):
            api.put(kinds.NODE, node(number, announced=number != 1))
        await env.clock.sleep(1)
        count = len(fabric.log)
        moved = node(3)
        moved["metadata"]["annotations"][core.PREFIX + "public-ip"] = "192.168.0.99"
        api.put(kinds.NODE, moved)
        api.remove(kinds.NODE, "node-5")
        api.put(kinds.NODE, node(7))
        await env.clock.sleep(1)
        told = fabric.log[count:]
        assert [x.dst for x in told if isinstance(x, c.RouteDel)] == [
            "10.244.3.0/24", "10.244.5.0/24",
        ]  # fmt: skip
        assert [x.dst for x in told if isinstance(x, c.FdbReplace)] == [
            "192.168.0.99", "192.168.0.17",
        ]  # fmt: skip

    story(body)


def test_the_masquerade_chain_is_flannels_and_is_not_doubled_by_a_restart():
    """FLANNEL-POSTRTG in upstream's order; one jump however often the agent starts."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NODE, node(1, announced=False))
        await env.clock.sleep(1)
        nat = {k: list(v) for k, v in fabric.rules.tables["nat"].items()}
        assert [rule.rpartition("-j ")[2] for rule in nat["FLANNEL-POSTRTG"]] == [
            *["RETURN"] * 4, *["MASQUERADE --random-fully"] * 2,
        ]  # fmt: skip
        ctx = make_ctx(env, api)
        object.__setattr__(ctx, "fabric", fabric)
        async with Nursery() as nursery:
            nursery.start(start(ctx, FakeProcess()), name="again")
            await env.clock.sleep(1)
            nursery.cancel()
        assert fabric.rules.tables["nat"] == nat
        assert fabric.rules.tables["filter"]["FORWARD"] == [
            '-m comment --comment "flanneld forward" -j FLANNEL-FWD'
        ]

    story(body)


def test_a_later_agent_announces_the_device_that_an_earlier_one_made():
    """The device outlives the agent; peers must send to its MAC, whatever this one would draw."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NODE, node(1, announced=False))
        await env.clock.sleep(1)
        [device] = fabric.of(c.LinkAdd)
        ctx = make_ctx(env, api)
        object.__setattr__(ctx, "fabric", fabric)
        object.__setattr__(ctx, "rng", env.rng.child("another process"))
        async with Nursery() as nursery:
            nursery.start(start(ctx, FakeProcess()), name="again")
            await env.clock.sleep(1)
            nursery.cancel()
        notes = api.get(kinds.NODE, "node-1")["metadata"]["annotations"]
        assert json.loads(notes[core.PREFIX + "backend-data"])["VtepMAC"] == device.mac

    story(body)


def test_host_gw_needs_no_tunnel():
    """With backend host-gw a peer's subnet goes by its node address and no vxlan exists."""

    async def body(env: Env, api: FakeApi, fabric: FakeFabric) -> None:
        api.put(kinds.NODE, node(1, announced=False))
        api.put(kinds.NODE, node(2))
        await env.clock.sleep(1)
        assert fabric.of(c.LinkAdd) == []
        assert fabric.of(c.RouteReplace) == [
            c.RouteReplace(dst="10.244.2.0/24", via="192.168.0.12", dev="eth0")
        ]
        assert b"FLANNEL_MTU=1500" in fabric.disk["/run/flannel/subnet.env"]

    conf = b'{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}'
    story(body, FakeProcess(conf))


def test_an_unmodelled_backend_ends_the_agent_with_a_reason():
    """wireguard is refused, not imitated."""

    async def main(env: Env) -> None:
        process = FakeProcess(b'{"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard"}}')
        ctx = make_ctx(env, FakeApi(env))
        assert await program(ctx)(process) == 1
        assert "backend wireguard is not modelled" in process.lines[-1]

    sim.run(main)


def test_the_init_container_copies_the_conflist():
    """``cp -f`` as flannel's own manifest calls it writes into the mounted directory."""

    async def main(env: Env) -> None:
        argv = ("cp", "-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist")
        process = FakeProcess(argv=argv)
        assert await program(make_ctx(env, FakeApi(env)))(process) == 0
        assert process.files["/etc/cni/net.d/10-flannel.conflist"] == b'{"name": "cbr0"}'

    sim.run(main)
