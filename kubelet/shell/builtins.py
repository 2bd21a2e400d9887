"""Commands that act on the shell itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from podwire.kubelet.shell import declaring, folders, stats
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.lexer import ASH, BASH, POSIX
from podwire.runtime.tasks import first

if TYPE_CHECKING:
    from podwire.kubelet.shell.executor import Shell
    from podwire.kubelet.shell.streams import Streams

TERMINATED = 143
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
    if args[:1] == ["-"]:
        _say(streams, f"{path}\n")
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


def not_modelled(name: str) -> Builtin:
    """A builtin that shells have and this one has not."""

    async def refuse(shell: Shell, _args: list[str], streams: Streams) -> int:
        return _fail(shell, streams, f"not modelled: {name}", 2)

    return refuse


_OPTIONS = {"errexit": "e", "xtrace": "x", "nounset": "u", "pipefail": "pipefail"}
_IDLE = "hmbBET"
"""Options that change nothing here."""


async def set_(shell: Shell, args: list[str], streams: Streams) -> int:
    """``set [-eux] [-o OPTION] [+...] [-- ARGS]``."""
    rest = list(args)
    while rest and rest[0][:1] in {"-", "+"} and len(rest[0]) > 1:
        word = rest.pop(0)
        if word == "--":
            shell.state.args = rest
            return 0
        for letter in word[1:]:
            option = letter
            if letter == "o":
                option = rest.pop(0) if rest else ""
                if option not in _OPTIONS:
                    return _fail(shell, streams, f"set: illegal option -o {option}", 2)
            if not _switch(shell, _OPTIONS.get(option, option), on=word[0] == "-"):
                return _fail(shell, streams, f"not modelled: set {word}", 2)
    if rest:
        shell.state.args = rest
    elif not args:
        for name in sorted(shell.variables):
            _say(streams, f"{name}='{shell.variables[name]}'\n")
    return 0


def _switch(shell: Shell, option: str, *, on: bool) -> bool:
    """Turn an option on or off; False when there is no such option here."""
    state = shell.state
    if option == "e":
        state.errexit = on
    elif option == "x":
        state.xtrace = on
    elif option == "u":
        state.nounset = on
    elif option == "pipefail":
        state.pipefail = on
    else:
        return option in _IDLE
    return True


async def shift(shell: Shell, args: list[str], streams: Streams) -> int:
    """``shift [N]``."""
    n = _number(args, 1)
    if n > len(shell.args):
        return _fail(shell, streams, "shift: can't shift that many", 2)
    shell.state.args = shell.args[n:]
    return 0


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
        if name in shell.state.functions:
            _say(streams, f"{name} is a function\n")
        elif name in BUILTINS:
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
            return TERMINATED
        del shell.background[pid]
        status = int(result)
    return status if args else 0


async def _ended(job: asyncio.Task[int]) -> int:
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        if job.cancelled():
            return TERMINATED
        raise


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
    """``kill [-SIGNAL] JOB... PID...``: a job of the shell ends, whatever it would have said."""
    last = shell.variables.get("!", "")
    words = [last if arg in {"%1", "%%", "%+"} and last else arg for arg in args]
    jobs = [word for word in words if word in shell.background]
    rest = [word for word in words if word not in shell.background]
    asks = rest[:1] == ["-0"] or rest[:2] == ["-s", "0"]
    status = 0
    for word in jobs:
        job = shell.background[word]
        if job.done():
            status = _fail(shell, streams, f"kill: ({word}) - No such process")
        elif not asks:
            job.cancel()
    if jobs and all(word.startswith("-") for word in rest):
        return status
    return await shell.external(["kill", *rest], streams)


_LACKING = (
    "alias", "bg", "bind", "builtin", "caller", "compgen", "complete", "coproc",
    "dirs", "disown", "enable", "fg", "help", "history", "jobs",
    "popd", "pushd", "select", "suspend",
    "times", "ulimit", "unalias",
)  # fmt: skip

BUILTINS: dict[str, Builtin] = {
    **{name: not_modelled(name) for name in _LACKING},
    ":": colon, ".": source, "break": break_, "cd": cd, "command": command, "continue": continue_,
    "declare": declaring.declare, "eval": eval_, "exec": exec_, "exit": exit_, "export": export,
    "getopts": getopts, "hash": nothing, "kill": kill, "let": declaring.let,
    "local": declaring.local, "mapfile": declaring.mapfile, "printf": declaring.printf,
    "pwd": pwd, "read": declaring.read,
    "readarray": declaring.mapfile, "readonly": readonly, "return": return_, "set": set_,
    "shift": shift, "shopt": declaring.shopt, "source": source, "time": declaring.time,
    "trap": trap, "type": type_,
    "typeset": declaring.declare, "umask": umask, "unset": declaring.unset, "wait": wait,
}  # fmt: skip
"""By name."""

SPECIAL = (
    "break", ":", "continue", ".", "eval", "exec", "exit", "export", "readonly", "return", "set",
    "shift", "trap", "unset",
)  # fmt: skip
"""POSIX's special builtins: no function takes their name, assignments before them stay."""
_OF_BASH = ("declare", "mapfile", "readarray", "shopt", "typeset")
LACKING = {POSIX: ("let", "source", "time", *_OF_BASH), ASH: _OF_BASH, BASH: ()}
"""What the shells of other dialects do not know."""
