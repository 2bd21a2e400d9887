"""What iptables-restore and iptables do to tables, all or nothing."""

from __future__ import annotations

import re
from contextlib import nullcontext

from podwire.dataplane.commands import CommandError
from podwire.dataplane.netfilter import rule as rules
from podwire.dataplane.netfilter import transitions
from podwire.dataplane.netfilter.draft import Draft
from podwire.dataplane.netfilter.lines import FORMS
from podwire.dataplane.netfilter.tables import BASE_CHAINS, Netfilter
from podwire.dataplane.netfilter.text import RuleError, split
from podwire.runtime.memory import one_collection

LARGE_TEXT = 1 << 16
TOOL = {"ipv4": "iptables", "ipv6": "ip6tables"}
_NEXT = re.compile(r"\n(?!-A )")
_DECLARED = re.compile(r"(?::[A-Za-z0-9_-]+ - \[0:0\]\n)++")


class _FailedError(Exception):
    """A line that cannot be carried out."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def restore(nf: Netfilter, text: str, *, noflush: bool) -> None:
    """Load iptables-restore text. All tables in it change together, or none does.

    Raises CommandError ("iptables-restore: line N failed").
    """
    if noflush and transitions.replay(nf, text):
        return
    with one_collection() if len(text) > LARGE_TEXT else nullcontext():
        _load(nf, text, noflush=noflush)


def _load(nf: Netfilter, text: str, *, noflush: bool) -> None:
    try:
        drafts = _read(nf, text, noflush=noflush)
    except _FailedError as failed:
        why = f": {failed}" if str(failed) else ""
        tool = TOOL[nf.family]
        raise CommandError(f"{tool}-restore: line {failed.line} failed{why}") from None
    changes = []
    shared = noflush and all(draft.plain for draft in drafts)
    for draft in drafts:
        base = nf.tables.get(draft.name)
        after = draft.commit()
        parts = draft.parts() if shared and base is not None else None
        change = transitions.Change(
            draft.name, base, after, draft.touched(), tuple(draft.kept), parts
        )
        changes.append(change)
    if shared:
        transitions.remember(nf, text, tuple(changes))
    nf.replan()


def _read(nf: Netfilter, text: str, *, noflush: bool) -> list[Draft]:
    reader = _Reader(nf, text, noflush=noflush)
    at = 0
    while at < len(text):
        at = reader.many(at) or reader.one(at)
    if reader.draft is not None:
        raise _FailedError(reader.number + 1, "COMMIT expected")
    return reader.drafts


class _Reader:
    """Reads one input: lines by the thousand where they are of a common form, else one by one."""

    def __init__(self, nf: Netfilter, text: str, *, noflush: bool) -> None:
        self.nf, self.text, self.noflush = nf, text, noflush
        self.drafts: list[Draft] = []
        self.draft: Draft | None = None
        self.number = 0
        """How many lines were read."""

    def one(self, at: int) -> int:
        """Read up to the next newline; where to go on."""
        stop = self.text.find("\n", at) + 1 or len(self.text)
        for raw in self.text[at:stop].splitlines():
            self.number += 1
            line = raw.strip()
            if not line or line[0] == "#":
                continue
            try:
                if line[0] == "*":
                    name = line[1:].strip()
                    self.draft = _open(self.nf, name, self.draft, self.drafts, noflush=self.noflush)
                else:
                    self.draft = _line(self.draft, line, self.drafts)
            except RuleError as error:
                raise _FailedError(self.number, str(error)) from None
        return stop

    def many(self, at: int) -> int:
        """Read the lines of one kind that stand together, if they are; where to go on, or 0."""
        if self.draft is None:
            return 0
        if self.text.startswith(":", at):
            return self._declare(self.draft, at)
        return self._append(self.draft, at) if self.text.startswith("-A ", at) else 0

    def _declare(self, draft: Draft, at: int) -> int:
        found = _DECLARED.match(self.text, at)
        if found is None:
            return 0
        names = found.group()[1 : -len(" - [0:0]\n")].split(" - [0:0]\n:")
        if not set(BASE_CHAINS[draft.name]).isdisjoint(names):
            return 0
        draft.declare_all(names)
        self.number += len(names)
        return found.end()

    def _append(self, draft: Draft, at: int) -> int:
        text, form = self.text, FORMS[self.nf.family].line
        found = _NEXT.search(text, at)
        stop = found.end() if found is not None else text.rfind("\n", at) + 1
        if stop <= at:
            return 0
        ends = form.findall(text, at, stop)
        lines = text[at:stop].split("\n")[:-1]
        if len(ends) == len(lines) and draft.append_lines(ends, lines):
            self.number += len(lines)
            return stop
        while at < stop:
            taken = form.match(text, at, stop)
            if taken is not None and draft.append_lines(
                [(taken[1], taken[2] or "")], [taken.group()[:-1]]
            ):
                self.number += 1
                at = taken.end()
            else:
                at = self.one(at)
        return at


def _line(draft: Draft | None, line: str, done: list[Draft]) -> Draft | None:
    """One line inside a table; the table that is open afterwards."""
    if draft is None:
        raise RuleError("no table is open")
    if line == "COMMIT":
        draft.keep_same()
        draft.check_loops()
        done.append(draft)
        return None
    if line[0] == ":":
        _declare(draft, line)
    else:
        _command(draft, line)
    return draft


def _open(
    nf: Netfilter, name: str, open_draft: Draft | None, drafts: list[Draft], *, noflush: bool
) -> Draft:
    if open_draft is not None or name not in BASE_CHAINS:
        raise RuleError(f"can't initialize {TOOL[nf.family]} table `{name}': Table does not exist")
    if any(draft.name == name for draft in drafts):
        raise RuleError(f"not modelled: table {name} twice in one input")
    return Draft(nf, name, empty=not noflush)


def _declare(draft: Draft, line: str) -> None:
    words = line[1:].split()
    if len(words) < 2:
        raise RuleError("chain and policy expected")
    counts = _counts(words[2]) if len(words) > 2 else (0, 0)
    draft.declare(words[0], words[1], counts)


def _counts(text: str) -> tuple[int, int]:
    packets, _, size = text.strip("[]").partition(":")
    if not (packets.isdigit() and size.isdigit()):
        raise RuleError(f"invalid counters {text}")
    return int(packets), int(size)


def _command(draft: Draft, line: str) -> None:
    counts = (0, 0)
    if line[0] == "[":
        head, _, line = line.partition(" ")
        counts = _counts(head)
    verb, _, rest = line.partition(" ")
    chain, _, text = rest.strip().partition(" ")
    if verb in {"-A", "--append"}:
        draft.append(chain, rules.parse(text.strip(), draft.nf.family), counts)
    else:
        edit(draft, verb, chain, tuple(split(text)))


def edit(draft: Draft, verb: str, chain: str, words: tuple[str, ...]) -> None:
    """One iptables command (-A -I -D -R -F -X -N -P) on a table. Raises RuleError."""
    number = int(words[0]) if words and words[0].isdigit() else 0
    family = draft.nf.family
    if verb in {"-A", "--append"}:
        draft.append(chain, rules.from_words(words, family))
    elif verb in {"-I", "--insert"}:
        draft.insert(chain, number or 1, rules.from_words(words[1:] if number else words, family))
    elif verb in {"-R", "--replace"}:
        draft.replace(chain, number, rules.from_words(words[1:], family))
    elif verb in {"-D", "--delete"}:
        if number and len(words) == 1:
            draft.delete_number(chain, number)
        else:
            draft.delete_number(chain, draft.find(chain, rules.from_words(words, family)))
    elif verb in {"-F", "--flush"}:
        for name in [chain] if chain else draft.names():
            draft.flush(name)
    elif verb in {"-X", "--delete-chain"}:
        for name in [chain] if chain else draft.names():
            if chain or name not in BASE_CHAINS[draft.name]:
                draft.delete(name)
    elif verb in {"-N", "--new-chain"}:
        draft.new(chain)
    elif verb in {"-P", "--policy"} and words:
        if chain not in BASE_CHAINS[draft.name] or words[0] not in {"ACCEPT", "DROP"}:
            raise RuleError("Bad built-in chain name or policy.")
        draft.chain(chain).policy = words[0]
    else:
        raise RuleError(f'unknown option "{verb}"')
