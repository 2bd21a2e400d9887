"""Texts of iptables, nft, ipset and ipvsadm: loaded by what loads them anywhere in the model; what
is said here is where an error stands, and what of a real ruleset is kept apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.dump.text import Section
from podwire.dataplane.kernel import HOST, Kernel
from podwire.dataplane.nft.text import NftError

_LINE = re.compile(r"[Ll]ine (\d+)(?: failed)?: ?(.*)", re.DOTALL)
_RULE = re.compile(r"^(?:\[\d+:\d+\] )?-A |^:\S+ DROP", re.MULTILINE)
_QUOTED = re.compile("[\"'`]([^\"'`]+)[\"']")
_TABLE = re.compile(r"^table (\w+) (\S+) \{.*\n(?:[^}\n].*\n|\n)*\}.*\n?", re.MULTILINE)
_BASE = re.compile(r"type \w+ hook (\w+)(?: devices? = ?(\{[^}]*\})| device (\S+))? priority")
_UNTOLD = re.compile(
    r"^\t(?:flowtable|ct (?:helper|timeout|expectation)|secmark|synproxy) .*\{\n"
    r"(?:\t\t.*\n)*\t\}\n",
    re.MULTILINE,
)
"""Objects in tables that are not modelled: rules that use them are, as rules that are unknown."""
_IPTABLES = ("filter", "nat", "mangle", "raw", "security")
_MANAGED = re.compile(r"^\t\ttype \w+ hook \w+ priority", re.MULTILINE)


class Ruleset(NamedTuple):
    """An nft ruleset, as far as it is modelled. Lines stand where they stood."""

    text: str
    bridge: str = ""
    """The table of family bridge that sees bridged packets."""
    devices: dict[str, str] = {}
    """Devices with a chain of family netdev, and that chain's table."""
    notes: tuple[str, ...] = ()


def split(text: str, iptables: tuple[str, ...]) -> Ruleset:
    """Take out what podwire keeps elsewhere (``iptables``: the families whose iptables-save is in
    the dump; nft shows the same tables) or does not model.
    """
    devices: dict[str, str] = {}
    notes: list[str] = []
    bridge = ""

    def keep(found: re.Match[str]) -> str:
        nonlocal bridge
        block, family, name = found.group(), found.group(1), found.group(2)
        blank = "\n" * block.count("\n")
        if family == "arp":
            return blank
        if family == "bridge":
            bridge = name if _BASE.search(block) else bridge
            return blank
        if family == "netdev":
            for base in _BASE.finditer(block):
                for device in re.findall(r'[^\s{},"]+', base.group(2) or base.group(3) or ""):
                    devices[device] = name
            return blank
        if family in iptables and name in _IPTABLES and _of_iptables(text, found):
            return blank
        return block

    kept = _TABLE.sub(keep, text)
    kept = _UNTOLD.sub(lambda found: "\n" * found.group().count("\n"), kept)
    if bridge:
        notes.append(f"nft: table bridge {bridge} is not modelled: bridged packets end UNKNOWN")
    notes += [
        f"nft: table netdev {name} is not modelled: packets at {device} end UNKNOWN"
        for device, name in devices.items()
    ]
    return Ruleset(kept, bridge, devices, tuple(notes))


def _of_iptables(text: str, found: re.Match[str]) -> bool:
    """Whether a table is iptables-nft's own: nft says so, or its base chains are named so."""
    before = text[: found.start()].rstrip("\n").rpartition("\n")[2]
    if before.startswith("# Warning: table") and "managed by iptables-nft" in before:
        return True
    base = re.findall(
        r"^\tchain (\w+) \{(?: # handle \d+)?\n\t\ttype ", found.group(), re.MULTILINE
    )
    return bool(base) and all(name.isupper() for name in base)


def apply_nft(kernel: Kernel, section: Section, text: str, now_ns: int) -> None:
    """Load a ruleset. Raises DumpError."""
    try:
        kernel.netns(HOST).nft.apply(text, now_ns)
    except NftError as error:
        before = text[: error.start]
        column = error.start - before.rfind("\n")
        raise section.error(error.message, before.count("\n") + 1, column) from None


def has_rules(section: Section) -> bool:
    """Whether what iptables-save printed is more than empty chains that accept."""
    return bool(_RULE.search(section.text))


def warns_of_legacy(section: Section) -> bool:
    """Whether iptables-nft-save says that there are rules which it does not show."""
    return "iptables-legacy tables present" in section.text[:4096]


def restore(kernel: Kernel, section: Section, family: str, now_ns: int) -> None:
    """Load what iptables-save or ip6tables-save printed. Raises DumpError."""
    command = c.RulesRestore(text=section.text, noflush=False, family=family)
    _execute(kernel, section, command, now_ns)


def restore_ipsets(kernel: Kernel, section: Section, now_ns: int) -> None:
    """Load what ``ipset save`` printed. Raises DumpError."""
    _execute(kernel, section, c.IpsetRestore(text=section.text), now_ns)


def restore_ipvs(kernel: Kernel, section: Section, now_ns: int) -> None:
    """Load what ``ipvsadm-save -n`` printed. Raises DumpError."""
    _execute(kernel, section, c.IpvsRestore(text=section.text), now_ns)


def _execute(kernel: Kernel, section: Section, command: c.Command, now_ns: int) -> None:
    try:
        kernel.execute(command, now_ns)
    except CommandError as error:
        found = _LINE.search(str(error))
        if found is None:
            raise section.error(str(error)) from None
        number, why = int(found.group(1)), found.group(2).strip() or str(error)
        lines = section.text.splitlines()
        line = lines[number - 1] if number <= len(lines) else ""
        word = next((w for w in _QUOTED.findall(why) if w in line), "")
        raise section.error(why, number, line.find(word) + 1 if word else 1) from None
