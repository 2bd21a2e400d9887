"""Lines of nft that are taken by their look equal those that the grammar reads."""

from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from podwire.dataplane.nft import literals, parse, parse_rule
from podwire.dataplane.nft.apply import Transaction
from podwire.dataplane.nft.model import EMPTY
from podwire.dataplane.nft.show import listing
from podwire.dataplane.nft.state import Nft
from podwire.dataplane.nft.templates import Templates
from podwire.dataplane.nft.text import NftError, Words
from tests.rotation import examples

CHAINS = ["a", "svc-AB/tcp/http", "ep-1__10.0.0.1/80", "nope"]
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.256", "010.0.0.1", "10.0.0.0/16", "fd00::1", "$x"]
BODIES = [
    "ip daddr {0} ip saddr != 10.244.0.0/16 jump a", "ip saddr {0} goto {1}", "goto {1}",
    "ip saddr {0} jump {1}", "meta l4proto tcp dnat to {0}:8080", "ip daddr {0} tcp dport 80 drop",
    "numgen random mod 2 vmap {{ 0 : goto {1} , 1 : goto {2} }}", "ip daddr {0} accept drop",
    "ip daddr {{ {0}, {3} }} goto {1}", 'ip daddr {0} goto {1} comment "goto {2} {3}"',
    "ip daddr {0} vmap @m", "ip daddr . tcp dport vmap @ports", "ip daddr @s goto {1}",
    "goto {1} # {0}", "goto {1};", "ip daddr {0} counter goto {1}", "ip daddr {0}-{3} goto {1}",
    "handle 3 goto {1}", "ip daddr {0} goto {1}*", "ip daddr {0}  goto {1}", "goto", "{0}",
]  # fmt: skip
KEYS = ["{0} . tcp . 80", "{0} . udp . 65535", "{0} . tcp . 65536", "{0} . tcp . http", "{0} . tcp",
        "{0} . 6 . 080", "{0}.tcp.80", "{0} . tcp . 0x50", "{0}/24 . tcp . 80"]  # fmt: skip
ENDS = ["goto {1}", "jump {1}", "drop", "goto {1}*", "goto", "goto {1} x", "go to {1}"]
HEAD = """add table ip t
add map ip t m {{ type ipv4_addr : verdict ; }}
add map ip t ports {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add set ip t s {{ type ipv4_addr ; }}
add chain ip t {}
add chain ip t {}
add chain ip t {}
""".format(*CHAINS[:3])


def filled(template, a, c, d, b):
    return template.format(a, c, d, b)


def spelled(templates):
    return st.builds(
        filled, st.sampled_from(templates), st.sampled_from(ADDRESSES), st.sampled_from(CHAINS),
        st.sampled_from(CHAINS), st.sampled_from(ADDRESSES[:3]),
    )  # fmt: skip


lines = st.one_of(
    st.builds("add rule ip t {} {}".format, st.sampled_from(CHAINS), spelled(BODIES)),
    st.builds("add rule ip t {} {}".format, st.sampled_from(CHAINS), spelled(BODIES)),
    st.builds("add element ip t ports {{ {} : {} }}".format, spelled(KEYS), spelled(ENDS)),
    st.builds("add element ip t m {{ {} : {} }}".format, st.sampled_from(ADDRESSES), spelled(ENDS)),
    st.builds("{} element ip t s {{ {}, {} }}".format, st.sampled_from(["add", "delete", "list"]),
              st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES)),
    st.builds("{} chain ip t {}{}".format, st.sampled_from(["add", "flush", "delete", "reset"]),
              st.sampled_from([*CHAINS, "1x", "_x", "a;"]), st.sampled_from(["", " ", " x"])),
    st.sampled_from(["", "# remark", "define x = 10.0.0.9", "add rule ip t", "add rule t a drop",
                     "add rule ip6 t a drop", "flush chain ip no a", "  add chain ip t b",
                     "add chain ip t b\nflush chain ip t b",
                     "add chain ip t b\nflush chain ip t bc",
                     "add chain ip t b\nflush chain ip t b x"]),
)  # fmt: skip


def outcome(text, *, by_line):
    """What is listed afterwards, or the complaint and where it points."""
    patches = [
        mock.patch.object(parse._Parser, "_quick", return_value=0),
        mock.patch.object(parse_rule, "_TEMPLATES", {}),
        mock.patch.object(literals, "_SLOW", ("",)),
    ]
    for patch in patches if by_line else ():
        patch.start()
    try:
        ruleset = Transaction(EMPTY, text).run(parse.parse.__wrapped__(text)).ruleset
        return listing(Nft._of(ruleset), 0)
    except NftError as error:
        return error.message, text.count("\n", 0, error.start)
    finally:
        for patch in patches if by_line else ():
            patch.stop()


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(lines, max_size=10))
@example(["add element ip t ports { 10.0.0.1 . tcp . 99999 : goto a }"])
@example(["add element ip t m { 10.0.0.256 : drop }"])
def test_files_make_what_the_grammar_makes_of_them(found):
    """The same ruleset, or the same complaint about the same line."""
    from podwire.dataplane.nft import apply_sets  # noqa: PLC0415  # its cache is not to be asked

    text = HEAD + "\n".join(found) + "\n"
    with mock.patch.object(apply_sets, "_elements", apply_sets._elements.__wrapped__):
        assert outcome(text, by_line=False) == outcome(text, by_line=True)


def _read(text, family):
    words = Words(text)
    rule = parse_rule.parse(words, family)
    if words.peek().kind != "end":
        raise NftError("more")
    return rule


def told(rule):
    """All that is known of a rule."""
    return (
        rule.show(), rule.targets, rule.sets, rule.objects, rule.anonymous, rule.tracks, rule.nat,
        rule.comment, rule.counters,
    )  # fmt: skip


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(spelled(BODIES), min_size=2, max_size=12))
def test_rules_of_an_expected_shape_are_what_the_grammar_reads(bodies):
    """Whatever came before; twice, so that every shape was met."""
    templates = Templates("ip", _read)
    for body in (*bodies, *bodies):
        try:
            plain = told(_read(body, "ip"))
        except NftError as error:
            plain = error.message
        try:
            quick = told(templates.rule(body))
        except NftError as error:
            quick = error.message
        assert quick == plain
