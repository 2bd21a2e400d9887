"""Walks and datagrams on forks tell the truth and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from podwire.client.counters import Datagrams
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.fabric.hardware import Fabric
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.fabric.world import cluster, ping, run


async def name_server(socket: Datagrams, delay: Env | None = None) -> None:
    """Answers everything in capitals, after a second when given somebody's clock."""
    while True:
        data, address, port = await socket.recv_from()
        if delay is not None:
            await delay.clock.sleep(1)
        await socket.send_to(data.upper(), address, port)


def traces_of(fabric: Fabric) -> tuple[object, ...]:
    """Everything that a question must not change."""
    ports = fabric.wire.ports.values()
    return (
        fabric.world.state_hash(),
        [(port.counters.tx_packets, port.counters.rx_packets) for port in ports],
    )


def test_a_walk_ends_where_the_packet_would() -> None:
    async def story(env: Env) -> list[Fate]:
        fabric = await cluster(env)
        await fabric.listen("node-2", "pod-2", "", 80)
        fates = []
        for dst, port in (("10.244.2.2", 80), ("10.244.2.2", 81), ("192.168.0.77", 80)):
            request = WalkRequest(node="node-1", netns="pod-1", dst=dst, dst_port=port)
            fates.append((await fabric.walk(request)).drawn.fate)
        return fates

    assert run(story) == [Fate.DELIVERED, Fate.REFUSED, Fate.NEIGHBOR_UNREACHABLE]


def test_a_walk_meets_the_same_cut_wires_as_a_packet() -> None:
    async def story(env: Env) -> Fate:
        fabric = await cluster(env)
        await fabric.listen("node-2", "pod-2", "", 80)
        await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)
        fabric.wire.set_link("node-1", "node-2", up=False)
        request = WalkRequest(node="node-1", netns="pod-1", dst="10.244.2.2", dst_port=80)
        return (await fabric.walk(request)).drawn.fate

    assert run(story) is Fate.LINK_DOWN


def test_a_datagram_on_a_fork_is_answered_by_the_live_program_without_a_trace() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        socket = await fabric.bind_udp("node-2", "pod-2", "", 53)
        async with Nursery() as nursery:
            nursery.start(name_server(socket), name="server")
            await env.clock.sleep(1)
            before = traces_of(fabric)
            answer, payload = await fabric.ask_datagram(
                "node-1", "pod-1", "10.244.2.2", 53, b"who?", timeout_s=5
            )
            assert payload == b"WHO?"
            assert answer.drawn.fate is Fate.DELIVERED
            assert answer.drawn.flow is not None
            assert answer.drawn.flow.dst == "10.244.2.2"
            assert traces_of(fabric) == before
            nursery.cancel()

    run(story)


def test_questions_and_live_datagrams_do_not_mix() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        socket = await fabric.bind_udp("node-2", "pod-2", "", 53)
        client = await fabric.bind_udp("node-1", "pod-1")
        async with Nursery() as nursery:
            nursery.start(name_server(socket, env), name="server")
            await client.send_to(b"live", "10.244.2.2", 53)
            asked = await asyncio.gather(
                *(
                    fabric.ask_datagram("node-1", "pod-1", "10.244.2.2", 53, text, timeout_s=9)
                    for text in (b"one", b"two")
                )
            )
            assert [payload for _, payload in asked] == [b"ONE", b"TWO"]
            assert await client.recv_from() == (b"LIVE", "10.244.2.2", 53)
            nursery.cancel()

    run(story)


def test_nobody_there_or_nobody_answering_is_no_payload() -> None:
    async def story(env: Env) -> list[tuple[Fate, bytes | None]]:
        fabric = await cluster(env)
        silent = await fabric.bind_udp("node-2", "pod-2", "", 54)
        closing = await fabric.bind_udp("node-2", "pod-2", "", 55)
        env.clock.call_later(1, closing.close)
        results = []
        for port in (53, 54, 55):
            answer, payload = await fabric.ask_datagram(
                "node-1", "pod-1", "10.244.2.2", port, b"who?", timeout_s=0.9 if port == 54 else 9
            )
            results.append((answer.drawn.fate, payload))
        assert await silent.recv_from()
        return results

    assert run(story) == [
        (Fate.REFUSED, None),
        (Fate.DELIVERED, None),
        (Fate.DELIVERED, None),
    ]


def test_cancelling_a_question_is_cancellation() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        await fabric.bind_udp("node-2", "pod-2", "", 53)
        asking = fabric.ask_datagram("node-1", "pod-1", "10.244.2.2", 53, b"who?", timeout_s=9)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asking

    run(story)


def test_asking_changes_no_history() -> None:
    """A trace in the middle of a run leaves its trace-hash alone."""

    async def story(env: Env, *, ask: bool) -> str:
        fabric = await cluster(env)
        await fabric.bind_udp("node-2", "pod-2", "", 53)
        if ask:
            request = WalkRequest(node="node-1", netns="pod-1", dst="10.244.2.2", dst_port=80)
            await fabric.walk(request)
        await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)
        client = await fabric.bind_udp("node-1", "pod-1")
        await client.send_to(b"x", "10.244.2.2", 53)
        await env.clock.sleep(1)
        return env.trace.hash  # type: ignore[attr-defined,no-any-return]

    assert run(lambda env: story(env, ask=True)) == run(lambda env: story(env, ask=False))
