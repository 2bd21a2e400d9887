"""A namespace with a helm of each version, which finds the kubectl's kubeconfig."""

import pytest

from tests.clients import installed
from tests.clients.desk import Desk


@pytest.fixture(params=installed.HELMS)
def desk(request, fresh, tmp_path):
    """A namespace of the test's own, one of the helms, and kubectl 1.37."""
    programs = {"helm": installed.helm(request.param), "kubectl": installed.kubectl("1.37")}
    made = Desk(fresh, tmp_path, programs)
    made.version = request.param
    yield made
    made.run("kubectl", "delete", "namespace", made.namespace, "--wait=false")
