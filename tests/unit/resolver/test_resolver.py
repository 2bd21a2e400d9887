"""Name lookups as glibc and musl do them; the rows were measured with the real libraries."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.client import dnswire, resolver
from podwire.client.dnswire import RR, Message, Question
from podwire.client.resolver import GLIBC, MUSL, Hosts, Lookup, parse_resolv_conf

POD = """nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""
ZONE = {
    "backend.default.svc.cluster.local.": "10.96.7.7",
    "api.example.com.": "203.0.113.10",
    "db.default.svc.cluster.local.": "api.example.com.",
}


def answer(question: Question) -> Message:
    message = Message(qr=True, questions=[question])
    name = question.name
    while name in ZONE:
        data = ZONE[name]
        if data.endswith("."):
            message.answer.append(RR(name, dnswire.CNAME, 5, data))
            name = data
        else:
            if question.type == dnswire.A:
                message.answer.append(RR(name, dnswire.A, 5, data))
            return message
    message.rcode = dnswire.NXDOMAIN
    return message


async def look(
    name: str, conf: str = POD, flavour: str = GLIBC, family: str = "any"
) -> resolver.Result:
    async def exchange(questions: tuple[Question, ...]) -> Sequence[Message | None]:
        return [answer(question) for question in questions]

    hosts = Hosts("127.0.0.1 localhost\n::1 localhost\n10.244.1.5 web-0.web web-0\n")
    lookup = Lookup(name, parse_resolv_conf(conf), hosts, family, flavour)
    return await resolver.run(lookup, exchange)


async def test_an_external_name_costs_eight_questions_in_a_pod() -> None:
    """ndots:5 tries three search domains first, each with A and AAAA."""
    result = await look("api.example.com")
    assert result.addresses == ("203.0.113.10",)
    assert [(asked.name, asked.type, asked.rcode) for asked in result.asked] == [
        ("api.example.com.default.svc.cluster.local.", "A", "NXDOMAIN"),
        ("api.example.com.default.svc.cluster.local.", "AAAA", "NXDOMAIN"),
        ("api.example.com.svc.cluster.local.", "A", "NXDOMAIN"),
        ("api.example.com.svc.cluster.local.", "AAAA", "NXDOMAIN"),
        ("api.example.com.cluster.local.", "A", "NXDOMAIN"),
        ("api.example.com.cluster.local.", "AAAA", "NXDOMAIN"),
        ("api.example.com.", "A", "NOERROR"),
        ("api.example.com.", "AAAA", "NOERROR"),
    ]


@pytest.mark.parametrize("flavour", [GLIBC, MUSL])
@pytest.mark.parametrize(
    ("name", "options", "questions"),
    [
        ("api.example.com", "options ndots:2", 2),
        ("api.example.com.", "options ndots:5", 2),
        ("backend", "options ndots:5", 2),
        ("nosuch", "options ndots:5", 8),
    ],
)
async def test_questions_per_lookup(flavour: str, name: str, options: str, questions: int) -> None:
    """A trailing dot or a low ndots saves the search; a miss costs all of it."""
    result = await look(name, POD + options, flavour)
    assert len(result.asked) == questions
    assert bool(result.addresses) is (name != "nosuch")


async def test_glibc_searches_after_the_name_itself_failed_and_musl_does_not() -> None:
    """backend.default with ndots:1: six packets and an address, or two and none."""
    conf = POD.replace("ndots:5", "ndots:1")
    glibc = await look("backend.default", conf.replace("default.svc", "x.svc"), GLIBC)
    musl = await look("backend.default", conf.replace("default.svc", "x.svc"), MUSL)
    assert glibc.addresses == ("10.96.7.7",)
    assert len(glibc.asked) == 6
    assert musl.addresses == ()
    assert musl.error == "NONAME"
    assert len(musl.asked) == 2


async def test_cnames_are_followed_to_the_name_that_has_the_address() -> None:
    """An ExternalName service: the chain and the canonical name are told."""
    result = await look("db")
    assert result.chain == ("api.example.com.",)
    assert result.canonical == "api.example.com"
    assert result.addresses == ("203.0.113.10",)


async def test_hosts_come_before_dns_and_addresses_need_neither() -> None:
    """A name in /etc/hosts and a literal ask nobody."""
    assert (await look("web-0")).addresses == ("10.244.1.5",)
    assert (await look("web-0")).canonical == "web-0.web"
    assert (await look("localhost", family="inet6")).addresses == ("::1",)
    literal = await look("10.0.0.1")
    assert (literal.addresses, literal.source, literal.asked) == (("10.0.0.1",), "literal", ())
    assert (await look("10.0.0.1", family="inet6")).error == "NONAME"


def fed(flavour: str, *rcodes: int | None) -> resolver.Result | None:
    """One candidate, answered with these rcodes; an A record when NOERROR comes first."""
    lookup = Lookup("x.", parse_resolv_conf(""), Hosts(""), flavour=flavour)
    answers: list[Message | None] = []
    for question, rcode in zip(lookup.pending(), rcodes, strict=True):
        message = None if rcode is None else Message(qr=True, rcode=rcode)
        if message and rcode == 0 and question.type == dnswire.A:
            message.answer.append(RR("X.", dnswire.A, 1, "1.2.3.4"))
        answers.append(message)
    lookup.feed(answers)
    return lookup.result


@pytest.mark.parametrize(
    ("rcodes", "glibc", "musl"),
    [
        ((dnswire.NOERROR, dnswire.NXDOMAIN), "", "NONAME"),
        ((dnswire.NOERROR, None), "", "AGAIN"),
        ((dnswire.NOERROR, dnswire.SERVFAIL), "", "AGAIN"),
        ((None, None), "AGAIN", "AGAIN"),
        ((dnswire.SERVFAIL, dnswire.SERVFAIL), "AGAIN", "AGAIN"),
        ((dnswire.NXDOMAIN, dnswire.NXDOMAIN), "NONAME", "NONAME"),
        ((dnswire.REFUSED, dnswire.REFUSED), "AGAIN", "FAIL"),
    ],
)
def test_a_half_answered_pair_is_enough_for_glibc_only(
    rcodes: tuple[int | None, ...], glibc: str, musl: str
) -> None:
    """AAAA=NXDOMAIN beside an A (the classic broken DNS server) hurts Alpine images alone."""
    for flavour, error in ((GLIBC, glibc), (MUSL, musl)):
        result = fed(flavour, *rcodes)
        assert result is not None
        assert result.error == error
        assert bool(result.addresses) is (error == "")


def test_resolv_conf_is_read_with_its_limits() -> None:
    """At most three servers, capped options, comments and junk skipped, the last search wins."""
    conf = parse_resolv_conf(
        "# c\n; d\nnameserver 1.1.1.1\nnameserver x\nnameserver ::1\nnameserver 2.2.2.2\n"
        "nameserver 3.3.3.3\ndomain a.\nsearch b c.\n"
        "options ndots:99 timeout:2 attempts:9 rotate use-vc single-request nonsense ndots:z\n"
    )
    assert conf.nameservers == ("1.1.1.1", "::1", "2.2.2.2")
    assert conf.search == ("b", "c")
    assert (conf.ndots, conf.timeout_s, conf.attempts) == (15, 2, 5)
    assert (conf.rotate, conf.use_vc, conf.single_request) == (True, True, True)
    assert parse_resolv_conf("").nameservers == ("127.0.0.1",)


@given(st.text(max_size=40), st.text(max_size=80), st.sampled_from([GLIBC, MUSL]))
async def test_any_name_and_any_resolv_conf_end_in_a_result(
    name: str, conf: str, flavour: str
) -> None:
    """No name a person can type breaks the resolver."""
    result = await look(name, conf, flavour)
    assert result.error in {"", "NONAME", "NODATA", "AGAIN", "FAIL"}
