"""Compound commands: lists, pipelines, groups and loops, each run by the shell that meets it."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.kubelet.shell import bash, expand, syntax
from podwire.kubelet.shell.arithmetic import ExpansionError
from podwire.kubelet.shell.command import SIGPIPE, ClosedPipeError, Input, Pipe, UsageError
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.streams import Streams
from podwire.kubelet.shell.syntax import Node
from podwire.runtime.tasks import Nursery

if TYPE_CHECKING:
    from podwire.kubelet.shell.executor import Shell


def checked(node: Node) -> bool:
    """Whether ``set -e`` and bash's ``trap ... ERR`` act when it fails."""
    return isinstance(node, _CHECKED) and not (isinstance(node, syntax.Pipeline) and node.negated)


_CHECKED = (syntax.Simple, syntax.Pipeline, syntax.Group, syntax.Condition, syntax.ArithCommand)
"""What ends a shell under ``set -e`` when it fails."""


async def sequence(shell: Shell, node: syntax.Sequence, streams: Streams) -> int:
    """Commands one after the other, those before ``&`` in jobs of their own."""
    status = 0
    for item, background in node.items:
        if background:
            _start(shell, item, streams)
            status = 0
            continue
        status = await shell.run(item, streams)
        if shell.moved is not None:
            await shell.moved[1].flush(shell.env.write_file)
        if status and shell.state.errexit and not shell.tested and checked(item):
            raise Flow("exit", status)
    return status


def _start(shell: Shell, node: Node, streams: Streams) -> None:
    own = shell.subshell()

    async def job() -> int:
        try:
            return await own.finish(node, streams)
        except (UsageError, ClosedPipeError) as error:
            streams.err(f"{shell.name}: {error}\n".encode())
            return 1

    task = shell.jobs.start(job(), name=f"job of {shell.name}")
    shell.last_job += 1
    shell.background[str(shell.last_job)] = task
    shell.state.variables["!"] = str(shell.last_job)


async def and_or(shell: Shell, node: syntax.AndOr, streams: Streams) -> int:
    """``a && b || c``: only the last may end a shell under ``set -e``."""
    status = await shell.test(node.first, streams)
    for i, (op, item) in enumerate(node.rest):
        if (op == "&&") != (status == 0):
            continue
        last = i == len(node.rest) - 1
        status = await (shell.run if last else shell.test)(item, streams)
        if last and status and shell.state.errexit and not shell.tested:
            raise Flow("exit", status)
    return status


async def pipeline(shell: Shell, node: syntax.Pipeline, streams: Streams) -> int:
    """``a | b``, and ``!``."""
    if len(node.commands) == 1:
        status = await shell.test(node.commands[0], streams)
    else:
        status = await _piped(shell, node.commands, streams)
    return int(status == 0) if node.negated else status


async def _piped(shell: Shell, commands: Sequence[Node], streams: Streams) -> int:
    pipes = [Pipe() for _ in commands[1:]]
    tasks: list[asyncio.Task[int]] = []
    async with Nursery() as stages:
        for i, command in enumerate(commands):
            source = pipes[i - 1] if i else None
            sink = pipes[i] if i < len(pipes) else None
            stdin = Input(source.read) if source is not None else streams.stdin
            out = sink.write if sink is not None else streams.out
            own = replace(streams, stdin=stdin, out=out)
            stage = _stage(shell.subshell(), command, own, source, sink)
            tasks.append(stages.start(stage, name=f"pipe stage {i}"))
    if shell.state.pipefail:
        return next((code for task in reversed(tasks) if (code := task.result())), 0)
    return tasks[-1].result()


async def _stage(
    shell: Shell, node: Node, streams: Streams, source: Pipe | None, sink: Pipe | None
) -> int:
    try:
        return await shell.finish(node, streams)
    except ClosedPipeError:
        return SIGPIPE
    except UsageError as error:
        streams.err(f"{shell.name}: {error}\n".encode())
        return error.code
    finally:
        if sink is not None:
            sink.end()
        if source is not None:
            source.leave()


async def group(shell: Shell, node: syntax.Group, streams: Streams) -> int:
    """``{ ...; }`` and ``( ... )`` with their redirections."""
    inner = await shell.redirected(node.redirects, streams)
    if inner is None:
        return 1
    try:
        if node.subshell:
            return await shell.subshell().finish(node.body, inner.streams)
        return await shell.run(node.body, inner.streams)
    finally:
        await inner.flush(shell.env.write_file)


async def for_each(shell: Shell, node: syntax.For, streams: Streams) -> int:
    """``for NAME in WORDS``; without WORDS the positional parameters."""
    shell.streams = streams
    items = list(shell.args) if node.words is None else await expand.fields(shell, node.words)
    status = 0
    for item in items:
        try:
            shell.variables[node.name] = item
        except ExpansionError as error:
            return shell.wrong(error, streams)
        go_on, status = await _iteration(shell, node.body, streams)
        if not go_on:
            break
    return status


async def counting(shell: Shell, node: syntax.Counting, streams: Streams) -> int:
    """``for ((FIRST; WHILE; EACH))``; without a condition it goes on for ever."""
    await bash.value(shell, node.first, streams)
    status = 0
    while not node.condition or await bash.value(shell, node.condition, streams):
        go_on, status = await _iteration(shell, node.body, streams)
        if not go_on:
            break
        await bash.value(shell, node.each, streams)
    return status


async def while_true(shell: Shell, node: syntax.While, streams: Streams) -> int:
    """``while`` and ``until``."""
    status = 0
    while (await shell.test(node.condition, streams) == 0) != node.until:
        go_on, status = await _iteration(shell, node.body, streams)
        if not go_on:
            break
    return status


async def _iteration(shell: Shell, body: Node, streams: Streams) -> tuple[bool, int]:
    """Run a loop's body once: whether to go on, and the status."""
    shell.budget.step()
    await asyncio.sleep(0)  # a loop that never waits must let others run
    await shell.env.drained()
    try:
        return True, await shell.run(body, streams)
    except Flow as flow:
        if flow.kind not in {"break", "continue"}:
            raise
        if flow.value > 1:
            raise Flow(flow.kind, flow.value - 1) from None
        return flow.kind == "continue", 0


async def case(shell: Shell, node: syntax.Case, streams: Streams) -> int:
    """The first arm with a pattern that fits."""
    shell.streams = streams
    word = await expand.text(shell, node.word)
    for patterns, body in node.arms:
        for wanted in patterns:
            if fnmatch.fnmatchcase(word, await expand.pattern(shell, wanted)):
                return await shell.run(body, streams)
    return 0
