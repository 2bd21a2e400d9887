"""YAML files that the API server's flags name, bounded as request bodies are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podwire.api import yamldoc

MAX_BYTES = 1024 * 1024


class ConfigFileError(ValueError):
    """The file is too large, or no YAML."""


def read(file: Path, *, secret: bool = False) -> Any:
    """What a file says; a pipe will do. Nothing of a ``secret`` one is in errors.

    Raises ConfigFileError, OSError.
    """
    with file.open("rb") as opened:
        text = opened.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ConfigFileError(f"{file}: larger than {MAX_BYTES} bytes")
    return parse(text, str(file), secret=secret)


def parse(text: bytes, file: str, *, secret: bool = False) -> Any:
    """What a text says. Raises ConfigFileError."""
    try:
        return yamldoc.load(text)
    except yamldoc.YamlError as error:
        at = getattr(error.__cause__, "problem_mark", None)
        place = f" at line {at.line + 1}" if at is not None else ""
        why = f"not YAML{place}" if secret else str(error)
        raise ConfigFileError(f"{file}: {why}") from None
