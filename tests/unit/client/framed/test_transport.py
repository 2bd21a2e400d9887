"""Links over real TLS on the loopback: who may talk, what is said when one may not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podwire.apiserver.certs import Authority, Pair
from podwire.client import identity as identities
from podwire.client.framed import messages
from podwire.client.framed.messages import ProtocolError
from podwire.client.framed.methods import Method, Table
from podwire.client.framed.transport import FramedServer, Link
from podwire.client.identity import IdentityError
from podwire.runtime.env import real
from podwire.runtime.tasks import Nursery

ECHO = Method("echo", tuple[bytes], bytes)
DAY_NS = 24 * 3600 * 10**9
ENV = real(seed=1, log_level="off")


def write(directory: Path, authority: Authority, room: str, pair: Pair | None = None) -> Path:
    """A folder with a room's certificate, as ``podwire certs`` leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    made = pair or authority.room(room, ())
    (directory / "ca.crt").write_bytes(authority.pem)
    (directory / f"{room}.crt").write_bytes(made.certificate)
    (directory / f"{room}.key").write_bytes(made.key)
    return directory


@pytest.fixture
def authority() -> Authority:
    return Authority(ENV.secret, ENV.clock.now_ns())


def echo(_: Any) -> Table:
    table = Table()
    table.unary(ECHO, lambda data: data)
    return table


class World:
    """A room ``fabric`` that serves, and links to it."""

    def __init__(self, serving: Path) -> None:
        self.server = FramedServer(
            identities.load(serving, "fabric"), ("kubelet",), echo, clock=ENV.clock, log=ENV.log
        )

    def link(self, own: Path, room: str = "kubelet", to: str = "fabric") -> Link:
        return Link(
            identities.load(own, room), to, self.server.address,
            clock=ENV.clock, rng=ENV.rng, log=ENV.log,
        )  # fmt: skip


async def with_world(serving: Path, body: Callable[[World], Awaitable[None]]) -> None:
    world = World(serving)
    await world.server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(10):
            await body(world)
    finally:
        await world.server.stop()


async def test_rooms_of_one_authority_talk(tmp_path, authority):
    """Large answers, too: bytes go both ways whole."""

    async def body(world: World) -> None:
        link = world.link(write(tmp_path / "k", authority, "kubelet"))
        async with Nursery() as nursery:
            nursery.start(link.run(), name="link")
            session = await link.connected()
            assert session.peer == "fabric"
            payload = bytes(range(256)) * 20_000
            assert await session.call(ECHO, payload) == payload
            nursery.cancel()

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_a_lost_link_is_dialled_again_and_says_when_it_is_back(tmp_path, authority):
    """Whoever waits for ``restored`` is woken by the new session, not by a clock."""

    async def body(world: World) -> None:
        link = world.link(write(tmp_path / "k", authority, "kubelet"))
        async with Nursery() as nursery:
            nursery.start(link.run(), name="link")
            first = await link.connected()
            back = nursery.start(link.restored(), name="restored")
            world.server.pause("no fabric yet")
            await first.ended()
            await asyncio.sleep(0)  # the link is woken after us
            assert not link.up
            with pytest.raises(ConnectionError, match=r"lost fabric at 127\.0\.0\.1"):
                link.session()
            world.server.resume()
            await back
            assert await link.session().call(ECHO, b"again") == b"again"
            nursery.cancel()

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def refused(link: Link) -> str:
    """The words with which a link gives up."""
    with pytest.raises(ProtocolError) as caught:
        await link.run()
    return str(caught.value)


async def test_a_foreign_authority_is_named_with_what_to_do(tmp_path, authority):
    """The dialling side does not trust the server."""
    stranger = Authority(ENV.secret, ENV.clock.now_ns())

    async def body(world: World) -> None:
        words = await refused(world.link(write(tmp_path / "k", stranger, "kubelet")))
        assert "not to be trusted" in words
        assert "issue them anew (podwire certs)" in words

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_an_expired_certificate_of_the_peer_says_so(tmp_path, authority, monkeypatch):
    """A year and a day ago it was good; its holder did not look since."""
    then = Authority(ENV.secret, ENV.clock.now_ns() - 366 * DAY_NS, authority.pair)
    serving = write(tmp_path / "f", authority, "fabric", then.room("fabric", ()))
    own = write(tmp_path / "k", authority, "kubelet")

    async def body(world: World) -> None:
        words = await refused(world.link(own))
        assert "certificate has expired" in words

    with monkeypatch.context() as unseen:
        unseen.setattr(identities, "_shake_hands_with_itself", lambda _: None)
        await with_world(serving, body)


async def test_another_room_at_the_address_is_not_taken_for_the_right_one(tmp_path, authority):
    """A certificate names a room; where it listens is no matter."""

    async def body(world: World) -> None:
        own = write(tmp_path / "k", authority, "kubelet")
        assert "Hostname mismatch" in await refused(world.link(own, to="apiserver"))

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_a_room_that_may_not_call_is_told_why(tmp_path, authority):
    """coredns is of the cluster, but has no business with this counter."""

    async def body(world: World) -> None:
        own = write(tmp_path / "c", authority, "coredns")
        assert "coredns may not call fabric" in await refused(world.link(own, "coredns"))

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_an_administrators_certificate_is_no_rooms(tmp_path, authority, monkeypatch):
    """system:masters may do everything over HTTPS, and nothing here."""
    own = write(tmp_path / "k", authority, "kubelet", authority.client("admin", ["system:masters"]))
    serving = write(tmp_path / "f", authority, "fabric")

    async def body(world: World) -> None:
        assert "this certificate may not call fabric" in await refused(world.link(own))

    with monkeypatch.context() as unseen:
        unseen.setattr(identities, "_shake_hands_with_itself", lambda _: None)
        await with_world(serving, body)


async def test_a_peer_of_another_version_is_not_dialled_again(tmp_path, authority, monkeypatch):
    """Both sides say which versions met."""

    async def body(world: World) -> None:
        link = world.link(write(tmp_path / "k", authority, "kubelet"))
        monkeypatch.setattr(messages, "VERSION", 2)
        words = await refused(link)
        assert "run the same release of podwire on both sides" in words

    greeting = messages.greeting("fabric")
    monkeypatch.setattr("podwire.client.framed.session.messages.greeting", lambda _: greeting)
    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_nobody_at_the_address_is_told_once_and_tried_again(tmp_path, authority):
    """The link's users get the reason at once; the next try is the link's matter."""
    own = write(tmp_path / "k", authority, "kubelet")
    told: list[str] = []
    link = Link(
        identities.load(own, "kubelet"), "fabric", "127.0.0.1:1",
        clock=ENV.clock, rng=ENV.rng, log=ENV.log, changed=lambda: told.append(link.why),
    )  # fmt: skip
    async with Nursery() as nursery:
        nursery.start(link.run(), name="link")
        await asyncio.sleep(0.3)  # several tries fit into it
        with pytest.raises(ConnectionError, match=r"cannot reach fabric at 127\.0\.0\.1:1:"):
            link.session()
        nursery.cancel()
    assert told == ["cannot reach fabric at 127.0.0.1:1: connection refused"]


def test_certificates_that_cannot_be_used_say_which_and_what_to_do(tmp_path, authority):
    """Missing, another's key, another authority's, expired: found before anybody is dialled."""
    with pytest.raises(IdentityError, match=r"ca.crt: No such file .*podwire certs"):
        identities.load(tmp_path, "fabric")
    mixed = Pair(authority.room("fabric", ()).certificate, authority.room("fabric", ()).key)
    stranger = Authority(ENV.secret, ENV.clock.now_ns())
    then = Authority(ENV.secret, ENV.clock.now_ns() - 366 * DAY_NS, authority.pair)
    for pair, why in (
        (mixed, "KEY_VALUES_MISMATCH"),
        (stranger.room("fabric", ()), "unable to get local issuer|signature failure"),
        (then.room("fabric", ()), "certificate has expired"),
        (authority.room("cni", ()), "Hostname mismatch"),
        (Pair(b"no certificate", b"no key"), "PEM|NO_START_LINE"),
    ):
        write(tmp_path, authority, "fabric", pair)
        with pytest.raises(IdentityError, match=rf"fabric.crt: .*({why}).*podwire certs"):
            identities.load(tmp_path, "fabric")


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:port", "h:70000", "..:1", ""])
async def test_what_is_no_address_is_told_at_once(tmp_path, authority, address):
    """A Node's annotation may say anything: whoever asks for that kubelet is told, not kept."""
    own = write(tmp_path / "k", authority, "kubelet")
    link = Link(
        identities.load(own, "kubelet"), "kubelet", address,
        clock=ENV.clock, rng=ENV.rng, log=ENV.log,
    )  # fmt: skip
    assert "give HOST:PORT" in await refused(link)


async def test_a_room_greets_as_its_certificate_names_it(tmp_path, authority, monkeypatch):
    """Otherwise any room could act as any other one by saying so."""
    own = write(tmp_path / "k", authority, "kubelet")

    async def body(world: World) -> None:
        link = world.link(own)
        object.__setattr__(link._identity, "room", "apiserver")
        async with Nursery() as nursery:
            nursery.start(link.run(), name="link")
            session = await link.connected()
            with pytest.raises(ConnectionError):
                await session.call(ECHO, b"x")
            nursery.cancel()

    await with_world(write(tmp_path / "f", authority, "fabric"), body)


async def test_nobody_who_gave_up_waiting_is_kept(tmp_path, authority):
    """A request per second for a kubelet that is gone for a day is many."""
    own = write(tmp_path / "k", authority, "kubelet")
    link = Link(
        identities.load(own, "kubelet"), "kubelet", "127.0.0.1:1",
        clock=ENV.clock, rng=ENV.rng, log=ENV.log,
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await link.connected()
    assert not link._waiting
