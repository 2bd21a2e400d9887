"""Options that all objects of ``ip`` and ``bridge`` share."""

from __future__ import annotations

from podwire.dataplane.tools.words import UsageError, not_modelled


class Options:
    """``-4 -6 -br -d -o -c -j -p -s``. ``statistics``: how often -s was said."""

    def __init__(self) -> None:
        self.family = ""
        self.brief = False
        self.details = False
        self.oneline = False
        self.json = False
        self.pretty = False
        self.statistics = 0

    def take(self, option: str) -> None:
        """One option word. Raises UsageError."""
        name = option.lstrip("-")
        if name in {"4", "6"}:
            self.family = name
        elif len(name) > 1 and "brief".startswith(name):
            self.brief = True
        elif name and "details".startswith(name):
            self.details = True
        elif name and "oneline".startswith(name):
            self.oneline = True
        elif name and "json".startswith(name):
            self.json = True
        elif name and "pretty".startswith(name):
            self.pretty = True
        elif name and ("statistics".startswith(name) or "stats".startswith(name)):
            self.statistics += 1
        elif name.startswith("c") or name in {"N", "Numeric"}:
            return
        elif name[:1] in {"r", "f"} or name in {"h", "human", "human-readable", "iec"}:
            raise not_modelled(f"option -{name}")
        else:
            raise UsageError(f'Option "{option}" is unknown, try "ip -help".')
