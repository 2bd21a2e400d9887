"""Reading and extending the rules of a node as text: what plugins and agents share.

The kernel is asked by ``iptables-save`` and told by ``iptables-restore --noflush`` input; there
is no copy of the rules in this room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from podwire.client.counters import Fabric
from podwire.dataplane.commands import CommandError


async def saved_rules(fabric: Fabric, node: str, table: str, version: int = 4) -> list[str]:
    """The ``:CHAIN`` and ``-A`` lines of one table. Raises CommandError when it cannot be read."""
    tool = "ip6tables-save" if version == 6 else "iptables-save"
    answer = await fabric.tool(node, "", (tool, "-t", table))
    if answer.code:
        raise CommandError(answer.stderr.strip() or f"{tool} exited {answer.code}")
    return [line for line in answer.stdout.splitlines() if line.startswith((":", "-A"))]


async def has_chain(fabric: Fabric, node: str, table: str, chain: str) -> bool:
    """Whether a chain exists, without reading its table. Raises CommandError.

    Exit code 1 says that it does not, in words that depend on the backend (go-iptables).
    """
    answer = await fabric.tool(node, "", ("iptables", "-t", table, "-S", chain))
    if answer.code not in {0, 1}:
        raise CommandError(answer.stderr.strip() or f"iptables exited {answer.code}")
    return not answer.code


def chain_of(line: str) -> str:
    """The chain that a ``-A`` or ``:`` line belongs to."""
    if line.startswith(":"):
        return line[1:].partition(" ")[0]
    return line.split(" ", 2)[1]


def chains(saved: Iterable[str]) -> list[str]:
    """The chains that exist, in the order iptables-save prints them."""
    return [chain_of(line) for line in saved if line.startswith(":")]


def jumps(saved: Iterable[str], chain: str) -> list[str]:
    """The targets of a chain's rules, in order."""
    return [
        line.partition(" -j ")[2].partition(" ")[0]
        for line in saved
        if line.startswith(f"-A {chain} ")
    ]


def restore_text(
    tables: Mapping[str, tuple[Sequence[str], Sequence[str]]],
) -> str:
    """iptables-restore input: per table the chains to (re)create, then the other lines."""
    out: list[str] = []
    for table, (declared, lines) in tables.items():
        out.append(f"*{table}")
        out.extend(f":{chain} - [0:0]" for chain in declared)
        out.extend(lines)
        out.append("COMMIT")
    return "\n".join(out) + "\n"


def quoted(comment: str) -> str:
    """A comment match; quoted only where iptables-save quotes."""
    text = f'"{comment}"' if any(c in comment for c in " '\"\\") else comment
    return f"-m comment --comment {text}"
