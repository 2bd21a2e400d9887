"""date: the container's clock in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from podwire.kubelet.shell.command import Command

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render(now_ns: int, form: str) -> str:
    """Strftime in UTC, with GNU's %N, %s, %e, %T and %F."""
    now = _EPOCH + timedelta(microseconds=now_ns // 1000)
    form = form.replace("%s", str(now_ns // 10**9)).replace("%N", f"{now_ns % 10**9:09}")
    form = form.replace("%e", f"{now.day:2}").replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    return now.strftime(form)


async def run(command: Command) -> int:
    """``date [-u] [-Iseconds] [+FORMAT]``."""
    form = "%a %b %e %H:%M:%S UTC %Y"
    for arg in command.args:
        if arg.startswith("+"):
            form = arg[1:]
        elif arg.startswith("-I"):
            form = "%Y-%m-%dT%H:%M:%S+00:00" if len(arg) > 2 else "%Y-%m-%d"
        elif not arg.startswith("-"):  # a date to show or to set, of which the model knows none
            command.err(f"date: invalid date '{arg}'\n")
            return 1
    command.out(render(command.env.clock.now_ns(), form) + "\n")
    return 0
