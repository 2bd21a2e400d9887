"""A pytest plugin for kr8s' own tests: the fixtures that its repository keeps outside the wheel.

``k8s_cluster`` is what pytest-kind's ``kind_cluster`` offers, for the cluster of KUBECONFIG.
"""

import gc
import os
import shutil
import subprocess
from pathlib import Path

import pytest


class Cluster:
    """The running cluster, as the tests reach it."""

    def __init__(self):
        self.name = "podwire"
        self.kubeconfig_path = Path(os.environ["KUBECONFIG"])
        self.path = self.kubeconfig_path.parent
        self.kubectl_path = Path(shutil.which("kubectl"))

    def kubectl(self, *argv):
        """What kubectl printed; CalledProcessError when it failed."""
        return subprocess.check_output([str(self.kubectl_path), *argv], encoding="utf-8")


@pytest.fixture(scope="session")
def k8s_cluster():
    """The cluster of KUBECONFIG."""
    return Cluster()


@pytest.fixture
def ensure_gc():
    """Classes that earlier tests made of kinds are gone."""
    gc.collect()
    yield
    gc.collect()
