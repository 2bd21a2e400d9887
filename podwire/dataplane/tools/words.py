"""Reading command lines the way iproute2 does: keywords with values, abbreviations."""

from __future__ import annotations

from collections.abc import Iterator

Result = tuple[str, str, int]


class UsageError(Exception):
    """What the tool prints to stderr, and its exit code."""

    def __init__(self, text: str, code: int = 255) -> None:
        super().__init__(text)
        self.text = text if text.endswith("\n") else text + "\n"
        self.code = code


def abbreviates(word: str, *names: str) -> str:
    """The first name that a word abbreviates (``a`` is ``addr``), or ""."""
    return next((name for name in names if word and name.startswith(word)), "")


class Words:
    """The words of a command, read from left to right."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    def __iter__(self) -> Iterator[str]:
        while self:
            yield self.next()

    def next(self) -> str:
        """The next word. Raises UsageError."""
        if not self:
            raise UsageError('Command line is not complete. Try option "help"')
        self._at += 1
        return self._words[self._at - 1]

    def peek(self) -> str:
        """The next word without taking it; "" at the end."""
        return self._words[self._at] if self else ""


def verb_of(words: Words, *names: str) -> str:
    """The verb that comes next, "show" when none does. Raises UsageError."""
    if not words:
        return "show"
    word = words.next()
    found = abbreviates(word, *names)
    if not found:
        raise UsageError(f'Command "{word}" is unknown, try "help".')
    return found


def unknown_object(name: str, tool: str) -> UsageError:
    """There is no such object."""
    return UsageError(f'Object "{name}" is unknown, try "{tool} help".', 1)


def not_modelled(what: str) -> UsageError:
    """The tool can do this, the model cannot."""
    return UsageError(f"not modelled: {what}", 1)
