"""SPDY/3.1: frames to bytes and back, and streams over a wire."""

import asyncio
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.apiserver.http.spdy import connection
from podwire.apiserver.http.spdy.connection import SpdyConnection
from podwire.apiserver.http.spdy.dictionary import DICTIONARY
from podwire.apiserver.http.spdy.frames import (
    INVALID_STREAM,
    MAX_CONTROL_BYTES,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Data,
    Decoder,
    Encoder,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Settings,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)
from tests.unit.apiserver_http.wires import SpdyClient, wire

ids = st.integers(1, 2**31 - 1)
words = st.integers(0, 2**32 - 1)
headers = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
    .map(str.lower)
    .filter(lambda text: text == text.lower()),
    st.text(max_size=40),
    max_size=5,
)
frames = st.one_of(
    st.builds(
        SynStream, ids, headers, fin=st.booleans(), unidirectional=st.booleans(), associated=ids,
        priority=st.integers(0, 7),
    ),
    st.builds(SynReply, ids, headers, fin=st.booleans()),
    st.builds(MoreHeaders, ids, headers, fin=st.booleans()),
    st.builds(RstStream, ids, words),
    st.builds(
        Settings,
        st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 255), words), max_size=4).map(
            tuple
        ),
    ),
    st.builds(Ping, words),
    st.builds(GoAway, ids, words),
    st.builds(WindowUpdate, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    st.builds(Data, ids, st.binary(max_size=300), fin=st.booleans()),
)  # fmt: skip


def joined(found):
    """Frames with the pieces of each data frame put together."""
    whole = []
    for frame in found:
        last = whole[-1] if whole else None
        if isinstance(frame, Data) and isinstance(last, tuple) and not last[2]:
            whole[-1] = (frame.stream, last[1] + frame.data, frame.fin)
        elif isinstance(frame, Data):
            whole.append((frame.stream, frame.data, frame.fin))
        else:
            whole.append(frame)
    return whole


def test_the_dictionary_is_the_drafts():
    """A constant of SPDY/3: its length and checksum are known."""
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_frames_survive_the_wire_however_it_cuts_them(sent, step):
    """What is encoded is decoded, in order, from pieces of any size."""
    encoder, decoder, found = Encoder(), Decoder(), []
    data = b"".join(encoder.encode(frame) for frame in sent)
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    parted = [x for x in sent if isinstance(x, Data)]
    assert [f for f in found if not isinstance(f, Data)] == [
        f for f in sent if not isinstance(f, Data)
    ]
    assert b"".join(f.data for f in found if isinstance(f, Data)) == b"".join(
        f.data for f in parted
    )
    assert sum(f.fin for f in found if isinstance(f, Data)) == sum(f.fin for f in parted)


@given(st.lists(frames, min_size=1, max_size=4), st.data())
def test_bytes_that_are_damaged_end_in_frames_or_one_error(sent, data):
    """Whatever a client sends: frames or SpdyError, and never more memory than one frame."""
    encoder, decoder = Encoder(), Decoder()
    wired = bytearray(b"".join(encoder.encode(frame) for frame in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        wired[data.draw(st.integers(0, len(wired) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoder.feed(bytes(wired) + data.draw(st.binary(max_size=50)))
    except SpdyError:
        return
    assert len(decoder._buffer) <= MAX_CONTROL_BYTES + 8


def test_a_header_block_that_inflates_without_end_is_refused():
    """A bomb: 16 MiB of zeros in a few kilobytes."""
    deflate = zlib.compressobj(zdict=DICTIONARY)
    block = deflate.compress(bytes(16 * 2**20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    body = bytes(10) + block
    frame = b"\x80\x03\x00\x01" + len(body).to_bytes(4, "big") + body
    with pytest.raises(SpdyError):
        Decoder().feed(frame)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",  # SPDY/2
        b"\x80\x03\x00\x01\x00\xff\xff\xff",  # a control frame of 16 MiB
        b"\x80\x03\x00\x06\x00\x00\x00\x02\x00\x01",  # a ping of two bytes
        b"\x80\x03\x00\x04\x00\x00\x00\x04\x7f\xff\xff\xff",  # more settings than there are
    ],
)
def test_what_is_no_spdy_is_refused_at_once(data):
    """Before anything is allocated for it."""
    with pytest.raises(SpdyError):
        Decoder().feed(data)


class Served:
    """A server's connection and a client at the other end of a wire."""

    async def __aenter__(self):
        near, far = wire()
        self.server = SpdyConnection(near)
        self.client = SpdyClient(far)
        self.running = asyncio.create_task(self.server.run())
        return self

    async def __aexit__(self, *_):
        self.client.duplex.close()
        await self.running


async def test_a_stream_carries_bytes_both_ways_and_ends_each_way_alone():
    """Half-close: the server still sends when the client has ended."""
    async with Served() as served:
        number = await served.client.open(streamtype="stdin")
        stream = await served.server.accept()
        assert stream.headers == {"streamtype": "stdin"}
        await served.client.send(Data(number, b"one"), Data(number, b"", fin=True))
        assert [await stream.read(), await stream.read()] == [b"one", b""]
        await stream.write(b"x" * 100_000)
        await stream.finish()
        assert await served.client.text(number) == b"x" * 100_000
        assert not served.server._streams


async def test_what_is_read_is_credited():
    """A client that minds windows (ours do not) may go on."""
    async with Served() as served:
        number = await served.client.open()
        stream = await served.server.accept()
        await served.client.send(Data(number, b"12345"))
        assert await stream.read() == b"12345"
        wanted = [WindowUpdate(number, 5), WindowUpdate(0, 5)]
        await served.client.until(lambda: all(f in served.client.frames for f in wanted))


async def test_pings_come_back_and_ids_that_make_no_sense_are_reset():
    """Even ids are the server's; an id is used once; data needs a stream."""
    async with Served() as served:
        client = served.client
        await client.send(Ping(7), Ping(8), SynStream(2), Data(9, b"x"))
        await client.open()
        await client.send(SynStream(1))
        resets = [RstStream(2, PROTOCOL_ERROR), RstStream(9, INVALID_STREAM),
                  RstStream(1, PROTOCOL_ERROR)]  # fmt: skip
        await client.until(lambda: all(frame in client.frames for frame in resets))
        assert [f for f in client.frames if isinstance(f, Ping)] == [Ping(7)]


async def test_streams_are_counted(monkeypatch):
    """One more than allowed is refused, and an ended one makes room."""
    monkeypatch.setattr(connection, "MAX_STREAMS", 2)
    async with Served() as served:
        first = await served.client.open()
        await served.client.open()
        await served.client.send(SynStream(5))
        refused = RstStream(5, REFUSED_STREAM)
        await served.client.until(lambda: refused in served.client.frames)
        await served.client.send(RstStream(first, 5))
        served.client._last = 5
        assert await served.client.open() == 7


async def test_a_slow_reader_slows_the_client(monkeypatch):
    """Beyond the bound nothing more is read from the wire; nothing is lost."""
    monkeypatch.setattr(connection, "MAX_UNREAD_BYTES", 1000)
    async with Served() as served:
        number = await served.client.open()
        stream = await served.server.accept()
        for _ in range(10):
            await served.client.send(Data(number, b"x" * 500))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served.server._unread <= 1500
        got = b""
        while len(got) < 5000:
            got += await stream.read()
        assert served.server._unread == 0


async def test_the_client_leaves_and_every_stream_ends():
    """Whoever reads gets the end, whoever accepts gets None."""
    async with Served() as served:
        await served.client.open()
        stream = await served.server.accept()
        served.client.duplex.close()
        assert await stream.read() == b""
        assert stream.was_reset
        assert await served.server.accept() is None
