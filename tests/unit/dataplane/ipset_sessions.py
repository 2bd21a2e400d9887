"""Sessions of ipset commands: run in the model, run by the real tool, compared line by line."""

import json
import re
import shlex
import subprocess
from pathlib import Path

from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng

FOLDER = Path(__file__).parents[2] / "data" / "ipset"
SECOND = 1_000_000_000
_SEED = re.compile(r"initval 0x[0-9a-f]{8}")
_SIZE = re.compile(r"Size in memory: \d+")
_LEFT = re.compile(r"timeout (9\d|100|[1-9]|10)\b(?= packets)")


def commands(name):
    """(argv, stdin) of every line of a session; ``restore TEXT`` feeds ipset restore."""
    found = []
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line.startswith("restore "):
            rest = line.removeprefix("restore ")
            options = ["-exist"] if rest.startswith("-exist ") else []
            text = rest.removeprefix("-exist ").replace("\\n", "\n")
            found.append((["ipset", "restore", *options], text))
        else:
            found.append((shlex.split(line), ""))
    return found


def comparable(text, code):
    """What must agree: every line, whatever their order; not seeds, sizes and seconds left."""
    text = _LEFT.sub("timeout T", _SIZE.sub("Size", _SEED.sub("initval X", text)))
    return sorted(text.splitlines()), code


def model(session):
    """What the model answers to every command."""
    kernel = Kernel("node-1", SeededRng(1, "ipset"))
    for argv, stdin in session:
        out, err, code = kernel.tool("", argv, stdin, SECOND)
        yield comparable(out + err, code)


def real(session, netns, env):
    """What the real tool answers in a network namespace."""
    for argv, stdin in session:
        done = subprocess.run(
            ["ip", "netns", "exec", netns, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        yield comparable(done.stdout + done.stderr, done.returncode)


def recorded(name):
    """What ipset 7.17 answered to a session (tests/system asks it again)."""
    return [(lines, code) for lines, code in json.loads((FOLDER / f"{name}.json").read_text())]
