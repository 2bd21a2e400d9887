"""date: the container's clock in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from podwire.kubelet.shell.command import Command

_SECONDS = re.compile(r"@\d{1,10}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render(now_ns: int, form: str) -> str:
    """Strftime in UTC, with GNU's %N, %s, %e, %T and %F."""
    now = _EPOCH + timedelta(microseconds=now_ns // 1000)
    form = form.replace("%s", str(now_ns // 10**9)).replace("%N", f"{now_ns % 10**9:09}")
    form = form.replace("%e", f"{now.day:2}").replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    return now.strftime(form)


async def run(command: Command) -> int:
    """``date [-u] [-d @SECONDS] [-Iseconds] [+FORMAT]``."""
    form, now_ns = "%a %b %e %H:%M:%S UTC %Y", command.env.clock.now_ns()
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg in {"-d", "--date"} or arg.startswith("--date="):
            text = arg.partition("=")[2] or (args.pop(0) if args else "")
            if text == "now":
                continue
            if not _SECONDS.fullmatch(text):
                command.err(f"date: not modelled: date {text!r}\n")
                return 1
            now_ns = int(text[1:]) * 10**9
            continue
        if arg.startswith("+"):
            form = arg[1:]
        elif arg in {"-R", "--rfc-email"}:
            form = "%a, %d %b %Y %H:%M:%S +0000"
        elif arg.startswith("-I"):
            form = "%Y-%m-%dT%H:%M:%S+00:00" if len(arg) > 2 else "%Y-%m-%d"
        elif not arg.startswith("-"):  # a date to show or to set, of which the model knows none
            command.err(f"date: invalid date '{arg}'\n")
            return 1
    command.out(render(now_ns, form) + "\n")
    return 0
