"""All node agents on the modelled kernels: what a program's socket gets is the verdict.

Flannel wires two nodes, the CNI plugins plug pods in, kube-proxy and the policy agent program
their text; then pods connect to each other by real packets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from podwire.api import kinds
from podwire.api.view import to_json
from podwire.cni.calico.shell import Agent
from podwire.cni.flannel.shell import program as flannel
from podwire.cni.runtime import CniPlugins
from podwire.dataplane import commands as c
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.fabric.hardware import Fabric
from podwire.kube_proxy.core import Shared
from podwire.kube_proxy.shell import KubeProxy
from podwire.netpol.evaluator import Evaluator
from podwire.netpol.verdict import Denied
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.cni.test_flannel import FakeProcess
from tests.unit.cni.test_plugins import CONF
from tests.unit.fabric.world import run
from tests.unit.kube_proxy.conftest import endpoints, service
from tests.unit.kube_proxy.test_shell import FakeProcess as ProxyProcess
from tests.unit.netpol.conftest import namespace, pod, policy


class Cluster:
    """Two nodes with their agents and as many pods as a story wants."""

    def __init__(self, env: Env) -> None:
        self.env, self.api = env, FakeApi(env)
        self.fabric = Fabric(env.clock, env.rng.child("fabric"), env.ids, env.trace, env.log)
        self.fabric.add_gateway()
        self.ctx = make_ctx(env, self.api)
        object.__setattr__(self.ctx, "fabric", self.fabric)
        self.cni = CniPlugins(self.fabric, env.rng)
        self.pods: dict[str, tuple[str, str]] = {}

    async def boot(self, nursery: Nursery) -> None:
        self.nursery = nursery
        for name in ("default", "other"):
            self.api.put(kinds.NAMESPACE, to_json(namespace(name)))
        for number in (1, 2):
            name, address = f"node-{number}", f"192.168.0.1{number}"
            self.fabric.add_node(name, address)
            self.api.put(kinds.NODE, {
                "metadata": {"name": name},
                "spec": {"podCIDR": f"10.244.{number}.0/24"},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            })  # fmt: skip
            process = FakeProcess()
            process.spec = _on(process.spec, name)
            nursery.start(_start(flannel(self.ctx), process), name=f"flannel {name}")
            agent = FakeProcess()
            agent.spec = _on(agent.spec, name)
            nursery.start(Agent(self.ctx, agent).run(), name=f"calico {name}")
            proxy = ProxyProcess()
            proxy.spec = _on(proxy.spec, name, f"--hostname-override={name}")
            proxy.sockets = self.fabric.owned_by(f"proxy {name}")
            nursery.start(KubeProxy(self.ctx, proxy, Shared()).run(), name=f"proxy {name}")
        await self.env.clock.sleep(2)

    async def pod(self, name: str, node: str, port: int = 8080) -> str:
        """Plug a pod in and let it answer its name; its address."""
        netns = f"cni-{name}"
        await self.fabric.execute(node, [c.NetnsAdd(name=netns)])
        env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": name, "CNI_IFNAME": "eth0",
               "CNI_NETNS": f"/var/run/netns/{netns}", "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
        out = await self.cni.execute(node, "flannel", env, json.dumps(CONF).encode())
        assert out.code == 0, out.stdout
        ip = str(json.loads(out.stdout)["ips"][0]["address"].partition("/")[0])
        self.pods[name] = (node, netns)
        self.api.put(kinds.POD, to_json(pod(name, ip, node)))
        listener = await self.fabric.listen(node, netns, "", port)

        async def serve() -> None:
            while True:
                stream = await listener.accept()
                await stream.send(f"{name} {stream.remote[0]}".encode())
                await stream.close()

        self.nursery.start(serve(), name=f"serve {name}")
        return ip

    async def ask(self, source: str, address: str, port: int) -> str:
        """What a connection from a pod (or a node) brings: the answer, REFUSED or TIMEOUT."""
        node, netns = self.pods.get(source, (source, ""))
        try:
            stream = await self.fabric.connect(node, netns, address, port, 3.0)
        except ConnectionRefusedError:
            return "REFUSED"
        except TimeoutError:
            return "TIMEOUT"
        answer = await stream.recv()
        await stream.close()
        return answer.decode()


async def _start(program: Any, process: Any) -> int:
    return int(await program(process))


def _on(spec: Any, node: str, *argv: str) -> Any:
    return replace(spec, node=node, argv=(*spec.argv[:2], *argv))


def story(body: Callable[[Cluster], Coroutine[Any, Any, None]]) -> None:
    async def main(env: Env) -> None:
        cluster = Cluster(env)
        async with Nursery() as nursery:
            await cluster.boot(nursery)
            await body(cluster)
            nursery.cancel()

    run(main)


def test_pods_reach_each_other_on_one_node_and_across_nodes():
    """Bridge on one node, VXLAN between two; sources are the pods' own addresses."""

    async def body(k: Cluster) -> None:
        near, same, far = [await k.pod(n, w) for n, w in
                           (("a", "node-1"), ("b", "node-1"), ("c", "node-2"))]  # fmt: skip
        assert await k.ask("a", same, 8080) == f"b {near}"
        assert await k.ask("a", far, 8080) == f"c {near}"
        assert await k.ask("node-1", far, 8080) == "c 10.244.1.0", "flannel.1's own address"
        assert await k.ask("a", far, 81) == "REFUSED"

    story(body)


def test_a_service_spreads_and_masquerades_as_upstream_does():
    """ClusterIP from a pod keeps the source, a hairpin shows the bridge, a NodePort the node."""

    async def body(k: Cluster) -> None:
        one, two = await k.pod("a", "node-1"), await k.pod("c", "node-2")
        k.api.put(
            kinds.SERVICE,
            to_json(service("web", "10.96.0.50", [("", 80, 30080, "TCP")], type="NodePort")),
        )
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("web", f"{one}@node-1", f"{two}@node-2")))
        await k.env.clock.sleep(2)
        answers = {await k.ask("a", "10.96.0.50", 80) for _ in range(20)}
        assert answers == {"a 10.244.1.1", f"c {one}"}, "hairpin shows cni0"
        outside = {await k.ask("gateway", "192.168.0.11", 30080) for _ in range(20)}
        assert outside == {"a 10.244.1.1", "c 10.244.1.0"}
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("web")))
        await k.env.clock.sleep(2)
        assert await k.ask("a", "10.96.0.50", 80) == "REFUSED"
        assert await k.ask("gateway", "192.168.0.12", 30080) == "REFUSED"

    story(body)  # fmt: skip


def test_a_policy_denies_by_silence_and_admits_whom_it_names():
    """Same node and across: the named peer passes, others time out; the own node always passes,
    and a Service does not get around the policy.
    """

    async def body(k: Cluster) -> None:
        web = await k.pod("web", "node-1")
        for name, node in (("api", "node-2"), ("near", "node-1"), ("far", "node-2")):
            await k.pod(name, node)
        k.api.put(kinds.SERVICE, to_json(service("web", "10.96.0.50")))
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("web", f"{web}@node-1")))
        allow = [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}]
        k.api.put(
            kinds.NETWORK_POLICY,
            to_json(policy("lock", {"matchLabels": {"app": "web"}}, ingress=allow)),
        )
        await k.env.clock.sleep(2)
        for address, port in ((web, 8080), ("10.96.0.50", 80)):
            assert (await k.ask("api", address, port)).startswith("web")
            assert await k.ask("near", address, port) == "TIMEOUT"
            assert await k.ask("far", address, port) == "TIMEOUT"
        assert (await k.ask("node-1", web, 8080)).startswith("web")
        assert (await k.ask("web", "10.96.0.50", 80)).startswith("web"), "itself by its Service"
        k.api.remove(kinds.NETWORK_POLICY, "default/lock")
        await k.env.clock.sleep(2)
        assert (await k.ask("near", web, 8080)).startswith("web")

    story(body)  # fmt: skip


def test_an_egress_policy_stops_a_pod_at_its_own_node():
    """Everything but the named peer times out; what it is asked still gets answers."""

    async def body(k: Cluster) -> None:
        api = await k.pod("api", "node-1")
        web, far = await k.pod("web", "node-1"), await k.pod("far", "node-2")
        out = [{"to": [{"podSelector": {"matchLabels": {"app": "far"}}}]}]
        k.api.put(
            kinds.NETWORK_POLICY,
            to_json(policy("cage", {"matchLabels": {"app": "api"}}, egress=out, types=["Egress"])),
        )
        await k.env.clock.sleep(2)
        assert (await k.ask("api", far, 8080)).startswith("far")
        assert await k.ask("api", web, 8080) == "TIMEOUT"
        assert await k.ask("api", "192.168.0.11", 22) == "TIMEOUT", "its own node too"
        assert (await k.ask("web", api, 8080)).startswith("api")

    story(body)  # fmt: skip


def test_a_pod_is_isolated_before_the_api_knows_its_address():
    """The chained calico plugin waits: when ADD returns, the drop is programmed."""

    async def body(k: Cluster) -> None:
        files = await k.fabric.list_files("node-1", "/etc/cni/net.d/")
        assert files[0] == "/etc/cni/net.d/10-canal.conflist"
        conflist = json.loads(await k.fabric.read_file("node-1", files[0]))
        wait = {**conflist["plugins"][1], "name": "cbr0", "cniVersion": "0.3.1"}
        await k.pod("other", "node-1")
        web = await k.pod("web", "node-1")
        k.api.put(kinds.NETWORK_POLICY, to_json(policy("lock", {"matchLabels": {"app": "web"}})))
        unknown = pod("web", "", "node-1")
        k.api.put(kinds.POD, to_json(unknown))
        await k.env.clock.sleep(2)
        assert (await k.ask("other", web, 8080)).startswith("web"), "the agent knows no address"
        env = {
            "CNI_CONTAINERID": "web",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_NETNS": "/var/run/netns/cni-web",
            "CNI_COMMAND": "ADD",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
        }
        wait["prevResult"] = {
            "cniVersion": "0.3.1",
            "interfaces": [],
            "ips": [{"version": "4", "address": f"{web}/24"}],
        }
        started = k.env.clock.monotonic_ns()
        out = await k.cni.execute("node-1", "calico", env, json.dumps(wait).encode())
        assert out.code == 0, out.stdout
        assert k.env.clock.monotonic_ns() - started < 1_000_000_000
        assert await k.ask("other", web, 8080) == "TIMEOUT"
        env["CNI_COMMAND"] = "DEL"
        await k.cni.execute("node-1", "calico", env, json.dumps(wait).encode())
        await k.env.clock.sleep(1)
        assert await k.fabric.list_files("node-1", "/var/run/calico/") == []

    story(body)  # fmt: skip


def test_traffic_policies_and_affinity_on_the_wire():
    """Local keeps the client's address and serves only where a backend is; affinity sticks."""

    async def body(k: Cluster) -> None:
        one = await k.pod("a", "node-1")
        two = await k.pod("b", "node-2")
        await k.pod("asker", "node-1")
        k.api.put(
            kinds.SERVICE,
            to_json(
                service(
                    "edge",
                    "10.96.0.60",
                    [("", 80, 30060, "TCP")],
                    type="NodePort",
                    externalTrafficPolicy="Local",
                )
            ),
        )
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("edge", f"{two}@node-2")))
        k.api.put(
            kinds.SERVICE, to_json(service("near", "10.96.0.61", internalTrafficPolicy="Local"))
        )
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("near", f"{two}@node-2")))
        k.api.put(
            kinds.SERVICE, to_json(service("sticky", "10.96.0.62", sessionAffinity="ClientIP"))
        )
        k.api.put(
            kinds.ENDPOINT_SLICE, to_json(endpoints("sticky", f"{one}@node-1", f"{two}@node-2"))
        )
        await k.env.clock.sleep(3)
        assert await k.ask("gateway", "192.168.0.12", 30060) == "b 192.168.0.1"
        assert await k.ask("gateway", "192.168.0.11", 30060) == "TIMEOUT"
        assert (await k.ask("asker", "192.168.0.11", 30060)).startswith("b"), "short circuit"
        assert await k.ask("asker", "10.96.0.61", 80) == "TIMEOUT"
        assert (await k.ask("b", "10.96.0.61", 80)).startswith("b")
        assert len({await k.ask("asker", "10.96.0.62", 80) for _ in range(12)}) == 1

    story(body)  # fmt: skip


def test_a_udp_client_with_a_fixed_port_follows_the_endpoint():
    """The old flow is forgotten with the endpoint, so the next datagram reaches the new one."""

    async def body(k: Cluster) -> None:
        first, second = await k.pod("a", "node-1"), await k.pod("b", "node-2")
        for name in ("a", "b"):
            node, netns = k.pods[name]
            server = await k.fabric.bind_udp(node, netns, "", 53)
            k.nursery.start(_answer(server, name), name=f"udp {name}")
        ports = [("", 53, 0, "UDP")]
        k.api.put(kinds.SERVICE, to_json(service("dns", "10.96.0.53", ports)))
        udp = [("", 53, "UDP")]
        k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("dns", first, ports=udp)))
        await k.env.clock.sleep(2)
        client = await k.fabric.bind_udp("node-1", "cni-a", "", 40000)
        for ip, expected in ((first, b"a"), (second, b"b"), (first, b"a")):
            k.api.put(kinds.ENDPOINT_SLICE, to_json(endpoints("dns", ip, ports=udp)))
            await k.env.clock.sleep(2)
            await client.send_to(b"?", "10.96.0.53", 53)
            async with asyncio.timeout(3):
                assert (await client.recv_from())[0] == expected

    story(body)


async def _answer(server: Any, name: str) -> None:
    while True:
        _, address, port = await server.recv_from()
        await server.send_to(name.encode(), address, port)


def test_a_host_port_leads_into_the_pod_until_it_is_unplugged():
    """portmap behind flannel: from outside and from the node itself; DEL closes the door."""

    async def body(k: Cluster) -> None:
        web = await k.pod("web", "node-1")
        conf = {
            "cniVersion": "0.3.1",
            "name": "cbr0",
            "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": 8080}]},
            "prevResult": {
                "cniVersion": "0.3.1",
                "interfaces": [],
                "ips": [{"version": "4", "address": f"{web}/24"}],
            },
        }
        env = {
            "CNI_CONTAINERID": "web",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_NETNS": "/var/run/netns/cni-web",
            "CNI_COMMAND": "ADD",
        }
        out = await k.cni.execute("node-1", "portmap", env, json.dumps(conf).encode())
        assert out.code == 0, out.stdout
        assert await k.ask("gateway", "192.168.0.11", 8081) == "web 192.168.0.1"
        assert (await k.ask("node-1", "192.168.0.11", 8081)).startswith("web")
        assert (await k.ask("web", "192.168.0.11", 8081)) == "web 10.244.1.1", "hairpin"
        check = {**conf, "cniVersion": "1.0.0"}
        env["CNI_COMMAND"] = "CHECK"
        out = await k.cni.execute("node-1", "portmap", env, json.dumps(check).encode())
        assert out.code == 0, out.stdout
        env["CNI_COMMAND"] = "DEL"
        await k.cni.execute("node-1", "portmap", env, json.dumps(conf).encode())
        assert await k.ask("gateway", "192.168.0.11", 8081) == "REFUSED"

    story(body)  # fmt: skip


def test_flannel_may_start_again_and_forgets_nodes_that_leave():
    """A second start finds everything in place; a deleted Node takes its route along."""

    async def body(k: Cluster) -> None:
        near, far = await k.pod("a", "node-1"), await k.pod("b", "node-2")
        again = FakeProcess()
        k.nursery.start(_start(flannel(k.ctx), again), name="flannel again")
        await k.env.clock.sleep(2)
        assert again.lines[-1].endswith("Running backend.")
        assert await k.ask("a", far, 8080) == f"b {near}"
        k.api.remove(kinds.NODE, "node-2")
        await k.env.clock.sleep(2)
        routes = await k.fabric.tool("node-1", "", ("ip", "route"))
        assert "flannel.1" not in routes.stdout

    story(body)


POLICIES = (
    policy("lock", {"matchLabels": {"app": "web"}}, ingress=[
        {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": 8080}]},
        {"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}],
         "ports": [{"port": 9000, "endPort": 9010}]},
    ]),
    policy("cage", {"matchLabels": {"app": "far"}}, types=["Egress"], egress=[
        {"to": [{"podSelector": {}}], "ports": [{"port": 8080}]},
    ]),
    policy("shut", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["near"]}]},
           types=["Ingress", "Egress"]),
)  # fmt: skip


def test_walks_on_the_kernels_agree_with_the_verdicts_over_objects():
    """Every pair of pods, and a node to every pod, four ports: denied by rules iff denied by the
    evaluator, in the same direction.
    """

    async def body(k: Cluster) -> None:
        where = {"web": "node-1", "near": "node-1", "api": "node-2", "far": "node-2"}
        objects = [pod(name, await k.pod(name, node), node) for name, node in where.items()]
        for item in POLICIES:
            k.api.put(kinds.NETWORK_POLICY, to_json(item))
        await k.env.clock.sleep(2)
        nodes = {
            "192.168.0.11": "node-1",
            "192.168.0.12": "node-2",
            "10.244.1.1": "node-1",
            "10.244.2.1": "node-2",
        }
        evaluator = Evaluator(objects, [namespace("default")], POLICIES, nodes)
        places = {p.status.pod_ip: (p.spec.node_name, f"cni-{p.metadata.name}") for p in objects}
        sources = {**places, "192.168.0.11": ("node-1", "")}
        for src, (node, netns) in sources.items():
            for dst in places:
                for port in (80, 8080, 9005, 9010):
                    request = WalkRequest(node=node, netns=netns, dst=dst, dst_port=port)
                    answer = await k.fabric.walk(request)
                    verdict = evaluator.verdict(answer.src, dst, "TCP", port)
                    denied = verdict.direction if isinstance(verdict, Denied) else ""
                    fate = {"Ingress": Fate.DENIED_IN, "Egress": Fate.DENIED_OUT}.get(denied)
                    got = answer.drawn.fate
                    assert (got is fate) if fate else got in {Fate.DELIVERED, Fate.REFUSED}, (
                        src,
                        dst,
                        port,
                        got,
                        verdict,
                    )

    story(body)  # fmt: skip


def test_a_walk_names_the_service_that_has_no_endpoints():
    """The rule's comment carries the object: explain reads it."""

    async def body(k: Cluster) -> None:
        await k.pod("a", "node-1")
        k.api.put(kinds.SERVICE, to_json(service("empty", "10.96.0.70")))
        await k.env.clock.sleep(2)
        request = WalkRequest(node="node-1", netns="cni-a", dst="10.96.0.70", dst_port=80)
        branch = (await k.fabric.walk(request)).drawn
        assert branch.fate is Fate.NO_ENDPOINTS
        assert '"default/empty has no endpoints"' in branch.hops[-1].steps[-1].rule

    story(body)
