"""nft reads, keeps, refuses and prints texts as the real tool does (recorded from nft 1.0.6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.nft.jhash import jhash
from podwire.dataplane.nft.parse_rule import parse, rule_of
from podwire.dataplane.nft.text import Words
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.nft_data import DATA, FILES, errors, rules, timeless

SECOND = 1_000_000_000


def fresh(text="", now=0):
    kernel = Kernel("node-1", SeededRng(1))
    if text:
        out = nft(kernel, "-f", "-", stdin=text, now=now)
        assert out == ("", "", 0), out
    return kernel


def nft(kernel, *argv, stdin="", now=0):
    return kernel.tool("", ["nft", *argv], stdin, now)


def listed(kernel, now=0):
    return nft(kernel, "list", "ruleset", now=now)[0]


@pytest.mark.parametrize("name", FILES)
def test_a_ruleset_is_listed_byte_for_byte(name):
    kernel = fresh((DATA / f"{name}.nft").read_text())
    assert timeless(listed(kernel)) == (DATA / f"{name}.list").read_text()


@pytest.mark.parametrize("name", FILES)
def test_what_is_listed_can_be_loaded_again(name):
    """A listing is a text. (Sets that nft merged into one range lose their braces, once.)"""
    first = listed(fresh((DATA / f"{name}.nft").read_text()))
    again = listed(fresh(first))
    assert timeless(listed(fresh(again))) == timeless(again)
    assert timeless(again).replace("{ 10.0.0.0/8 }", "10.0.0.0/8") == timeless(first).replace(
        "{ 10.0.0.0/8 }", "10.0.0.0/8"
    )


@pytest.mark.parametrize(("family", "rule", "wanted"), rules())
def test_a_rule_is_listed_as_nft_spells_it(family, rule, wanted):
    assert rule_of(rule, family).show() == wanted


def test_a_refused_text_changes_nothing_and_is_told_where():
    """Line, columns, the line itself, a mark under the words; exit code 1."""
    setup, cases = errors()
    assert len(cases) > 40
    for case in cases:
        kernel = fresh(setup)
        before = listed(kernel)
        answer = nft(kernel, "-f", "-", stdin=case["text"])
        assert answer == (case["stdout"], case["stderr"], case["code"]), case["text"]
        if case["code"]:
            assert listed(kernel) == before


def test_a_transaction_is_refused_whole():
    """The last line fails: the first has not happened."""
    kernel = fresh("add table ip t\n")
    text = "add chain ip t one\nadd rule ip t one accept\nadd rule ip t two accept\n"
    answer = nft(kernel, "-f", "-", stdin=text)
    assert answer[1].startswith("/dev/stdin:3:15-17: Error: Could not process rule: No such file")
    assert "one" not in listed(kernel)


def test_check_mode_looks_only():
    kernel = fresh("add table ip t\n")
    assert nft(kernel, "-c", "add", "chain", "ip", "t", "c") == ("", "", 0)
    assert "chain" not in listed(kernel)
    assert nft(kernel, "-c", "add", "rule", "ip", "t", "c", "accept")[2] == 1


def test_rules_are_told_apart_by_handles():
    """-a shows them; rules are inserted, replaced and deleted by them."""
    kernel = fresh("table ip t {\n chain c {\n  tcp dport 1 drop\n  tcp dport 2 drop\n }\n}\n")
    assert "\t\ttcp dport 2 drop # handle 3\n" in nft(kernel, "-a", "list", "ruleset")[0]
    for text in (
        "insert rule ip t c position 3 tcp dport 9 drop",
        "replace rule ip t c handle 2 tcp dport 7 drop",
        "delete rule ip t c handle 3",
        "insert rule ip t c accept",
    ):
        assert nft(kernel, *text.split())[2] == 0, text
    body = nft(kernel, "list", "chain", "ip", "t", "c")[0].splitlines()[2:-2]
    assert [line.strip() for line in body] == ["accept", "tcp dport 7 drop", "tcp dport 9 drop"]


def test_definitions_stand_for_values_and_sets():
    """``define`` as admins use it."""
    kernel = fresh(
        "define WEB = { 80, 443 }\ndefine NET = 10.0.0.0/8\n"
        "table ip t {\n chain c {\n  ip saddr $NET tcp dport $WEB accept\n }\n}\n"
    )
    assert "ip saddr 10.0.0.0/8 tcp dport { 80, 443 } accept" in listed(kernel)


def test_elements_with_timeouts_go_by_themselves():
    kernel = fresh("add table ip t\nadd set ip t s { type ipv4_addr; flags timeout; }\n")
    nft(kernel, "add", "element", "ip", "t", "s", "{ 1.1.1.1 timeout 10s, 2.2.2.2 }")
    assert "elements = { 1.1.1.1 timeout 10s expires 4s, 2.2.2.2 }" in listed(kernel, 6 * SECOND)
    assert "elements = { 2.2.2.2 }" in listed(kernel, 10 * SECOND)
    gone = nft(kernel, "delete", "element", "ip", "t", "s", "{ 1.1.1.1 }", now=10 * SECOND)
    assert "No such file or directory" in gone[1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("add table arp t\n", "not modelled: tables of family arp"),
        ('include "x"\n', "not modelled: include"),
        ("table ip t { flowtable f { } }\n", "not modelled: flowtable"),
    ],
)
def test_what_is_not_modelled_says_so(text, what):
    assert what in nft(fresh(), "-f", "-", stdin=text)[1]


def test_json_is_not_modelled():
    assert nft(fresh(), "-j", "list", "ruleset") == ("", "nft: not modelled: JSON\n", 1)


def test_a_command_says_where_its_text_is_wrong():
    """NftApply raises in nft's words; its second text is its own."""
    kernel = fresh()
    with pytest.raises(CommandError, match=r"/dev/stdin:1:10-10: Error: syntax error"):
        kernel.execute(c.NftApply(text="add table!\n"), 0)
    with pytest.raises(CommandError, match=r"/dev/stdin:1:15-15: Error: Could not process"):
        kernel.execute(c.NftApply(text="add table ip t\n", own="add rule ip t c accept\n"), 0)
    assert listed(kernel) == ""


def test_equal_texts_are_worked_out_once_and_shared():
    text = (DATA / "statements.nft").read_text()
    one, two = fresh(text), fresh(text)
    assert one.netns("").nft.ruleset is two.netns("").nft.ruleset


def test_a_fork_keeps_its_own_rules_and_counts():
    kernel = fresh("add table ip t\nadd chain ip t c\n")
    twin = kernel.fork()
    assert nft(twin, "add", "rule", "ip", "t", "c", "drop")[2] == 0
    assert "drop" in listed(twin)
    assert "drop" not in listed(kernel)


OCTET = st.integers(0, 255)
ADDRESS = st.tuples(OCTET, OCTET, OCTET, OCTET).map(lambda t: ".".join(map(str, t)))
V6 = st.ip_addresses(v=6).map(str)
NAME = st.from_regex(r"[a-z][a-z0-9/.-]{0,12}[a-z0-9]", fullmatch=True)


@given(ADDRESS, NAME, NAME, V6, st.integers(0, 65535))
def test_rules_of_one_shape_read_as_if_each_were_read_alone(address, one, two, v6, port):
    """The road for a hundred thousand rules gives what the grammar gives."""
    for text, family in (
        (f"ip saddr {address} jump mark", "ip"),
        (f"ip saddr {address} goto {one}", "ip"),
        (f"meta l4proto tcp dnat to {address}:{port}", "ip"),
        (f"numgen random mod 2 vmap {{ 0 : goto {one} , 1 : goto {two} }}", "ip"),
        (f"ip saddr != {{ {address}, 10.0.0.0/8 }} drop", "ip"),
        (f"ip saddr != {{ {address}, 1.2.3.4 }} drop", "ip"),
        (f"ip saddr & {address} == 10.0.0.0 drop", "ip"),
        (f'ip saddr 10.9.8.7 drop comment "of {address}"', "ip"),
        (f"dnat to numgen inc mod 2 map {{ 0 : {address}, 1 : 1.2.3.4 }}", "ip"),
        (f"ip saddr {address} ip daddr {address} drop", "ip"),
        (f"ip6 saddr {v6} goto {one}", "ip6"),
        (f"meta l4proto tcp dnat to [{v6}]:{port}", "ip6"),
    ):
        alone = parse(Words(text), family)
        found = rule_of(text, family)
        assert found.show() == alone.show()
        assert found.targets == alone.targets
        assert (found.sets, found.tracks, found.nat, found.anonymous) == (
            alone.sets, alone.tracks, alone.nat, alone.anonymous,
        )  # fmt: skip


def test_jhash_is_the_kernels():
    """Values of Bob Jenkins' lookup3 (hashlittle), which include/linux/jhash.h is."""
    assert jhash(b"", 0) == 0xDEADBEEF
    assert jhash(b"", 0xDEADBEEF) == 0xBD5B7DDE
    assert jhash(b"Four score and seven years ago", 0) == 0x17770551
    assert jhash(b"Four score and seven years ago", 1) == 0xCD628161
