"""What an awk program changes while it runs: variables, the record and its fields, output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from podwire.kubelet.shell.awk.values import (
    MAX_CHARS,
    UNSET,
    Array,
    Input,
    Value,
    number,
    split,
    text,
)
from podwire.kubelet.shell.command import UsageError

MAX_STEPS = 2_000_000
"""Statements that one program may run."""
MAX_FIELDS = 100_000
MAX_CALLS = 100


class NextRecord(Exception):  # noqa: N818  a jump
    """``next``."""


class Break(Exception):  # noqa: N818  a jump
    """``break``."""


class Continue(Exception):  # noqa: N818  a jump
    """``continue``."""


class Exit(Exception):  # noqa: N818  a jump
    """``exit [CODE]``."""

    def __init__(self, code: int | None) -> None:
        super().__init__()
        self.code = code


class Return(Exception):  # noqa: N818  a jump
    """``return [VALUE]``."""

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.value = value


@dataclass(slots=True)
class Function:
    """One function of the program."""

    parameters: list[str]
    arrays: dict[str, None] = field(default_factory=dict)
    """Parameters that its body uses as arrays."""
    body: Callable[[Machine], None] | None = None


@dataclass(slots=True)
class Machine:
    """The state of one run."""

    out: Callable[[str], None]
    read_file: Callable[[str], str]
    """A file for ``getline``. Raises UsageError."""
    random: Callable[[], float]
    now_s: Callable[[], int]
    environ: Mapping[str, str]
    functions: dict[str, Function] = field(default_factory=dict)
    frames: list[dict[str, Value | Array]] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    written: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(">", ">>" or "|", target) -> what was printed there."""
    opened: dict[str, list[str]] = field(default_factory=dict)
    """Lines left of the files that ``getline`` reads."""
    records: list[str] = field(default_factory=list)
    """Records left of the present file, the next one last."""
    steps: int = 0
    code: int = 0
    _record: str = ""
    _fields: list[str] | None = None

    def __post_init__(self) -> None:
        self.values |= {"FS": " ", "OFS": " ", "ORS": "\n", "RS": "\n", "NR": 0.0, "FNR": 0.0,
                        "SUBSEP": "\x1c", "OFMT": "%.6g", "CONVFMT": "%.6g", "RSTART": 0.0,
                        "RLENGTH": -1.0, "FILENAME": ""}  # fmt: skip
        self.arrays["ENVIRON"] = {name: Input(value) for name, value in self.environ.items()}

    def step(self) -> None:
        """Count a statement. Raises UsageError when there were too many."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise UsageError(f"not modelled: more than {MAX_STEPS} steps", 2)

    # ------------------------------------------------------------------ variables

    def get(self, name: str) -> Value:
        """A global variable."""
        if name == "NF":
            return float(len(self.fields))
        return self.values.get(name, UNSET)

    def set(self, name: str, value: Value) -> None:
        """Set a global variable."""
        if isinstance(value, str) and len(value) > MAX_CHARS:
            raise UsageError("not modelled: a string of this size", 2)
        if name == "NF":
            wanted = min(max(int(number(value)), 0), MAX_FIELDS)
            self._fields = (self.fields + [""] * wanted)[:wanted]
            self._rebuild()
        else:
            self.values[name] = value

    def array(self, name: str) -> Array:
        """A global array."""
        return self.arrays.setdefault(name, {})

    def local(self, name: str) -> Value:
        """A parameter of the running function. Raises UsageError when it is an array."""
        value = self.frames[-1].get(name, UNSET)
        if isinstance(value, dict):
            raise UsageError(f"attempt to use array `{name}' in a scalar context", 2)
        return value

    def local_array(self, name: str) -> Array:
        """A parameter that is an array, or becomes one. Raises UsageError when it is a scalar."""
        value = self.frames[-1].get(name, UNSET)
        if not isinstance(value, dict):
            if value != "":
                raise UsageError(f"attempt to use scalar `{name}' as an array", 2)
            value = self.frames[-1][name] = {}
        return value

    # ------------------------------------------------------------------ the record

    @property
    def record(self) -> str:
        """``$0``."""
        return self._record

    @record.setter
    def record(self, line: str) -> None:
        """A new record; it is divided when a field is asked for."""
        self._record, self._fields = line, None

    @property
    def fields(self) -> list[str]:
        """``$1`` and so on, made when first asked for."""
        if self._fields is None:
            separator = text(self.values["FS"])
            line = self._record
            if self.values["RS"] == "" and separator != " ":
                separator = f"({separator})|\n" if len(separator) > 1 else f"[{separator}\n]"
            self._fields = split(line, separator)
        return self._fields

    def field(self, index: int) -> Value:
        """``$index``."""
        if index == 0:
            return Input(self._record)
        if index < 0:
            raise UsageError(f"attempt to access field {index}", 2)
        return Input(self.fields[index - 1]) if index <= len(self.fields) else UNSET

    def set_field(self, index: int, value: str) -> None:
        """``$index = value``: the record is made anew."""
        if index == 0:
            self.record = value
            return
        if not 0 < index <= MAX_FIELDS:
            raise UsageError(f"attempt to access field {index}", 2)
        fields = self.fields
        fields.extend([""] * (index - len(fields)))
        fields[index - 1] = value
        self._rebuild()

    def _rebuild(self) -> None:
        self._record = text(self.values["OFS"]).join(self._fields or [])

    # ------------------------------------------------------------------ input and output

    def next_record(self) -> str | None:
        """The next record of the present input, counted; None at its end."""
        if not self.records:
            return None
        for name in ("NR", "FNR"):
            self.values[name] = number(self.values[name]) + 1
        return self.records.pop()

    def next_line(self, path: str) -> str | None:
        """The next line of a file that ``getline`` reads. Raises UsageError."""
        if path not in self.opened:
            self.opened[path] = self.read_file(path).splitlines()[::-1]
        lines = self.opened[path]
        return lines.pop() if lines else None

    def print(self, line: str, how: str, target: str) -> None:
        """Print to stdout (how "") or to a file or command, which get it at the end."""
        if not how or (how != "|" and target in {"/dev/stdout", "-"}):
            self.out(line)
        else:
            self.written.setdefault((how, target), []).append(line)
