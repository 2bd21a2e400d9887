"""``nft``: files and commands, and what ``nft list`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.nft import show
from podwire.dataplane.nft.model import Chain, Table
from podwire.dataplane.nft.ops import Op
from podwire.dataplane.nft.parse import parse
from podwire.dataplane.nft.refusals import NO_ENTRY
from podwire.dataplane.nft.show import Style
from podwire.dataplane.nft.state import Nft
from podwire.dataplane.nft.text import NftError
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel


class _Line:
    """An nft command line, sorted."""

    def __init__(self, argv: list[str]) -> None:
        self.flags: dict[str, None] = {}
        self.file = ""
        self.words: list[str] = []
        words = iter(argv)
        for word in words:
            if self.words or not word.startswith("-") or word == "-":
                self.words.append(word)
                continue
            for letter in _LONG.get(word, word[1:]):
                self.flags[letter] = None
                if letter in "fID":
                    value = next(words, "")
                    self.file = value if letter == "f" else self.file


_LONG = {
    "--handle": "a", "--check": "c", "--echo": "e", "--numeric": "n", "--stateless": "s",
    "--terse": "t", "--json": "j", "--file": "f", "--version": "v", "--numeric-priority": "y",
}  # fmt: skip


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run ``nft`` with its arguments."""
    line = _Line(argv)
    if "v" in line.flags:
        return f"{show.VERSION}\n", "", 0
    if "j" in line.flags:
        return "", "nft: not modelled: JSON\n", 1
    if "i" in line.flags:
        return "", "nft: not modelled: interactive\n", 1
    if "f" in line.flags:
        if line.file not in {"-", "/dev/stdin"}:
            words = f'Could not open file "{line.file}": {NO_ENTRY}'
            return "", f"internal:0:0-0: Error: {words}\n\n\n", 1
        text, name = stdin, "/dev/stdin"
    elif line.words:
        text, name = " ".join(line.words), ""
    else:
        return "", "nft: no command specified\n", 1
    nft = kernel.netns(netns).nft
    style = Style(
        handles="a" in line.flags,
        numeric="y" in line.flags or "n" in line.flags,
        stateless="s" in line.flags,
        terse="t" in line.flags,
    )
    try:
        result = nft.apply(text, now_ns, check="c" in line.flags)
        out = "".join(_listed(nft, op, now_ns, style) for op in _lists(text))
    except NftError as error:
        return "", error.show(text, name), 1
    if "e" in line.flags:
        out += "".join(
            text[op.whole[0] : op.whole[1]].strip()
            + (f" # handle {handle}" if style.handles else "")
            + "\n"
            for op, handle in result.added
        )
    return out, "", 0


def _lists(text: str) -> list[Op]:
    return [op for op in parse(text) if op.verb in {"list", "reset"}]


def _listed(nft: Nft, op: Op, now_ns: int, style: Style) -> str:
    """What a ``list`` prints."""
    if op.what == "ruleset":
        return show.listing(nft, now_ns, op.family, style)
    if op.what in {"tables", "chains", "sets", "maps", "rules", "counters", "quotas", "limits"}:
        return _plural(nft, op, now_ns, style)
    table = nft.ruleset.tables.get((op.family, op.table))
    if table is None:
        raise NftError(NO_ENTRY, *op.spot)
    if op.what == "table":
        return show.table_text(nft, table, now_ns, style)
    if op.what == "chain":
        chain = table.chains.get(op.name)
        if chain is None:
            raise NftError(NO_ENTRY, *op.spot)
        return show.one(table, show.chain_text(nft, table, chain, style))
    if op.what in {"set", "map"}:
        spec = table.specs.get(op.name)
        if spec is None or spec.is_map != (op.what == "map"):
            raise NftError(NO_ENTRY, *op.spot)
        return show.one(table, show.set_text(nft, table, spec, now_ns, style))
    obj = table.objects.get((op.what, op.name))
    if obj is None:
        raise NftError(NO_ENTRY, *op.spot)
    text = show.one(table, show.object_text(nft, table, obj, style))
    if op.verb == "reset":
        nft.counts.pop((*table.key, op.what, op.name), None)
    return text


def _plural(nft: Nft, op: Op, now_ns: int, style: Style) -> str:
    tables = [
        table
        for table in nft.ruleset.tables.values()
        if op.family in {"", table.family} and op.table in {"", table.name}
    ]
    if op.what == "tables":
        return "".join(f"table {table.family} {table.name}\n" for table in tables)
    return "".join(
        show.one(table, "".join(_items(nft, table, op.what, now_ns, style))) for table in tables
    )


def _items(nft: Nft, table: Table, what: str, now_ns: int, style: Style) -> list[str]:
    if what == "chains":
        return [_head(chain, style) for chain in show.chains_of(table)]
    if what in {"sets", "maps"}:
        return [
            show.set_text(nft, table, spec, now_ns, style)
            for spec in show.specs_of(table)
            if spec.is_map == (what == "maps")
        ]
    kind = what.removesuffix("s")
    return [
        show.object_text(nft, table, obj, style)
        for obj in show.objects_of(table)
        if obj.kind == kind
    ]


def _head(chain: Chain, style: Style) -> str:
    return f"{show.chain_head(chain, style)}\t}}\n"
