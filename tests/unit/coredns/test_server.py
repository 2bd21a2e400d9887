"""CoreDNS as a pod: it starts, answers over sockets, follows the API, reloads, ends politely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podwire.api import kinds
from podwire.client import dnswire, http1
from podwire.client.dnswire import Edns, Message, Question
from podwire.coredns import host
from podwire.coredns.upstream import Upstream
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.client.fake_api import FakeApi, make_ctx
from tests.unit.programs.fakes import FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

KUBEADM = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
IMAGE = "registry.k8s.io/coredns/coredns:v1.14.7"


class World:
    """One CoreDNS pod, one client pod, the gateway's resolver."""

    def __init__(self, env: Env, text: str, upstream: str = "192.168.0.1") -> None:
        self.env = env
        self.net = FlatNet()
        self.net.add("gateway", "", "192.168.0.1")
        self.net.add("node-1", "client", "10.244.1.9")
        self.api = FakeApi(env)
        for name in ("default", "kube-system"):
            self.api.put(kinds.NAMESPACE, {"metadata": {"name": name}})
        files = {
            "/etc/coredns/Corefile": text.encode(),
            "/etc/resolv.conf": f"nameserver {upstream}\n".encode(),
        }
        of = spec(IMAGE, "-conf", "/etc/coredns/Corefile", ip="10.244.1.2", pod="coredns-1")
        self.process = FakeProcess(self.net, of, files)
        self.host = host(make_ctx(env, self.api))
        self.container: Any = None

    def service(self, name: str, ip: str) -> None:
        body = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]},
        }
        self.api.put(kinds.SERVICE, body)

    async def start(self) -> None:
        self.container = await self.host.start(self.process)

    async def up(self) -> None:
        await self.start()
        await self.process.printed("CoreDNS-")

    async def ask(self, name: str, qtype: int = dnswire.A, **more: Any) -> Message:
        message = Message(id=77, questions=[Question(name, qtype)], **more)
        socket = await self.net.bind_udp("node-1", "client")
        await socket.send_to(dnswire.encode(message), "10.244.1.2", 53)
        async with asyncio.timeout(6):
            data, *_ = await socket.recv_from()
        return dnswire.decode(data)

    async def get(self, port: int, path: str) -> http1.Response:
        stream = await self.net.connect("node-1", "client", "10.244.1.2", port, 1)
        return await http1.fetch(stream, "GET", path, "x")


def story(
    body: Callable[[World], Coroutine[Any, Any, None]], text: str = KUBEADM, **more: Any
) -> None:
    async def main(env: Env) -> None:
        world = World(env, text, **more)
        async with Nursery() as tasks:
            tasks.start(Upstream().run(world.net, "gateway"), name="upstream")
            await body(world)
            if world.container is not None:
                world.container.signal("KILL")
            tasks.cancel()

    sim.run(main, horizon_s=7200)


def test_it_starts_as_the_real_one_says_and_answers_what_the_api_holds() -> None:
    """Log lines, a Service, an external name through the upstream, NXDOMAIN with SOA."""

    async def body(world: World) -> None:
        world.service("web", "10.96.3.4")
        await world.up()
        assert world.process.lines[0].startswith("[INFO] plugin/kubernetes: waiting")
        assert world.process.lines[1] == ".:53"
        assert "Running configuration SHA512 = " in world.process.lines[2]
        assert world.process.lines[3] == "CoreDNS-1.14.7"
        assert world.process.lines[4].startswith("linux/amd64, go1.26.8, ")
        answer = await world.ask("web.default.svc.cluster.local.")
        assert [rr.data for rr in answer.answer] == ["10.96.3.4"]
        assert (answer.aa, answer.ra, answer.answer[0].ttl) == (True, False, 30)
        external = await world.ask("api.example.com.")
        assert [rr.data for rr in external.answer] == ["203.0.113.10"]
        assert external.ra
        missing = await world.ask("nosuch.default.svc.cluster.local.")
        assert missing.rcode == dnswire.NXDOMAIN
        assert [rr.type for rr in missing.authority] == [dnswire.SOA]

    story(body)


def test_a_service_is_known_as_soon_as_its_event_arrives() -> None:
    """Event-driven: created, moved, deleted; nothing of the cluster's zone is cached."""

    async def body(world: World) -> None:
        await world.up()
        name = "late.default.svc.cluster.local."
        assert (await world.ask(name)).rcode == dnswire.NXDOMAIN
        for ip in ("10.96.1.1", "10.96.2.2"):
            world.service("late", ip)
            await asyncio.sleep(0.01)
            assert [rr.data for rr in (await world.ask(name)).answer] == [ip]
        world.api.remove(kinds.SERVICE, "default/late")
        await asyncio.sleep(0.01)
        assert (await world.ask(name)).rcode == dnswire.NXDOMAIN

    story(body)


def test_external_answers_are_cached_and_their_ttl_counts_down() -> None:
    """Cache 30: asked once upstream; 10 s later the TTL is 20; after 30 s it asks again."""

    async def body(world: World) -> None:
        await world.up()
        assert (await world.ask("x.example.com.")).answer[0].ttl == 300
        await asyncio.sleep(10)
        assert (await world.ask("X.example.com.")).answer[0].ttl == 20
        metrics = (await world.get(9153, "/metrics")).body.decode()
        assert 'coredns_cache_hits_total{server="dns://:53",type="success"} 1' in metrics
        assert 'coredns_dns_responses_total{plugin="forward",rcode="NOERROR"' in metrics
        await asyncio.sleep(21)
        assert (await world.ask("x.example.com.")).answer[0].ttl == 300

    story(body)


def test_health_and_ready_answer_and_term_is_a_lame_duck_first() -> None:
    """TERM: five more seconds of service, then exit 0."""

    async def body(world: World) -> None:
        await world.up()
        assert (await world.get(8080, "/health")).body == b"OK"
        assert (await world.get(8181, "/ready")).status == 200
        began = world.env.clock.monotonic_ns()
        world.container.signal("TERM")
        await asyncio.sleep(1)
        assert (await world.get(8181, "/ready")).status == 503
        assert (await world.ask("kubernetes.default.svc.cluster.local.")).rcode == 3
        assert await world.container.wait() == 0
        assert world.env.clock.monotonic_ns() - began == 5_000_000_000
        assert "[INFO] plugin/health: Going into lameduck mode for 5s" in world.process.lines
        assert not [key for key in world.net.ports if "10.244.1.2" in key[1][0]]

    story(body)


def test_without_the_api_it_serves_after_five_seconds_and_says_servfail() -> None:
    """Unsynced: not ready, cluster names SERVFAIL rather than a wrong NXDOMAIN."""

    async def body(world: World) -> None:
        def unreachable(_request: object) -> None:
            raise ConnectionError("connection refused")

        world.api.refuse = unreachable
        await world.up()
        assert world.env.clock.now_ns() % 10**12 >= 5 * 10**9
        assert any("starting server with unsynced" in line for line in world.process.lines)
        assert (await world.ask("web.default.svc.cluster.local.")).rcode == dnswire.SERVFAIL
        ready = await world.get(8181, "/ready")
        assert (ready.status, ready.body) == (503, b"kubernetes")

    story(body)


def test_a_dead_upstream_costs_a_servfail_and_an_error_line() -> None:
    """The errors plugin prints what Go prints."""

    async def body(world: World) -> None:
        await world.up()
        answer = await world.ask("api.example.com.")
        assert answer.rcode == dnswire.SERVFAIL
        line = next(line for line in world.process.lines if "[ERROR]" in line and " A: " in line)
        assert line.startswith("[ERROR] plugin/errors: 2 api.example.com. A: read udp 10.244.1.2:")
        assert line.endswith("->192.168.0.99:53: read: connection refused")

    story(body, upstream="192.168.0.99")


def test_forwarding_to_itself_is_found_out() -> None:
    """Loop: the well-known message, exit code 1."""

    async def body(world: World) -> None:
        await world.start()
        assert await world.container.wait() == 1
        line = next(line for line in world.process.lines if "[FATAL]" in line)
        assert "plugin/loop: Loop (" in line
        assert 'detected for zone "."' in line

    story(body, upstream="127.0.0.1")


def test_a_changed_corefile_is_loaded_and_a_bad_one_is_not() -> None:
    """Within 45 s, as the reload plugin does; a mistake keeps the old configuration."""

    async def body(world: World) -> None:
        await world.up()
        path = "/etc/coredns/Corefile"
        world.process.files[path] = KUBEADM.replace("ttl 30", "ttl banana").encode()
        await asyncio.sleep(50)
        world.service("web", "10.96.3.4")
        await asyncio.sleep(1)
        name = "web.default.svc.cluster.local."
        assert (await world.ask(name)).answer[0].ttl == 30
        assert any("Corefile changed but reload failed" in x for x in world.process.lines)
        world.process.files[path] = KUBEADM.replace("ttl 30", "ttl 60").encode()
        await asyncio.sleep(50)
        assert (await world.ask(name)).answer[0].ttl == 60
        assert world.process.lines[-1] == "[INFO] Reloading complete"

    story(body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ".:53 {\n  nonsense\n}",
            "Corefile:2 - Error during parsing: Unknown directive 'nonsense'",
        ),
        (
            ".:53 {\n  dnssec\n}",
            "Corefile:2 - Error during parsing: plugin 'dnssec' is not modelled",
        ),
        (".:53 {\n  errors\n", "Corefile:1 - Error during parsing: Unexpected EOF, expecting '}'"),
        (".:53 {\n  forward .\n}", "Wrong argument count"),
        (".:53 {\n  kubernetes {\n ttl 9999\n }\n}", "Corefile:3"),
        ("}", "Unexpected '}'"),
    ],
)
def test_a_wrong_corefile_ends_the_container_with_a_clear_line(text: str, message: str) -> None:
    """CrashLoopBackOff with a log that names file and line."""

    async def body(world: World) -> None:
        await world.start()
        assert await world.container.wait() == 1
        assert message in world.process.errors[0]

    story(body, text)


def test_protocol_rules_of_the_server() -> None:
    """CH class REFUSED, EDNS version 1 BADVERS, no zone REFUSED, garbage FORMERR, TCP whole."""

    async def body(world: World) -> None:
        await world.up()
        refused = await world.ask("version.bind.")
        assert refused.rcode == dnswire.REFUSED
        odd = await world.ask("web.default.svc.cluster.local.", edns=Edns(4096, 1))
        assert odd.rcode == dnswire.BADVERS
        for i in range(40):
            addresses = {"addresses": [f"10.244.3.{i}"]}
            world.api.put(
                kinds.ENDPOINT_SLICE,
                {
                    "metadata": {
                        "name": f"s{i}",
                        "namespace": "default",
                        "labels": {"kubernetes.io/service-name": "many"},
                    },
                    "addressType": "IPv4",
                    "endpoints": [addresses],
                    "ports": [],
                },
            )
        world.api.put(
            kinds.SERVICE,
            {"metadata": {"name": "many", "namespace": "default"}, "spec": {"clusterIP": "None"}},
        )
        await asyncio.sleep(0.1)
        name = "many.default.svc.cluster.local."
        assert (await world.ask(name)).tc
        assert len((await world.ask(name, edns=Edns(4096))).answer) == 40
        stream = await world.net.connect("node-1", "client", "10.244.1.2", 53, 1)
        wire = dnswire.query(name, dnswire.A, 9)
        await stream.send(len(wire).to_bytes(2, "big") + wire)
        data = await stream.recv()
        assert len(dnswire.decode(data[2:]).answer) == 40
        socket = await world.net.bind_udp("node-1", "client")
        await socket.send_to(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\xff", "10.244.1.2", 53)
        broken, *_ = await socket.recv_from()
        assert dnswire.decode(broken).rcode == dnswire.FORMERR

    story(body, KUBEADM.replace(".:53", "cluster.local:53"))


def test_the_four_most_used_customisations() -> None:
    """hosts, rewrite, template and a stub domain."""
    text = """
    (common) {
        errors
    }
    example.com:53 {
        import common
        rewrite name exact old.example.com web.default.svc.cluster.local
        hosts {
            10.1.1.1 pinned.example.com
            fallthrough
        }
        template IN A tpl.example.com {
            match ^(?P<a>\\d+)-(?P<b>\\d+)\\.tpl\\.
            answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}"
        }
        kubernetes cluster.local
        forward . 192.168.0.1
    }
    .:53 {
        whoami
    }
    """

    async def body(world: World) -> None:
        world.service("web", "10.96.3.4")
        await world.up()
        for name, ip in {
            "old.example.com.": "10.96.3.4",
            "pinned.example.com.": "10.1.1.1",
            "7-8.tpl.example.com.": "10.0.7.8",
            "other.example.com.": "203.0.113.10",
        }.items():
            answer = await world.ask(name)
            assert [(rr.name, rr.data) for rr in answer.answer] == [(name, ip)]
        who = await world.ask("elsewhere.")
        assert who.additional[0].data == "10.244.1.9"

    story(body, text)
