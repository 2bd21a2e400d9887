"""The words of a crictl command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podwire.kubelet.shell.command import UsageError

_LONG = {
    "a": "all", "q": "quiet", "o": "output", "n": "last", "l": "latest", "p": "pod", "s": "state",
    "f": "follow", "t": "timestamps", "i": "interactive", "v": "verbose", "r": "runtime-endpoint",
}  # fmt: skip
_VALUED = (
    "output", "last", "pod", "state", "name", "namespace", "label", "id", "image", "tail", "since",
    "runtime-endpoint", "image-endpoint", "timeout", "config", "seconds",
)  # fmt: skip
_FLAGS = ("all", "quiet", "latest", "follow", "timestamps", "interactive", "verbose", "no-trunc",
          "resolve-image-path", "debug", "digests", "tty", "sync", "previous")  # fmt: skip
_OUTPUTS = ("", "json", "table")


@dataclass(slots=True)
class Options:
    """The verb, its options and what they apply to."""

    verb: str = ""
    rest: list[str] = field(default_factory=list)
    _given: dict[str, str] = field(default_factory=dict)

    def give(self, name: str, value: str) -> None:
        """An option was given."""
        self._given[name] = value

    def flag(self, name: str) -> bool:
        """Whether a flag was given."""
        return self._given.get(name, "false") == "true"

    def value(self, name: str) -> str:
        """An option's value, or ""."""
        return self._given.get(name, "")

    @property
    def all(self) -> bool:
        """Whether ended containers count: --all, and whatever asks for some that may have ended."""
        return any(name in self._given for name in ("all", "latest", "last", "state", "id"))


def options_of(args: Sequence[str]) -> Options:
    """Read a command line. Raises UsageError."""
    options, words = Options(), list(args)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            if not options.verb:
                options.verb = word
                continue
            options.rest.append(word)
            if options.verb == "exec" and len(options.rest) == 1:
                options.rest += words  # the command's own words
                break
            continue
        name, equals, value = word.lstrip("-").partition("=")
        names = [name]
        if not word.startswith("--"):
            # crictl of today takes -it apart; each letter may be short for several verbs' options.
            names = [_short(options.verb, letter) for letter in name]
        for one in names:
            if one in _VALUED:
                options.give(one, value if equals else (words.pop(0) if words else ""))
            elif one in _FLAGS:
                options.give(one, value if equals else "true")
            else:
                raise UsageError(f"flag provided but not defined: {word}")
    if options.value("output") not in _OUTPUTS:
        raise UsageError(f"not modelled: output format {options.value('output')}")
    if options.value("last") and not options.value("last").isdigit():
        raise UsageError(f"invalid value {options.value('last')!r} for flag -last")
    return options


def _short(verb: str, letter: str) -> str:
    if verb == "logs" and letter == "p":
        return "previous"
    return "tty" if verb == "exec" and letter == "t" else _LONG.get(letter, letter)
