"""What bash has beyond the POSIX shell: ``[[ ]]``, ``(( ))``, arrays and what declares them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from podwire.client.counters import Stream
from podwire.kubelet.programs import web
from podwire.kubelet.shell import expand, syntax
from podwire.kubelet.shell.arithmetic import ExpansionError, arithmetic
from podwire.kubelet.shell.command import UsageError
from podwire.kubelet.shell.lexer import BASH, POSIX
from podwire.kubelet.shell.syntax import Assign, Condition, Lit, Node, Word
from podwire.kubelet.shell.variables import Variables

if TYPE_CHECKING:
    from podwire.kubelet.shell.executor import Shell
    from podwire.kubelet.shell.streams import Streams

VERSION = "5.2.37(1)-release"
_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z",
    "space": r"\s", "blank": r" \t", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f",
    "word": r"\w", "print": " -~", "graph": "!-~", "cntrl": r"\x00-\x1f\x7f",
}  # fmt: skip
_COMPARED = {"-eq": "==", "-ne": "!=", "-lt": "<", "-le": "<=", "-gt": ">", "-ge": ">="}


class Kept(NamedTuple):
    """A variable as it was before ``local``."""

    value: str | None
    array: dict[str, str] | None
    named: bool


def keep(variables: Variables, name: str) -> Kept:
    """What ``restore`` brings back."""
    array = variables.arrays.get(name)
    return Kept(dict.get(variables, name), array, name in variables.named)


def restore(variables: Variables, name: str, kept: Kept) -> None:
    """Bring a variable back as it was."""
    variables.pop(name, None)
    if kept.value is not None:
        variables[name] = kept.value
    if kept.array is not None:
        variables.arrays[name] = kept.array
    if kept.named:
        variables.named[name] = None


def prepare(shell: Shell) -> None:
    """The variables that a new shell brings along."""
    if shell.dialect == POSIX:
        return
    rng, clock = shell.env.rng, shell.env.clock
    began_ns = clock.monotonic_ns()
    made = {"RANDOM": lambda: str(rng.below(32768))}
    if shell.dialect == BASH:
        made["SECONDS"] = lambda: str((clock.monotonic_ns() - began_ns) // 10**9)
        uid = str(shell.env.spec.user.uid)
        own = {"BASH": "/bin/bash", "BASH_VERSION": VERSION, "UID": uid, "EUID": uid}
        for name, value in own.items():
            shell.variables.setdefault(name, value)
        version = re.split(r"[.()-]+", VERSION)
        shell.variables.arrays["BASH_VERSINFO"] = {str(i): v for i, v in enumerate(version)}
        shell.variables.arrays["BASH_SOURCE"] = {"0": shell.name}
    shell.variables.made = made


def or_cat(body: Node) -> Node:
    """``$(<FILE)`` is ``$(cat FILE)``."""
    one = body.items[0][0] if isinstance(body, syntax.Sequence) and len(body.items) == 1 else None
    if not isinstance(one, syntax.Simple) or one.words or one.assignments:
        return body
    if len(one.redirects) != 1 or one.redirects[0].op != "<":
        return body
    return syntax.Simple(((Lit("cat"),),), redirects=one.redirects)


async def connections(shell: Shell, paths: Sequence[str]) -> dict[str, Stream]:
    """Connect to ``/dev/tcp/HOST/PORT``. Raises UsageError in bash's words."""
    found: dict[str, Stream] = {}
    for path in paths:
        place = re.fullmatch(r"/dev/tcp/([^/]+)/(\d{1,5})", path)
        if place is None or shell.dialect != BASH or path in found:
            continue
        ips = await web.addresses(shell.env, shell.image.libc, place[1])
        if not ips:
            raise UsageError(f"{place[1]}: Name or service not known")
        try:
            found[path] = await web.connect(
                shell.env, ips, int(place[2]), web.CONNECT_TIMEOUT_S
            )  # fmt: skip
        except OSError as error:
            why = error.strerror or "Connection timed out"
            raise UsageError(f"connect: {why}\n{shell.name}: {path}: {why}") from None
    return found


# ---------------------------------------------------------------------- assignments


async def assign(shell: Shell, one: Assign) -> tuple[str, str]:
    """Do one assignment; its name and value, to be traced. Raises ExpansionError."""
    variables = shell.variables
    variables.check((one.name,))
    if one.elements is not None:
        await _fill(shell, one)
        return one.name, f"({' '.join(variables.array(one.name).values())})"
    value = await expand.text(shell, one.value)
    if one.index is None:
        if one.append:
            value = (variables.get(one.name) or "") + value
        variables[one.name] = value
        return one.name, value
    key = await expand.key(shell, one.name, one.index)
    if one.append:
        value = variables.array(one.name).get(key, "") + value
    variables.put(one.name, key, value)
    return f"{one.name}[{key}]", value


async def _fill(shell: Shell, one: Assign) -> None:
    variables, name = shell.variables, one.name
    assert one.elements is not None, "there are parentheses"
    found: list[tuple[str | None, str]] = []
    for word in one.elements:
        keyed = _keyed(word)
        if keyed is None:
            found += [(None, text) for text in await expand.fields(shell, [word])]
        else:
            found.append((keyed[0], await expand.text(shell, keyed[1])))
    array = variables.to_array(name)
    if not one.append:
        array.clear()
    at = 1 + max((int(key) for key in array), default=-1) if name not in variables.named else 0
    for key, text in found:
        if name in variables.named:
            array[key or ""] = text
            continue
        at = arithmetic(key, variables) if key is not None else at
        variables.put(name, str(at), text)
        at += 1


def _keyed(word: Word) -> tuple[str, Word] | None:
    """``[KEY]=VALUE`` among an array's elements; the key is taken as it stands."""
    first = word[0] if word else None
    if not isinstance(first, Lit) or first.quoted:
        return None
    found = re.match(r"\[([^\]]*)\]=", first.text)
    if found is None:
        return None
    rest = first.text[found.end() :]
    return found[1], ((Lit(rest), *word[1:]) if rest else word[1:])


async def on_error(shell: Shell, streams: Streams) -> None:
    """``trap ACTION ERR``; not while it runs already."""
    action = shell.traps.pop("ERR")
    status = shell.state.status
    try:
        if shell.dialect == BASH:
            await shell.run_text(action, streams)
    finally:
        shell.traps["ERR"] = action
    shell.state.status = status


# ---------------------------------------------------------------------- conditions


async def value(shell: Shell, expression: Word, streams: Streams) -> int:
    """The value of ``((expression))``. Raises ExpansionError."""
    shell.streams = streams
    return arithmetic(await expand.text(shell, expression), shell.variables)


async def holds(shell: Shell, node: Condition, streams: Streams) -> bool:
    """Whether a condition of ``[[ ]]`` is true. Raises ExpansionError."""
    shell.streams = streams
    if node.op in {"&&", "||"}:
        left = await holds(shell, node.parts[0], streams)
        if left != (node.op == "&&"):
            return left
        return await holds(shell, node.parts[1], streams)
    if node.op == "!":
        return not await holds(shell, node.parts[0], streams)
    left_text = await expand.text(shell, node.words[0])
    if not node.op:
        return left_text != ""
    if len(node.words) == 1:
        return await _unary(shell, node.op, left_text, streams)
    return await _binary(shell, node.op, left_text, node.words[1], streams)


async def _unary(shell: Shell, op: str, operand: str, streams: Streams) -> bool:
    if op == "-n":
        return operand != ""
    if op == "-z":
        return operand == ""
    if op == "-v":
        name, bracket, index = operand.partition("[")
        array = shell.variables.array(name)
        return index.rstrip("]") in array if bracket else expand.lookup(shell, name) is not None
    return await shell.external(["test", op, operand], streams) == 0


async def _binary(shell: Shell, op: str, left: str, right: Word, streams: Streams) -> bool:
    if op in {"=", "==", "!="}:
        wanted = await expand.pattern(shell, right)
        return fnmatch.fnmatchcase(left, wanted) == (op != "!=")
    if op == "=~":
        return await _matches(shell, left, right)
    told = await expand.text(shell, right)
    if op in {"<", ">"}:
        return left < told if op == "<" else left > told
    if op in _COMPARED:
        a, b = (arithmetic(text, shell.variables) for text in (left, told))
        return bool(arithmetic(f"{a} {_COMPARED[op]} {b}", shell.variables))
    return await shell.external(["test", left, op, told], streams) == 0


async def _matches(shell: Shell, text: str, word: Word) -> bool:
    """``=~``: an extended regular expression; quoted parts stand for themselves."""
    pattern = ""
    for part in word:
        told = await expand.text(shell, (part,))
        pattern += re.escape(told) if part.quoted else told
    pattern = re.sub(r"\[:(\w+):\]", lambda m: _CLASSES.get(m[1], m[0]), pattern)
    try:
        found = re.search(pattern, text)
    except re.error as error:
        raise ExpansionError(f"not modelled: regular expression {pattern}: {error}") from None
    groups = [] if found is None else [found[0], *(group or "" for group in found.groups())]
    shell.variables.arrays["BASH_REMATCH"] = {str(i): group for i, group in enumerate(groups)}
    return found is not None
