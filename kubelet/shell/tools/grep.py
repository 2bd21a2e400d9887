"""grep, egrep, fgrep."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command, UsageError

_FLAGS = frozenset("vicqnEFowxHhLlarsR")
_COUNTED = re.compile(r"-([ABCm])(\d{0,9})")


def pattern(text: str, *, extended: bool, fixed: bool, ignore_case: bool) -> re.Pattern[str]:
    """A POSIX pattern as Python's. Raises UsageError."""
    if fixed:
        source = re.escape(text)
    else:
        source = text if extended else _basic(text)
        for name, chars in _CLASSES.items():
            source = source.replace(f"[:{name}:]", chars)
    try:
        return re.compile(source, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"bad regex '{text}': {error}", 2) from None


_CLASSES = {
    "space": r"\s", "digit": "0-9", "alpha": "A-Za-z", "alnum": "A-Za-z0-9", "upper": "A-Z",
    "lower": "a-z", "blank": r" \t", "xdigit": "0-9A-Fa-f", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip


def _basic(text: str) -> str:
    r"""Basic regular expressions: ``\(`` groups and plain ``(`` is itself."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text):
            out.append(text[i + 1] if text[i + 1] in "(){}|+?" else text[i : i + 2])
            i += 2
        else:
            out.append("\\" + text[i] if text[i] in "(){}|+?" else text[i])
            i += 1
    return "".join(out)


async def run(command: Command) -> int:
    """``grep [-vicqnEFowxHhL] [-e PATTERN] PATTERN [FILE...]``."""
    options: dict[str, int] = {"E": 1} if command.name == "egrep" else {}
    if command.name == "fgrep":
        options["F"] = 1
    texts: list[str] = []
    rest: list[str] = []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg == "-e" and args:
            texts.append(args.pop(0))
        elif (counted := _COUNTED.fullmatch(arg)) is not None:
            number = counted[2] or (args.pop(0) if args else "")
            if not number.isdigit():
                return command.fail(f"{number}: invalid context length argument", 2)
            options[counted[1]] = int(number)
        elif arg.startswith("-") and arg[1:] and set(arg[1:]) <= _FLAGS:
            options.update(dict.fromkeys(arg[1:], 1))
        elif arg.startswith("-") and len(arg) > 1:
            return command.fail(f"unrecognized option: {arg}", 2)
        else:
            rest.append(arg)
    if not texts:
        if not rest:
            return command.fail("usage: grep PATTERN [FILE]...", 2)
        texts.append(rest.pop(0))
    patterns = [
        pattern(text, extended="E" in options, fixed="F" in options, ignore_case="i" in options)
        for text in texts
    ]
    if "r" in options or "R" in options:
        rest = [
            path
            for name in rest or ["."]
            for path in command.env.list_files(command.path(name))
            if not path.endswith("/")
        ]
    try:
        inputs = await command.inputs(rest)
    except UsageError as error:
        raise UsageError(str(error), 2) from None
    matched = [
        _search(command, name, data, patterns, options, len(inputs) > 1) for name, data in inputs
    ]
    return 0 if any(matched) else 1


def _search(
    command: Command,
    name: str,
    data: bytes,
    patterns: list[re.Pattern[str]],
    options: dict[str, int],
    several: bool,
) -> bool:
    lines = data.decode(errors="surrogateescape").splitlines()
    most = options.get("m", len(lines))
    matched = [
        i for i, line in enumerate(lines)
        if any(_match(p, line, options) for p in patterns) != ("v" in options)
    ][:most]  # fmt: skip
    shown = f"{name}:" if (several or "H" in options) and "h" not in options else ""
    if "c" in options:
        command.out(f"{shown}{len(matched)}\n")
    elif "l" in options or "L" in options:
        command.out(f"{name}\n" if bool(matched) == ("l" in options) else "")
    elif "o" in options:
        for i in matched:
            where = shown + (f"{i + 1}:" if "n" in options else "")
            for piece in _pieces(patterns, lines[i], options):
                command.out(f"{where}{piece}\n")
    elif "q" not in options:
        _show(command, lines, matched, options, shown)
    return bool(matched)


def _pieces(patterns: list[re.Pattern[str]], line: str, options: dict[str, int]) -> list[str]:
    """All matches in a line (``-o``), from left to right."""
    if "w" in options or "x" in options:
        found = next((m for p in patterns if (m := _match(p, line, options))), None)
        return [found[0]] if found else []
    spans = sorted((m.span() for p in patterns for m in p.finditer(line) if m[0]), key=_leftmost)
    pieces, end = [], 0
    for start, stop in spans:
        if start >= end:
            pieces.append(line[start:stop])
            end = stop
    return pieces


def _leftmost(span: tuple[int, int]) -> tuple[int, int]:
    return span[0], -span[1]


def _show(
    command: Command, lines: list[str], matched: list[int], options: dict[str, int], shown: str
) -> None:
    """The lines that matched, with those around them (``-A``, ``-B``, ``-C``)."""
    around = options.get("C", 0)
    before, after = options.get("B", around), options.get("A", around)
    hits = dict.fromkeys(matched)
    wanted = sorted({j: None for i in matched for j in range(i - before, i + after + 1)})
    last = -1
    for j in (j for j in wanted if 0 <= j < len(lines)):
        if (before or after) and last >= 0 and j > last + 1:
            command.out("--\n")
        last = j
        mark = ":" if j in hits else "-"
        where = shown if mark == ":" or not shown else f"{shown[:-1]}-"
        command.out(f"{where}{f'{j + 1}{mark}' if 'n' in options else ''}{lines[j]}\n")


def _match(found: re.Pattern[str], line: str, options: dict[str, int]) -> re.Match[str] | None:
    if "x" in options:
        return found.fullmatch(line)
    if "w" in options:
        return next(
            (
                m for m in found.finditer(line)
                if not re.match(r"\w", line[m.start() - 1 : m.start()] if m.start() else "")
                and not re.match(r"\w", line[m.end() : m.end() + 1])
            ),
            None,
        )  # fmt: skip
    return found.search(line)
