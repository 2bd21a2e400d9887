"""``iptables``, ``iptables-save``, ``iptables-restore``; the ip6tables ones find nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import restore as change
from podwire.dataplane.netfilter import rule as rules
from podwire.dataplane.netfilter import show
from podwire.dataplane.netfilter.tables import BASE_CHAINS, Netfilter
from podwire.dataplane.netfilter.text import RuleError
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

VERBS = {
    "-A": "-A",
    "--append": "-A",
    "-I": "-I",
    "--insert": "-I",
    "-D": "-D",
    "--delete": "-D",
    "-R": "-R",
    "--replace": "-R",
    "-F": "-F",
    "--flush": "-F",
    "-X": "-X",
    "--delete-chain": "-X",
    "-N": "-N",
    "--new-chain": "-N",
    "-P": "-P",
    "--policy": "-P",
    "-C": "-C",
    "--check": "-C",
    "-L": "-L",
    "--list": "-L",
    "-S": "-S",
    "--list-rules": "-S",
    "-Z": "-Z",
    "--zero": "-Z",
}
NO_CHAIN = "iptables: No chain/target/match by that name.\n"


class _Line:
    """An iptables command line, sorted."""

    def __init__(self, argv: list[str]) -> None:
        self.table = "filter"
        self.verb = ""
        self.chain = ""
        self.rest: list[str] = []
        self.flags: list[str] = []
        i = 0
        while i < len(argv):
            word = argv[i]
            following = argv[i + 1] if i + 1 < len(argv) else ""
            if word in {"-t", "--table"}:
                self.table, i = following, i + 2
            elif word in {"-w", "--wait", "-W"}:
                i += 2 if following.isdigit() else 1
            elif word in VERBS and not self.verb:
                self.verb, i = VERBS[word], i + 1
                if following and not following.startswith("-"):
                    self.chain, i = following, i + 1
            elif self.verb in {"", "-L", "-S"} and word.startswith("-"):
                long = word.startswith("--")
                self.flags += [word] if long else [f"-{letter}" for letter in word[1:]]
                i += 1
            else:
                self.rest.append(word)
                i += 1
        if not self.verb and "-L" in self.flags:
            self.verb = "-L"
        if self.verb == "" and self.flags:
            self._joined()

    def _joined(self) -> None:
        """``-nvL CHAIN``: letters in one word."""
        for letter in ("-L", "-S"):
            if letter in self.flags:
                self.verb = letter
        if self.rest and not self.chain:
            self.chain = self.rest[0]

    def has(self, *names: str) -> bool:
        """Whether a flag was given."""
        return any(name in self.flags for name in names)


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """Run ``iptables`` with its arguments."""
    if argv in (["-V"], ["--version"]):
        return f"iptables {show.VERSION}\n", "", 0
    line = _Line(argv)
    nf = kernel.netns(netns).netfilter
    if line.table not in BASE_CHAINS:
        text = f"can't initialize iptables table `{line.table}': Table does not exist"
        return "", f"iptables {show.VERSION}: {text}\n", 3
    if line.verb in {"-L", "-S"}:
        return _print(nf, line)
    if not line.verb:
        return "", f"iptables {show.VERSION}: no command specified\n", 2
    try:
        return _change(nf, line)
    except RuleError as error:
        return "", f"iptables: {error}\n", 1


def _print(nf: Netfilter, line: _Line) -> Result:
    names = [chain.name for chain in show.ordered(nf, line.table)]
    if line.chain and line.chain not in names:
        return "", NO_CHAIN, 1
    if line.verb == "-S":
        return show.specs(nf, line.table, line.chain, counters=line.has("-v", "--verbose")), "", 0
    text = show.listing(
        nf,
        line.table,
        line.chain,
        verbose=line.has("-v", "--verbose"),
        exact=line.has("-x", "--exact"),
        numbers=line.has("--line-numbers"),
        numeric=line.has("-n", "--numeric"),
    )
    return text, "", 0


def _change(nf: Netfilter, line: _Line) -> Result:
    draft = change.Draft(nf, line.table)
    if line.verb == "-C":
        draft.find(line.chain, rules.from_words(tuple(line.rest)))
        return "", "", 0
    if line.verb == "-Z":
        _zero(nf, line.table, line.chain)
        return "", "", 0
    change.edit(draft, line.verb, line.chain, tuple(line.rest))
    draft.check_loops()
    draft.commit()
    nf.replan()
    return "", "", 0


def _zero(nf: Netfilter, table: str, chain: str) -> None:
    for counters in (nf.counters, nf.policy_counters):
        for key in [k for k in counters if k[0] == table and chain in {"", k[1]}]:
            del counters[key]


def save(kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """``iptables-save [-t TABLE] [-c]``."""
    nf = kernel.netns(netns).netfilter
    table, counters = "", False
    words = iter(argv)
    for word in words:
        if word in {"-t", "--table"}:
            table = next(words, "")
        elif word in {"-c", "--counters"}:
            counters = True
    if table and table not in BASE_CHAINS:
        return "", f"iptables-save {show.VERSION}: Table '{table}' does not exist\n", 1
    return show.save(nf, table, counters=counters), "", 0


def restore(kernel: Kernel, netns: str, argv: list[str], stdin: str, _now_ns: int) -> Result:
    """``iptables-restore [--noflush] < text``."""
    noflush = "--noflush" in argv or "-n" in argv
    try:
        change.restore(kernel.netns(netns).netfilter, stdin, noflush=noflush)
    except CommandError as error:
        return "", f"{error}\n", 1
    return "", "", 0


def nothing(kernel: Kernel, netns: str, _argv: list[str], _stdin: str, _now_ns: int) -> Result:
    """ip6tables: there is no IPv6 traffic to filter, and there are no rules."""
    kernel.netns(netns)
    return "", "", 0
