"""Service addresses and node ports: bands, races, release."""

from __future__ import annotations

import asyncio

from podwire.api import kinds
from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.client.counters import User

SVC = kinds.SERVICE


def service(name: str, *ports: dict[str, object], **spec) -> dict[str, object]:
    return {"metadata": {"name": name}, "spec": {"ports": list(ports) or [{"port": 80}], **spec}}


def test_an_address_is_drawn_from_the_upper_band(simulate):
    """The first 256 addresses of a /16 stay free for those who ask for one."""

    async def story(w):
        made = await w.client.create(SVC, service("a"), "default")
        third, fourth = (int(part) for part in made.spec.cluster_ip.split(".")[2:])
        assert third * 256 + fourth >= 256
        assert made.spec.cluster_ips == [made.spec.cluster_ip]
        assert made.spec.ip_families == ["IPv4"]

    simulate(story)


def test_a_wanted_address_is_given_once(simulate):
    """And again after its Service is gone."""

    async def story(w):
        await w.client.create(SVC, service("dns", clusterIP="10.96.0.10"), "default")
        error = await w.refused(
            w.client.create(SVC, service("b", clusterIP="10.96.0.10"), "default")
        )
        assert error.message == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: '
            "failed to allocate IP 10.96.0.10: provided IP is already allocated"
        )
        await w.client.delete(SVC, "dns", "default")
        await w.client.create(SVC, service("b", clusterIP="10.96.0.10"), "default")

    simulate(story)


def test_an_address_outside_the_range_is_refused(simulate):
    """The message names the range."""

    async def story(w):
        for wanted in ("10.97.0.1", "10.96.0.0", "10.96.255.255"):
            error = await w.refused(w.client.create(SVC, service("a", clusterIP=wanted), "default"))
            assert "The range of valid IPs is 10.96.0.0/16" in error.message

    simulate(story)


def test_node_ports_are_refused_with_upstreams_words(simulate):
    """Out of range, and already allocated."""

    async def story(w):
        async def create(name: str, node_port: int):
            body = service(name, {"port": 80, "nodePort": node_port}, type="NodePort")
            return await w.client.create(SVC, body, "default")

        error = await w.refused(create("a", 80))
        assert error.message == (
            'Service "a" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is '
            "not in the valid range. The range of valid ports is 30000-32767"
        )
        await create("a", 30080)
        error = await w.refused(create("b", 30080))
        assert error.message == (
            'Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port '
            "is already allocated"
        )

    simulate(story)


def test_changing_the_type_gives_node_ports_back(simulate):
    """NodePort to ClusterIP and back keeps the address and draws a new port."""

    async def story(w):
        made = await w.client.create(SVC, service("a", type="NodePort"), "default")
        port = made.spec.ports[0].node_port
        assert 30086 <= port <= 32767
        assert f"/registry/ranges/servicenodeports/{port}" in await keys(w)
        plain = await w.client.patch(SVC, "a", {"spec": {"type": "ClusterIP"}}, "default")
        assert plain.spec.ports[0].node_port == 0
        assert plain.spec.cluster_ip == made.spec.cluster_ip
        assert f"/registry/ranges/servicenodeports/{port}" not in await keys(w)

    simulate(story)


def test_an_update_that_leaves_the_address_out_keeps_it(simulate):
    """kubectl replace of the user's own manifest must not lose the address."""

    async def story(w):
        made = await w.client.create(SVC, service("a", type="NodePort"), "default")
        body = service("a", {"port": 80}, {"port": 81, "name": "b"}, type="NodePort")
        body["metadata"]["namespace"] = "default"
        body["spec"]["ports"][0]["name"] = "a"
        after = await w.client.update(SVC, body)
        assert after.spec.cluster_ip == made.spec.cluster_ip
        assert after.spec.ports[0].node_port == made.spec.ports[0].node_port
        assert after.spec.ports[1].node_port not in {0, made.spec.ports[0].node_port}

    simulate(story)


def test_a_service_of_type_external_name_needs_nothing(simulate):
    """Neither does a headless one."""

    async def story(w):
        body = {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "x.y"}}
        await w.client.create(SVC, body, "default")
        made = await w.client.create(SVC, service("h", clusterIP="None"), "default")
        assert made.spec.cluster_ips == ["None"]
        assert await keys(w) == []

    simulate(story)


def test_two_servers_never_give_one_address_twice(simulate):
    """The allocation is a key in the store, so replicas race safely."""

    async def story(w):
        other = Apiserver(w.env, w.store, w.server.config)
        await other.start()
        second = Client(DirectApi(other, User("b")))
        made = await asyncio.gather(
            *(w.client.create(SVC, service(f"a{i}"), "default") for i in range(50)),
            *(second.create(SVC, service(f"b{i}"), "default") for i in range(50)),
        )
        addresses = [s.spec.cluster_ip for s in made]
        assert len(dict.fromkeys(addresses)) == 100
        assert len(await keys(w)) == 100
        other.stop()

    simulate(story)


def test_a_choice_that_another_server_took_is_made_again(simulate):
    """A server whose view lags loses the transaction, looks again and chooses another."""

    async def story(w):
        made = await w.client.create(SVC, service("a"), "default")
        w.server.ranges.see(f"/registry/ranges/serviceips/{made.spec.cluster_ip}", None)
        asked = service("b", clusterIP=made.spec.cluster_ip)
        error = await w.refused(w.client.create(SVC, asked, "default"))
        assert "already allocated" in error.message or "concurrent" in error.message

    simulate(story)


def test_a_refused_service_leaves_no_allocation_behind(simulate):
    """Address and object are one transaction."""

    async def story(w):
        await w.client.create(SVC, service("a"), "default")
        before = await keys(w)
        assert (await w.refused(w.client.create(SVC, service("a"), "default"))).reason == (
            "AlreadyExists"
        )
        assert await keys(w) == before

    simulate(story)


async def keys(w) -> list[str]:
    """Every allocation in the store."""
    return [kv.key for kv in (await w.store.range("/registry/ranges/")).kvs]
