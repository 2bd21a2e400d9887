"""Where a client's story happens: a namespace, a folder, a kubeconfig, programs on the PATH."""

import itertools
import os
import subprocess

import yaml

from tests.clients.transcripts import Player
from tests.waiting import until

COUNT = itertools.count(1)


class Desk:
    """Where one story is typed: a client on the PATH, a namespace, a kubeconfig that names it."""

    def __init__(self, cluster, folder, programs):
        self.namespace = f"story-{next(COUNT)}"
        self.folder = folder
        self.env = {**cluster.env, "KUBECONFIG": str(folder / "kubeconfig")}
        commands = folder / "bin"
        commands.mkdir()
        for name, path in programs.items():
            (commands / name).symlink_to(path)
        self.env["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
        config = yaml.safe_load((cluster.home / "kubeconfig").read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = self.namespace
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        self.run("kubectl", "create", "namespace", self.namespace)
        until("the service account default", lambda: self.ask("get", "sa", "default", "-o", "name"))

    def run(self, *argv, code=0, **options):
        """Run a command here; what it printed on stdout."""
        done = self.finished(*argv, **options)
        assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *argv):
        """What that kubectl printed on stdout, whether or not it succeeded."""
        return self.finished("kubectl", *argv).stdout

    def finished(self, *argv, stdin="", timeout=60):
        """Run a command here; the finished process."""
        return subprocess.run(
            argv, cwd=self.folder, env=self.env, input=stdin, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def started(self, *argv, **options):
        """Start a command here that goes on; a Popen, with stdout and stderr as text pipes."""
        return subprocess.Popen(
            argv, cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.PIPE, **options,
        )  # fmt: skip

    def player(self, version, **variables):
        """Whoever types a transcript here."""
        return Player(self.folder, self.env, version, {"NS": self.namespace, **variables})
