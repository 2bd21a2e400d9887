"""What a shell process has beside its script: variables that subshells copy, and a budget."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.kubelet.shell.command import UsageError
from podwire.kubelet.shell.syntax import Node
from podwire.kubelet.shell.variables import Variables
from podwire.runtime.ports import Clock

MAX_STEPS = 100_000
"""Commands within one second of the clock: a loop that never sleeps ends."""
MAX_NESTING = 60


@dataclass(slots=True)
class Budget:
    """Steps per second of the clock, shared by a shell and all it starts."""

    clock: Clock
    main: bool = False
    """Whether this is process 1 of the container (or its child), not an exec."""
    second: int = -1
    steps: int = 0
    nesting: int = 0

    def step(self) -> None:
        """Count one command. Raises UsageError when it never rests."""
        second = self.clock.monotonic_ns() // 1_000_000_000
        if second != self.second:
            self.second, self.steps = second, 0
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise UsageError(f"more than {MAX_STEPS} commands in one second: not modelled")


@dataclass(slots=True)
class State:
    """What subshells copy."""

    variables: Variables
    exported: dict[str, None]
    args: list[str]
    functions: dict[str, Node]
    cwd: str = "/"
    errexit: bool = False
    xtrace: bool = False
    status: int = 0
    nounset: bool = False
    pipefail: bool = False

    def copy(self) -> State:
        """An independent copy."""
        return State(
            self.variables.copy(), dict(self.exported), list(self.args), dict(self.functions),
            self.cwd, self.errexit, self.xtrace, self.status, self.nounset, self.pipefail,
        )  # fmt: skip
