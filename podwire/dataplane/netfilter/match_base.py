"""What all matches share: their Protocol and how their words are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from podwire.dataplane.netfilter.env import Env
from podwire.dataplane.netfilter.text import RuleError
from podwire.dataplane.skb import Skb


class Match(Protocol):
    """One ``-m`` of a rule."""

    PURE: ClassVar[bool]

    def save(self) -> str:
        """As iptables-save prints it, from ``-m``."""

    def show(self) -> str:
        """As ``iptables -L -n`` prints it."""

    def test(self, skb: Skb, env: Env, /) -> bool:
        """Whether a packet matches."""


def options(words: list[str]) -> Iterator[tuple[bool, str, list[str]]]:
    """(inverted, option, its arguments) of a match's words."""
    i, inverted = 0, False
    while i < len(words):
        if words[i] == "!":
            inverted = True
            i += 1
            continue
        name = words[i]
        i += 1
        if not name.startswith("-"):
            raise RuleError(f'Bad argument "{name}"')
        arguments = []
        if i < len(words) and words[i] == "!" and i + 1 < len(words) and words[i + 1][:1] != "-":
            inverted = True
            i += 1
        while i < len(words) and words[i] != "!" and not words[i].startswith("--"):
            arguments.append(words[i])
            i += 1
        yield inverted, name, arguments
        inverted = False


def one(option: str, arguments: list[str]) -> str:
    """The single argument of an option. Raises RuleError."""
    if len(arguments) != 1:
        raise RuleError(f'option "{option}" requires one argument')
    return arguments[0]


def bang(inverted: bool) -> str:
    """How an inverted option begins."""
    return "! " if inverted else ""


def device(pattern: str, name: str) -> bool:
    """Whether a device name fits ``eth0`` or ``eth+``."""
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern
