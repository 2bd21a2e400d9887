"""What ``nft list`` prints, byte for byte as nft 1.0.6 does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from podwire.dataplane.nft import priorities
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.elements import Element, show_data, show_key
from podwire.dataplane.nft.model import Chain, Obj, Rule, SetSpec, Table
from podwire.dataplane.nft.state import DYNAMIC_SIZE, MS, Nft

WRAP = ",\n\t\t\t     "
VERSION = "nftables v1.0.6 (Lester Gooch #5)"


class Style(NamedTuple):
    """How to print: ``-a`` handles, ``-n`` numbers, ``-s`` no counts, ``-t`` no elements."""

    handles: bool = False
    numeric: bool = False
    stateless: bool = False
    terse: bool = False


PLAIN = Style()


def listing(nft: Nft, now_ns: int, family: str = "", style: Style = PLAIN) -> str:
    """``nft list ruleset [FAMILY]``."""
    tables = [t for t in nft.ruleset.tables.values() if family in {"", t.family}]
    order = {"ip": 0, "ip6": 1, "inet": 2}
    tables.sort(key=lambda table: order[table.family] if not family else 0)
    return "".join(table_text(nft, table, now_ns, style) for table in tables)


def table_text(nft: Nft, table: Table, now_ns: int, style: Style = PLAIN) -> str:
    """``nft list table``."""
    parts = [
        *(object_text(nft, table, obj, style) for obj in objects_of(table)),
        *(set_text(nft, table, s, now_ns, style) for s in specs_of(table)),
        *(chain_text(nft, table, c, style) for c in chains_of(table)),
    ]
    head = "".join(_table_head(table))
    return f"{_open(table, style)}{head}{chr(10).join(parts)}}}\n"


def _table_head(table: Table) -> Iterator[str]:
    if table.comment:
        yield f'\tcomment "{table.comment}"\n'
    if table.flags:
        yield f"\tflags {','.join(table.flags)}\n"


def _open(table: Table, style: Style) -> str:
    return f"table {table.family} {table.name} {{{_handle(table.handle, style)}\n"


def one(table: Table, text: str, style: Style = PLAIN) -> str:
    """Something of a table in the table's braces (``nft list chain``)."""
    return f"{_open(table, style)}{text}}}\n"


def objects_of(table: Table) -> list[Obj]:
    """The named objects, as they are listed."""
    order = {"counter": 0, "quota": 1, "limit": 2}
    return sorted(table.objects.values(), key=lambda o: (order[o.kind], o.handle))


def specs_of(table: Table) -> list[SetSpec]:
    """Sets and maps, the oldest first."""
    return sorted(table.specs.values(), key=lambda spec: spec.handle)


def chains_of(table: Table) -> list[Chain]:
    """Chains, the oldest first."""
    return sorted((table.chains[name] for name in table.chains), key=lambda c: c.handle)


def _handle(handle: int, style: Style) -> str:
    return f" # handle {handle}" if style.handles else ""


# ---------------------------------------------------------------- chains


def rule_text(nft: Nft, table: Table, rule: Rule, handle: int, style: Style = PLAIN) -> str:
    """A rule with its counts."""
    if not rule.counters:
        return rule.show()
    if style.stateless:
        text = rule.show()
        for counter in rule.counters:
            text = text.replace(counter.show(), "counter", 1)
        return text
    return rule.show(
        [
            nft.counted((*table.key, handle, c.slot), (c.packets, c.size_bytes))
            for c in rule.counters
        ]
    )


def chain_head(chain: Chain, style: Style) -> str:
    """The first lines of a chain."""
    text = f"\tchain {chain.name} {{{_handle(chain.handle, style)}\n"
    if chain.comment:
        text += f'\t\tcomment "{chain.comment}"\n'
    if chain.hook:
        priority = priorities.text(chain.priority, chain.hook, numeric=style.numeric)
        text += f"\t\ttype {chain.type} hook {chain.hook} priority {priority};"
        text += f" policy {chain.policy};\n"
    return text


def chain_text(nft: Nft, table: Table, chain: Chain, style: Style = PLAIN) -> str:
    """A chain with its rules."""
    lines = [
        f"\t\t{rule_text(nft, table, rule, handle, style)}{_handle(handle, style)}\n"
        for rule, handle in zip(chain.rules, chain.handles, strict=True)
    ]
    return f"{chain_head(chain, style)}{''.join(lines)}\t}}\n"


# ---------------------------------------------------------------- sets and maps


def set_head(spec: SetSpec, style: Style) -> str:
    """What a set or map is."""
    what = "map" if spec.is_map else "set"
    lines = [f"\t{what} {spec.name} {{{_handle(spec.handle, style)}", f"\t\t{spec.type_text}"]
    if spec.policy:
        lines.append(f"\t\tpolicy {spec.policy}")
    size = spec.size
    if "dynamic" in spec.flags and not size:
        size = DYNAMIC_SIZE
    if size and "constant" not in spec.flags:
        lines.append(f"\t\tsize {size}")
    flags = [f for f in spec.flags if f != "timeout" or _says_timeout(spec)]
    if flags:
        lines.append(f"\t\tflags {','.join(flags)}")
    if spec.counter:
        lines.append("\t\tcounter")
    if spec.timeout_ms:
        lines.append(f"\t\ttimeout {t.duration_text(spec.timeout_ms)}")
    if spec.gc_ms:
        lines.append(f"\t\tgc-interval {t.duration_text(spec.gc_ms)}")
    if spec.auto_merge:
        lines.append("\t\tauto-merge")
    if spec.comment:
        lines.append(f'\t\tcomment "{spec.comment}"')
    return "".join(f"{line}\n" for line in lines)


def _says_timeout(spec: SetSpec) -> bool:
    """The flag goes without saying where a timeout is given and there is no other flag."""
    return not spec.timeout_ms or len(spec.flags) > 1


def set_text(nft: Nft, table: Table, spec: SetSpec, now_ns: int, style: Style = PLAIN) -> str:
    """A set or map with its elements."""
    elements = table.members[spec.name].sorted(interval=spec.interval)
    if spec.dynamic:
        living = nft.living(table.key, spec.name, now_ns)
        elements = sorted(
            [*elements, *living],
            key=lambda e: t.sort_key(spec.kinds, e.key, interval=spec.interval),
        )
    text = set_head(spec, style)
    if elements and not style.terse:
        per_line = spec.kinds[0].per_line if len(spec.kinds) == 1 else 1
        shown = [element_text(spec, e, now_ns, style) for e in elements]
        lines = [", ".join(shown[i : i + per_line]) for i in range(0, len(shown), per_line)]
        text += f"\t\telements = {{ {WRAP.join(lines)} }}\n"
    return f"{text}\t}}\n"


def element_text(spec: SetSpec, element: Element, now_ns: int = 0, style: Style = PLAIN) -> str:
    """An element as nft prints it."""
    text = show_key(spec.kinds, element.key)
    if spec.counter or element.counter is not None:
        packets, size_bytes = element.counter or (0, 0)
        counted = f" packets {packets} bytes {size_bytes}"
        text += " counter" if style.stateless else f" counter{counted}"
    if element.timeout_ms:
        text += f" timeout {t.duration_text(element.timeout_ms)}"
    if element.expires_ns and not style.stateless:
        text += f" expires {t.duration_text((element.expires_ns - now_ns) // MS)}"
    if element.comment:
        text += f' comment "{element.comment}"'
    return f"{text} : {show_data(spec.data, element.data)}" if spec.is_map else text


# ---------------------------------------------------------------- named objects


def object_text(nft: Nft, table: Table, obj: Obj, style: Style) -> str:
    """A named counter, quota or limit."""
    text = f"\t{obj.kind} {obj.name} {{{_handle(obj.handle, style)}\n"
    if obj.comment:
        text += f'\t\tcomment "{obj.comment}"\n'
    words = obj.words
    if obj.kind == "counter":
        packets, size_bytes = nft.counted((*table.key, "counter", obj.name), obj.body)
        words = f"packets {packets} bytes {size_bytes}"
        if style.stateless:
            return f"{text}\t}}\n"
    return f"{text}\t\t{words}\n\t}}\n"
