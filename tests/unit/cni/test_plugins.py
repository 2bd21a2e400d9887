"""What a pod's wiring leaves on the node, and what DEL takes away again."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podwire.cni.runtime import CniPlugins
from podwire.dataplane import commands as c
from podwire.runtime.rng import SeededRng

SUBNET_ENV = (
    b"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n"
    b"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)
CONF = {
    "cniVersion": "0.3.1",
    "name": "cbr0",
    "type": "flannel",
    "delegate": {"hairpinMode": True, "isDefaultGateway": True},
}
Run = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


@pytest.fixture
def run(fabric, rng) -> Run:
    plugins = CniPlugins(fabric, rng)

    async def execute(verb: str, plugin: str, conf: Any, cid: str = "c1", **env: str) -> Any:
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": cid,
            "CNI_NETNS": f"/var/run/netns/cni-{cid}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            **env,
        }
        out = await plugins.execute("node-1", plugin, environment, json.dumps(conf).encode())
        return out.code, json.loads(out.stdout) if out.stdout else None

    return execute


@pytest.fixture
def ready(fabric) -> None:
    fabric.disk["/run/flannel/subnet.env"] = SUBNET_ENV


async def test_flannel_wires_a_pod_to_the_bridge(run, fabric, ready):
    """ADD answers with the address and leaves bridge, veth, routes and gateway behind."""
    code, result = await run("ADD", "flannel", CONF)
    assert code == 0
    assert result["cniVersion"] == "0.3.1"
    assert result["ips"] == [
        {"version": "4", "address": "10.244.1.2/24", "gateway": "10.244.1.1", "interface": 2}
    ]
    bridge, host, pod = result["interfaces"]
    assert (bridge["name"], pod["name"], pod["sandbox"]) == (
        "cni0",
        "eth0",
        "/var/run/netns/cni-c1",
    )
    assert host["name"].startswith("veth")
    assert len(host["name"]) == len("veth") + 8
    assert "mtu" not in pod, "0.3.1 knows no mtu in interfaces"
    veth = fabric.links["", host["name"]]
    assert (veth.peer_netns, veth.peer_name, veth.mtu_bytes) == ("cni-c1", "eth0", 1450)
    assert {(a[0], a[1], a[2]) for a in fabric.addresses} == {
        ("", "cni0", "10.244.1.1/24"),
        ("cni-c1", "eth0", "10.244.1.2/24"),
    }
    assert [(r.dst, r.via) for r in fabric.of(c.RouteReplace)] == [
        ("10.244.0.0/16", "10.244.1.1"),
        ("default", "10.244.1.1"),
    ]
    plugged = next(s for s in fabric.of(c.LinkSet) if s.name == host["name"])
    assert (plugged.master, plugged.hairpin) == ("cni0", True)


async def test_the_second_pod_shares_the_bridge_and_gets_the_next_address(run, fabric, ready):
    """The bridge is made once; addresses go round."""
    await run("ADD", "flannel", CONF)
    _, second = await run("ADD", "flannel", CONF, "c2")
    assert second["ips"][0]["address"] == "10.244.1.3/24"
    assert len([link for link in fabric.of(c.LinkAdd) if link.kind == "bridge"]) == 1
    assert fabric.disk["/var/lib/cni/networks/cbr0/10.244.1.3"] == b"c2\r\neth0"
    assert fabric.disk["/var/lib/cni/networks/cbr0/last_reserved_ip.0"] == b"10.244.1.3"


async def test_del_takes_everything_away_and_may_be_repeated(run, fabric, ready):
    """After DEL the bridge stays, the pod's link and address are gone; again is no error."""
    await run("ADD", "flannel", CONF)
    for _ in range(2):
        assert await run("DEL", "flannel", CONF) == (0, None)
    assert [name for _, name in fabric.links] == ["cni0"]
    assert "/var/lib/cni/networks/cbr0/10.244.1.2" not in fabric.disk
    assert "/var/lib/cni/flannel/c1" not in fabric.disk


async def test_del_without_the_namespace_still_frees_the_address(run, fabric, ready):
    """A runtime that lost the sandbox sends an empty CNI_NETNS."""
    await run("ADD", "flannel", CONF)
    assert await run("DEL", "flannel", CONF, CNI_NETNS="") == (0, None)
    assert "/var/lib/cni/networks/cbr0/10.244.1.2" not in fabric.disk


async def test_a_freed_address_is_not_given_again_at_once(run, ready):
    """Round robin: the search starts behind the last reserved address."""
    await run("ADD", "flannel", CONF)
    await run("DEL", "flannel", CONF)
    _, second = await run("ADD", "flannel", CONF, "c2")
    assert second["ips"][0]["address"] == "10.244.1.3/24"


async def test_flannel_without_its_agent_fails_as_in_life(run):
    """ADD tells which file is missing; STATUS says not available."""
    code, error = await run("ADD", "flannel", CONF)
    assert code == 1
    assert error["code"] == 999
    assert "open /run/flannel/subnet.env: no such file or directory" in error["msg"]
    _, status = await run("STATUS", "flannel", {**CONF, "cniVersion": "1.1.0"})
    assert status["code"] == 50


async def test_an_exhausted_range_says_so_and_leaves_nothing(run, fabric):
    """All addresses but the gateway's are given; the next ADD fails with the known sentence."""
    conf = {
        "cniVersion": "1.0.0",
        "name": "small",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/29"}]]},
    }
    for i in range(5):
        assert (await run("ADD", "host-local", conf, f"c{i}"))[0] == 0
    before = dict(fabric.disk)
    _, error = await run("ADD", "host-local", conf, "c9")
    assert "no IP addresses available in range set: 10.1.0.1-10.1.0.6" in error["msg"]
    assert fabric.disk == before


async def test_a_failed_add_gives_the_address_back(run, fabric, ready):
    """When the kernel refuses the veth, no reservation stays behind."""
    await run("ADD", "flannel", CONF)
    code, _ = await run("ADD", "flannel", CONF, "c2", CNI_NETNS="/var/run/netns/cni-c1")
    assert code == 1, "eth0 exists in that namespace"
    assert "/var/lib/cni/networks/cbr0/10.244.1.3" not in fabric.disk


async def test_check_sees_a_lost_address(run, fabric, ready):
    """CHECK passes after ADD and fails when the address is gone."""
    conf = {**CONF, "cniVersion": "0.4.0"}
    _, result = await run("ADD", "flannel", conf)
    conf["prevResult"] = result
    assert (await run("CHECK", "flannel", conf))[0] == 0
    fabric.addresses.clear()
    _, error = await run("CHECK", "flannel", conf)
    assert error["msg"] == "Expected IP 10.244.1.2/24 not found on eth0"


async def test_gc_frees_what_the_runtime_forgot(run, fabric, ready):
    """Only the attachments named in cni.dev/valid-attachments keep their address."""
    conf = {**CONF, "cniVersion": "1.1.0"}
    await run("ADD", "flannel", conf)
    await run("ADD", "flannel", conf, "c2")
    conf["cni.dev/valid-attachments"] = [{"containerID": "c2", "ifname": "eth0"}]
    assert (await run("GC", "flannel", conf)) == (0, None)
    assert [p for p in fabric.disk if p.startswith("/var/lib/cni/networks/cbr0/10")] == [
        "/var/lib/cni/networks/cbr0/10.244.1.3"
    ]


@pytest.mark.parametrize(
    ("verb", "conf", "env", "code", "words"),
    [
        ("ADD", {"cniVersion": "9.0.0", "name": "n"}, {}, 1, "incompatible CNI versions"),
        ("CHECK", {**CONF}, {}, 1, "config version does not allow CHECK"),
        ("ADD", {**CONF}, {"CNI_NETNS": ""}, 4, "required env variables [CNI_NETNS] missing"),
        ("FROB", {**CONF}, {}, 4, "unknown CNI_COMMAND: FROB"),
        ("ADD", {"cniVersion": "1.0.0"}, {}, 7, "missing network name:"),
        ("ADD", {**CONF}, {"CNI_IFNAME": "a" * 16}, 4, "interface name is too long"),
        ("ADD", {**CONF}, {"CNI_CONTAINERID": "../x"}, 4, "invalid characters in containerID"),
        ("ADD", [], {}, 6, "error unmarshall network config"),
    ],
)
async def test_misuse_is_answered_with_the_codes_of_the_specification(
    run, verb, conf, env, code, words
):
    """Error documents carry the code and a message; the exit code is 1."""
    exit_code, error = await run(verb, "flannel", conf, **env)
    assert exit_code == 1
    assert error["code"] == code
    assert words in error["msg"]


async def test_version_lists_what_is_supported(run):
    """VERSION needs no network."""
    _, answer = await run("VERSION", "bridge", {"cniVersion": "1.0.0"})
    assert answer["cniVersion"] == "1.0.0"
    assert {"0.3.1", "0.4.0", "1.0.0", "1.1.0"} <= set(answer["supportedVersions"])


async def test_portmap_translates_a_host_port_and_cleans_up(run, fabric, ready):
    """One DNAT chain per container; the shared chains stay, its own go; DEL may be repeated."""
    _, result = await run("ADD", "flannel", CONF)
    conf = {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "runtimeConfig": {
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]
        },
        "prevResult": result,
    }
    code, passed_on = await run("ADD", "portmap", conf)
    assert code == 0
    assert passed_on["ips"] == result["ips"]
    nat = fabric.rules.tables["nat"]
    chain = next(name for name in nat if name.startswith("CNI-DN-"))
    assert len(chain) == 28
    assert nat[chain][-1] == "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80"
    assert nat["CNI-HOSTPORT-DNAT"][0].endswith(f"--dports 8080 -j {chain}")
    before = {name: list(rules) for name, rules in nat.items()}
    await run("ADD", "portmap", conf)
    assert nat == before, "the same ADD again doubles nothing"
    for _ in range(2):
        assert (await run("DEL", "portmap", conf))[0] == 0
    assert chain not in nat
    assert nat["CNI-HOSTPORT-DNAT"] == []
    assert nat["POSTROUTING"], "the shared chains stay"


async def test_same_seed_same_names(fabric, ready):
    """Interface names and hardware addresses come from the seed and the container."""

    async def names(seed: int) -> list[str]:
        fabric.links.clear()
        fabric.addresses.clear()
        plugins = CniPlugins(fabric, SeededRng(seed))
        env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/x/cni-c1",
               "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
        out = await plugins.execute("node-1", "flannel", env, json.dumps(CONF).encode())
        await plugins.execute(
            "node-1", "flannel", {**env, "CNI_COMMAND": "DEL"}, json.dumps(CONF).encode()
        )
        return [i["name"] + i["mac"] for i in json.loads(out.stdout)["interfaces"]]

    assert await names(1) == await names(1)
    assert await names(1) != await names(2)
