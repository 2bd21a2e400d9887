"""Kubelet with the real kernel, CNI plugins and flannel agent beneath it."""

import json

from podwire.api import kinds
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client import http1
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.hosting import RoomHost
from podwire.cni import hosts as cni_hosts
from podwire.cni.runtime import CniPlugins
from podwire.fabric.hardware import Fabric
from podwire.kubelet import daemon
from podwire.kubelet.programs.host import ProgramHost
from podwire.kubelet.state import KubeletConfig
from podwire.kubelet.streams import Streams
from podwire.runtime import sim
from podwire.runtime.tasks import Nursery
from podwire.store.embedded import EmbeddedStore
from tests.unit.kubelet.conftest import ADMIN, CONFLIST

FLANNEL = {
    "hostNetwork": True,
    "nodeName": "node-1",
    "containers": [
        {
            "name": "kube-flannel",
            "image": "ghcr.io/flannel-io/flannel:v0.28.9",
            "command": ["/opt/bin/flanneld"],
            "args": ["--ip-masq", "--kube-subnet-mgr"],
            "env": [
                {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
            ],
            "volumeMounts": [
                {"name": "run", "mountPath": "/run/flannel"},
                {"name": "cni", "mountPath": "/etc/cni/net.d"},
                {"name": "cfg", "mountPath": "/etc/kube-flannel/"},
            ],
        }
    ],
    "volumes": [
        {"name": "run", "hostPath": {"path": "/run/flannel"}},
        {"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}},
        {"name": "cfg", "configMap": {"name": "cfg"}},
    ],
}
WEB = {
    "nodeName": "node-1",
    "containers": [
        {
            "name": "c",
            "image": "web",
            "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
        }
    ],
}


CART = {
    "nodeName": "node-1",
    "containers": [{"name": "c", "image": "shop/cart:v1", "ports": [{"containerPort": 80}]}],
}


async def web(process):
    spec = process.spec
    listener = await process.sockets.listen(spec.node, spec.netns, "", 8080)

    async def answer(request):
        return http1.text(request.peer[0])

    await http1.serve(listener, answer)
    return 0


async def when(client, kind, wanted, namespace=""):
    stream = client.watch(kind, namespace, initial_events=True)
    async for event in stream:
        if event.type != "BOOKMARK" and wanted(event.object):
            await stream.aclose()
            return event.object
    raise AssertionError


def test_from_a_bare_node_to_a_pod_that_answers_its_probe():
    """flanneld installs the network, the node turns Ready, the sandbox gets its address, the
    probe travels through the kernel; afterwards nothing is left.
    """

    async def story(env):
        store = EmbeddedStore(env.clock, env.trace)
        server = Apiserver(env, store)
        await server.start()
        api = DirectApi(server, ADMIN)
        client = Client(api)
        fabric = Fabric(env.clock, env.rng, env.ids, env.trace, env.log)
        fabric.add_node("node-1", "192.168.0.11")
        for name in ("default", "kube-node-lease"):
            await client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
        await client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "default")
        network = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
        conflist = {
            **CONFLIST,
            "plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": True}}],
        }
        data = {"net-conf.json": json.dumps(network), "cni-conf.json": json.dumps(conflist)}
        await client.create(
            kinds.CONFIG_MAP, {"metadata": {"name": "cfg"}, "data": data}, "default"
        )
        streams = Streams()
        ctx = Ctx(
            api, fabric, fabric, CniPlugins(fabric, env.rng), (), streams, env.clock, env.rng,
            env.ids, env.trace, env.log, KubeletConfig("node-1", "typical", streams=streams),
        )  # fmt: skip
        hosts = (*cni_hosts.hosts(ctx), RoomHost(("web",), web), ProgramHost(ctx))
        object.__setattr__(ctx, "hosts", hosts)
        async with Nursery() as nursery:
            nursery.start(daemon.run(ctx), name="kubelet")
            node = await when(client, kinds.NODE, lambda n: n.status.conditions)
            assert not node.ready
            spec = {"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}}
            await client.patch(kinds.NODE, "node-1", spec)
            for name, body in (("flannel", FLANNEL), ("web", WEB), ("cart", CART)):
                await client.create(
                    kinds.POD, {"metadata": {"name": name}, "spec": body}, "default"
                )
            await when(client, kinds.NODE, lambda n: n.ready)
            pod = await when(
                client, kinds.POD, lambda p: p.metadata.name == "web" and p.ready, "default"
            )
            address = pod.status.pod_ip
            assert address in {"10.244.0.2", "10.244.0.3"}
            resolver = await streams.resolver("node-1", "default", "web")
            shown = await fabric.tool("node-1", resolver.netns, ["ip", "addr"])
            assert f"{address}/24" in shown.stdout
            stream = await fabric.connect("node-1", "", address, 8080, 1.0)
            answer = await http1.fetch(stream, "GET", "/", "web")
            assert answer.body == b"10.244.0.1"
            argv = ["sh", "-c", "hostname; cat /etc/resolv.conf | head -n 1; exit 7"]
            session = await streams.exec("node-1", "default", "web", "c", argv, False)
            output = b"".join([data async for _, data in session.output()])
            assert (
                output == b"web\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n"
            )
            assert await session.wait() == 7
            pod = await when(
                client, kinds.POD, lambda p: p.metadata.name == "cart" and p.ready, "default"
            )
            stream = await fabric.connect("node-1", "", pod.status.pod_ip, 80, 1.0)
            answer = await http1.fetch(stream, "GET", "/", "cart")
            assert answer.header("x-podwire-modelled") == "generic"
            await env.clock.sleep(1)
            events = (await client.list(kinds.EVENT, "default")).items
            assert [e.involved_object.name for e in events if e.reason == "GenericProgram"] == [
                "cart"
            ]
            await client.delete(kinds.POD, "cart", "default", grace_period_seconds=1)
            await client.delete(kinds.POD, "web", "default", grace_period_seconds=1)
            await env.clock.sleep(5)
            leases = await fabric.list_files("node-1", "/var/lib/cni/networks/cbr0/10.")
            assert leases == []
            links = await fabric.tool("node-1", "", ["ip", "link"])
            assert "veth" not in links.stdout
            nursery.cancel()
        server.stop()
        await store.close()

    sim.run(story, 3)
