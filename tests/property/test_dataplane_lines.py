"""Rules that are kept as lines equal those that are read at once: taken or refused, and what they
say.
"""

from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import compile as program
from podwire.dataplane.netfilter import lines, restore, show, transitions
from podwire.dataplane.netfilter import matches as m
from podwire.dataplane.netfilter.rule import parse
from podwire.dataplane.netfilter.tables import Netfilter
from podwire.dataplane.netfilter.targets import NAMES
from podwire.dataplane.netfilter.targets import parse as parse_target
from podwire.dataplane.netfilter.text import RuleError
from tests.rotation import examples

CHAINS = ["KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-SEP-X", "A", "INPUT"]
FAMILIES = ["ipv4", "ipv6"]
ADDRESSES = {
    "ipv4": ["10.96.0.1", "0.0.0.0", "255.255.255.255", "10.0.0.256", "010.0.0.1", "10.0.0", "any"],
    "ipv6": ["fd00:10:96::a", "::1", "fd00::", "1:2:3:4:5:6:7:8", "1::2::3", "1:2:3:4:5:6:7::",
             "::ffff:10.0.0.1", "FD00::1", "1:2:3:4:5:6:7:8:9", "10.0.0.1"],
}  # fmt: skip
LENGTHS = ["", "", "", "/8", "/32", "/33", "/128", "/129", "/0", "/08", "/255.255.0.0"]
PORTS = ["80", "30000", "65535", "65536", "0", "080", "1:3", "http", "99999", ""]
MATCHES = [
    ' -m comment --comment "default/s1:http cluster IP"', " -m comment --comment default/s1:http",
    ' -m comment --comment "a -d 10.96.0.1 -j ACCEPT"', ' -m comment --comment "x -j A"',
    ' -m comment --comment ""', ' -m comment --comment "--dport 80 -m recent"',
    f' -m comment --comment "{"x" * 255}"', f' -m comment --comment "{"x" * 256}"',
    f" -m comment --comment {'x' * 255}", f" -m comment --comment {'x' * 256}",
    ' -m comment --comment "a\\"b"', " -m comment --comment a b", " -m comment --comment -x",
    " -m tcp -p tcp", " -p tcp -m tcp", " -p udp", " -m sctp", " -p tcp", " -p icmp", " -m udp",
    " -m statistic --mode random --probability 0.2500000000",
    " -m statistic --mode random --probability 0.0000000000",
    " -m statistic --mode random --probability 0.99999999999",
    " -m statistic --mode random --probability 1.0", " -m statistic --mode random",
    " -m statistic --mode random --probability 1.5",
    " -m mark --mark 0x4000/0x4000", " -m mark ! --mark 0x4000/0x4000", " -m mark --mark 0xg",
    " -m addrtype --dst-type LOCAL", " -m addrtype ! --src-type LOCAL", " -m addrtype",
    " -m conntrack --ctstate RELATED,ESTABLISHED", " -m conntrack ! --ctstate NEW",
    " -m conntrack --ctstate NEWER", " -m recent --name KUBE-SEP-X --set",
    " -m recent --name KUBE-SEP-X --rcheck --seconds 10800 --reap", " -m recent --name X",
    " -m set --match-set S dst", " -m nfacct --nfacct-name c", " -m state --state NEW",
    " -i eth0", " ! -o cni+", " -i", " -d", " !", " ! ", "  ",
]  # fmt: skip
TARGETS = [
    *(f" -j {name}" for name in (*CHAINS, *sorted(NAMES), "NOPE")), " -g A", "", " -j",
    " -j DNAT --to-destination 10.0.0.1:8080", " -j DNAT --to-destination [fd00::1]:8080",
    " -j DNAT --to-destination fd00::1", " -j DNAT --to-destination 10.0.0.1",
    " -j DNAT --to-destination 10.0.0.1:70000", " -j DNAT --to-destination 10.0.0.1:08",
    " -j MARK --or-mark 0x4000", " -j MARK --set-xmark 0x4000/0x4000", " -j MARK --xor-mark 0xz",
    " -j MASQUERADE --random-fully", " -j MASQUERADE --random", " -j ACCEPT --now",
    " -j REJECT --reject-with icmp-port-unreachable", " -j REJECT --reject-with nothing",
    " -j REJECT --reject-with icmp6-port-unreachable", " -j RETURN ", " -j SET --add-set S src",
]  # fmt: skip
ODD = '"\\!- \t\r\x0b\x1c\u2028#*:[/x0é'


def network(family):
    return st.builds(
        lambda no, flag, address, length: f"{no} {flag} {address}{length}",
        st.sampled_from(["", "", " !"]), st.sampled_from(["-s", "-d"]),
        st.sampled_from(ADDRESSES[family]), st.sampled_from(LENGTHS),
    )  # fmt: skip


def rule_lines(family):
    piece = st.one_of(
        st.sampled_from(MATCHES), network(family), st.sampled_from(PORTS).map(" --dport {}".format)
    )
    likely = st.builds(
        " -d {} --dport {}".format,
        st.sampled_from(ADDRESSES[family][:3]),
        st.sampled_from(["80", "30000"]),
    )
    body = st.one_of(
        st.lists(piece, max_size=5).map("".join),
        st.builds(
            lambda a, b, c, d: a + b + c + d,
            st.sampled_from(MATCHES[:4]), st.sampled_from(MATCHES[13:19]), likely,
            st.one_of(st.just(""), piece),
        ),
    )  # fmt: skip
    whole = st.builds("-A {}{}{}".format, st.sampled_from([*CHAINS, "NOPE"]), body,
                      st.sampled_from(TARGETS))  # fmt: skip
    return st.one_of(whole, whole, st.builds(mutated, whole, st.integers(0, 300), st.integers(0, 2),
                                             st.sampled_from(ODD)))  # fmt: skip


def mutated(line, at, cut, put):
    at %= len(line)
    return f"{line[:at]}{put}{line[at + cut :]}"


@settings(max_examples=examples(800), deadline=None)
@given(st.sampled_from(FAMILIES).flatmap(lambda f: st.tuples(st.just(f), rule_lines(f))))
@example(("ipv4", f'-A A -m comment --comment "{"x" * 256}" -j A'))
@example(("ipv4", f"-A A -m comment --comment {'x' * 256} -j A"))
@example(("ipv4", "-A A -m tcp -p tcp --dport 65536 -j A"))
@example(("ipv4", "-A A -j DNAT --to-destination 10.0.0.1:65536"))
@example(("ipv4", "-A A -m tcp --dport 80 -m tcp --dport 81 -j A"))
@example(("ipv4", "-A A -m tcp --dport 80 -m udp -p tcp --dport 80 -d 10.0.0.1 -j A"))
@example(("ipv4", "-A A -d 10.0.0.1 -m tcp -d 10.0.0.2 --dport 80 -d 10.0.0.3 -j A"))
@example(("ipv4", "-A A -d 10.0.0.1 -m tcp --dport 80 ! -d 10.0.0.3 -j A"))
@example(("ipv4", '-A A -m comment --comment "-d 1.1.1.1 --dport 1" -m tcp --dport 80 -j A'))
@example(("ipv6", "-A A -d fd00:0::1 -j A"))
def test_a_line_that_is_kept_is_a_rule_that_says_what_the_line_shows(given_):
    """The parser takes it, it joins the chains that were told, and its key is the rule's key."""
    family, line = given_
    taken = lines.FORMS[family].line.fullmatch(line + "\n")
    if taken is None or taken[2] in NAMES.difference(lines.BARE):
        return  # read at once
    rule = lines.read(line, family)
    assert rule is parse(line.removeprefix("-A ").partition(" ")[2], family)
    assert taken[1] == line.split(" ")[1]
    end = taken[2] or ""
    assert rule.jump == ("" if end in NAMES else end) == lines.jump(line)
    assert not rule.set_names
    assert not rule.goto
    key = lines.key(line, family)
    assert key is None or key == program._key(rule)
    for match in rule.matches:
        assert not isinstance(match, m.CtState) or "state" in line
        assert not isinstance(match, m.Recent) or " recent " in line
        assert not isinstance(match, m.Statistic) or " statistic " in line
        assert isinstance(match, (
            m.Comment, m.Ports, m.Mark, m.CtState, m.AddrType, m.Statistic, m.Recent,
        ))  # fmt: skip


def outcome(family, texts, *, by_line):
    """The complaints, and the tables as they print; ``by_line``: every line is read at once."""
    nf, told = Netfilter(family), []
    many = (lambda _reader, _at: 0) if by_line else restore._Reader.many
    with (
        mock.patch.object(transitions, "MEMORY", transitions.Memory()),
        mock.patch.object(restore._Reader, "many", many),
    ):
        for text in texts:
            try:
                restore.restore(nf, text, noflush=True)
            except CommandError as error:
                told.append(str(error))
    tables = {
        name: {
            c.name: (c.policy, list(c.rules), list(c.jumps), c.code.choices) for c in table.values()
        }
        for name, table in nf.tables.items()
    }
    references = {name: dict(table.references) for name, table in nf.tables.items()}
    return told, tables, references, show.save(nf), nf.tracks


def inputs(family):
    other = st.one_of(
        st.sampled_from(CHAINS).map(":{} - [0:0]".format),
        st.sampled_from([
            "", "# x", "-X A", "-F A", "-I INPUT -j A", "-D A -j DROP", ":INPUT DROP [0:0]",
            ":A - [1:2]", ":A", "[1:60] -A A -j DROP", "-P INPUT DROP", "junk", "*filter",
        ]),
    )  # fmt: skip
    heads = [f":{name} - [0:0]" for name in CHAINS[:-1]]
    body = st.lists(st.one_of(rule_lines(family), rule_lines(family), other), max_size=12)
    return st.builds(
        lambda declared, found, end: "\n".join(
            ("*filter", *(heads if declared else ()), *found, end)
        ),
        st.booleans(), body, st.sampled_from(["COMMIT\n", "COMMIT\n", "COMMIT", ""]),
    )  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(
    st.sampled_from(FAMILIES).flatmap(
        lambda f: st.tuples(st.just(f), st.lists(inputs(f), min_size=1, max_size=3))
    )
)
def test_inputs_are_refused_or_taken_as_when_every_line_is_read_at_once(given_):
    """The same complaint about the same line, or the same tables, references and printed text."""
    family, texts = given_
    assert outcome(family, texts, by_line=False) == outcome(family, texts, by_line=True)


PROBE = "*filter\n:A - [0:0]\n-A A -m tcp -p tcp -d 10.0.0.1 --dport 80 -j DROP\n{}\nCOMMIT\n"


@pytest.mark.parametrize(
    "bad", ["-A A -j NOPE", "-A NOPE -j DROP", "-A A -j INPUT", "-A A -j A", "-A A -j DROP !"]
)
def test_the_bad_line_among_good_ones_is_named(bad):
    """And nothing of the input is applied."""
    line = 5 if bad == "-A A -j A" else 4  # a loop shows at COMMIT
    told, tables, *_ = outcome("ipv4", [PROBE.format(bad)], by_line=False)
    assert told[0].startswith(f"iptables-restore: line {line} failed")
    assert tables == {}


def test_names_of_targets_are_those_that_are_read_as_such():
    """Any other word after ``-j`` is a chain."""
    for name in sorted(NAMES):
        try:
            assert parse_target(name, []) is not None
        except RuleError:
            assert name not in lines.BARE
    assert parse_target("KUBE-SERVICES", []) is None
