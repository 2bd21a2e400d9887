"""Rule text in and out: equal to what iptables 1.8.9 printed for the same input."""

from pathlib import Path

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.netfilter import show
from podwire.runtime.rng import SeededRng

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def kernel():
    return Kernel("node-1", SeededRng(1))


def restore(kernel, text, *, noflush=True):
    kernel.execute(c.RulesRestore(text=text, noflush=noflush), 0)
    return kernel.netns("").netfilter


PRINTERS = {
    "iptables-save.txt": show.save,
    "iptables-nat-L-n-v.txt": lambda nf: show.listing(nf, "nat", verbose=True),
    "iptables-L-n-line-numbers.txt": lambda nf: show.listing(nf, "filter", numbers=True),
    "iptables-nat-S.txt": lambda nf: show.specs(nf, "nat"),
    "iptables-nat-S-chain-v.txt": lambda nf: show.specs(nf, "nat", "KUBE-SVC-AAA", counters=True),
}


@pytest.mark.parametrize("name", PRINTERS)
def test_printers_agree_with_the_real_tool(kernel, name):
    """The goldens were captured from the real iptables in a network namespace."""
    nf = restore(kernel, (GOLDEN / "input.rules").read_text())
    assert PRINTERS[name](nf) == (GOLDEN / name).read_text()


def test_what_was_saved_restores_to_the_same(kernel):
    """iptables-save | iptables-restore is the identity."""
    text = show.save(restore(kernel, (GOLDEN / "input.rules").read_text()))
    other = Kernel("node-2", SeededRng(2))
    assert show.save(restore(other, text, noflush=False)) == text


def test_noflush_empties_only_the_users_chains_that_are_declared(kernel):
    """Base chains and undeclared chains keep their rules."""
    restore(kernel, "*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j DROP\n-A B -j DROP\nCOMMIT\n")
    nf = restore(kernel, "*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n-A INPUT -j A\nCOMMIT\n")
    rules = {name: len(chain.rules) for name, chain in nf.tables["filter"].items()}
    assert rules == {"INPUT": 1, "FORWARD": 0, "OUTPUT": 0, "A": 0, "B": 1}
    assert nf.tables["filter"]["INPUT"].policy == "DROP"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("*filter\n-A NOPE -j DROP\nCOMMIT\n", 2),
        ("*filter\n-A INPUT -j NOPE\nCOMMIT\n", 2),
        ("*filter\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j A\nCOMMIT\n", 6),
        ("*filter\n-D INPUT -j DROP\nCOMMIT\n", 2),
        ("*filter\n-A INPUT -s 1.2.3 -j DROP\nCOMMIT\n", 2),
        ("*nope\nCOMMIT\n", 1),
        ("*filter\n-A INPUT -m tcp --dport 99999 -p tcp -j DROP\nCOMMIT\n", 2),
        ("*nat\n:OK - [0:0]\nCOMMIT\n*filter\n:A - [0:0]\n-A INPUT -j A\n-X A\nCOMMIT\n", 7),
        ("*filter\n:A - [0:0]\n", 3),
    ],
)
def test_a_bad_line_is_named_and_nothing_changes(kernel, text, line):
    """All tables of one input commit together or not at all."""
    restore(kernel, "*filter\n:KEPT - [0:0]\nCOMMIT\n")
    before = kernel.state_hash()
    with pytest.raises(CommandError, match=f"iptables-restore: line {line} failed"):
        restore(kernel, text)
    assert kernel.state_hash() == before


def test_stale_chains_are_flushed_and_deleted_in_one_input(kernel):
    """As kube-proxy does when a Service goes."""
    restore(kernel, "*nat\n:A - [0:0]\n:B - [0:0]\n-A A -j B\n-A B -j ACCEPT\nCOMMIT\n")
    nf = restore(kernel, "*nat\n:A - [0:0]\n:B - [0:0]\n-X A\n-X B\nCOMMIT\n")
    assert [c for c in nf.tables["nat"] if c in {"A", "B"}] == []


@pytest.mark.parametrize(
    ("rule", "saved"),
    [
        ("PREROUTING -p tcp -m tcp --dport 9 -j DNAT --to 1.2.3.4:5", "--to-destination 1.2.3.4:5"),
        (
            "PREROUTING -p tcp -m tcp --dport 9 -j DNAT --to-dest 1.2.3.4",
            "--to-destination 1.2.3.4",
        ),
        ("POSTROUTING -j SNAT --to 5.6.7.8", "--to-source 5.6.7.8"),
        ("PREROUTING -p tcp -m tcp --dport 9 -j REDIRECT --to-port 7", "--to-ports 7"),
    ],
)
def test_where_nat_leads_may_be_abbreviated(kernel, rule, saved):
    """As people write it; saved in full (checked with iptables 1.8.9)."""
    text = show.save(restore(kernel, f"*nat\n-A {rule}\nCOMMIT\n"))
    assert f"{saved}\n" in text
