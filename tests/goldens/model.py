"""The network of ``sessions.py`` in the model, and commands typed there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from podwire.client.counters import Sockets
from podwire.coredns.upstream import Upstream
from podwire.dataplane import commands as c
from podwire.fabric.hardware import Fabric
from podwire.kubelet.programs import exec_command
from podwire.kubelet.programs.host import ProgramHost
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.goldens.sessions import GATEWAY, NODES, PODS, RESOLV_CONF, RULES, WARM, ZONE, Line
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.programs.fakes import Captured, FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

PLACES = {"pod-a": ("node-1", "pod-a"), "pod-b": ("node-2", "pod-b"), "node-1": ("node-1", "")}


async def build(fabric: Fabric) -> None:
    """What ``capture.build`` makes with iproute2."""
    fabric.add_gateway()
    for name, address in NODES.items():
        fabric.add_node(name, address)
    for i, (pod, ip) in enumerate(PODS.items(), 1):
        j = 3 - i
        await fabric.execute(
            f"node-{i}",
            [
                c.LinkAdd(name="cni0", kind="bridge", mtu_bytes=1450),
                c.LinkSet(name="cni0", up=True),
                c.AddrAdd(dev="cni0", cidr=f"10.244.{i}.1/24"),
                c.LinkAdd(
                    name="flannel.1", kind="vxlan", vni=1, local=NODES[f"node-{i}"], dev="eth0",
                    learning=False, mac=f"02:00:00:00:0{i}:01",
                ),
                c.LinkSet(name="flannel.1", up=True),
                c.AddrAdd(dev="flannel.1", cidr=f"10.244.{i}.0/32"),
                c.RouteReplace(
                    dst=f"10.244.{j}.0/24", via=f"10.244.{j}.0", dev="flannel.1", onlink=True
                ),
                c.NeighReplace(
                    dev="flannel.1", dst=f"10.244.{j}.0", mac=f"02:00:00:00:0{j}:01"
                ),
                c.FdbReplace(
                    dev="flannel.1", mac=f"02:00:00:00:0{j}:01", dst=NODES[f"node-{j}"]
                ),
                c.NetnsAdd(name=pod),
                c.LinkAdd(
                    name="veth1", kind="veth", peer_name="eth0", peer_netns=pod, mtu_bytes=1450
                ),
                c.LinkSet(name="veth1", master="cni0", up=True),
                c.LinkSet(netns=pod, name="eth0", up=True),
                c.AddrAdd(netns=pod, dev="eth0", cidr=f"{ip}/24"),
                c.RouteReplace(netns=pod, dst="default", via=f"10.244.{i}.1", dev="eth0"),
            ],
        )  # fmt: skip
        await fabric.execute(
            "gateway", [c.RouteReplace(dst=f"10.244.{i}.0/24", via=NODES[f"node-{i}"], dev="eth0")]
        )
    done = await fabric.tool("node-1", "", ["iptables-restore"], RULES)
    assert done.code == 0, done.stderr


def typed(lines: Sequence[Line]) -> list[tuple[int, str]]:
    """Type lines one after the other: exit code and what was printed."""

    async def main(env: Env) -> list[tuple[int, str]]:
        fabric = Fabric(env.clock, env.rng, env.ids, env.trace, env.log)
        await build(fabric)
        host = ProgramHost(make_ctx(env, FakeApi(env)))
        answers: list[tuple[int, str]] = []
        async with Nursery() as tasks:
            tasks.start(Upstream(ZONE).run(fabric, "gateway"), name="dns")
            containers = []
            for image, argv in (("nginx", ()), ("networkstatic/iperf3", ("-s",))):
                of = spec(image, *argv, ip=PODS["pod-b"], node="node-2", netns="pod-b")
                page = {"/usr/share/nginx/html/index.html": b"hello from nginx\n"}
                process = FakeProcess(FlatNet(), of, page)
                process.sockets = _owned(fabric)
                containers.append(await host.start(process))
            await env.clock.sleep(0.01)
            await _type(env, fabric, Line("pod-a", WARM))
            for line in lines:
                code, text = await _type(env, fabric, line)
                answers.append((code, text))
            for container in containers:
                container.signal("KILL")
            tasks.cancel()
        await fabric.close()
        return answers

    return sim.run(main, horizon_s=36_000)


def _owned(fabric: Fabric) -> Sockets:
    return fabric


async def _type(env: Env, fabric: Fabric, line: Line) -> tuple[int, str]:
    node, netns = PLACES[line.where]
    image = "busybox" if line.busybox else "debian"
    of = spec(
        image, ip=PODS.get(line.where, NODES.get(line.where, GATEWAY)), node=node, netns=netns
    )
    files = {"/etc/resolv.conf": RESOLV_CONF.encode()}
    client = FakeProcess(FlatNet(), of, files)
    client.sockets = fabric
    captured = Captured(env, client)
    captured.env.fabric = fabric
    captured.env.write_stderr = captured.env.write_stdout
    code = await exec_command(captured.env, ["sh", "-c", line.text])
    return code, captured.text


_SHAPES = (
    (re.compile(r"\bDiG \S+"), "DiG VERSION"),
    (re.compile(r'"[0-9a-f]+-[0-9a-f]+"'), "TAG"),
    (re.compile(r"\b[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}\b"), "MAC"),
    (re.compile(r"\bfe80::[0-9a-f:]+"), "LINKLOCAL"),
    (re.compile(r"\b0x[0-9a-f]+\b"), "HEX"),
    (re.compile(r"\b[0-9A-F]{8}\b"), "HEX"),
    (re.compile(r"\d[\d.,]*"), "N"),
    (re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? "), "DAY "),
    (re.compile(r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"), "MON"),
    (re.compile(r"\b[KMGT]?(?=Bytes|bits/sec)"), "unit-"),
    (re.compile(r"(?<=\(N )[KMGT]?i?B(?=\))"), "unit"),
    (re.compile(r"[ \t]+"), " "),
)


def shape(text: str) -> list[str]:
    """The words and columns of a text: values become their kinds, repeated lines one."""
    lines: list[str] = []
    for pattern, kind in _SHAPES:
        text = pattern.sub(kind, text)
    for line in (line.strip() for line in text.splitlines()):
        if not lines or lines[-1] != line:
            lines.append(line)
    return lines
