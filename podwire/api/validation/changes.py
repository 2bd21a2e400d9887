"""Where two JSON values differ: what refusals of changes list."""

from __future__ import annotations


def changed_fields(new: object, old: object, path: str = "") -> list[str]:
    """Paths at which two JSON values differ, sorted."""
    if new == old:
        return []
    if isinstance(new, dict) and isinstance(old, dict):
        keys = sorted(new.keys() | old.keys())
        dot = f"{path}." if path else ""
        return [p for k in keys for p in changed_fields(new.get(k), old.get(k), f"{dot}{k}")]
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = zip(new, old, strict=True)
        return [p for i, (a, b) in enumerate(pairs) for p in changed_fields(a, b, f"{path}[{i}]")]
    return [path]
