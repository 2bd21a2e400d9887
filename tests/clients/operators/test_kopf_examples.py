"""kopf's own end-to-end tests (tests/e2e of its source distribution): its examples at work here.

``make sweep`` runs them: each takes ten seconds, and they come from the package index.
"""

import os
import subprocess
import sys
import tarfile

import pytest

from tests.clients import installed

pytestmark = pytest.mark.xdist_group("operators")

VERSION = "1.45.2"
NEEDED = ("pytest", "pytest-asyncio", "pytest-mock", "astpath", "lxml", "pykube-ng", "kubernetes")
EXAMPLES = ("01", "02", "03", "04", "05", "06", "07", "08", "13", "14", "15", "16", "99")
"""Not 17: it makes certificates by oscrypto, which does not know OpenSSL 3.0.20."""

SETTINGS = """
import kopf
import pytest


@pytest.fixture
def settings():
    return kopf.OperatorSettings()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """kopf's source, beside a venv that has what its tests import."""
    if not os.environ.get("PODWIRE_SWEEP"):
        pytest.skip("make sweep runs it: that asks the package index, and takes minutes")
    folder = tmp_path_factory.mktemp("kopf")
    (folder / "plain.py").write_text(SETTINGS)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", f"kopf=={VERSION}", *NEEDED], check=True)
    whole = ("--no-deps", "--no-binary", "kopf", "-d", str(folder), f"kopf=={VERSION}")
    subprocess.run([*pip, "download", "-q", *whole], check=True)
    with tarfile.open(folder / f"kopf-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_does_what_its_own_test_says(example, source, fresh):
    """Each in a process of its own: kopf's handlers are registered by process."""
    commands = source / "bin"
    commands.mkdir(exist_ok=True)
    if not (commands / "kubectl").exists():
        (commands / "kubectl").symlink_to(installed.kubectl("1.37"))
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(source / "venv/bin/python"), "-m", "pytest", "tests/e2e/test_examples.py", "-q",
         "-c", os.devnull, "--rootdir=.", "--confcutdir=tests/e2e", "-p", "plain",
         "-p", "no:cacheprovider", "-k", f"[{example}-"],
        cwd=source / f"kopf-{VERSION}", timeout=180, check=False, capture_output=True, text=True,
        env={**fresh.env, "PATH": path, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert "1 passed" in done.stdout
