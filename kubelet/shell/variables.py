"""A shell's variables, bash's arrays among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from podwire.kubelet.shell.arithmetic import ExpansionError


class Variables(dict[str, str]):
    """A shell's variables. Whatever changes one that is ``readonly`` raises ExpansionError."""

    def __init__(self, values: Mapping[str, str], readonly: Iterable[str] = ()) -> None:
        super().__init__(values)
        self.readonly = dict.fromkeys(readonly)
        self.arrays: dict[str, dict[str, str]] = {}
        """Bash's, by name: values by their number (or name), in order."""
        self.named: dict[str, None] = {}
        """The associative ones of them."""
        self.made: Mapping[str, Callable[[], str]] = {}
        """What is made when it is asked for (RANDOM, SECONDS)."""

    def get(self, name: str, default: Any = None) -> Any:
        """A variable, an array's first element, or what the shell makes when it is asked."""
        if name in self.arrays:
            return self.arrays[name].get("0", default)
        found = super().get(name)
        if found is None and name in self.made:
            found = self.made[name]()
        return default if found is None else found

    def array(self, name: str) -> Mapping[str, str]:
        """The elements of an array; a plain variable is its first."""
        if name in self.arrays:
            return self.arrays[name]
        return {"0": self[name]} if name in self else {}

    def to_array(self, name: str) -> dict[str, str]:
        """An array to change; a plain variable becomes one."""
        self.check((name,))
        if name not in self.arrays:
            self.arrays[name] = dict(self.array(name))
            super().pop(name, None)
        return self.arrays[name]

    def put(self, name: str, key: str, value: str) -> None:
        """Set an element; numbered ones stay in order."""
        array = self.to_array(name)
        fresh = key not in array and name not in self.named
        array[key] = value
        if fresh and len(array) > 1 and int(key) < int([*array][-2]):
            self.arrays[name] = {k: array[k] for k in sorted(array, key=int)}

    def check(self, names: Iterable[str]) -> None:
        """Raises ExpansionError if one of them is read-only."""
        for name in names:
            if name in self.readonly:
                raise ExpansionError(f"{name}: is read only")

    def __setitem__(self, name: str, value: str) -> None:
        self.check((name,))
        if name in self.arrays:
            self.arrays[name]["0"] = value
        else:
            super().__setitem__(name, value)

    def update(self, values: Any = (), /, **more: str) -> None:
        """Set several, or none of them."""
        new = dict(values, **more)
        self.check(new)
        super().update(new)

    def pop(self, name: str, default: Any = None) -> Any:
        """Unset one."""
        self.check((name,))
        self.named.pop(name, None)
        self.arrays.pop(name, None)
        return super().pop(name, default)

    def copy(self) -> Variables:
        """What a subshell has."""
        new = Variables(self, self.readonly)
        new.arrays = {name: dict(array) for name, array in self.arrays.items()}
        new.named = dict(self.named)
        new.made = self.made
        return new
