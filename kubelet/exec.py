"""Runs a command inside a container: for kubectl exec, for probes and for lifecycle hooks.

The only file that knows both kubelet's containers and the modelled commands.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Sequence
from functools import partial

from podwire.api.status import ApiError
from podwire.kubelet import cri, programs
from podwire.kubelet.pids import SIGNALS, Proc
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.stdio import STDERR, STDOUT, Inbox, Outbox

MAX_OUTPUT_BYTES = 10_240
"""What a probe keeps of a command's output (pkg/probe/exec)."""


class Session:
    """A command running in a container (counters.ExecSession)."""

    def __init__(
        self, kubelet: Kubelet, instance: Instance, argv: Sequence[str], tty: bool
    ) -> None:
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._size = (0, 0)
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        owner = f"exec-{kubelet.rng.bytes(16).hex()}"
        ctx = kubelet.ctx
        self._pids, user = instance.process.pids, instance.process.spec.user
        self._signalled = SIGNALS["KILL"]
        self._proc = Proc(tuple(argv), user.uid, self._signal, instance.process.spec.env)
        env = ExecEnv(
            spec=instance.process.spec,
            sockets=ctx.sockets.owned_by(owner),
            fabric=ctx.fabric,
            clock=ctx.clock,
            rng=kubelet.rng.child(owner),
            read_file=instance.process.files.read,
            write_file=instance.process.write_file,
            remove_file=instance.process.remove_file,
            write_stdout=partial(self._outbox.put, STDOUT),
            write_stderr=partial(self._outbox.put, STDOUT if tty else STDERR),
            read_stdin=self._inbox.read,
            list_files=instance.process.files.list,
            lstat=instance.process.files.lstat,
            links=instance.process.files.links,
            change=instance.process.files.change,
            pid=self._pids.add(self._proc),
            kill=instance.process.kill,
            tty=tty,
            size=lambda: self._size,
            drained=self._outbox.drained,
            node=cri.Runtime(kubelet),
        )
        self._release = partial(ctx.sockets.release, owner)
        self._task = instance.tasks.start(
            self._run(env, list(argv)), name=f"exec {instance.name} {argv[0]}"
        )
        # A callback, because a task that is cancelled before its first step never runs at all.
        self._task.add_done_callback(self._ended)

    async def _run(self, env: ExecEnv, argv: list[str]) -> int:
        try:
            return await programs.exec_command(env, argv)
        except Exception:  # noqa: BLE001  any bug of a command is that command's failure
            env.write_stderr(traceback.format_exc().encode())
            return 1

    def _signal(self, name: str, _first: bool) -> None:
        self._signalled = SIGNALS[name]
        self._task.cancel()

    def _ended(self, task: asyncio.Task[int]) -> None:
        self._pids.remove(self._proc)
        self._release()
        self._outbox.end()
        self._inbox.close()
        self._code.set_result(128 + self._signalled if task.cancelled() else task.result())

    async def send_stdin(self, data: bytes) -> None:
        """Bytes for stdin; b"" closes it. Waits while the command has enough to read."""
        await self._inbox.send(data)

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size."""
        self._size = (columns, rows)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout) and (2, stderr) bytes until the command ended."""
        while (item := await self._outbox.take()) is not None:
            yield item

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self._code)

    def cancel(self) -> None:
        """Kill the command."""
        self._task.cancel()


class NotStarted:
    """A command that could not be started: no output, and ``wait`` says why."""

    def __init__(self, error: ApiError) -> None:
        self._error = error

    async def send_stdin(self, data: bytes) -> None:
        """Nobody reads it."""

    def resize(self, columns: int, rows: int) -> None:
        """Nobody sees it."""

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """None."""
        nothing: tuple[tuple[int, bytes], ...] = ()
        for item in nothing:
            yield item

    async def wait(self) -> int:
        """Raises ApiError, always."""
        raise self._error

    def cancel(self) -> None:
        """It does not run."""


def start(
    kubelet: Kubelet, instance: Instance, argv: Sequence[str], tty: bool
) -> Session | NotStarted:
    """Start a command in a container, as its runtime does."""
    found = programs.command_exists(instance.process.spec.image, argv[0])
    files, refused = instance.process.files, ""
    try:
        cwd = instance.process.spec.working_dir or "/"
        found = found or programs.is_script(argv[0], cwd, files) or found
    except PermissionError as error:
        refused = error.strerror or "permission denied"
    if found:
        return Session(kubelet, instance, argv, tty)
    why = f"exec: {quoted(argv[0])}: executable file not found in $PATH"
    if refused:
        why = f"exec: {quoted(argv[0])}: {refused}"
    elif "/" in argv[0]:
        why = f"exec: {quoted(argv[0])}: stat {argv[0]}: no such file or directory"
    hint = "" if found is False or refused else f" (podwire: {argv[0]} is not modelled)"
    # Words of containerd's CRI plugin and of runc; kubelet (cri/streaming) puts its own before.
    message = (
        "Internal error occurred: error executing command in container: failed to exec in "
        f"container: failed to start exec {quoted(kubelet.rng.bytes(32).hex())}: OCI runtime exec "
        f"failed: exec failed: unable to start container process: {why}: unknown{hint}"
    )
    return NotStarted(ApiError("InternalError", message))


def quoted(text: str) -> str:
    """Go's %q of a word."""
    return json.dumps(text, ensure_ascii=False)


async def run_captured(
    kubelet: Kubelet, instance: Instance, argv: Sequence[str]
) -> tuple[int, str, str]:
    """Run a command to its end: its exit code, stdout and stderr together, and stderr alone."""
    session = Session(kubelet, instance, argv, tty=False)
    await session.send_stdin(b"")
    collected, errors = bytearray(), bytearray()
    try:
        async for stream, data in session.output():
            data = data[: MAX_OUTPUT_BYTES - len(collected)]  # noqa: PLW2901  what fits
            collected += data
            if stream == STDERR:
                errors += data
        code = await session.wait()
        return code, collected.decode(errors="replace"), errors.decode(errors="replace")
    finally:
        session.cancel()
