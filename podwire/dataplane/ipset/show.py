"""Printing sets: ``ipset list`` and ``ipset save``."""

from __future__ import annotations

from collections.abc import Mapping

from podwire.dataplane.ipset.element import Element, Key
from podwire.dataplane.ipset.sets import SECOND_NS, IpSet, IpSets
from podwire.dataplane.netfilter.text import quote

BASE_BYTES = 200
ELEMENT_BYTES = 40


def header(made: IpSet) -> str:
    """The options of a set, as after ``Header:`` or ``create NAME TYPE``."""
    o = made.options
    words = []
    if made.kind.name.startswith("hash:"):
        words.append(f"family {o.family} hashsize {o.hashsize} maxelem {o.maxelem}")
        if o.netmask:
            words.append(f"netmask {o.netmask}")
    elif made.kind.name == "bitmap:port":
        words.append(f"range {o.range[0]}-{o.range[1]}")
    else:
        words.append(f"size {o.size}")
    if o.timeout_s is not None:
        words.append(f"timeout {o.timeout_s}")
    if o.counters:
        words.append("counters")
    if o.comment:
        words.append("comment")
    if made.kind.name.startswith("hash:"):
        words.append(f"bucketsize {o.bucketsize} initval 0x{o.initval:08x}")
    return " ".join(words)


def member(made: IpSet, key: Key, kept: Element, now_ns: int) -> str:
    """An element with what is kept with it."""
    o = made.options
    text = made.show(key)
    if kept.nomatch:
        text += " nomatch"
    if o.timeout_s is not None:
        left = (kept.expires_ns - now_ns) // SECOND_NS if kept.expires_ns else 0
        text += f" timeout {left}"
    if o.counters:
        text += f" packets {kept.packets} bytes {kept.bytes}"
    if kept.comment:
        text += f' comment "{kept.comment}"'
    return text


def members(made: IpSet, now_ns: int) -> list[str]:
    """All living elements; ports of a bitmap in their order."""
    found = list(made.living(now_ns))
    if made.kind.name == "bitmap:port":
        found.sort(key=lambda pair: pair[0][0])
    return [member(made, key, kept, now_ns) for key, kept in found]


def listing(
    sets: IpSets,
    name: str,
    used: Mapping[str, int],
    now_ns: int,
    *,
    terse: bool = False,
    ordered: bool = False,
) -> str:
    """``ipset list [NAME]``. Raises IpsetError."""
    chosen = [sets.get(name)] if name else list(sets.table.values())
    blocks = []
    for made in chosen:
        found = members(made, now_ns)
        if ordered:
            found.sort()
        lines = [
            f"Name: {made.name}",
            f"Type: {made.kind.name}",
            f"Revision: {made.kind.revision}",
            f"Header: {header(made)}",
            f"Size in memory: {BASE_BYTES + ELEMENT_BYTES * len(found)}",
            f"References: {used.get(made.name, 0) + sets.members(made.name)}",
            f"Number of entries: {len(found)}",
        ]
        if not terse:
            lines += ["Members:", *found]
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)


def save(sets: IpSets, name: str, now_ns: int) -> str:
    """``ipset save [NAME]``: text for ``ipset restore``. Raises IpsetError."""
    chosen = [sets.get(name)] if name else list(sets.table.values())
    lines = []
    for made in chosen:
        lines.append(f"create {quote_name(made.name)} {made.kind.name} {header(made)}\n")
        lines += [f"add {quote_name(made.name)} {text}\n" for text in members(made, now_ns)]
    return "".join(lines)


def quote_name(name: str) -> str:
    """A set's name as a word of restore text."""
    return quote(name) if " " in name else name
