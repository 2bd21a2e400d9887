"""test and [: strings, numbers, files."""

from __future__ import annotations

from podwire.kubelet.shell import folders, scripts, stats
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.find import find

MAX_DEPTH = 40


async def run(command: Command) -> int:
    """``test EXPRESSION`` and ``[ EXPRESSION ]``: 0 true, 1 false, 2 wrong."""
    args = list(command.args)
    if command.name == "[" and (not args or args.pop() != "]"):
        return command.fail("missing ']'", 2)
    if not args:
        return 1
    parser = _Parser(command, args)
    value = parser.either()
    if parser.at != len(args):
        raise UsageError(f"{args[parser.at]}: unexpected operator", 2)
    return 0 if value else 1


class _Parser:
    def __init__(self, command: Command, args: list[str]) -> None:
        self.command = command
        self.args = args
        self.at = 0
        self.depth = 0

    def _next(self) -> str:
        if self.at >= len(self.args):
            raise UsageError("argument expected", 2)
        self.at += 1
        return self.args[self.at - 1]

    def _peek(self, ahead: int = 0) -> str:
        return self.args[self.at + ahead] if self.at + ahead < len(self.args) else ""

    def either(self) -> bool:
        value = self.both()
        while self._peek() == "-o":
            self.at += 1
            value = self.both() or value
        return value

    def both(self) -> bool:
        value = self.one()
        while self._peek() == "-a":
            self.at += 1
            value = self.one() and value
        return value

    def one(self) -> bool:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UsageError("nested too deep", 2)
        try:
            return self._one()
        finally:
            self.depth -= 1

    def _one(self) -> bool:
        if self._peek(1) in _BINARY and self.at + 2 < len(self.args):
            left, op, right = self._next(), self._next(), self._next()
            return _compare(left, op, right)
        word = self._next()
        if word == "!" and self.at < len(self.args):
            return not self.one()
        if word == "(" and self.at < len(self.args):
            value = self.either()
            if self._next() != ")":
                raise UsageError("closing paren expected", 2)
            return value
        if word in _UNARY and self.at < len(self.args):
            return self._unary(word, self._next())
        return word != ""

    def _may_run(self, path: str) -> bool:
        try:
            found = stats.lstat(self.command, stats.resolve(self.command.env, path))
        except OSError:
            return False
        return bool(found.mode & scripts.EXECUTABLE)

    def _unary(self, op: str, operand: str) -> bool:
        if op == "-n":
            return operand != ""
        if op == "-z":
            return operand == ""
        if op == "-t":
            return self.command.env.tty
        path = self.command.path(operand)
        if op in {"-e", "-f", "-r", "-s", "-x"} and find(self.command.image, path) is not None:
            return True  # a command of the image
        if op == "-x":
            return self._may_run(path)
        listed = self.command.env.list_files(path)
        try:
            data: bytes | None = self.command.env.read_file(path)
        except OSError:
            data = None
        if op == "-d":
            return data is None and folders.exists(path, self.command.env.list_files)
        if op == "-s":
            return bool(data)
        if op in {"-e", "-r", "-w"}:
            return data is not None or bool(listed)
        return data is not None if op == "-f" else False


_UNARY = ("-n", "-z", "-t", "-d", "-s", "-e", "-r", "-w", "-f", "-x", "-L", "-h", "-S", "-p")
_NUMERIC = {
    "-eq": lambda a, b: a == b, "-ne": lambda a, b: a != b, "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b, "-gt": lambda a, b: a > b, "-ge": lambda a, b: a >= b,
}  # fmt: skip
_BINARY = ("=", "==", "!=", "<", ">", *_NUMERIC)


def _compare(left: str, op: str, right: str) -> bool:
    if op in {"=", "=="}:
        return left == right
    if op == "!=":
        return left != right
    if op in {"<", ">"}:
        return left < right if op == "<" else left > right
    try:
        return bool(_NUMERIC[op](int(left), int(right)))
    except ValueError:
        bad = left if not left.lstrip("-").isdigit() else right
        raise UsageError(f"{bad}: bad number" if bad else "Illegal number: ", 2) from None
