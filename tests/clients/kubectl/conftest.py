"""Namespaces and certificates for stories typed into kubectl."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clients import installed
from tests.clients.desk import Desk

PEM = serialization.Encoding.PEM


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
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture(params=installed.KUBECTLS)
def desk(request, fresh, tmp_path):
    """A namespace of the test's own, and one of the kubectls."""
    made = Desk(fresh, tmp_path, {"kubectl": installed.kubectl(request.param)})
    made.version = request.param
    yield made
    made.run("kubectl", "delete", "namespace", made.namespace, "--wait=false")
