"""Programs in namespaces talk by TCP through kernels and the wire."""

from __future__ import annotations

import asyncio
import errno

import pytest

from podwire.dataplane.commands import NetnsDel, RouteDel, RouteReplace
from podwire.fabric.hardware import Fabric
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.fabric.world import bare, cluster, ping, run


async def echo_server(fabric: Fabric, node: str, netns: str, port: int) -> None:
    """Answers everything in capitals until the peer ends, one connection after the other."""
    listener = await fabric.owned_by("echo").listen(node, netns, "", port)
    while True:
        stream = await listener.accept()
        while data := await stream.recv():
            await stream.send(data.upper())
        await stream.close()


def test_a_pod_asks_a_pod_of_another_node() -> None:
    async def story(env: Env) -> list[object]:
        fabric = await cluster(env)
        async with Nursery() as nursery:
            nursery.start(echo_server(fabric, "node-2", "pod-2", 80), name="server")
            await env.clock.sleep(0.001)
            stream = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
            await stream.send(b"hello")
            answer = await stream.recv()
            await stream.close()
            rest = await stream.recv()
            nursery.cancel()
        return [answer, rest, stream.local[0], stream.remote]

    assert run(story) == [b"HELLO", b"", "10.244.1.2", ("10.244.2.2", 80)]


def test_nobody_listening_is_connection_refused() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        for node, netns in (("node-1", "pod-1"), ("node-2", "pod-2"), ("node-1", "")):
            with pytest.raises(ConnectionRefusedError):
                await fabric.connect(node, netns, "10.244.2.2", 81, timeout_s=5)

    run(story)


def test_a_cut_wire_is_a_timeout_after_the_time_given() -> None:
    async def story(env: Env) -> float:
        fabric = await cluster(env)
        await ping(fabric, "node-1", "pod-1", "10.244.2.2", timeout_s=1)  # all MACs are known now
        fabric.wire.set_link("node-1", "node-2", up=False)
        begun = env.clock.monotonic_ns()
        with pytest.raises(TimeoutError):
            await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=2.5)
        return (env.clock.monotonic_ns() - begun) / 1e9

    assert run(story) == pytest.approx(2.5)


def test_a_host_without_power_is_unreachable_after_three_unanswered_arp_requests() -> None:
    async def story(env: Env) -> tuple[int | None, float]:
        fabric = bare(env)
        fabric.power_off("node-2")
        begun = env.clock.monotonic_ns()
        with pytest.raises(OSError) as caught:
            await fabric.connect("node-1", "", "192.168.0.12", 80, timeout_s=30)
        return caught.value.errno, (env.clock.monotonic_ns() - begun) / 1e9

    code, seconds = run(story)
    assert code == errno.EHOSTUNREACH
    assert seconds == pytest.approx(3, abs=0.1)


def test_without_a_route_connect_fails_at_once_and_says_why() -> None:
    async def story(env: Env) -> list[int | None]:
        fabric = await cluster(env)
        codes = []
        for kind in ("unreachable", "prohibit", "blackhole", ""):
            route = RouteReplace(dst="10.0.0.0/8", type=kind)
            gone = RouteDel(dst="default"), RouteDel(dst="10.0.0.0/8")
            await fabric.execute("gateway", [route] if kind else gone)
            with pytest.raises(OSError) as caught:
                await fabric.connect("gateway", "", "10.244.1.2", 80, timeout_s=30)
            codes.append(caught.value.errno)
        return codes

    assert run(story) == [errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETUNREACH]


def test_a_port_can_be_taken_once() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        listener = await fabric.listen("node-1", "pod-1", "", 80)
        with pytest.raises(OSError) as caught:
            await fabric.listen("node-1", "pod-1", "10.244.1.2", 80)
        assert caught.value.errno == errno.EADDRINUSE
        await fabric.listen("node-1", "", "", 80)  # another namespace, another port space
        listener.close()
        await fabric.listen("node-1", "pod-1", "", 80)

    run(story)


def test_after_our_close_the_peer_can_still_answer() -> None:
    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        server = await listener.accept()
        await client.send(b"question")
        await client.close()
        assert await server.recv() == b"question"
        assert await server.recv() == b""
        await server.send(b"late answer")
        await server.close()
        return await client.recv()

    assert run(story) == b"late answer"


def test_a_peer_that_never_closes_cannot_hold_a_closed_connection_forever() -> None:
    async def story(env: Env) -> list[int]:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await listener.accept()
        await client.close()
        space = fabric.sockets.space("node-1", "pod-1")
        assert space is not None
        counts = []
        for _ in range(2):
            await env.clock.sleep(59)
            counts.append(len(space.tcp))
        return counts

    assert run(story) == [1, 0]


def test_a_half_closed_reader_may_wait_for_hours() -> None:
    async def story(env: Env) -> bytes:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        server = await listener.accept()
        await client.close()
        async with Nursery() as nursery:
            reading = nursery.start(client.recv(), name="reader")
            await env.clock.sleep(7200)
            await server.send(b"at last")
        return reading.result()

    assert run(story) == b"at last"


def test_deleting_a_namespace_resets_its_connections() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await listener.accept()
        await fabric.execute("node-2", [NetnsDel(name="pod-2")])
        with pytest.raises(ConnectionResetError):
            await client.recv()
        with pytest.raises(OSError):
            await listener.accept()

    run(story)


def test_a_process_that_exits_closes_its_connections_and_frees_its_ports() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        mine = fabric.owned_by("container-1")
        listener = await mine.listen("node-2", "pod-2", "", 80)
        idle = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await listener.accept()
        unread = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await listener.accept()
        await unread.send(b"never read")
        await env.clock.sleep(0.01)
        fabric.release("container-1")
        assert await idle.recv() == b""
        with pytest.raises(ConnectionResetError):
            await unread.recv()
        with pytest.raises(ConnectionRefusedError):
            await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await fabric.listen("node-2", "pod-2", "", 80)

    run(story)


def test_a_lost_kubelet_resets_its_programs() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        listener = await fabric.owned_by("kubelet-2").listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        await listener.accept()
        fabric.reset_owner("kubelet-2")
        with pytest.raises(ConnectionResetError):
            await client.recv()

    run(story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_megabyte_crosses_a_bad_wire_unharmed(seed: int) -> None:
    async def story(env: Env) -> bool:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        words = ["delay", "5ms", "4ms", "loss", "10%", "duplicate", "10%", "reorder", "20%"]
        for node in ("node-1", "node-2"):
            command = ["tc", "qdisc", "add", "dev", "eth0", "root", "netem", *words]
            assert (await fabric.tool(node, "", command)).code == 0
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=60)
        server = await listener.accept()
        sent = env.rng.bytes(1_000_000)

        async def write() -> None:
            await client.send(sent)
            await client.close()

        received = b""
        async with Nursery() as nursery:
            nursery.start(write(), name="writer")
            while data := await server.recv():
                received += data
        return received == sent

    assert run(story, seed)


def test_a_slow_card_makes_the_round_trip_longer() -> None:
    async def story(env: Env) -> list[float]:
        fabric = await cluster(env)
        times = [await ping(fabric, "node-1", "pod-1", "10.244.2.2", 5) for _ in range(2)][1:]
        for node, netns, dev in (("node-1", "", "eth0"), ("node-2", "pod-2", "eth0")):
            words = f"tc qdisc add dev {dev} root netem delay 100ms".split()
            assert (await fabric.tool(node, netns, words)).code == 0
            times.append(await ping(fabric, "node-1", "pod-1", "10.244.2.2", 5))
        return times

    quick, slow, slower = run(story)
    assert slow - quick == pytest.approx(0.1, abs=0.001)
    assert slower - slow == pytest.approx(0.1, abs=0.001)


def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        fabric.wire.set_link("node-1", "node-2", up=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, 60, source_port=50000)
        space = fabric.sockets.space("node-1", "pod-1")
        assert space is not None
        assert not space.tcp

    run(story)


def test_the_same_seed_gives_the_same_history() -> None:
    async def story(env: Env) -> str:
        fabric = await cluster(env)
        async with Nursery() as nursery:
            nursery.start(echo_server(fabric, "node-2", "pod-2", 80), name="server")
            await env.clock.sleep(0.001)
            for _ in range(3):
                stream = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
                await stream.send(b"x")
                await stream.recv()
                await stream.close()
            nursery.cancel()
        return env.trace.hash  # type: ignore[attr-defined,no-any-return]

    assert run(story, 7) == run(story, 7)
    assert run(story, 7) != run(story, 8)


def test_a_program_reaches_its_own_namespace_by_loopback_and_by_address() -> None:
    async def story(env: Env) -> list[str]:
        fabric = await cluster(env)
        listener = await fabric.listen("node-1", "pod-1", "", 80)
        seen = []
        for address in ("127.0.0.1", "10.244.1.2"):
            await fabric.connect("node-1", "pod-1", address, 80, timeout_s=1)
            seen.append((await listener.accept()).remote[0])
        private = await fabric.listen("node-1", "pod-1", "127.0.0.1", 81)
        with pytest.raises(ConnectionRefusedError):
            await fabric.connect("node-1", "", "10.244.1.2", 81, timeout_s=1)
        private.close()
        return seen

    assert run(story) == ["127.0.0.1", "10.244.1.2"]


def test_there_is_no_ipv6_and_no_unknown_namespace() -> None:
    async def story(env: Env) -> list[int | None]:
        fabric = await cluster(env)
        codes = []
        for node, netns, address in (
            ("node-1", "pod-1", "fd00::1"),
            ("node-1", "nowhere", "10.244.1.2"),
            ("node-9", "", "10.244.1.2"),
        ):
            with pytest.raises(OSError) as caught:
                await fabric.connect(node, netns, address, 80, timeout_s=1)
            codes.append(caught.value.errno)
        return codes

    assert run(story) == [errno.ENETUNREACH, errno.ENOENT, errno.ENODEV]


def test_a_full_backlog_makes_clients_wait_for_accept() -> None:
    async def story(env: Env) -> float:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        listener.backlog = 1
        await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        env.clock.call_later(0.5, lambda: setattr(listener, "backlog", 2))
        begun = env.clock.monotonic_ns()
        await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=5)
        return (env.clock.monotonic_ns() - begun) / 1e9

    assert run(story) == pytest.approx(1, abs=0.01)  # the second SYN


def test_the_outside_has_servers_and_everything_else_out_there_is_silent() -> None:
    async def story(env: Env) -> str:
        fabric = await cluster(env)
        listener = await fabric.listen("gateway", "", "203.0.113.10", 443)
        await fabric.connect("node-1", "", "203.0.113.10", 443, timeout_s=1)
        server = await listener.accept()
        with pytest.raises(TimeoutError):
            await fabric.connect("node-1", "", "198.51.100.7", 443, timeout_s=3)
        with pytest.raises(OSError) as caught:
            await fabric.connect("node-1", "", "10.250.0.1", 443, timeout_s=3)
        assert caught.value.errno == errno.EHOSTUNREACH
        return server.remote[0]

    assert run(story) == "192.168.0.11"


def test_ss_shows_who_listens_and_who_talks() -> None:
    async def story(env: Env) -> tuple[str, str, int]:
        fabric = await cluster(env)
        await fabric.listen("node-2", "pod-2", "", 80)
        await fabric.bind_udp("node-2", "pod-2", "10.244.2.2", 53)
        await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, 1, source_port=40000)
        await env.clock.sleep(1)
        listening = await fabric.tool("node-2", "pod-2", ["ss", "-tuln"])
        talking = await fabric.tool("node-2", "pod-2", ["ss", "-tnH"])
        odd = await fabric.tool("node-2", "pod-2", ["ss", "--kill"])
        return listening.stdout, talking.stdout, odd.code

    listening, talking, odd = run(story)
    assert listening.splitlines() == [
        "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess",
        "udp   UNCONN 0      0         10.244.2.2:53        0.0.0.0:*          ",
        "tcp   LISTEN 1      128                *:80              *:*          ",
    ]
    assert talking == "ESTAB 0      0      [::ffff:10.244.2.2]:80 [::ffff:10.244.1.2]:40000\n"
    assert odd == 255


def test_a_closed_connection_leaves_no_entry_in_any_table() -> None:
    async def story(env: Env) -> list[int]:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        server = await listener.accept()
        await client.close()
        await server.close()
        listener.close()
        await env.clock.sleep(61)  # TIME_WAIT is over
        left = []
        for node, netns in (("node-1", "pod-1"), ("node-2", "pod-2")):
            space = fabric.sockets.space(node, netns)
            table = fabric.hosts[node].kernel.netns(netns).sockets
            assert space is not None
            left += [len(space.tcp), len(space.listeners), len(table.connected), len(table.bound)]
        return left

    assert run(story) == [0] * 8


def test_a_segment_for_a_connection_the_server_lost_is_answered_by_reset() -> None:
    """The port still listens, so it is the listener that has to say so."""

    async def story(env: Env) -> None:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        server = await listener.accept()
        server.space.forget_tcp(server)
        await client.send(b"are you there?")
        with pytest.raises(ConnectionResetError):
            await client.recv()

    run(story)


def test_ephemeral_ports_stay_in_their_range_skip_taken_ones_and_run_out() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        first = await fabric.bind_udp("node-1", "pod-1")
        space = fabric.sockets.space("node-1", "pod-1")
        assert space is not None
        low, high = 32768, 60999
        assert low <= first.local[1] <= high
        space._next_port = high
        ports = [(await fabric.bind_udp("node-1", "pod-1")).local[1] for _ in range(3)]
        assert ports == [high, low, low + 1]
        space._next_port = high
        assert (await fabric.bind_udp("node-1", "pod-1")).local[1] == low + 2
        space._bound.update({("udp", port): 1 for port in range(low, high + 1)})
        with pytest.raises(OSError) as caught:
            await fabric.bind_udp("node-1", "pod-1")
        assert caught.value.errno == errno.EADDRINUSE

    run(story)


def test_a_fast_writer_waits_for_a_slow_reader() -> None:
    async def story(env: Env) -> tuple[bool, int]:
        fabric = await cluster(env)
        listener = await fabric.listen("node-2", "pod-2", "", 80)
        client = await fabric.connect("node-1", "pod-1", "10.244.2.2", 80, timeout_s=1)
        server = await listener.accept()
        received = 0
        async with Nursery() as nursery:
            writing = nursery.start(client.send(bytes(1_000_000)), name="writer")
            await env.clock.sleep(60)
            stuck = not writing.done()
            while received < 1_000_000:
                received += len(await server.recv())
        return stuck, received

    assert run(story) == (True, 1_000_000)


def test_sockets_of_another_owner_are_left_alone() -> None:
    async def story(env: Env) -> None:
        fabric = await cluster(env)
        one, two = fabric.owned_by("one"), fabric.owned_by("two")
        await one.listen("node-1", "pod-1", "", 80)
        await one.bind_udp("node-1", "pod-1", "", 53)
        await two.listen("node-1", "pod-1", "", 81)
        two.release("one")
        await two.listen("node-1", "pod-1", "", 80)
        await two.bind_udp("node-1", "pod-1", "", 53)
        with pytest.raises(OSError):
            await one.listen("node-1", "pod-1", "", 81)

    run(story)
