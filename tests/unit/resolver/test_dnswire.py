"""DNS messages on the wire, held against dnspython."""

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.client import dnstext, dnswire
from podwire.client.dnswire import RR, DnsError, Edns, Message, Mx, Question, Soa, Srv

ANSWERS = [
    RR("web.default.svc.cluster.local.", dnswire.A, 30, "10.96.3.4"),
    RR("web.default.svc.cluster.local.", dnswire.AAAA, 30, "fd00::10"),
    RR("alias.test.", dnswire.CNAME, 5, "web.default.svc.cluster.local."),
    RR("_http._tcp.web.test.", dnswire.SRV, 30, Srv(0, 50, 80, "web.test.")),
    RR("4.3.96.10.in-addr.arpa.", dnswire.PTR, 30, "web.test."),
    RR("test.", dnswire.SOA, 30, Soa("ns.test.", "hostmaster.test.", 7, 7200, 1800, 86400, 30)),
    RR("test.", dnswire.TXT, 28800, (b"1.1.0", b'quoted "x"')),
    RR("test.", dnswire.MX, 60, Mx(10, "mail.test.")),
]
TEXT = st.text(st.characters(codec="ascii"), max_size=70)


def test_every_record_we_send_reads_the_same_in_dnspython() -> None:
    """Two codecs, one message: names, data, flags, EDNS."""
    message = Message(
        id=4711,
        qr=True,
        aa=True,
        rcode=dnswire.NXDOMAIN,
        questions=[Question("WeB.test.", dnswire.ANY)],
        answer=list(ANSWERS),
        edns=Edns(1232, 0, True),
    )
    theirs = dns.message.from_wire(dnswire.encode(message))
    assert theirs.id == 4711
    assert theirs.rcode() == dns.rcode.NXDOMAIN
    assert theirs.payload == 1232
    text = [line for rrset in theirs.answer for line in rrset.to_text().splitlines()]
    ours = [
        f"{rr.name} {rr.ttl} IN {dnstext.type_name(rr.type)} {dnstext.data_text(rr)}"
        for rr in ANSWERS
    ]
    assert text == ours
    assert dnswire.decode(dnswire.encode(message)) == message
    assert dnswire.decode(dnswire.encode(message, compress=False)) == message


def test_an_answer_too_large_for_the_client_is_cut_at_a_whole_record_and_says_so() -> None:
    """RFC 2181: TC with as many records as fit; 100 addresses at 512 bytes leave 29, or 28 EDNS."""
    records = [RR("many.default.svc.cluster.local.", 1, 30, f"10.244.0.{i}") for i in range(100)]
    message = Message(qr=True, questions=[Question(records[0].name, 1)], answer=records)
    wire = dnswire.encode(message, max_bytes=512)
    cut = dnswire.decode(wire)
    assert len(wire) <= 512
    assert cut.tc
    assert cut.answer == records[: len(cut.answer)]
    assert len(cut.answer) == 28 + 1
    assert not message.tc, "the message itself is not changed"


@pytest.mark.parametrize(
    "name", ["a..b.", "x" * 64 + ".", "ä.test.", ".".join(["y" * 60] * 5) + ".", "end\\"]
)
def test_an_impossible_name_is_refused(name: str) -> None:
    """Empty labels, labels over 63 bytes, names over 255, what is not ASCII, a lone backslash."""
    with pytest.raises(DnsError):
        dnswire.encode(Message(questions=[Question(name, 1)]))


def test_a_pointer_loop_is_refused() -> None:
    """A compression pointer must point backwards."""
    header = b"\0\1\0\0\0\1\0\0\0\0\0\0"
    with pytest.raises(DnsError):
        dnswire.decode(header + b"\xc0\x0c\0\1\0\1")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_clean_error(data: bytes) -> None:
    """Whatever arrives on port 53 cannot break the decoder."""
    try:
        message = dnswire.decode(data)
    except DnsError:
        return
    assert dnswire.decode(dnswire.encode(message)).questions == message.questions


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_any_label_survives_text_form(parts: list[bytes]) -> None:
    """Dots, spaces and bytes above ASCII are escaped and come back."""
    name = ".".join(dnswire._label_text(p) for p in parts) + "."
    assert dnswire.labels(name) == parts
    wire = dnswire.encode(Message(questions=[Question(name, 1)]))
    assert dnswire.decode(wire).question.name == name


@given(TEXT)
def test_any_text_is_a_name_or_a_clean_error(name: str) -> None:
    """``nslookup 'any thing'`` cannot break the encoder."""
    try:
        dnswire.query(name, 1, 1)
    except DnsError:
        return
