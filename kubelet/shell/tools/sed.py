"""sed: ``s/OLD/NEW/[gI]``, ``/RE/d``, ``Np``, ``Nd``, ``$d``; the rest is not modelled."""

from __future__ import annotations

import re
from collections.abc import Callable

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.grep import pattern

Edit = Callable[[str, int, bool], "tuple[str | None, bool]"]
"""(line, number, last) -> (line or None when deleted, whether to print it extra)."""


def _substitute(script: str, *, extended: bool) -> Edit:
    mark = script[1:2]
    parts: list[str] = [""]
    i = 2
    while i < len(script):
        if script[i] == "\\" and script[i + 1 : i + 2] == mark:
            parts[-1] += mark
            i += 2
        elif script[i] == "\\" and i + 1 < len(script):
            parts[-1] += script[i : i + 2]
            i += 2
        elif script[i] == mark:
            parts.append("")
            i += 1
        else:
            parts[-1] += script[i]
            i += 1
    if len(parts) != 3 or not set(parts[2]) <= set("gIip"):
        raise UsageError(f"bad option in substitution expression: {script}")
    flags = parts[2]
    found = pattern(parts[0], extended=extended, fixed=False, ignore_case="i" in flags.lower())
    new = re.sub(r"(?<!\\)&", r"\\g<0>", parts[1]).replace("\\&", "&").replace("\\n", "\n")
    new = re.sub(r"\\(\d)", r"\\g<\1>", new)

    def edit(line: str, _number: int, _last: bool) -> tuple[str | None, bool]:
        try:
            changed, count = found.subn(new, line, count=0 if "g" in flags else 1)
        except (re.error, IndexError):
            raise UsageError(f"invalid reference in: {script}") from None
        return changed, "p" in flags and count > 0

    return edit


def _addressed(script: str, *, extended: bool) -> Edit:
    found = re.fullmatch(r"(?:/(.*)/|(\d+|\$)(?:,(\d+|\$))?)?\s*([dp])", script)
    if found is None:
        raise UsageError(f"'{script}' is not modelled")
    text, first, last_text, verb = found[1], found[2], found[3], found[4]
    wanted = (
        pattern(text, extended=extended, fixed=False, ignore_case=False)
        if text is not None
        else None
    )

    def fits(line: str, number: int, last: bool) -> bool:
        if wanted is not None:
            return wanted.search(line) is not None
        if first is None:
            return True
        if first == "$":
            return last
        until = first if last_text is None else last_text
        return int(first) <= number and (until == "$" or number <= int(until))

    def edit(line: str, number: int, last: bool) -> tuple[str | None, bool]:
        if not fits(line, number, last):
            return line, False
        return (None, False) if verb == "d" else (line, True)

    return edit


async def run(command: Command) -> int:
    """``sed [-nEr] [-i] [-e SCRIPT] SCRIPT [FILE...]``."""
    quiet = extended = in_place = False
    scripts: list[str] = []
    rest: list[str] = []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg == "-e" and args:
            scripts.append(args.pop(0))
        elif arg.startswith("-") and set(arg[1:]) <= set("nEri") and len(arg) > 1:
            quiet, extended = quiet or "n" in arg, extended or "E" in arg or "r" in arg
            in_place = in_place or "i" in arg
        else:
            rest.append(arg)
    if not scripts:
        if not rest:
            return command.fail("usage: sed SCRIPT [FILE]...")
        scripts.append(rest.pop(0))
    edits = [
        _substitute(one, extended=extended) if one[:1] == "s" and len(one) > 1
        else _addressed(one, extended=extended)
        for text in scripts for one in re.split(r"(?<=[/gpd]);\s*|\n", text) if one.strip()
    ]  # fmt: skip
    for name, data in await command.inputs(rest):
        output = _apply(edits, data.decode(errors="surrogateescape"), quiet=quiet)
        if in_place and name != "-":
            await command.env.write_file(
                command.path(name), output.encode(errors="surrogateescape")
            )
        else:
            command.out(output)
    return 0


def _apply(edits: list[Edit], text: str, *, quiet: bool) -> str:
    out: list[str] = []
    lines = text.splitlines()
    for number, original in enumerate(lines, 1):
        line: str | None = original
        extra = False
        for edit in edits:
            if line is None:
                break
            line, printed = edit(line, number, number == len(lines))
            extra = extra or printed
        if line is not None:
            out += [line] * (int(extra) + int(not quiet))
    return "".join(f"{line}\n" for line in out)
