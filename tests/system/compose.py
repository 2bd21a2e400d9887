"""A compose project of its own for the stories of ``test_compose.py``."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROOMS = (
    "etcd", "apiserver", "controllers", "scheduler", "kubelet", "fabric", "cni", "kube-proxy",
    "coredns", "ingress",
)  # fmt: skip
WAYS = ("stop", "kill", "cut")
OWNER = 12345
"""Of the folder that the kubeconfig is dropped into: somebody who is not root."""


def compose_command() -> list[str]:
    """Compose v2 when the engine has it, else docker-compose; [] for neither."""
    if not shutil.which("docker"):
        return []
    if (
        subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


def why_not() -> str:
    """Why the stories cannot be told here; '' when they can."""
    if not shutil.which("docker"):
        return "docker is not installed"
    if not compose_command():
        return "neither docker compose nor docker-compose is installed"
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return "" if asked.returncode == 0 else "no container engine answers (docker info)"


def free_ports(count: int) -> int:
    """The first of ``count`` loopback ports in a row that are free, below the ephemeral ones."""
    for first in range(20000 + os.getpid() % 500 * 20, 32000 - count):
        taken = []
        try:
            for port in range(first, first + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    taken.append(socket.socket(socket.AF_INET, kind))
                    taken[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for sock in taken:
                sock.close()
        return first
    raise AssertionError("no free ports in a row")


class Project:
    """A copy of the checkout, and the compose project in it."""

    def __init__(self, folder: Path) -> None:
        self.name = f"podwire-test-{os.getpid()}"
        self.folder = folder / "podwire"
        self.home = folder / "home"
        self.home.mkdir()
        first = free_ports(14)
        self.ports = dict(
            zip(("API", "DNS", "HTTP", "HTTPS"), range(first, first + 4), strict=True)
        )
        self.node_ports = range(first + 4, first + 14)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PODWIRE", "COMPOSE"))}
        self.env = {
            **kept,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "KUBECONFIG": str(self.kubeconfig),
            "COMPOSE_PROJECT_NAME": self.name,
            "PODWIRE_VERSION": self.name,
            "PODWIRE_CNI": "calico",
            "PODWIRE_TIME_PROFILE": "fast",
            "PODWIRE_NODE_PORTS": f"{self.node_ports[0]}-{self.node_ports[-1]}",
            **{f"PODWIRE_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    @property
    def kubeconfig(self) -> Path:
        """Where the project drops it."""
        return self.folder / ".podwire/kubeconfig"

    # ------------------------------------------------------------ commands

    def run(
        self, *argv: str, code: int | None = 0, timeout: float = 90, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; the finished process. ``code`` None: any."""
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, input=stdin, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        told = f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, told
        return done

    def compose(self, *argv: str, timeout: float = 120) -> str:
        """What a compose command printed."""
        return self.run(*compose_command(), *argv, timeout=timeout).stdout

    def docker(self, *argv: str) -> str:
        """What a docker command printed."""
        return self.run("docker", *argv).stdout

    def kubectl(self, *argv: str, **more: Any) -> str:
        """What kubectl printed."""
        return self.run(str(BIN / "kubectl"), *argv, **more).stdout

    def podwire(self, *argv: str, **more: Any) -> str:
        """What podwire printed."""
        return self.run(str(BIN / "podwire"), *argv, **more).stdout

    # ------------------------------------------------------------ life

    def build(self) -> None:
        """Copy what git knows, and make the image of it."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                                check=True).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name, follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(self.folder / ".podwire", OWNER, OWNER)
        self.compose("build", "certs", timeout=600)

    def up(self) -> None:
        """Start every service; when this returns, everything is Ready."""
        self.compose("up", "-d", timeout=180)
        until("every room Ready", self.all_ready, 90)
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def end(self) -> None:
        """Take everything away that the project made."""
        self.compose("down", "-v", "--remove-orphans", timeout=180)
        self.run("docker", "image", "rm", f"podwire:{self.name}", code=None)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self.docker(
            "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).strip()  # fmt: skip

    def inspect(self, service: str) -> Any:
        """What the engine knows of a service's container."""
        (found,) = json.loads(self.docker("inspect", self.container(service)))
        return found

    # ------------------------------------------------------------ harm

    def harm(self, service: str, way: str) -> None:
        """Stop, kill or cut off a service, so that it stays away."""
        container = self.container(service)
        if way == "stop":
            self.docker("stop", "-t", "5", container)
        elif way == "kill":
            self.docker("update", "--restart=no", container)
            self.docker("kill", container)
        else:
            self.docker("network", "disconnect", f"{self.name}_default", container)

    def mend(self, service: str, way: str) -> None:
        """And take the harm back."""
        container = self.container(service)
        if way == "cut":
            self.docker("network", "connect", "--alias", service, f"{self.name}_default", container)
            return
        if way == "kill":
            self.docker("update", "--restart=unless-stopped", container)
        self.docker("start", container)

    # ------------------------------------------------------------ what is seen

    def components(self) -> dict[str, str]:
        """``podwire get components``: status by name. AssertionError when it cannot be told."""
        listed = json.loads(self.podwire("get", "components", "-o", "json", timeout=20))
        return {entry["name"]: f"{entry['status']} {entry['message']}" for entry in listed}

    def all_ready(self) -> bool:
        """Whether every room is there and Ready."""
        found = self.components()
        missing = [room for room in ROOMS if room not in found]
        bad = {name: status for name, status in found.items() if not status.startswith("Ready")}
        assert not missing, missing
        assert not bad, bad
        return True

    def harmed(self, service: str) -> bool:
        """Whether ``podwire get components`` tells that a service is not well."""
        if service == "apiserver":
            asked = self.run(str(BIN / "podwire"), "get", "components", code=None, timeout=40)
            return bool(asked.returncode == 3 and asked.stderr.startswith("error: cannot reach"))
        found = self.components()
        assert not found[service].startswith("Ready"), found
        return True

    def fates(self) -> tuple[str, ...]:
        """The demo's three traces, and a request that a pod makes."""
        found = []
        for argv in (
            ("svc/backend:80",),
            ("svc/backend:80", "--destination-namespace", "production"),
            ("10.96.0.10:53",),
        ):
            told = self.run(str(BIN / "podwire"), "trace", "deploy/frontend", *argv, code=None,
                            timeout=40)  # fmt: skip
            lines = [line for line in told.stdout.splitlines() if line[:1] in "✓✗?"]
            assert lines, told.stdout + told.stderr
            found.append(lines[0].split()[1])
        asked = self.run(
            str(BIN / "kubectl"), "exec", "deploy/frontend", "--", "curl", "-s", "-m", "5",
            "http://backend/hostname", code=None, timeout=40,
        )  # fmt: skip
        return (*found, asked.stdout.rpartition("-")[0].split("-")[0])
