"""What a running cluster leaves on disk: ``$XDG_STATE_HOME/podwire/NAME``.

``state.json`` names the process and where it listens; ``kubeconfig`` is the cluster's own. The
directory is for its owner only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from podwire.cli.errors import EXIT_UNREACHABLE, EXIT_USAGE, Failure
from podwire.runtime.files import write_private

DEFAULT_NAME = "podwire"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,48}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class State:
    """The running cluster: its process and its API address."""

    name: str
    pid: int
    server: str
    kubeconfig: str
    """The user's kubeconfig file that holds the context."""


def root() -> Path:
    """Where all clusters' state lies."""
    base = os.environ.get("XDG_STATE_HOME") or Path(os.environ.get("HOME", "/")) / ".local/state"
    return Path(base) / "podwire"


def directory(name: str) -> Path:
    """The state directory of one cluster. Raises Failure for a name that is not a DNS label."""
    if not _NAME.fullmatch(name):
        raise Failure(f"name {name!r}: use lower case letters, digits, '-' and '.'", EXIT_USAGE)
    return root() / name


def create(name: str) -> Path:
    """Make the directory, for its owner only."""
    path = directory(name)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def save(state: State) -> None:
    """Write state.json whole or not at all."""
    text = json.dumps(asdict(state), indent=2) + "\n"
    write_private(directory(state.name) / "state.json", text.encode())


def load(name: str) -> State | None:
    """The state of a cluster whose process is alive; what a dead one left is cleared away."""
    path = directory(name)
    try:
        state = State(**json.loads((path / "state.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise Failure(f"{path}/state.json is damaged ({error}); remove {path}") from error
    return state if _is_podwire(state.pid) else None


def require(name: str) -> State:
    """The state of a running cluster. Raises Failure (3) when there is none."""
    state = load(name)
    if state is None:
        raise Failure(
            f"no cluster {name!r} is running; start it with: podwire up --detach"
            + ("" if name == DEFAULT_NAME else f" --name {name}"),
            EXIT_UNREACHABLE,
        )
    return state


def clear(name: str) -> None:
    """Forget a cluster."""
    shutil.rmtree(directory(name), ignore_errors=True)


def names() -> list[str]:
    """Clusters with a live process, sorted."""
    try:
        found = sorted(entry.name for entry in root().iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    return [name for name in found if _NAME.fullmatch(name) and load(name) is not None]


def _is_podwire(pid: int) -> bool:
    """Whether the process lives and is ours (a pid may have been given to another since)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # no /proc on this system: the signal must do
    return b"podwire" in command
