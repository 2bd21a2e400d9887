"""The programs over real modelled kernels: two nodes, the gateway's resolver, no pods."""

from __future__ import annotations

import pytest

from podwire.client.counters import Sockets
from podwire.coredns.upstream import Upstream
from podwire.fabric.hardware import Fabric
from podwire.kubelet.programs import exec_command
from podwire.kubelet.programs.host import ProgramHost
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.programs.fakes import Captured, FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

ZONE = {"web.example.com.": ("192.168.0.12",), "gone.example.com.": ("192.168.0.77",)}
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def run(*lines: str) -> list[tuple[int, str]]:
    """Run commands on node-1's network beside nginx and netexec on node-2's."""

    async def main(env: Env) -> list[tuple[int, str]]:
        fabric = Fabric(env.clock, env.rng, env.ids, env.trace, env.log)
        fabric.add_gateway()
        for i in (1, 2):
            fabric.add_node(f"node-{i}", f"192.168.0.1{i}")
        sockets: Sockets = fabric
        host = ProgramHost(make_ctx(env, FakeApi(env)))
        results: list[tuple[int, str]] = []
        async with Nursery() as tasks:
            tasks.start(Upstream(ZONE).run(fabric, "gateway"), name="dns")
            containers = []
            for image, argv in (("nginx", ()), (AGNHOST, ("netexec",))):
                of = spec(image, *argv, ip="192.168.0.12", node="node-2", netns="")
                process = FakeProcess(FlatNet(), of)
                process.sockets = sockets
                containers.append(await host.start(process))
            await env.clock.sleep(0.01)
            for line in lines:
                client = FakeProcess(
                    FlatNet(), spec("debian", ip="192.168.0.11", netns=""),
                    {"/etc/resolv.conf": b"nameserver 192.168.0.1\n"},
                )  # fmt: skip
                client.sockets = sockets
                captured = Captured(env, client)
                captured.env.fabric = fabric
                captured.env.write_stderr = captured.env.write_stdout
                code = await exec_command(captured.env, ["sh", "-c", line])
                results.append((code, captured.text))
            for container in containers:
                container.signal("KILL")
            tasks.cancel()
        await fabric.close()
        return results

    return sim.run(main, horizon_s=3600)


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("curl -s http://web.example.com", 0, "Welcome to nginx!"),
        ("curl -s web.example.com:8080/clientip", 0, "192.168.0.11:"),
        ("curl -sS web.example.com:81", 7, "Could not connect to server"),
        ("curl -sS -m 9 gone.example.com", 7, "Failed to connect to gone.example.com port 80"),
        ("nc -zv web.example.com 80", 0, "succeeded!"),
        ("echo hostname | nc -w 1 -u web.example.com 8081", 0, "web-1"),
        ("nslookup web.example.com", 0, "Address: 192.168.0.12"),
        ("dig +short web.example.com", 0, "192.168.0.12"),
        ("dig +short +tcp web.example.com", 0, "192.168.0.12"),
        ("ping -c 1 web.example.com", 0, "1 received, 0% packet loss"),
        ("nslookup nosuch.example.org", 1, "NXDOMAIN"),
        ("ip -4 addr show eth0", 0, "inet 192.168.0.11/24"),
        ("ip route", 0, "default via 192.168.0.1 dev eth0"),
    ],
)
def test_tools_reach_servers_over_the_modelled_wire(line: str, code: int, expected: str) -> None:
    """Payload travels as packets; the outcome is the kernels'."""
    [(got, text)] = run(line)
    assert expected in text
    assert got == code
