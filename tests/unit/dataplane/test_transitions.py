"""Equal kernels that get equal rules share them, and neither rules nor counters tell."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import transitions
from podwire.dataplane.netfilter.restore import restore
from podwire.dataplane.netfilter.tables import Netfilter, fresh_table

CHAINS = ("A", "B", "C", "D")
LINES = st.lists(
    st.one_of(
        st.builds(":{} - [0:0]".format, st.sampled_from(CHAINS)),
        st.builds("-A {} -j {}".format, st.sampled_from(CHAINS), st.sampled_from(CHAINS)),
        st.builds("-A {} -p tcp -j ACCEPT".format, st.sampled_from((*CHAINS, "INPUT"))),
        st.builds("-I INPUT -j {}".format, st.sampled_from(CHAINS)),
        st.builds("-D INPUT -j {}".format, st.sampled_from(CHAINS)),
        st.builds("-F {}".format, st.sampled_from(CHAINS)),
        st.builds("-X {}".format, st.sampled_from(CHAINS)),
    ),
    max_size=8,
)


def text(lines: list[str]) -> str:
    return "\n".join(("*filter", *lines, "COMMIT", ""))


def tried(nf: Netfilter, rules: str) -> str:
    """Load; the complaint, or ""."""
    try:
        restore(nf, rules, noflush=True)
    except CommandError as error:
        return str(error)
    return ""


def plain(nf: Netfilter) -> dict[str, dict[str, list[str]]]:
    return {
        name: {chain.name: [rule.text for rule in chain.rules] for chain in table.values()}
        for name, table in nf.tables.items()
    }


def referred(nf: Netfilter) -> dict[str, int]:
    counts: dict[str, int] = {}
    for chain in nf.tables["filter"].values():
        for rule in chain.rules:
            if rule.jump:
                counts[rule.jump] = counts.get(rule.jump, 0) + 1
    return counts


def has_loop(nf: Netfilter) -> bool:
    table = nf.tables.get("filter") or fresh_table("filter")

    def reaches(name: str, path: tuple[str, ...]) -> bool:
        return name in path or any(reaches(j, (*path, name)) for j in table[name].jumps)

    return any(reaches(name, ()) for name in table)


def _count(nf: Netfilter) -> None:
    """A packet meets the first rule of INPUT."""
    table = nf.tables.get("filter")
    chain = table["INPUT"] if table is not None else None
    if chain is not None and chain.rules:
        nf.hit("filter", chain, 0, 60)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=5))
@example([["-X A", ":A - [0:0]", "-A A -j A", ":A - [0:0]", ":A - [0:0]"]])
@example(
    [
        ["-A A -j B", "-A B -p tcp -j ACCEPT"],
        [":A - [0:0]", ":B - [0:0]", "-A A -j B", "-A B -p tcp -j ACCEPT"],
        ["-A B -j A"],
    ]
)
def test_remembered_transitions_do_what_reading_the_text_does(story):
    """Two kernels, one of which never remembers: same tables, same complaints, same counters; no
    loop, and references that are those of the rules.
    """
    one, two = Netfilter(), Netfilter()
    for step, lines in enumerate(story):
        if step % 2:
            _count(one)
            _count(two)
        rules = text([*(f":{c} - [0:0]" for c in CHAINS if step == 0), *lines])
        first = tried(one, rules)
        memory, transitions.MEMORY = transitions.MEMORY, transitions.Memory()
        try:
            second = tried(two, rules)
        finally:
            transitions.MEMORY = memory
        assert first == second
        assert plain(one) == plain(two)
        assert one.counters == two.counters
        assert not has_loop(one)
        if "filter" in one.tables:
            assert dict(one.tables["filter"].references) == referred(one)


def without_memory(nf: Netfilter, rules: str) -> str:
    memory, transitions.MEMORY = transitions.MEMORY, transitions.Memory()
    try:
        return tried(nf, rules)
    finally:
        transitions.MEMORY = memory


OWN = st.lists(
    st.one_of(
        st.just("-A INPUT -j OWN"),
        st.builds("-A OWN -j {}".format, st.sampled_from(CHAINS)),
        st.builds("-A {} -j OWN".format, st.sampled_from(CHAINS)),
        st.builds("-A OWN -s 10.0.{}.0/24 -j RETURN".format, st.integers(1, 3)),
    ),
    max_size=3,
)


@settings(max_examples=50, deadline=None)
@given(st.tuples(OWN, OWN, OWN), st.lists(LINES, max_size=5))
@example(([], ["-A OWN -j A"], []), [["-X A"]])
@example(([], [], ["-A OWN -j A"]), [["-X A", ":A - [0:0]"]])
@example((["-A A -j OWN"], ["-A A -j OWN", "-A OWN -j B"], []), [["-A B -j A"]])
@example(([], [], ["-A B -j OWN"]), [["-X A", ":B - [0:0]", ":B - [0:0]"]])
def test_kernels_that_differ_in_a_chain_of_their_own_are_told_what_is_true_of_them(owns, story):
    """What one kernel made of a text is taken over by another only where it would come to the
    same: jumps from a chain of its own make a loop, or keep a chain from being deleted.
    """
    kernels = []
    for own in owns:
        rules = text([":OWN - [0:0]", *(f":{c} - [0:0]" for c in CHAINS), *own])
        kernels.append((Netfilter(), Netfilter()))
        assert tried(kernels[-1][0], rules) == without_memory(kernels[-1][1], rules)
    for lines in story:
        rules = text(lines)
        for one, two in kernels:
            if "filter" not in one.tables:
                continue
            assert tried(one, rules) == without_memory(two, rules)
            assert plain(one) == plain(two)
            assert not has_loop(one)
            assert dict(one.tables["filter"].references) == referred(one)


def test_chains_are_shared_by_kernels_that_differ_elsewhere():
    """A CNI's chain names the node's own subnet; a proxy's chains are the same on all nodes."""
    one, two = Netfilter(), Netfilter()
    for number, nf in enumerate((one, two)):
        own = [":CNI - [0:0]", f"-A CNI -s 10.0.{number}.0/24 -j RETURN", "-A INPUT -j CNI"]
        restore(nf, text(own), noflush=True)
    for nf in (one, two):
        restore(nf, text([":A - [0:0]", "-A A -p tcp -j ACCEPT", "-I INPUT -j A"]), noflush=True)
    assert one.tables["filter"]["A"] is two.tables["filter"]["A"]
    assert [rule.text for rule in two.tables["filter"]["CNI"].rules] == ["-s 10.0.1.0/24 -j RETURN"]
    assert list(two.tables["filter"]["INPUT"].jumps) == ["A", "CNI"]
    for nf in (one, two):
        lines = [":B - [0:0]", ":A - [0:0]", "-A B -p udp -j ACCEPT", "-D INPUT -j A", "-X A"]
        restore(nf, text(lines), noflush=True)
    assert one.tables["filter"]["B"] is two.tables["filter"]["B"]
    assert "A" not in two.tables["filter"]


def test_two_kernels_with_the_same_history_hold_one_table():
    """Also through inserted jumps; what a rule that stays has counted parts them."""
    base = text([":A - [0:0]", "-A A -p tcp -j ACCEPT", "-I INPUT -j A"])
    one, two = Netfilter(), Netfilter()
    for nf in (one, two):
        restore(nf, base, noflush=True)
    assert one.tables["filter"] is two.tables["filter"]
    one.hit("filter", one.tables["filter"]["INPUT"], 0, 60)
    more = text([":B - [0:0]", "-A INPUT -j B"])
    for nf in (two, one):
        restore(nf, more, noflush=True)
    assert one.tables["filter"] is not two.tables["filter"]
    assert plain(one) == plain(two)
    assert one.counts("filter", "INPUT", 0) == (1, 60)
    assert two.counts("filter", "INPUT", 0) == (0, 0)


def test_an_emptied_chain_forgets_what_it_counted_on_every_kernel():
    """Also where the transition is only remembered."""
    base = text([":A - [0:0]", "-A A -p tcp -j ACCEPT"])
    one, two = Netfilter(), Netfilter()
    for nf in (one, two):
        restore(nf, base, noflush=True)
        nf.hit("filter", nf.tables["filter"]["A"], 0, 60)
        restore(nf, base, noflush=True)
        assert nf.counts("filter", "A", 0) == (0, 0)
    assert one.tables["filter"] is two.tables["filter"]


@pytest.mark.parametrize("lines", [["-A A -j B", "-A B -j A"], ["-A A -j A"]])
def test_a_loop_is_refused(lines):
    """Whether its jumps came at once or one by one."""
    nf = Netfilter()
    restore(nf, text([":A - [0:0]", ":B - [0:0]"]), noflush=True)
    *before, last = lines
    for line in before:
        restore(nf, text([line]), noflush=True)
    assert "Too many levels of symbolic links" in tried(nf, text([last]))
    assert "Too many levels of symbolic links" in tried(nf, text(lines))
