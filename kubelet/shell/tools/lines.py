"""tac, rev, nl, paste and fold: lines turned round, mirrored, numbered, joined, cut."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.echo import unescape


async def run(command: Command) -> int:
    """``tac|rev|nl [FILE...]``; options are not modelled."""
    if command.name in {"paste", "fold"}:
        return await (_paste if command.name == "paste" else _fold)(command)
    odd = [arg for arg in command.args if arg.startswith("-") and len(arg) > 1]
    if odd:
        raise UsageError(f"not modelled: {odd[0]}")
    number = 0
    for _, data in await command.inputs(command.args):
        lines = data.decode(errors="surrogateescape").splitlines()
        if command.name == "tac":
            lines.reverse()
        for line in lines:
            if command.name == "rev":
                command.out(f"{line[::-1]}\n")
            elif command.name == "tac":
                command.out(f"{line}\n")
            elif line:
                number += 1
                command.out(f"{number:6}\t{line}\n")
            else:
                command.out(f"{'':7}\n")
    return 0


async def _paste(command: Command) -> int:
    """``paste [-s] [-d CHARS] FILE...``."""
    args, mark, serial, names = list(command.args), "\t", False, []
    while args:
        arg = args.pop(0)
        if arg.startswith("-") and len(arg) > 1:
            serial = serial or "s" in arg.partition("d")[0]
            if "d" in arg:
                mark = unescape(arg.partition("d")[2] or (args.pop(0) if args else "\t"))
        else:
            names.append(arg)
    stdin = (await command.stdin.all()).splitlines() if "-" in names or not names else []
    columns: list[list[bytes]] = []
    share = max(names.count("-"), 1)
    for name in names or ["-"]:
        if name == "-":
            columns.append(stdin[sum(n == "-" for n in names[: len(columns)]) :: share])
        else:
            columns.append((await command.load(name)).splitlines())
    rows = columns
    if not serial:
        height = max(map(len, columns), default=0)
        rows = [[c[i] if i < len(c) else b"" for c in columns] for i in range(height)]
    for row in rows:
        line = row[0] if row else b""
        for i, cell in enumerate(row[1:]):
            line += (mark[i % len(mark)].encode() if mark else b"") + cell
        command.write_out(line + b"\n")
    return 0


async def _fold(command: Command) -> int:
    """``fold [-w WIDTH] [FILE...]``."""
    args, width, names = list(command.args), "80", []
    while args:
        arg = args.pop(0)
        if arg[:2] == "-w":
            width = arg[2:] or (args.pop(0) if args else "")
        elif not arg.startswith("-") or arg == "-":
            names.append(arg)
        else:
            raise UsageError(f"not modelled: {arg}")
    if not width.isdigit() or not int(width):
        raise UsageError(f"invalid number of columns: '{width}'")
    for _, data in await command.inputs(names):
        for line in data.decode(errors="surrogateescape").splitlines():
            pieces = [line[i : i + int(width)] for i in range(0, len(line), int(width))] or [""]
            command.out("".join(f"{piece}\n" for piece in pieces))
    return 0
