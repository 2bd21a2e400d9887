"""Walks a script's tree: the shell itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.shell import bash, compound, declaring, expand, folders, scripts, syntax
from podwire.kubelet.shell.arithmetic import ExpansionError, UnsetError
from podwire.kubelet.shell.builtins import BUILTINS, LACKING, SPECIAL
from podwire.kubelet.shell.command import (
    Command,
    Pipe,
    UsageError,
)
from podwire.kubelet.shell.find import find
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.lexer import ASH, BASH, POSIX, ShellSyntaxError
from podwire.kubelet.shell.parser import parse
from podwire.kubelet.shell.state import MAX_NESTING, Budget, State
from podwire.kubelet.shell.streams import Redirected, Streams, redirect
from podwire.kubelet.shell.syntax import Node
from podwire.kubelet.shell.tools import UNMODELLED
from podwire.kubelet.shell.tty import Tty
from podwire.kubelet.shell.variables import Variables
from podwire.runtime.tasks import Event, Nursery


class Shell:
    """One shell process (or subshell)."""

    def __init__(
        self,
        env: ExecEnv,
        image: Image,
        state: State,
        name: str,
        budget: Budget,
        jobs: Nursery,
        signals: Callable[[], Awaitable[str]] | None = None,
        dialect: str = POSIX,
    ) -> None:
        self.dialect = dialect
        self.env = env
        self.image = image
        self.state = state
        self.name = name
        self.budget = budget
        self.jobs = jobs
        self.signals = signals
        self.traps: dict[str, str] = {}
        self.pending: list[str] = []
        self.wake = Event()
        self.listening: asyncio.Task[None] | None = None
        self.background: dict[str, asyncio.Task[int]] = {}
        """Jobs by what ``$!`` says of them."""
        self.last_job = 1
        self.state.variables.setdefault("$", str(env.pid))
        self.streams: Streams | None = None
        self.tested = 0
        self._captured = 0
        self._only: Node | None = None
        self.moved: tuple[Streams, Redirected] | None = None
        """The shell's streams and what ``exec > FILE`` made of them."""
        self.tty: Tty | None = None
        self.locals: list[dict[str, bash.Kept]] = []
        """What ``local`` shadows, function by function."""
        self.processes: list[str] = []
        """Files with the output of ``<(...)``, until the command ends."""

    # ------------------------------------------------------------------ expand.Scope

    @property
    def variables(self) -> Variables:
        """All variables."""
        return self.state.variables

    @property
    def args(self) -> list[str]:
        """Positional parameters."""
        return self.state.args

    @property
    def status(self) -> int:
        """``$?``."""
        return self.state.status

    @property
    def cwd(self) -> str:
        """The working directory."""
        return self.state.cwd

    @property
    def nounset(self) -> bool:
        """``set -u``."""
        return self.state.nounset

    async def process(self, body: Node) -> str:
        """A file with the output of ``<(body)``, for as long as the command runs."""
        text = await self.capture(syntax.Group(body))
        name = f"/dev/fd/{63 - len(self.processes)}"
        self.processes.append(name)
        await self.env.write_file(name, text.encode(errors="surrogateescape"))
        return name

    def list_files(self) -> Sequence[str]:
        """The container's files."""
        return self.env.list_files("/")

    async def capture(self, body: Node) -> str:
        """The output of ``$(body)``; its status becomes the command's when nothing else runs."""
        assert self.streams is not None, "expansion happens inside a command"
        pipe = Pipe()
        body = bash.or_cat(body)
        streams = replace(self.streams, out=pipe.write)
        self._captured = await self.subshell().finish(body, streams)
        self.state.status = self._captured
        return pipe.taken().decode(errors="surrogateescape").replace("\0", "")

    # ------------------------------------------------------------------ running

    def subshell(self) -> Shell:
        """A copy with its own state. Raises UsageError when nested too deep."""
        shell = Shell(
            self.env, self.image, self.state.copy(), self.name, self.budget, self.jobs,
            dialect=self.dialect,
        )  # fmt: skip
        shell.tested = self.tested
        return shell

    async def finish(self, node: Node, streams: Streams) -> int:
        """Run to the end of a (sub)shell: ``exit`` stops here."""
        self.budget.nesting += 1
        try:
            if self.budget.nesting > MAX_NESTING:
                raise UsageError("nested too deep")
            status = await self._until_exit(node, streams)
            action = self.traps.pop("EXIT", "")
            if action:
                self.state.status = status
                status = await self._farewell(action, streams, status)
            return status
        finally:
            self.budget.nesting -= 1

    async def _until_exit(self, node: Node, streams: Streams) -> int:
        try:
            return await self.run(node, streams)
        except Flow as flow:
            return flow.value if flow.kind in {"exit", "return"} else 0

    async def _farewell(self, action: str, streams: Streams, status: int) -> int:
        """``trap ACTION EXIT``: its own ``exit`` counts, its status otherwise does not."""
        try:
            await self.run_text(action, streams)
        except Flow as flow:
            return flow.value if flow.kind == "exit" else status
        return status

    async def run_text(self, text: str, streams: Streams) -> int:
        """Parse and run; a syntax error is status 2. ``exit`` passes through."""
        try:
            node = parse(text, self.dialect)
        except ShellSyntaxError as error:
            streams.err(f"{self.name}: {error}\n".encode())
            return 2
        return await self.run(node, streams)

    async def run(self, node: Node, streams: Streams) -> int:
        """Run a node; its status."""
        if self.moved is not None and streams is self.moved[0]:
            streams = self.moved[1].streams
        try:
            status = await self._dispatch(node, streams)
        except ExpansionError as error:
            return self.wrong(error, streams)
        except RecursionError:
            raise UsageError("nested too deep") from None
        self.state.status = status
        if status and "ERR" in self.traps and not self.tested and compound.checked(node):
            await bash.on_error(self, streams)
        if self.pending and self.traps:
            await self._run_traps(streams)
        return status

    async def _dispatch(self, node: Node, streams: Streams) -> int:
        match node:
            case syntax.Simple():
                return await self._simple(node, streams)
            case syntax.Sequence():
                return await compound.sequence(self, node, streams)
            case syntax.AndOr():
                return await compound.and_or(self, node, streams)
            case syntax.Pipeline():
                return await compound.pipeline(self, node, streams)
            case syntax.Group():
                return await compound.group(self, node, streams)
            case syntax.If():
                for condition, body in node.branches:
                    if await self.test(condition, streams) == 0:
                        return await self.run(body, streams)
                return await self.run(node.otherwise, streams)
            case syntax.For():
                return await compound.for_each(self, node, streams)
            case syntax.While():
                return await compound.while_true(self, node, streams)
            case syntax.Case():
                return await compound.case(self, node, streams)
            case syntax.Function():
                self.state.functions[node.name] = node.body
                return 0
            case syntax.Condition():
                return int(not await bash.holds(self, node, streams))
            case syntax.ArithCommand():
                return int(not await bash.value(self, node.expression, streams))
            case syntax.Timed():
                return await declaring.timed(self, self.run(node.body, streams), streams)
            case syntax.Counting():
                return await compound.counting(self, node, streams)

    async def test(self, node: Node, streams: Streams) -> int:
        """Run a condition: ``set -e`` does not act inside."""
        self.tested += 1
        try:
            return await self.run(node, streams)
        finally:
            self.tested -= 1

    # ------------------------------------------------------------------ simple commands

    async def _simple(self, node: syntax.Simple, streams: Streams) -> int:
        self.budget.step()
        self.streams = streams
        self._captured = 0
        assigned: list[tuple[str, str]] = []
        try:
            words = await expand.fields(self, node.words)
            self.variables.check(one.name for one in node.assignments)
            if words:
                assigned = [(a.name, await expand.text(self, a.value)) for a in node.assignments]
            else:
                assigned = [await bash.assign(self, one) for one in node.assignments]
        except ExpansionError as error:
            return self.wrong(error, streams)
        if self.state.xtrace:
            shown = [f"{name}={value}" for name, value in assigned] + words
            streams.err(f"+ {' '.join(shown)}\n".encode(errors="surrogateescape"))
        inner = await self.redirected(node.redirects, streams)
        if inner is None:
            return 1
        try:
            if not words:
                return self._captured
            signals = self.signals if node is self._only else None
            if words == ["exec"] and node.redirects:
                return self._move(streams, inner)
            return await self._call(words, dict(assigned), inner.streams, signals)
        except ExpansionError as error:  # a builtin would change what is read-only
            return self.wrong(f"{words[0]}: {error}", inner.streams)
        finally:
            await inner.flush(self.env.write_file)
            for one in node.after:
                await bash.assign(self, one)
            while self.processes:
                await self.env.remove_file(self.processes.pop())

    def wrong(self, why: ExpansionError | str, streams: Streams) -> int:
        """Tell, and end the shell as dash and ash do; one with a terminal goes on."""
        streams.err(f"{self.name}: {why}\n".encode())
        if self.tty is not None:
            return 2
        status = 127 if isinstance(why, UnsetError) else 1
        raise Flow("exit", status if self.dialect == BASH else 2) from None

    def _move(self, streams: Streams, inner: Redirected) -> int:
        """``exec > FILE``: the shell itself reads and writes elsewhere from now on."""
        base = streams
        if self.moved is not None and streams is self.moved[1].streams:
            base = self.moved[0]
            inner.files += self.moved[1].files
        self.moved = (base, inner)
        return 0

    async def redirected(
        self, redirects: Sequence[syntax.Redirect], streams: Streams
    ) -> Redirected | None:
        """What the redirections make of the streams; None after a message on stderr."""
        self.streams = streams
        try:
            wanted = [(one, await expand.text(self, tuple(one.target))) for one in redirects]
            for one, target in wanted:
                path = self.absolute(target)
                if one.op in {">", ">>"} and folders.exists(path, self.env.list_files):
                    streams.err(f"{self.name}: can't create {target}: Is a directory\n".encode())
                    return None
            paths = [self.absolute(target) for one, target in wanted if one.op not in {"<<", "<<<"}]
            connected = await bash.connections(self, paths)
            return redirect(streams, wanted, self.absolute, self.env.read_file, connected)
        except (UsageError, ExpansionError) as error:
            streams.err(f"{self.name}: {error}\n".encode())
            return None

    def absolute(self, name: str) -> str:
        """A file name as an absolute path."""
        return name if name.startswith("/") else f"{self.cwd.rstrip('/')}/{name}"

    async def _call(
        self,
        words: list[str],
        assigned: dict[str, str],
        streams: Streams,
        signals: Callable[[], Awaitable[str]] | None,
    ) -> int:
        builtin = BUILTINS.get(words[0]) if words[0] not in LACKING[self.dialect] else None
        function = self.state.functions.get(words[0]) if words[0] not in SPECIAL else None
        if builtin is not None or function is not None:
            kept = {name: bash.keep(self.variables, name) for name in assigned}
            self.variables.update(assigned)
            try:
                if function is not None:
                    return await self._function(function, words[1:], streams)
                assert builtin is not None, "it is one or the other"
                return await builtin(self, words[1:], streams)
            finally:
                if words[0] not in SPECIAL or self.dialect == BASH:
                    for name, before in kept.items():
                        bash.restore(self.variables, name, before)
        return await self.external(words, streams, assigned, signals)

    async def _function(self, body: Node, args: list[str], streams: Streams) -> int:
        self.budget.nesting += 1
        saved, self.state.args = self.state.args, args
        self.locals.append({})
        try:
            if self.budget.nesting > MAX_NESTING:
                raise UsageError("nested too deep")
            return await self.run(body, streams)
        except Flow as flow:
            if flow.kind != "return":
                raise
            return flow.value
        finally:
            self.state.args = saved
            for name, kept in self.locals.pop().items():
                bash.restore(self.variables, name, kept)
            self.budget.nesting -= 1

    async def external(
        self,
        words: Sequence[str],
        streams: Streams,
        assigned: dict[str, str] | None = None,
        signals: Callable[[], Awaitable[str]] | None = None,
    ) -> int:
        """Run a command that is not the shell's own; 127 when there is none."""
        tool = find(self.image, words[0])
        if tool is None and self.image.generic and self.budget.main:
            tool = find(self.image, "podwire-generic")  # nobody's image, nobody's binary
        try:
            script = None if tool else of_script(self.env, self.image, words, self.cwd)
        except PermissionError:
            streams.err(f"{self.name}: {words[0]}: Permission denied\n".encode())
            return 126
        if script:
            words, tool = script, find(self.image, script[0])
        if tool is None:
            what = "not found" if "/" not in words[0] else "No such file or directory"
            if words[0] in UNMODELLED:
                what = "not modelled"
            streams.err(f"{self.name}: {words[0]}: {what}\n".encode(errors="surrogateescape"))
            return 127
        exported = {
            name: self.variables[name] for name in self.state.exported if name in self.variables
        }
        command = Command(
            words, self.env, self.image, self, {**exported, **(assigned or {})}, streams.stdin,
            streams.out, streams.err, self.cwd, signals,
        )  # fmt: skip
        try:
            return await tool(command)
        except UsageError as error:
            return command.fail(str(error), error.code)
        except OSError as error:
            return command.fail(error.strerror or type(error).__name__)

    async def _run_traps(self, streams: Streams) -> None:
        while self.pending:
            action = self.traps.get(self.pending.pop(0))
            if action:
                status = self.state.status
                await self.run_text(action, streams)
                self.state.status = status

    # ------------------------------------------------------------------ command.Runner

    async def run_argv(self, argv: Sequence[str], command: Command) -> int:
        """Run another command with a command's streams."""
        streams = Streams(command.stdin, command.write_out, command.write_err)
        return await self.external(argv, streams, dict(command.variables), command.signals)

    async def run_script(self, text: str, name: str, args: Sequence[str], command: Command) -> int:
        """Run a script in a fresh shell with a command's streams."""
        shell = self.fresh_shell(name, args, command)
        node = parse_or_none(text, name, command.write_err, shell.dialect)
        if node is None:
            return 2
        streams = Streams(command.stdin, command.write_out, command.write_err)
        shell.take_over(node)
        return await shell.finish(node, streams)

    def fresh_shell(self, name: str, args: Sequence[str], command: Command) -> Shell:
        """A new shell process with the environment of a command."""
        variables = Variables(command.variables)
        state = State(variables, dict.fromkeys(variables), list(args), {}, command.cwd)
        signals = command.signals
        dialect = dialect_of(command.name, self.image)
        shell = Shell(
            self.env, self.image, state, name, self.budget, self.jobs, signals, dialect
        )  # fmt: skip
        bash.prepare(shell)
        shell.tty = self.tty
        return shell

    async def run_foreground(self, node: Node, streams: Streams) -> int:
        """Run a node; Ctrl-C on the terminal ends it."""
        if self.tty is None:
            return await self.run(node, streams)
        self.state.status = await self.tty.foreground(self.run(node, streams))
        return self.state.status

    def take_over(self, node: Node) -> None:
        """A script of a single command is replaced by it (as ash and dash do): mark it."""
        while isinstance(node, syntax.Sequence) and len(node.items) == 1:
            inner, background = node.items[0]
            if background:
                return
            node = inner
        self._only = node if isinstance(node, syntax.Simple) else None


def dialect_of(name: str, image: Image) -> str:
    """How a shell called so speaks in an image."""
    return BASH if name in {"bash", "zsh"} else ASH if image.busybox else POSIX


def of_script(env: ExecEnv, image: Image, argv: Sequence[str], cwd: str) -> list[str] | None:
    """The command line that runs a script file, which the first word names; None when it names
    none. A file without a first line is the shell's. Raises PermissionError.
    """
    found = scripts.words(argv[0], cwd, env.read_file, env)
    if found is None:
        return None
    if len(found) == 1:
        found = ["sh", *found]
    if find(image, found[0]) is None:
        return None
    return [*found, *argv[1:]]


def parse_or_none(
    text: str, name: str, err: Callable[[bytes], None], dialect: str = POSIX
) -> Node | None:
    """The tree of a script, or None after a message on stderr."""
    try:
        return parse(text, dialect)
    except ShellSyntaxError as error:
        err(f"{name}: {error}\n".encode())
        return None
