"""sed: addresses, ranges, blocks, and ``s y d p q = a i c n N P g G h H x`` without branches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.grep import pattern

MAX_DEPTH = 20
_PLAIN = "dp=nNPgGhHx"
Address = Callable[[str, int, bool], bool]
"""(line, number, whether it is the last) -> whether it is meant."""


@dataclass(slots=True)
class _Step:
    """One command of a script."""

    verb: str
    first: Address | None = None
    last: Address | int | None = None
    """The end of a range: an address, or how many lines follow (``+N``)."""
    negated: bool = False
    text: str = ""
    edit: Callable[[str], tuple[str, bool]] | None = None
    block: list[_Step] = field(default_factory=list)
    prints: bool = False
    until: int = -1
    """The number of the line at which the present range ends; 0: not known yet; -1: outside."""
    end: int = -1
    """The line number that ends a range, when it is a number."""

    def applies(self, line: str, number: int, last: bool) -> bool:
        """Whether the step is for this line."""
        return self._selected(line, number, last) != self.negated

    def _selected(self, line: str, number: int, last: bool) -> bool:
        if self.first is None:
            return True
        if self.last is None:
            return self.first(line, number, last)
        if self.until >= 0:
            if (self.until and number >= self.until) or (
                not self.until and callable(self.last) and self.last(line, number, last)
            ):
                self.until = -1
            return self.end < 0 or number <= self.end or self.until >= 0
        if not self.first(line, number, last):
            return False
        if isinstance(self.last, int):
            self.until = number + self.last if self.last else -1
        elif self.end < 0 or self.end > number:
            self.until = max(self.end, 0)
        return True


class _Parser:
    def __init__(self, text: str, *, extended: bool) -> None:
        self.text = text
        self.at = 0
        self.extended = extended

    def steps(self, depth: int = 0) -> list[_Step]:
        """The commands up to ``}`` or the end."""
        found: list[_Step] = []
        if depth > MAX_DEPTH:
            raise UsageError("not modelled: nested this deep")
        while True:
            self._skip(" \t\n;")
            if self.at >= len(self.text):
                if depth:
                    raise UsageError("-e expression #1, char 0: unmatched `{'")
                return found
            if self.text[self.at] == "}" and depth:
                self.at += 1
                return found
            if self.text[self.at] == "#":
                self._line()
                continue
            found.append(self._step(depth))

    def _skip(self, chars: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in chars:
            self.at += 1

    def _line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        line, self.at = self.text[self.at : end], end
        return line

    def _step(self, depth: int) -> _Step:
        step = _Step("")
        step.first, _ = self._address()
        if step.first is not None and self.text[self.at : self.at + 1] == ",":
            self.at += 1
            self._skip(" ")
            more = re.compile(r"\+(\d{1,9})").match(self.text, self.at)
            if more is not None:
                self.at, step.last = more.end(), int(more[1])
            else:
                step.last, step.end = self._address()
                if step.last is None:
                    raise UsageError("unexpected `,'")
        self._skip(" ")
        while self.text[self.at : self.at + 1] == "!":
            step.negated = True
            self.at += 1
            self._skip(" ")
        step.verb = self.text[self.at : self.at + 1]
        self.at += 1
        self._argument(step, depth)
        return step

    def _address(self) -> tuple[Address | None, int]:
        """An address (None when there is none), and its line number or -1."""
        found = re.compile(r"(\d{1,9})(?:~(\d{1,9}))?|\$").match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            if found[0] == "$":
                return (lambda _line, _number, last: last), -1
            start, step = int(found[1]), int(found[2] or 0)
            if found[2]:
                return (
                    lambda _line, number, _last: (
                        number >= start and (number - start) % (step or 1) == 0
                    )
                ), -1
            return (lambda _line, number, _last: number == start), start
        mark = self.text[self.at : self.at + 1]
        if mark not in {"/", "\\"}:
            return None, -1
        if mark == "\\":
            self.at += 1
            mark = self.text[self.at : self.at + 1]
        self.at += 1
        source = self._until(mark)
        blind = self.text[self.at : self.at + 1] == "I"
        self.at += blind
        wanted = pattern(source, extended=self.extended, fixed=False, ignore_case=blind)
        return (lambda line, _number, _last: wanted.search(line) is not None), -1

    def _until(self, mark: str) -> str:
        """The text up to an unescaped mark, which is read."""
        out: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == mark:
                return "".join(out)
            if char == "\\" and self.at < len(self.text):
                follows = self.text[self.at]
                self.at += 1
                out.append(follows if follows == mark else char + follows)
            else:
                out.append(char)
        raise UsageError("unterminated command")

    def _argument(self, step: _Step, depth: int) -> None:
        if step.verb == "{":
            step.block = self.steps(depth + 1)
        elif step.verb == "s":
            step.edit, step.prints = self._substitution()
        elif step.verb == "y":
            mark = self._mark()
            old, new = (_unescaped(self._until(mark)) for _ in range(2))
            if len(old) != len(new):
                raise UsageError("strings for `y' command are different lengths")
            table = str.maketrans(old, new)
            step.edit = lambda line: (line.translate(table), True)
        elif step.verb and step.verb in "aic":
            self._skip(" \t")
            if self.text[self.at : self.at + 1] == "\\":
                self.at += 1
                self._skip(" \t")
                self.at += self.text[self.at : self.at + 1] == "\n"
            lines = [self._line()]
            while lines[-1].endswith("\\") and self.at < len(self.text):
                self.at += 1
                lines[-1] = lines[-1][:-1]
                lines.append(self._line())
            step.text = _unescaped("\n".join(lines))
        elif step.verb == "q":
            self._skip(" ")
            code = re.compile(r"\d{0,3}").match(self.text, self.at)
            assert code is not None, "nothing matches, too"
            self.at, step.text = code.end(), code[0]
        elif not step.verb or step.verb not in _PLAIN:
            raise UsageError(f"not modelled: command {step.verb or self.text!r}")
        self._skip(" \t")
        ends = step.verb and step.verb in "aic{"
        if not ends and self.text[self.at : self.at + 1] not in {"", ";", "\n", "}", "#"}:
            raise UsageError("extra characters after command")

    def _mark(self) -> str:
        self.at += 1
        return self.text[self.at - 1 : self.at]

    def _substitution(self) -> tuple[Callable[[str], tuple[str, bool]], bool]:
        mark = self._mark()
        old, new = self._until(mark), self._until(mark)
        flags = re.compile(r"[gIip0-9]*").match(self.text, self.at)
        assert flags is not None, "nothing matches, too"
        self.at = flags.end()
        which = re.sub(r"\D", "", flags[0])
        blind = "i" in flags[0].lower()
        found = pattern(old, extended=self.extended, fixed=False, ignore_case=blind)
        nth, every = int(which[:6] or 1), "g" in flags[0]

        def edit(line: str) -> tuple[str, bool]:
            seen = 0

            def fill(match: re.Match[str]) -> str:
                nonlocal seen
                seen += 1
                if seen < nth or (seen > nth and not every):
                    return match[0]
                return _filled(new, match)

            changed = found.sub(fill, line)
            return changed, seen >= nth

        return edit, "p" in flags[0]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)


def _filled(new: str, match: re.Match[str]) -> str:
    def one(found: re.Match[str]) -> str:
        text = found[0]
        if text == "&":
            return match[0]
        if text[1].isdigit():
            try:
                return match[int(text[1])] or ""
            except IndexError:
                raise UsageError(f"invalid reference {text} on `s' command's RHS") from None
        return {"n": "\n", "t": "\t"}.get(text[1], text[1])

    return re.sub(r"\\(?:.|\n)|&", one, new)


class _Run:
    """A script over the lines of one input."""

    def __init__(self, steps: list[_Step], lines: list[str], *, quiet: bool) -> None:
        self.steps = steps
        self.lines = lines
        self.quiet = quiet
        self.number = 0
        self.space = self.hold = ""
        self.out: list[str] = []
        self.after: list[str] = []
        self.code: int | None = None

    def run(self) -> str:
        """What is printed."""
        while self.number < len(self.lines) and self.code is None:
            self.space = self.lines[self.number]
            self.number += 1
            kept = self._do(self.steps)
            if kept and not self.quiet:
                self.out.append(self.space)
            self.out += self.after
            self.after = []
        return "".join(f"{line}\n" for line in self.out)

    def _do(self, steps: list[_Step]) -> bool:
        """Whether the line is to be printed at the end of the cycle."""
        for step in steps:
            last = self.number == len(self.lines)
            if not step.applies(self.space, self.number, last):
                continue
            if step.verb == "{":
                if not self._do(step.block):
                    return False
                if self.code is not None:
                    return True
            elif step.edit is not None:
                self.space, done = step.edit(self.space)
                if done and step.prints:
                    self.out.append(self.space)
            elif step.verb == "q":
                self.code = int(step.text or 0)
                return True
            elif not self._plain(step, last):
                return False
        return True

    def _plain(self, step: _Step, last: bool) -> bool:
        match step.verb:
            case "d":
                return False
            case "c":
                if step.last is None or step.until < 0:
                    self.out.append(step.text)
                return False
            case "p":
                self.out.append(self.space)
            case "P":
                self.out.append(self.space.partition("\n")[0])
            case "=":
                self.out.append(str(self.number))
            case "a":
                self.after.append(step.text)
            case "i":
                self.out.append(step.text)
            case "n" | "N":
                return self._next(step.verb, last)
            case _:
                self._held(step.verb)
        return True

    def _next(self, verb: str, last: bool) -> bool:
        if last:
            return True
        following = self.lines[self.number]
        self.number += 1
        if verb == "N":
            self.space = f"{self.space}\n{following}"
            return True
        if not self.quiet:
            self.out.append(self.space)
        self.space = following
        return True

    def _held(self, verb: str) -> None:
        match verb:
            case "g":
                self.space = self.hold
            case "G":
                self.space = f"{self.space}\n{self.hold}"
            case "h":
                self.hold = self.space
            case "H":
                self.hold = f"{self.hold}\n{self.space}"
            case _:
                self.space, self.hold = self.hold, self.space


async def run(command: Command) -> int:
    """``sed [-nEr] [-i[SUFFIX]] [-e SCRIPT | -f FILE | SCRIPT] [FILE...]``."""
    letters = ""
    scripts: list[str] = []
    rest: list[str] = []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg in {"-e", "--expression"} and args:
            scripts.append(args.pop(0))
        elif arg == "-f" and args:
            scripts.append((await command.load(args.pop(0))).decode(errors="surrogateescape"))
        elif arg.startswith("-i") and len(arg) > 2 and not set(arg[2:]) <= set("nEr"):
            raise UsageError(f"not modelled: {arg}")
        elif arg.startswith("-") and set(arg[1:]) <= set("nEris") and len(arg) > 1:
            letters += arg[1:]
        elif arg.startswith("-") and len(arg) > 1:
            raise UsageError(f"not modelled: option {arg}")
        else:
            rest.append(arg)
    if not scripts:
        if not rest:
            return command.fail("usage: sed SCRIPT [FILE]...")
        scripts.append(rest.pop(0))
    extended = "E" in letters or "r" in letters
    inputs = await command.inputs(rest)
    if "i" not in letters and "s" not in letters:
        inputs = [("-", b"".join(_whole(data) for _, data in inputs))]
    status = 0
    for name, data in inputs:
        steps = _Parser("\n".join(scripts), extended=extended).steps()
        lines = data.decode(errors="surrogateescape").splitlines()
        work = _Run(steps, lines, quiet="n" in letters)
        output = work.run()
        status = work.code or 0
        if "i" in letters and name != "-":
            left = "".join(f"{line}\n" for line in lines[work.number :])
            text = (output + left).encode(errors="surrogateescape")
            await command.env.write_file(command.path(name), text)
        else:
            command.out(output)
    return status


def _whole(data: bytes) -> bytes:
    return data if not data or data.endswith(b"\n") else data + b"\n"
