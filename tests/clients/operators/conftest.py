"""One cluster for all operators, with the definitions of what they look after."""

import pytest

from podwire.apiserver.certs import Authority
from podwire.runtime.env import real
from tests.clients import installed
from tests.clients.operators.street import HERE, Street


@pytest.fixture(scope="module")
def transcript():
    """One cluster for all of them."""


@pytest.fixture(scope="module")
def kinds(fresh):
    """The cluster, with the definitions in it."""
    for name in ("lamps", "peering"):
        fresh.kubectl("apply", "-f", str(HERE / f"{name}.yaml"))
    fresh.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    return fresh


@pytest.fixture
def street(kinds, tmp_path):
    """A namespace of one test."""
    return Street(kinds, tmp_path, {"kubectl": installed.kubectl("1.37")})


@pytest.fixture
def tls(street):
    """A folder with a CA and a certificate for 127.0.0.1 and for the Service lamps."""
    names = ("127.0.0.1", f"lamps.{street.namespace}.svc")
    env = real(0, "error")
    ca = Authority(env.secret, env.clock.now_ns())
    made = ca.server(names)
    (street.folder / "ca.pem").write_bytes(ca.pem)
    (street.folder / "cert.pem").write_bytes(made.certificate)
    (street.folder / "key.pem").write_bytes(made.key)
    return street.folder
