"""Commands that act on the shell itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from podwire.kubelet.shell import expand, folders, stats
from podwire.kubelet.shell.arithmetic import ExpansionError
from podwire.kubelet.shell.flow import Flow
from podwire.runtime.tasks import first

if TYPE_CHECKING:
    from podwire.kubelet.shell.executor import Shell
    from podwire.kubelet.shell.streams import Streams

Builtin = Callable[["Shell", list[str], "Streams"], Awaitable[int]]


def _say(streams: Streams, text: str) -> None:
    streams.out(text.encode(errors="surrogateescape"))


def _fail(shell: Shell, streams: Streams, message: str, code: int = 1) -> int:
    streams.err(f"{shell.name}: {message}\n".encode(errors="surrogateescape"))
    return code


def _number(args: list[str], default: int) -> int:
    return int(args[0]) if args and args[0].isascii() and args[0].isdigit() else default


async def colon(_shell: Shell, _args: list[str], _streams: Streams) -> int:
    """``:``: do nothing, successfully."""
    return 0


async def cd(shell: Shell, args: list[str], streams: Streams) -> int:
    """``cd [DIR]``."""
    target = args[0] if args else shell.variables.get("HOME", "/root")
    if target == "-":
        target = shell.variables.get("OLDPWD", shell.cwd)
    path = _normal(shell.absolute(target))
    try:
        real = stats.resolve(shell.env, path)
    except OSError:
        real = path
    if not folders.exists(real, shell.env.list_files):
        return _fail(shell, streams, f"cd: can't cd to {target}: No such file or directory", 2)
    shell.variables["OLDPWD"], shell.state.cwd = shell.cwd, path
    shell.variables["PWD"] = path
    return 0


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


async def pwd(shell: Shell, _args: list[str], streams: Streams) -> int:
    """``pwd``."""
    _say(streams, f"{shell.cwd}\n")
    return 0


async def exit_(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``exit [N]``."""
    raise Flow("exit", _number(args, shell.status) % 256)


async def return_(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``return [N]``."""
    raise Flow("return", _number(args, shell.status) % 256)


async def break_(_shell: Shell, args: list[str], _streams: Streams) -> int:
    """``break [N]``."""
    raise Flow("break", max(_number(args, 1), 1))


async def continue_(_shell: Shell, args: list[str], _streams: Streams) -> int:
    """``continue [N]``."""
    raise Flow("continue", max(_number(args, 1), 1))


async def export(shell: Shell, args: list[str], streams: Streams) -> int:
    """``export [NAME[=VALUE]...]``."""
    for arg in args:
        name, equals, value = arg.partition("=")
        if not name.isidentifier():
            return _fail(shell, streams, f"export: {arg}: bad variable name", 2)
        if equals:
            shell.variables[name] = value
        shell.state.exported[name] = None
    if not args:
        for name in sorted(shell.state.exported):
            _say(streams, f"export {name}='{shell.variables.get(name, '')}'\n")
    return 0


async def unset(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``unset NAME...``."""
    for name in args:
        shell.variables.pop(name, None)
        shell.state.functions.pop(name, None)
    return 0


async def local(shell: Shell, args: list[str], streams: Streams) -> int:
    """``local NAME[=VALUE]``: the old value comes back when the function ends."""
    if not shell.locals:
        return _fail(shell, streams, "local: not in a function", 2)
    for arg in args:
        name, equals, value = arg.partition("=")
        if equals:
            shell.variables.check((name,))
        shell.locals[-1].setdefault(name, shell.variables.get(name))
        if equals:
            shell.variables[name] = value
    return 0


def not_modelled(name: str) -> Builtin:
    """A builtin that shells have and this one has not."""

    async def refuse(shell: Shell, _args: list[str], streams: Streams) -> int:
        return _fail(shell, streams, f"not modelled: {name}", 2)

    return refuse


async def set_(shell: Shell, args: list[str], streams: Streams) -> int:
    """``set [-e] [-x] [-u] [+...] [-- ARGS]``."""
    rest = list(args)
    while rest and rest[0][:1] in {"-", "+"} and len(rest[0]) > 1:
        word = rest.pop(0)
        if word == "--":
            shell.state.args = rest
            return 0
        option = ""
        if word[1:] == "o":
            option = rest.pop(0) if rest else ""
            if option not in {"pipefail", "errexit", "nounset", "xtrace"}:
                return _fail(shell, streams, f"set: illegal option -o {option}", 2)
            word = word[0] + {"errexit": "e", "xtrace": "x", "nounset": "u"}.get(option, "")
        if word[1:].strip("exu") and option != "pipefail":
            return _fail(shell, streams, f"not modelled: set {word}", 2)
        if option == "pipefail":
            shell.state.pipefail = word[0] == "-"
            continue
        if "u" in word:
            shell.state.nounset = word[0] == "-"
        if "e" in word:
            shell.state.errexit = word[0] == "-"
        if "x" in word:
            shell.state.xtrace = word[0] == "-"
    if rest:
        shell.state.args = rest
    elif not args:
        for name in sorted(shell.variables):
            _say(streams, f"{name}='{shell.variables[name]}'\n")
    return 0


async def shift(shell: Shell, args: list[str], streams: Streams) -> int:
    """``shift [N]``."""
    n = _number(args, 1)
    if n > len(shell.args):
        return _fail(shell, streams, "shift: can't shift that many", 2)
    shell.state.args = shell.args[n:]
    return 0


async def read(shell: Shell, args: list[str], streams: Streams) -> int:
    """``read [-r] [-p PROMPT] NAME...``."""
    names = list(args)
    while names and names[0].startswith("-"):
        if names.pop(0) == "-p" and names:
            streams.err(names.pop(0).encode())
    line = await streams.stdin.line()
    text = line.decode(errors="surrogateescape").rstrip("\n")
    names = names or ["REPLY"]
    try:
        shell.variables.check(names)
    except ExpansionError as error:
        return _fail(shell, streams, f"read: {error}", 2)
    ifs = shell.variables.get("IFS", expand.BLANKS)
    blanks = "".join(c for c in ifs if c in expand.BLANKS)
    rest = text.strip(blanks) if blanks else text
    for i, name in enumerate(names):
        pieces = expand.split(rest, ifs) if i < len(names) - 1 else [rest]
        shell.variables[name] = pieces[0]
        rest = rest[len(pieces[0]) :]
        if ifs and rest and i < len(names) - 1:
            rest = rest.lstrip(blanks)
            if rest[:1] and rest[0] in ifs and rest[0] not in blanks:
                rest = rest[1:].lstrip(blanks)
    return 0 if line.endswith(b"\n") else 1


async def eval_(shell: Shell, args: list[str], streams: Streams) -> int:
    """``eval WORDS``."""
    return await shell.run_text(" ".join(args), streams)


async def source(shell: Shell, args: list[str], streams: Streams) -> int:
    """``. FILE``."""
    if not args:
        return _fail(shell, streams, ".: filename argument required", 2)
    try:
        text = shell.env.read_file(shell.absolute(args[0])).decode(errors="surrogateescape")
    except FileNotFoundError:
        return _fail(shell, streams, f".: can't open '{args[0]}': No such file or directory", 2)
    return await shell.run_text(text, streams)


async def exec_(shell: Shell, args: list[str], streams: Streams) -> int:
    """``exec COMMAND``: the command takes the shell's place and gets its signals."""
    if not args:
        return 0
    status = await shell.external(args, streams, {}, shell.signals)
    raise Flow("exit", status)


async def command(shell: Shell, args: list[str], streams: Streams) -> int:
    """``command [-v] NAME``."""
    from podwire.kubelet.shell.find import find  # noqa: PLC0415  find knows the shell as a tool

    if args and args[0] in {"-v", "-V"}:
        name = args[1] if len(args) > 1 else ""
        if name in BUILTINS or name in shell.state.functions:
            _say(streams, f"{name}\n")
            return 0
        if find(shell.image, name) is None:
            return 127
        _say(streams, f"{name if '/' in name else f'/usr/bin/{name}'}\n")
        return 0
    if args and args[0] in BUILTINS:
        return await BUILTINS[args[0]](shell, args[1:], streams)
    return await shell.external(args, streams) if args else 0


async def type_(shell: Shell, args: list[str], streams: Streams) -> int:
    """``type NAME``."""
    from podwire.kubelet.shell.find import find  # noqa: PLC0415  find knows the shell as a tool

    status = 0
    for name in args:
        if name in BUILTINS:
            _say(streams, f"{name} is a shell builtin\n")
        elif find(shell.image, name) is not None:
            _say(streams, f"{name} is /usr/bin/{name}\n")
        else:
            _say(streams, f"{name}: not found\n")
            status = 127
    return status


async def trap(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``trap ACTION SIGNAL...``: acts between commands, as in life."""
    words = [word for word in args if word != "--"]
    if len(words) < 2:
        return 0
    for name in words[1:]:
        signal = name.upper().removeprefix("SIG")
        signal = {"15": "TERM", "2": "INT", "1": "HUP", "3": "QUIT"}.get(signal, signal)
        signal = "EXIT" if signal == "0" else signal
        if words[0] == "-":
            shell.traps.pop(signal, None)
        else:
            shell.traps[signal] = words[0]
    if shell.signals is not None and shell.listening is None:
        shell.listening = shell.jobs.start(_listen(shell), name="trap")
    return 0


async def _listen(shell: Shell) -> None:
    assert shell.signals is not None, "only a shell that gets signals listens"
    while True:
        signal = await shell.signals()
        if signal in shell.traps:
            shell.pending.append(signal)
            shell.wake.set()


async def wait(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``wait [PID...]``: for background jobs; a trapped signal interrupts it."""
    status = 0
    for pid in args or list(shell.background):
        job = shell.background.get(pid)
        if job is None:
            status = 127
            continue
        shell.wake.clear()
        which, result = await first(_ended(job), _woken(shell))
        if which == 1:
            return 143
        del shell.background[pid]
        status = int(result)
    return status if args else 0


async def _ended(job: asyncio.Task[int]) -> int:
    return await asyncio.shield(job)


async def _woken(shell: Shell) -> int:
    await shell.wake.wait()
    return 0


async def readonly(shell: Shell, args: list[str], streams: Streams) -> int:
    """``readonly NAME[=VALUE]...``."""
    for arg in args:
        name, equals, value = arg.partition("=")
        if not name.isidentifier():
            return _fail(shell, streams, f"readonly: {arg}: bad variable name", 2)
        if equals:
            shell.variables[name] = value
        shell.variables.readonly[name] = None
    if not args:
        for name in sorted(shell.variables.readonly):
            told = f"='{shell.variables[name]}'" if name in shell.variables else ""
            _say(streams, f"readonly {name}{told}\n")
    return 0


async def getopts(shell: Shell, args: list[str], streams: Streams) -> int:
    """``getopts OPTIONS NAME [ARGS]``: one option more, in NAME, OPTARG and OPTIND."""
    if len(args) < 2:
        return _fail(shell, streams, "usage: getopts optstring var [arg]", 2)
    known, name, words = args[0], args[1], args[2:] or shell.args
    index = _number([shell.variables.get("OPTIND", "1")], 1)
    within = _number([shell.variables.get("_OPTAT", "1")], 1) if index > 1 or words else 1
    word = words[index - 1] if 0 < index <= len(words) else ""
    if within >= len(word):
        within = 1
    if len(word) < 2 or word[0] != "-" or word == "--":
        end = str(index + (word == "--"))
        shell.variables.update({name: "?", "OPTIND": end, "_OPTAT": "1"})
        return 1
    letter, rest = word[within], word[within + 1 :]
    at = known.lstrip(":").find(letter) if letter != ":" else -1
    takes = at >= 0 and known.lstrip(":")[at + 1 : at + 2] == ":"
    shell.variables.pop("OPTARG", None)
    shell.variables[name] = letter if at >= 0 else "?"
    if at < 0:
        _wrong_option(shell, streams, known, letter, f"Illegal option -{letter}")
    if takes:
        index += 1
        if not rest and index > len(words):
            shell.variables[name] = ":" if known.startswith(":") else "?"
            _wrong_option(shell, streams, known, letter, f"No arg for -{letter} option")
        else:
            shell.variables["OPTARG"] = rest or words[index - 1]
            index += not rest
        rest = ""
    elif not rest:
        index += 1
    shell.variables.update({"OPTIND": str(index), "_OPTAT": str(within + 1) if rest else "1"})
    return 0


def _wrong_option(shell: Shell, streams: Streams, known: str, letter: str, why: str) -> None:
    if known.startswith(":"):
        shell.variables["OPTARG"] = letter
    else:
        _fail(shell, streams, why)


async def nothing(_shell: Shell, _args: list[str], _streams: Streams) -> int:
    """``hash``: there is nothing to remember."""
    return 0


async def umask(_shell: Shell, _args: list[str], streams: Streams) -> int:
    """``umask``."""
    _say(streams, "0022\n")
    return 0


async def kill(shell: Shell, args: list[str], streams: Streams) -> int:
    """``kill``: the shell's own jobs are not modelled as processes."""
    if any(arg in shell.background or arg.startswith("%") for arg in args):
        return _fail(shell, streams, "not modelled: kill of a job", 2)
    return await shell.external(["kill", *args], streams)


_LACKING = (
    "[[", "alias", "bg", "bind", "builtin", "caller", "compgen", "complete", "coproc", "declare",
    "dirs", "disown", "enable", "fg", "help", "history", "jobs", "let",
    "mapfile", "popd", "pushd", "readarray", "select", "shopt", "suspend", "time",
    "times", "typeset", "ulimit", "unalias", "function",
)  # fmt: skip

BUILTINS: dict[str, Builtin] = {
    **{name: not_modelled(name) for name in _LACKING},
    ":": colon, ".": source, "break": break_, "cd": cd, "command": command, "continue": continue_,
    "eval": eval_, "exec": exec_, "exit": exit_, "export": export, "kill": kill, "local": local,
    "pwd": pwd,
    "read": read, "return": return_, "set": set_, "shift": shift, "source": source, "trap": trap,
    "getopts": getopts, "hash": nothing, "readonly": readonly, "type": type_, "umask": umask,
    "unset": unset, "wait": wait,
}  # fmt: skip
"""By name."""
