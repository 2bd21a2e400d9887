"""Writes docs/kinds.md from the registry of kinds: ``python docs/kinds.py``."""

from __future__ import annotations

from pathlib import Path

from podwire.api import kinds

PAGE = Path(__file__).with_name("kinds.md")

HEAD = """# Kinds

Made by `python docs/kinds.py`. *Modelled*: podwire does what the kind means. *Stored*: created,
read, watched, patched and printed faithfully, but nothing acts on it. Every other kind is absent:
the server answers 404, as for a kind it never heard of.

| kind | group version | short names | scope | subresources | |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| {k.kind} | {k.api_version} | {', '.join(k.short_names)} "
        f"| {'namespace' if k.namespaced else 'cluster'} | {', '.join(k.subresources)} "
        f"| {'modelled' if k.behaves else 'stored'} |"
        for k in kinds.ALL
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
