"""Where our text differs from the real tools' on purpose, and why."""

from __future__ import annotations

DIFFERENCES: dict[str, dict[str, str]] = {}
"""Family -> command -> reason."""
