"""schemathesis over the OpenAPI documents of a cluster that runs: in ``make sweep`` only.

Of our own (``tests/fuzz/requests.py``) it is independent: what it sends, and what it holds the
answers to, it reads from the documents.
"""

import base64
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from podwire.apiserver.discovery import group_versions
from tests.samples_crd import definition

pytestmark = [
    pytest.mark.skipif(not os.environ.get("PODWIRE_SWEEP"), reason="minutes: make sweep"),
    pytest.mark.skipif(find_spec("schemathesis") is None, reason="pip install 'podwire[fuzz]'"),
    pytest.mark.xdist_group("schemathesis"),
]
BIN = Path(sys.executable).parent
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
DOCUMENT_S = int(os.environ.get("FUZZ_DOCUMENT_S") or 20)
"""How long a phase may go on with one document."""
DOCUMENTS = [
    f"apis/{group}/{version}" if group else f"api/{version}"
    for group, version in group_versions()
    if group not in {"podwire.dev", "metrics.k8s.io"}  # whose documents tell of no operation
]


class Cluster:
    """``podwire up`` with a home of its own."""

    def __init__(self, home):
        self.home = home
        self.env = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}

    def run(self, program, *arguments, **options):
        return subprocess.run(
            [BIN / program, *arguments],
            check=False, env=self.env, cwd=self.home, capture_output=True, text=True, **options,
        )  # fmt: skip

    def up(self):
        # Whoever deletes every ClusterRoleBinding would be let in no more.
        done = self.run(
            "podwire", "up", "--name", "fuzz", "--nodes", "1", "--port", "0", "--detach",
            "--kubeconfig", "kubeconfig", "--authorization-mode", "AlwaysAllow", timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        config = yaml.safe_load((self.home / "kubeconfig").read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        for name, data in (
            ("ca", cluster["certificate-authority-data"]),
            ("certificate", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            (self.home / name).write_bytes(base64.b64decode(data))
        self.url = cluster["server"]

    def kubectl(self, *arguments, **options):
        return self.run("kubectl", "--kubeconfig", "kubeconfig", *arguments, timeout=60, **options)

    def fuzzed(self, document):
        return self.run(
            "schemathesis", "--config-file", CONFIGURATION, "run",
            f"{self.url}/openapi/v3/{document}",
            "--tls-verify", "ca", "--request-cert", "certificate", "--request-cert-key", "key",
            "--no-color", "--no-shrink", "--generation-database", "none",
            "--max-examples", "3", "--max-time", str(DOCUMENT_S),
            timeout=60 + 10 * DOCUMENT_S,
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = Cluster(tmp_path_factory.mktemp("schemathesis"))
    running.up()
    yield running
    running.run("podwire", "down", "--name", "fuzz", timeout=60)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_answers_are_what_the_document_promises(cluster, document):
    """No 5xx, no silence; every 2xx is of the schema and the content type that are told."""
    hold(cluster, document)


def test_answers_about_custom_objects_are_what_their_document_promises(cluster):
    """A definition with defaults, sets, maps and two versions."""
    made = cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(definition()))
    assert made.returncode == 0, made.stderr
    condition = ("--for=condition=Established", f"crd/{definition()['metadata']['name']}")
    assert cluster.kubectl("wait", *condition).returncode == 0
    hold(cluster, "apis/example.com/v1")


def hold(cluster, document):
    done = cluster.fuzzed(document)
    sys.stdout.write(f"{document}: {summary(done.stdout)}\n")  # seen with -s
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert cluster.kubectl("get", "--raw", "/readyz").stdout == "ok"


def summary(told):
    """What schemathesis says it did."""
    lines = [line.strip() for line in told.splitlines()]
    return ", ".join(line for line in lines if "generated" in line or line.startswith("Tested"))
