"""What kubernetes' own controllers decided in their own tests (tests/data/controllers)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from podwire.client.effects import Effect, Together

_FOLDER = Path(__file__).parents[2] / "data/controllers"

Case = dict[str, Any]


@cache
def cases(name: str) -> list[Case]:
    """The rows of a file."""
    with gzip.open(_FOLDER / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def flat(effects: Iterable[Effect]) -> Iterator[Effect]:
    """Effects one by one."""
    for effect in effects:
        if isinstance(effect, Together):
            yield from flat(effect.effects)
        else:
            yield effect


def told(values: Mapping[str, Any]) -> Case:
    """A status as Go writes it: nothing for what is empty, no times of conditions."""
    found: Case = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = told(value)  # noqa: PLW2901  its emptiness counts below
        elif name == "conditions":
            value = [_condition(item) for item in value]  # noqa: PLW2901
        if value not in (None, "", 0, [], {}, False):
            found[name] = value
    return found


def _condition(values: Mapping[str, Any]) -> Case:
    kept = ("type", "status", "reason", "message")
    return {name: values[name] for name in kept if values.get(name)}
