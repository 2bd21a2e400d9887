"""Clusters and namespaces for stories typed into kubectl."""

import datetime as dt
import itertools
import os
import subprocess

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clients import installed
from tests.clients.conftest import Live
from tests.clients.transcripts import Player
from tests.waiting import until

PEM = serialization.Encoding.PEM
COUNT = itertools.count(1)


@pytest.fixture(scope="module")
def fresh(request, tmp_path_factory):
    """A cluster of this file's (of this transcript's) own: three nodes, policies enforced."""
    cluster = Live(tmp_path_factory.mktemp("fresh"))
    cluster.podwire("up", "--detach", "--wait", "--cni", "calico", "--time-profile", "fast")
    yield cluster
    cluster.podwire("down")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder with a self-signed certificate, its key, and a signing request of user ann."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    asked = x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(certificate.public_bytes(PEM))
    (folder / "request.csr").write_bytes(asked.public_bytes(PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder


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


@pytest.fixture(params=installed.KUBECTLS)
def desk(request, fresh, tmp_path):
    """A namespace of the test's own, and one of the kubectls."""
    made = Desk(fresh, tmp_path, {"kubectl": installed.kubectl(request.param)})
    made.version = request.param
    yield made
    made.run("kubectl", "delete", "namespace", made.namespace, "--wait=false")
