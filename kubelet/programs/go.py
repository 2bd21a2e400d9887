"""What programs written in Go share: flags, log stamps, and what net/http adds to answers.

Behaviour: Go's packages flag, log, net/http (server.go, sniff.go) and runtime (signal_unix.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from podwire.client import http1
from podwire.kubelet.programs.serving import now
from podwire.kubelet.shell.command import Command, UsageError

KILLED = 2
"""Exit code of a Go program that handles no signal and is process 1: the kernel does not deliver
the default action to it, and the runtime ends with exit(2) (signal_unix.go, dieFromSignal).
"""
NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_HTML = re.compile(
    rb"\s*(?:<!--|<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY"
    rb"|BR|P)[ >])",
    re.IGNORECASE,
)


def flags(args: list[str]) -> dict[str, str]:
    """Flags whoever they are: ``-name=value``, ``--name value``; a lone one is ``true``."""
    found: dict[str, str] = {}
    rest = list(args)
    while rest:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        found[name] = value
    return found


def parse(
    args: list[str], valued: Collection[str], switches: Collection[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Flags with a value and switches, as package flag reads them, and the words after them.

    Raises UsageError (code 2) for a flag that is not among them.
    """
    found: dict[str, str] = {}
    rest = list(args)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if name not in valued and name not in switches:
            raise UsageError(f"flag provided but not defined: -{name}", 2)
        if not equals and name in valued and not rest:
            raise UsageError(f"flag needs an argument: -{name}", 2)
        if not equals:
            value = rest.pop(0) if name in valued else "true"
        found[name] = value
    return found, rest


def log(command: Command, line: str) -> None:
    """A line of package log on stderr."""
    command.err(f"{now(command):%Y/%m/%d %H:%M:%S} {line}\n")


def canonical(name: str) -> str:
    """A header's name as net/http keeps it: ``x-request-id`` is ``X-Request-Id``."""
    return "-".join(part.capitalize() for part in name.split("-"))


def headers(request: http1.Request) -> dict[str, list[str]]:
    """``Request.Header`` by sorted names; Host is not in it."""
    found: dict[str, list[str]] = {}
    for name, value in sorted(request.headers, key=lambda field: canonical(field[0])):
        if name.lower() != "host":
            found.setdefault(canonical(name), []).append(value)
    return found


def _sniffed(body: bytes) -> str:
    if _HTML.match(body):
        return "text/html; charset=utf-8"
    if re.match(rb"\s*<\?xml", body):
        return "text/xml; charset=utf-8"
    binary = re.search(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]", body[:512])
    return "application/octet-stream" if binary else "text/plain; charset=utf-8"


def answer(
    command: Command, body: bytes | str = b"", status: int = 200, own: Mapping[str, str] = {}
) -> http1.Response:
    """An answer as net/http sends it: the handler's own headers sorted, then Date, Content-Length
    and Content-Type, which is guessed when the handler gave none.
    """
    content = body.encode() if isinstance(body, str) else body
    shown = sorted(own.items())
    shown.append(("Date", f"{now(command):%a, %d %b %Y %H:%M:%S} GMT"))
    if status < 200 or status in {204, 304}:
        return http1.Response(status, b"", shown)
    shown.append(("Content-Length", str(len(content))))
    if content and "Content-Type" not in own:
        shown.append(("Content-Type", _sniffed(content)))
    return http1.Response(status, content, shown)


def error(command: Command, body: str, status: int) -> http1.Response:
    """``http.Error``."""
    own = {"Content-Type": "text/plain; charset=utf-8", **NOSNIFF}
    return answer(command, f"{body}\n", status, own)


def marshal(value: object, indent: int | None = None) -> str:
    """JSON as encoding/json writes it: ``<``, ``>`` and ``&`` are escaped, no blanks without
    ``indent``.
    """
    text = json.dumps(
        value, indent=indent, ensure_ascii=False, separators=(",", ": " if indent else ":")
    )
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
