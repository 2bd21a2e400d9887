"""What servers of files share: versions by tag, paths, validators, ranges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from podwire.client import http1


def version(image: str, default: str) -> str:
    """The version that an image's tag names in full (``nginx:1.25.3-alpine``), or a default."""
    found = re.search(r":(\d+\.\d+\.\d+)(?:-[\w.-]+)?(?:@|$)", image)
    return found[1] if found else default


def clean(path: str) -> str:
    """A path without empty parts and dots; "" when it leaves the root."""
    parts: list[str] = []
    for part in path.split("/")[1:]:
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    end = "/" if parts and path.endswith(("/", "/.", "/..")) else ""
    return "/" + "/".join(parts) + end


def stamp(when: datetime) -> str:
    """A date as HTTP writes it (RFC 9110, IMF-fixdate)."""
    return f"{when:%a, %d %b %Y %H:%M:%S} GMT"


def keeps(request: http1.Request) -> bool:
    """Whether the connection stays open after the answer."""
    asked = request.header("connection").lower()
    return asked != "close" and (request.version == "HTTP/1.1" or asked == "keep-alive")


def fresh(request: http1.Request, etag: str, modified: str) -> bool:
    """Whether the client's copy is current (304): If-None-Match, then If-Modified-Since."""
    match, since = request.header("if-none-match"), request.header("if-modified-since")
    if match:
        tags = [tag.strip().removeprefix("W/") for tag in match.split(",")]
        return "*" in tags or etag in tags
    return bool(since) and since == modified


def part(request: http1.Request, size: int) -> tuple[int, int] | None:
    """First and last byte of the one range that is asked for; (1, 0) when there is none such
    (416); None without a Range (several ranges at once are answered in full, as RFC 9110 allows).
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.header("range"))
    if found is None or not (found[1] or found[2]) or request.method != "GET":
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
    return (first, last) if first <= last else (1, 0)


def is_directory(files: Sequence[str], path: str) -> bool:
    """Whether a listing of what is below a path shows a directory."""
    return any(name.startswith(path.rstrip("/") + "/") for name in files)
