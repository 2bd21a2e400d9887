"""Jumps that never end are refused: the kernel walks at most 16 chains deep from a base chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podwire.dataplane.nft.model import Key, Table


def looping(tables: dict[Key, Table], touched: Iterable[tuple[Key, str]]) -> bool:
    """Whether there is a cycle through chains that changed, and a base chain leads there."""
    by_table: dict[Key, list[str]] = {}
    for key, chain in touched:
        if key in tables:
            by_table.setdefault(key, []).append(chain)
    return any(
        _cyclic(tables[key], names) and _cyclic(tables[key], tables[key].bases)
        for key, names in by_table.items()
    )


def _cyclic(table: Table, starts: Iterable[str]) -> bool:
    done: set[str] = set()
    for start in starts:
        if start in done or start not in table.chains:
            continue
        path: dict[str, Iterator[str]] = {start: _next(table, start)}
        while path:
            name = next(reversed(path))
            following = next(path[name], None)
            if following is None:
                del path[name]
                done.add(name)
            elif following in path:
                return True
            elif following not in done and following in table.chains:
                path[following] = _next(table, following)
    return False


def _next(table: Table, name: str) -> Iterator[str]:
    for rule in table.chains[name].rules:
        yield from rule.targets
        for of, use in rule.sets:
            if use == "vmap":
                for element in table.members[of]:
                    if element.data[1]:
                        yield element.data[1]
