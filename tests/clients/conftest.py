"""A live cluster for real clients: one per session, in a home of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


class Live:
    """A running cluster and the commands that reach it."""

    def __init__(self, home):
        self.home = home
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PODWIRE")},
            "HOME": str(home),
            "KUBECONFIG": str(home / "kubeconfig"),
            "XDG_STATE_HOME": str(home / "state"),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *argv, stdin="", code=0, timeout=60):
        """Run a command; its exit code must be ``code``; the finished process."""
        done = subprocess.run(
            argv, env=self.env, input=stdin, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        told = f"{' '.join(map(str, argv))}: exit code {done.returncode}, not {code}"
        assert done.returncode == code, f"{told}\n{done.stdout}\n{done.stderr}"
        return done

    def kubectl(self, *argv, **options):
        """The wheel's kubectl; what it printed on stdout."""
        return self.run(str(BIN / "kubectl"), *argv, **options).stdout

    def podwire(self, *argv, **options):
        """The podwire command; what it printed on stdout."""
        return self.run(sys.executable, "-m", "podwire", *argv, **options).stdout


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    """Three nodes, Ready, policies enforced, fast times."""
    cluster = Live(tmp_path_factory.mktemp("live"))
    cluster.podwire("up", "--detach", "--wait", "--cni", "calico", "--time-profile", "fast")
    yield cluster
    cluster.podwire("down")


@pytest.fixture(scope="module")
def fresh(request, tmp_path_factory):
    """A cluster of this file's (of this transcript's) own: three nodes, policies enforced."""
    cluster = Live(tmp_path_factory.mktemp("fresh"))
    cluster.podwire("up", "--detach", "--wait", "--cni", "calico", "--time-profile", "fast")
    yield cluster
    cluster.podwire("down")


@pytest.fixture
def namespace(live, request):
    """A namespace for one test."""
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[-50:]
    name = name.strip("-")
    live.kubectl("create", "namespace", name)
    yield name
    live.kubectl("delete", "namespace", name, "--wait=false")
