"""YAML request bodies as JSON values, bounded against bombs.

Built from parser events with an explicit stack, so nesting cannot exhaust the interpreter's.
Scalars resolve as sigs.k8s.io/yaml does (``yes`` is true, ``1e3`` a number, dates stay text).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100
MAX_ALIASED_NODES = 100_000
"""How many nodes aliases may add to a document in all; long text weighs as several nodes."""
_NODE_CHARACTERS = 64

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {
    word: truth
    for words, truth in ((("y", "yes", "on", "true"), True), (("n", "no", "off", "false"), False))
    for base in words
    for word in (base, base.capitalize(), base.upper())
}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_OTHER_INT = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_DIGITS = 400


class YamlError(ValueError):
    """The text is not acceptable YAML."""


class _Open:
    """A sequence or mapping whose end has not come yet."""

    __slots__ = ("anchor", "key", "merged", "nodes", "value")

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: str | None = None
        self.merged: list[Any] = []
        self.nodes = 1


def load(text: bytes) -> Any:
    """The first document as a JSON value; None without one. Raises YamlError."""
    return next(_documents(text), None)


def load_all(text: bytes) -> list[Any]:
    """Every document as a JSON value. Raises YamlError."""
    return list(_documents(text))


def _documents(text: bytes) -> Iterator[Any]:
    import yaml  # noqa: PLC0415 - most requests carry no YAML

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = iter(yaml.parse(text, Loader=loader))
        for event in events:
            if type(event).__name__ == "DocumentStartEvent":
                yield _Builder().build(events)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise YamlError(f"error converting YAML to JSON: yaml: {first}") from error


class _Builder:
    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0
        self._result: Any = None
        self._done = False

    def build(self, events: Any) -> Any:
        for event in events:
            name = type(event).__name__
            if name == "ScalarEvent":
                value, nodes = _scalar(event), 1 + len(event.value) // _NODE_CHARACTERS
                if event.anchor:
                    self._anchors[event.anchor] = (value, nodes)
                self._add(value, nodes, event)
            elif name in {"MappingStartEvent", "SequenceStartEvent"}:
                if len(self._stack) >= MAX_DEPTH:
                    raise YamlError(f"error converting YAML to JSON: deeper than {MAX_DEPTH}")
                self._stack.append(_Open({} if name[0] == "M" else [], event.anchor))
            elif name in {"MappingEndEvent", "SequenceEndEvent"}:
                self._close()
            elif name == "AliasEvent":
                self._alias(event)
            elif name == "DocumentEndEvent":
                break
        return self._result

    def _close(self) -> None:
        done = self._stack.pop()
        for extra in done.merged:
            for key, value in extra.items():
                done.value.setdefault(key, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.nodes)
        self._add(done.value, done.nodes, None)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise YamlError(
                f"error converting YAML to JSON: yaml: unknown anchor '{event.anchor}' referenced"
            )
        value, nodes = self._anchors[event.anchor]
        self._aliased += nodes
        if self._aliased > MAX_ALIASED_NODES:
            raise YamlError(
                "error converting YAML to JSON: yaml: document contains excessive aliasing"
            )
        self._add(value, nodes, None)

    def _add(self, value: Any, nodes: int, event: Any) -> None:
        """A finished value goes where it belongs: list item, mapping key, mapping value, result."""
        if not self._stack:
            self._result = value
            return
        parent = self._stack[-1]
        parent.nodes += nodes
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            parent.key = _key(value)
            if event is not None and event.implicit[0] and event.value == "<<":
                parent.key = "<<"
        elif parent.key == "<<":
            parents = value if isinstance(value, list) else [value]
            if not all(isinstance(item, dict) for item in parents):
                raise YamlError("error converting YAML to JSON: yaml: map merge requires a map")
            parent.merged += parents
            parent.key = None
        else:
            if parent.key in parent.value:
                raise YamlError(
                    f'error converting YAML to JSON: yaml: key "{parent.key}" already set in map'
                )
            parent.value[parent.key] = value
            parent.key = None


def _key(value: Any) -> str:
    """Keys become strings, as the conversion to JSON demands."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise YamlError("error converting YAML to JSON: yaml: invalid map key")


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag = event.tag
    if not event.implicit[0]:
        if tag in {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:binary"}:
            return text
        if not tag.startswith("tag:yaml.org,2002:"):
            return text
    return _resolve(text)


def _resolve(text: str) -> Any:
    """A plain scalar: null, bool, number or text."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] not in "-+.0123456789" or len(text) > _MAX_DIGITS:
        return text
    digits = text.replace("_", "")
    if _INT.fullmatch(text):
        return int(digits)
    if _OTHER_INT.fullmatch(text):
        return _other_int(digits, text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise YamlError(f"error converting YAML to JSON: number {text[:40]} out of range")
        return number
    return text


def _other_int(digits: str, text: str) -> Any:
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2], 8)
    body = digits[2:] if digits[1:2] in {"x", "b", "o"} else digits
    try:
        return sign * int(body, base)
    except ValueError:
        return text
