"""Which real clients are here. Absent ones skip their tests, unless they are required.

``make clients`` installs them all (tests/clients/install.py) and sets PODWIRE_CLIENTS=required.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-clients"
REQUIRED = os.environ.get("PODWIRE_CLIENTS") == "required"

KUBECTLS = ("1.37", "1.32")
HELMS = ("4", "3")


def missing(what):
    """Skip the test that wants ``what``, or fail it where every client is required."""
    told = f"{what} is not installed: run make clients"
    if REQUIRED:
        pytest.fail(told)
    pytest.skip(told)


def kubectl(version):
    """The path of that kubectl; 1.37 is also among podwire's own development tools."""
    path = HOME / "bin" / f"kubectl-{version}"
    if path.is_file():
        return path
    own = Path(sys.executable).parent / "kubectl"
    if version == "1.37" and own.is_file():
        return own
    return missing(f"kubectl {version}")


def helm(version):
    """The path of that helm."""
    path = HOME / "bin" / f"helm-{version}"
    return path if path.is_file() else missing(f"helm {version}")


def python():
    """The interpreter of the venv that has the client libraries."""
    path = HOME / "python/bin/python"
    return path if path.is_file() else missing("the set of client libraries")


def client_go():
    """The program of the client-go stories."""
    path = HOME / "go/stories"
    if path.is_file():
        return path
    if go() is None:
        pytest.skip("there is no go command to build it with")
    return missing("the program of the client-go stories")


def go():
    """The go command, if there is one."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def go_program(source, built):
    """Build the Go program of a folder as ``built``; its path. Skips where that cannot be."""
    command = go()
    if command is None:
        pytest.skip("there is no go command to build it with")
    if not os.environ.get("PODWIRE_SWEEP"):
        pytest.skip("make sweep builds it: that takes minutes where Go's cache is empty")
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
    subprocess.run(
        [command, "build", "-o", str(built), "."], cwd=source,
        env={**os.environ, **settings}, check=True,
    )  # fmt: skip
    return built
