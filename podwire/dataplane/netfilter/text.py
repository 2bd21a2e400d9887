"""Words of rule text: splitting, quoting, and the numbers in them."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_BARE = re.compile(r"[^\s\"'\\]+")
_SPECIAL = re.compile(r"([\"'\\])")

ALL_BITS = 0xFFFFFFFF


class RuleError(ValueError):
    """Rule text that iptables would not accept; the message is for people."""


def split(line: str) -> list[str]:
    """Words of a line; double quotes group, a backslash inside them escapes."""
    return [word or _ESCAPE.sub(r"\1", quoted) for quoted, word in _TOKEN.findall(line)]


def quote(text: str) -> str:
    """A string as iptables-save prints it: quoted unless it is one plain word."""
    if _PLAIN.fullmatch(text):
        return text
    return '"' + _SPECIAL.sub(r"\\\1", text) + '"'


_STRINGS = ("--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--string",
            "--hex-string")  # fmt: skip
"""Options of what is not modelled whose argument iptables-save prints as a string."""


def spelled(words: tuple[str, ...]) -> list[str]:
    """Words of a match or target that is not modelled, as iptables-save prints them."""
    found: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        plain = before not in _STRINGS and _BARE.fullmatch(word)
        found.append(word if plain else quote(word))
    return found


def number(text: str) -> int:
    """A decimal, hexadecimal or octal number. Raises RuleError."""
    try:
        if len(text) > 1 and text[0] == "0" and text.isdigit():
            return int(text, 8)
        return int(text, 0)
    except ValueError:
        raise RuleError(f'Bad number "{text}"') from None


def masked(text: str) -> tuple[int, int]:
    """``value[/mask]``; without a mask, all bits."""
    value, slash, mask = text.partition("/")
    return number(value), number(mask) if slash else ALL_BITS


def mark_text(value: int, mask: int) -> str:
    """``0x4000/0x4000``, or ``0x1`` with a full mask."""
    return f"0x{value:x}" if mask == ALL_BITS else f"0x{value:x}/0x{mask:x}"


def port_range(text: str) -> tuple[int, int]:
    """``80`` or ``1:1023`` as first and last. Raises RuleError."""
    low, colon, high = text.partition(":")
    first = int(low) if low.isdigit() else 0 if colon and not low else -1
    last = first
    if colon:
        last = int(high) if high.isdigit() else 65535 if not high else -1
    if not 0 <= first <= last <= 65535:
        raise RuleError(f'invalid port/service "{text}" specified')
    return first, last


def port_text(ports: tuple[int, int]) -> str:
    """A port or range as iptables-save prints it."""
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}:{ports[1]}"
