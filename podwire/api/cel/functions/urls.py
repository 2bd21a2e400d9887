"""URLs as Go's net/url reads them: which texts are URLs, and their parts.

Python's urllib takes nearly anything; which texts Go refuses, and why, is what rules ask for.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, unquote_to_bytes

_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_PATH_SAFE = "$&+,/:;=@!'()*~-_."
_HOST_OK = frozenset("!$&'()*+,;=:[]<>\"-_.~%")
_USER_OK = frozenset("-._:~!$&'()*+,;=%@")


class UrlError(ValueError):
    """The text is no URL; the message is Go's."""


class Url:
    """The parts of a URL."""

    __slots__ = ("escaped_path", "fragment", "host", "raw_query", "scheme", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.scheme = self.host = self.escaped_path = self.raw_query = self.fragment = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def port(self) -> str:
        """The port, if a valid one is there."""
        found = re.fullmatch(r"(?:\[.*\]|[^:]*):(\d*)", self.host, re.DOTALL)
        return found[1] if found else ""

    @property
    def hostname(self) -> str:
        """The host without port and brackets."""
        port = self.port
        ends = self.host.endswith(f":{port}") and not self.host.endswith("]")
        host = self.host.rsplit(":", 1)[0] if ends and ":" in self.host else self.host
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    def query(self) -> dict[str, list[str]]:
        """The query's parameters; what is malformed is left out."""
        made: dict[str, list[str]] = {}
        for part in self.raw_query.split("&"):
            if not part or ";" in part:
                continue
            key, _, value = part.partition("=")
            if "%" in _ESCAPE.sub("", key + value):
                continue
            key, value = (_unescaped(one.replace("+", " ")) for one in (key, value))
            made.setdefault(key, []).append(value)
        return made


def parse_request_uri(text: str) -> Url:
    """An absolute URL or a rooted path. Raises UrlError."""
    return _parse(text, text, request=True)


def parse_url(text: str) -> Url:
    """Any URL, with a fragment. Raises UrlError."""
    body, _, fragment = text.partition("#")
    made = _parse(body, text, request=False)
    if "%" in _ESCAPE.sub("", fragment):
        raise _wrong(text, f"invalid URL escape {_quoted(_bad_escape(fragment))}")
    made.fragment = fragment
    return made


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _wrong(text: str, why: str) -> UrlError:
    return UrlError(f"parse {_quoted(text)}: {why}")


def _bad_escape(text: str) -> str:
    place = next(at for at, sign in enumerate(text) if sign == "%" and not _ESCAPE.match(text, at))
    return text[place : place + 3]


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text).decode(errors="replace")


def _parse(body: str, text: str, *, request: bool) -> Url:
    if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in body):
        raise _wrong(text, "net/url: invalid control character in URL")
    if not body and request:
        raise _wrong(text, "empty url")
    made = Url(text)
    if body == "*":
        made.escaped_path = "*"
        return made
    scheme, rest = _scheme(body, text)
    made.scheme = scheme.lower()
    rest, _, made.raw_query = rest.partition("?")
    if not rest.startswith("/"):
        if made.scheme:
            return made  # an opaque URL, such as mailto:a@b
        if request:
            raise _wrong(text, "invalid URI for request")
        if ":" in rest.split("/", 1)[0]:
            raise _wrong(text, "first path segment in URL cannot contain colon")
    if (made.scheme or (not request and not rest.startswith("///"))) and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        made.host = _authority(authority, text)
    if "%" in _ESCAPE.sub("", rest):
        raise _wrong(text, f"invalid URL escape {_quoted(_bad_escape(rest))}")
    made.escaped_path = _escaped(rest)
    return made


def _scheme(body: str, text: str) -> tuple[str, str]:
    for place, sign in enumerate(body):
        if sign.isascii() and sign.isalpha():
            continue
        if sign in "0123456789+-.":
            if place == 0:
                break
            continue
        if sign == ":":
            if place == 0:
                raise _wrong(text, "missing protocol scheme")
            return body[:place], body[place + 1 :]
        break
    return "", body


def _authority(authority: str, text: str) -> str:
    user, at, host = authority.rpartition("@")
    if at and not all((sign.isascii() and sign.isalnum()) or sign in _USER_OK for sign in user):
        raise _wrong(text, "net/url: invalid userinfo")
    if "%" in _ESCAPE.sub("", user):
        raise _wrong(text, f"invalid URL escape {_quoted(_bad_escape(user))}")
    return _host(host, text)


def _host(host: str, text: str) -> str:
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise _wrong(text, "missing ']' in host")
        port = host[end + 1 :]
    else:
        place = host.rfind(":")
        port = host[place:] if place >= 0 else ""
    if port and not re.fullmatch(r":\d*", port, re.ASCII):
        raise _wrong(text, f"invalid port {_quoted(port)} after host")
    for sign in host:
        if sign.isascii() and not sign.isalnum() and sign not in _HOST_OK:
            raise _wrong(text, f"invalid character {_quoted(sign)} in host name")
    if "%" in _ESCAPE.sub("", host):
        raise _wrong(text, f"invalid URL escape {_quoted(_bad_escape(host))}")
    return _unescaped(host)


def _escaped(path: str) -> str:
    """The path as Go prints it: as it was written where that is valid, else encoded anew."""
    plain = _ESCAPE.sub("", path)
    if all(
        (sign.isascii() and sign.isalnum()) or sign in _PATH_SAFE or sign in "[]" for sign in plain
    ):
        return path
    return quote(unquote_to_bytes(path), safe="$&+,/:;=@-_.~")
