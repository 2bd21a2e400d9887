"""Options that all objects of ``ip`` and ``bridge`` share."""

from __future__ import annotations

from podwire.dataplane.tools.words import UsageError, not_modelled


class Options:
    """``-4 -6 -br -d -o -c -j -p -s -h -iec``. ``statistics``: how often -s was said."""

    def __init__(self) -> None:
        self.family = ""
        self.brief = False
        self.details = False
        self.oneline = False
        self.json = False
        self.pretty = False
        self.statistics = 0
        self.human = False
        self.base = 1000
        """What a k is: 1024 with -iec."""

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
        elif name in {"h", "human", "human-readable"}:
            self.human = True
        elif name == "iec":
            self.base = 1024
        elif name[:1] in {"r", "f"}:
            raise not_modelled(f"option -{name}")
        else:
            raise UsageError(f'Option "{option}" is unknown, try "ip -help".')

    def number(self, count: int) -> str:
        """A counter as ``ip -s`` shows it: with -h in k, M, G, of three digits at most
        (print_num of iproute2).
        """
        if not self.human or count < self.base:
            return str(count)
        unit, prefixes = self.base, "kMGTPE"
        while count >= unit * self.base and len(prefixes) > 1:
            unit, prefixes = unit * self.base, prefixes[1:]
        whole = count // unit
        digits = 2 if whole < 10 else 1 if whole < 100 else 0
        return f"{count / unit:.{digits}f}{prefixes[0]}{'i' * (self.base == 1024)}"
