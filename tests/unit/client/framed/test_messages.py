"""Frames and greetings: bounded, cut anywhere, clear about strangers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.client.framed import messages
from podwire.client.framed.errors import Error
from podwire.client.framed.messages import (
    Call,
    Cancel,
    Credit,
    Failure,
    Frames,
    Item,
    Ping,
    Post,
    ProtocolError,
    Result,
)

numbers = st.integers(0, 2**40)
payloads = st.binary(max_size=64)
every_message = st.one_of(
    st.builds(Call, numbers, st.text(max_size=20), payloads, numbers),
    st.builds(Result, numbers, payloads),
    st.builds(Failure, numbers, st.builds(Error, st.text(max_size=9), st.text(max_size=9))),
    st.builds(Item, numbers, payloads),
    st.builds(Cancel, numbers),
    st.builds(Credit, numbers, numbers),
    st.builds(Post, st.text(max_size=20), payloads),
    st.just(Ping()),
)


@given(st.lists(every_message, max_size=8), st.data())
def test_messages_arrive_whole_however_the_stream_is_cut(sent, data):
    """Every cut of the bytes gives the same messages in the same order."""
    stream = b"".join(map(messages.encode, sent))
    frames, received, at = Frames(), [], 0
    while at < len(stream):
        n = data.draw(st.integers(1, len(stream) - at))
        received += map(messages.decode, frames.feed(stream[at : at + n]))
        at += n
    assert received == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_protocol_error(junk):
    """What a stranger sends raises nothing else."""
    try:
        for body in Frames().feed(junk):
            messages.decode(body)
            messages.read_greeting(body)
    except (ProtocolError, ConnectionRefusedError):
        pass


def test_a_frame_longer_than_the_limit_is_refused_before_it_is_read():
    """Its length alone says so: nothing is held."""
    with pytest.raises(ProtocolError, match="longer than"):
        Frames().feed((messages.MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_peer_of_another_version_is_told_apart_and_says_what_to_do():
    """The greeting's layout is the same in every version."""
    body = messages.greeting("fabric")[4:].replace(bytes([messages.VERSION]), bytes([9]), 1)
    with pytest.raises(ProtocolError, match=r"fabric speaks version 9 .* run the same release"):
        messages.read_greeting(body)


def test_a_refusal_for_good_and_one_for_now_are_different_errors():
    """Only the second is worth another try."""
    with pytest.raises(ProtocolError, match="refused the connection: strangers"):
        messages.read_greeting(messages.greeting("cni", "strangers")[4:])
    with pytest.raises(ConnectionRefusedError, match="cannot serve now: no fabric"):
        messages.read_greeting(messages.greeting("cni", "no fabric", for_good=False)[4:])


def test_http_is_no_greeting():
    """Somebody dialled the wrong port."""
    with pytest.raises(ProtocolError, match="no podwire room"):
        messages.read_greeting(b"GET / HTTP/1.1")
