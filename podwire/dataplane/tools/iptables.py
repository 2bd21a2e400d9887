"""``iptables``, ``iptables-save``, ``iptables-restore``, and the same of ip6tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import restore as change
from podwire.dataplane.netfilter import rule as rules
from podwire.dataplane.netfilter import show
from podwire.dataplane.netfilter.draft import Draft
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


def _tables(kernel: Kernel, netns: str, family: str) -> Netfilter:
    ns = kernel.netns(netns)
    return ns.netfilter6 if family == "ipv6" else ns.netfilter


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
        if not self.verb and self.flags:
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


def _run(
    family: str, kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int
) -> Result:
    tool = change.TOOL[family]
    if argv in (["-V"], ["--version"]):
        return f"{tool} {show.VERSION}\n", "", 0
    line = _Line(argv)
    nf = _tables(kernel, netns, family)
    if line.table not in BASE_CHAINS:
        text = f"table '{line.table}' does not exist"
        upgrade = f"Perhaps {tool} or your kernel needs to be upgraded."
        return "", f"{tool} {show.VERSION}: {text}\n{upgrade}\n", 3
    if line.verb in {"-L", "-S"}:
        return _print(nf, line)
    if not line.verb:
        return "", f"{tool} {show.VERSION}: no command specified\n", 2
    try:
        return _change(nf, line)
    except RuleError as error:
        return "", f"{tool}: {error}\n", 1


def _print(nf: Netfilter, line: _Line) -> Result:
    names = [chain.name for chain in show.ordered(nf, line.table)]
    if line.chain and line.chain not in names:
        text = f"chain `{line.chain}' in table `{line.table}' is incompatible, use 'nft' tool."
        return "", f"{change.TOOL[nf.family]} {show.VERSION}: {text}\n", 1
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
    draft = Draft(nf, line.table)
    if line.verb == "-C":
        draft.find(line.chain, rules.from_words(tuple(line.rest), nf.family))
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


def _save(
    family: str, kernel: Kernel, netns: str, argv: list[str], _stdin: str, _now_ns: int
) -> Result:
    nf = _tables(kernel, netns, family)
    table, counters = "", False
    words = iter(argv)
    for word in words:
        if word in {"-t", "--table"}:
            table = next(words, "")
        elif word in {"-c", "--counters"}:
            counters = True
    if table and table not in BASE_CHAINS:
        tool = change.TOOL[family]
        return "", f"{tool}-save {show.VERSION}: Table '{table}' does not exist\n", 1
    return show.save(nf, table, counters=counters), "", 0


def _restore(
    family: str, kernel: Kernel, netns: str, argv: list[str], stdin: str, _now_ns: int
) -> Result:
    noflush = "--noflush" in argv or "-n" in argv
    try:
        change.restore(_tables(kernel, netns, family), stdin, noflush=noflush)
    except CommandError as error:
        return "", f"{error}\n", 1
    return "", "", 0


run, run6 = partial(_run, "ipv4"), partial(_run, "ipv6")
save, save6 = partial(_save, "ipv4"), partial(_save, "ipv6")
restore, restore6 = partial(_restore, "ipv4"), partial(_restore, "ipv6")
