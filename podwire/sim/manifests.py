"""Manifests from files and folders, in the order kubectl apply takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from podwire.api import yamldoc
from podwire.api.view import JSON

_SUFFIXES = (".yaml", ".yml", ".json")


class ManifestError(Exception):
    """A manifest that is no object; the message names file and document."""


def load(paths: Iterable[Path]) -> list[JSON]:
    """Every object in the files; folders give their manifests in name order, not deeper.

    Raises ManifestError.
    """
    objects: list[JSON] = []
    for path in paths:
        files = (
            sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        )
        if not files:
            raise ManifestError(f"{path}: no .yaml, .yml or .json file here")
        for file in files:
            objects += parse(file.read_text(), str(file))
    return objects


def parse(text: str, origin: str = "manifest") -> list[JSON]:
    """The objects of a YAML (or JSON) text; ``List`` objects are taken apart."""
    try:
        documents = yamldoc.load_all(text.encode())
    except yamldoc.YamlError as error:
        raise ManifestError(f"{origin}: {error}") from error
    objects: list[JSON] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("kind"):
            raise ManifestError(f"{origin}: document {number} is no object (kind is not set)")
        if document["kind"] == "List":
            objects += document.get("items") or []
        else:
            objects.append(document)
    return objects
