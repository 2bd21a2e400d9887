"""Sections of a dump: what a tool printed, and where that came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

MAX_TEXT_BYTES = 64 << 20
MARK = "==== podwire "
"""How lines begin that divide a dump file: ``==== podwire node NAME``, ``==== podwire ip-addr``."""

SECTIONS: dict[str, str] = {
    "ip-addr": "ip -d addr",
    "ip-link": "ip -d link",
    "ip-route": "ip -4 route show table all; ip -6 route show table all",
    "ip-rule": "ip -4 rule; ip -6 rule",
    "ip-neigh": "ip neigh",
    "bridge-fdb": "bridge fdb show",
    "sysctl": "sysctl net",
    "ipset-save": "ipset save",
    "iptables-save": "iptables-save -c",
    "ip6tables-save": "ip6tables-save -c",
    "iptables-legacy-save": "iptables-legacy-save -c",
    "ip6tables-legacy-save": "ip6tables-legacy-save -c",
    "nft": "nft list ruleset",
    "ipvsadm-save": "ipvsadm-save -n",
    "conntrack": "conntrack -L",
    "ss": "ss -lntuH",
}
"""What a dump may hold, by the name of its section, and the command that prints it."""


class DumpError(Exception):
    """A dump that is refused: nothing of it was loaded. Line and column count from 1; 0: none."""

    def __init__(self, why: str, source: str = "", line: int = 0, column: int = 0) -> None:
        place = ":".join([source, *(str(n) for n in (line, column) if n)])
        super().__init__(f"{place}: {why}" if place else why)


class Section(msgspec.Struct, frozen=True):
    """What one command printed. ``source`` is the file, ``first`` its first line there."""

    text: str
    source: str = ""
    first: int = 1

    def error(self, why: str, line: int = 1, column: int = 1) -> DumpError:
        """A refusal that points into the file it came from."""
        return DumpError(why, self.source, self.first + line - 1, column)

    def lines(self) -> Iterator[Line]:
        """The lines that hold something."""
        for number, text in enumerate(self.text.splitlines(), 1):
            if text.strip():
                yield Line(text, number, self)


class Line:
    """One line, and its words one after the other."""

    __slots__ = ("_at", "_spans", "number", "section", "text")

    def __init__(self, text: str, number: int, section: Section) -> None:
        self.text, self.number, self.section = text, number, section
        self._spans = [(found.group(), found.start()) for found in re.finditer(r"\S+", text)]
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._spans)

    def peek(self, ahead: int = 0) -> str:
        """A word that is still to come, without taking it; "" behind the last."""
        at = self._at + ahead
        return self._spans[at][0] if at < len(self._spans) else ""

    def next(self, what: str = "another word") -> str:
        """The next word. Raises DumpError when there is none."""
        if not self:
            raise self.section.error(f"{what} is missing", self.number, len(self.text) + 1)
        self._at += 1
        return self._spans[self._at - 1][0]

    def take(self, *words: str) -> str:
        """The next word if it is one of these, else ""."""
        return self.next() if self.peek() in words else ""

    def number_of(self, what: str) -> int:
        """The next word as a number, decimal or hexadecimal."""
        word = self.next(what)
        try:
            return int(word, 0)
        except ValueError:
            raise self.error(f'{what} is expected rather than "{word}"') from None

    def rest(self) -> str:
        """All words to come."""
        words = [word for word, _ in self._spans[self._at :]]
        self._at = len(self._spans)
        return " ".join(words)

    def error(self, why: str) -> DumpError:
        """A refusal that points at the word that was taken last."""
        column = self._spans[self._at - 1][1] + 1 if self._at else 1
        return self.section.error(why, self.number, column)


class Dump(msgspec.Struct, frozen=True):
    """Everything that is known of one machine."""

    name: str
    sections: dict[str, Section]


def is_dump(head: str) -> bool:
    """Whether a file that begins so holds dumps."""
    return head.startswith(MARK)


def read(text: str, source: str) -> list[Dump]:
    """The dumps in a file: each begins with its node's name. Raises DumpError."""
    found: list[Dump] = []
    name, first, body = "", 0, list[str]()

    def close() -> None:
        if name:
            held = found[-1].sections
            if name in held:
                raise DumpError(f"section {name} twice", source, first - 1)
            held[name] = Section("".join(body), source, first)

    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.startswith(MARK):
            body.append(line)
            continue
        close()
        word, _, rest = line.removeprefix(MARK).strip().partition(" ")
        name, first, body = word, number + 1, []
        if word == "node" and rest:
            found.append(Dump(rest, {}))
            name = ""
        elif not found:
            raise DumpError(f'"{MARK}node NAME" is expected first', source, number, 1)
        elif word not in SECTIONS:
            raise DumpError(f'there is no section "{word}"', source, number, len(MARK) + 1)
    close()
    return found


def write(name: str, sections: Mapping[str, Section]) -> str:
    """A file that ``read`` reads."""
    parts = [f"{MARK}node {name}\n"]
    for section in SECTIONS:
        if section in sections:
            text = sections[section].text
            end = "" if text.endswith("\n") or not text else "\n"
            parts.append(f"{MARK}{section}\n{text}{end}")
    return "".join(parts)


def script() -> str:
    """A shell script that prints a dump of the machine that it runs on."""
    lines = [
        "#!/bin/sh",
        "# Prints what this machine's network is like, for podwire trace -f. Changes nothing; run",
        "# it as root (or with CAP_NET_ADMIN). A tool that is not there is left out.",
        "PATH=$PATH:/usr/sbin:/sbin; export PATH; LC_ALL=C; export LC_ALL",
        f'echo "{MARK}node ${{1:-$(uname -n)}}"',
        "section() {",
        '  command -v "$2" > /dev/null 2>&1 || return 0',
        f'  echo "{MARK}$1"; shift',
        '  "$@" 2> /dev/null || :',
        "}",
    ]
    for name, commands in SECTIONS.items():
        first, _, second = commands.partition("; ")
        lines.append(f"section {name} {first}")
        lines += [f"{second} 2> /dev/null || :"] if second else []
    return "".join(f"{line}\n" for line in lines)
