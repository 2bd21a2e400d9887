"""Certificate requests for tests."""

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT = "kubernetes.io/kube-apiserver-client"


def new_key():
    """A client's own key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key):
    """The key as a client keeps it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request(name, groups=(), dns=(), key=None):
    """``spec.request`` for a user in groups, for DNS names."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(n) for n in dns])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(key or new_key(), hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def body(name, encoded, signer=CLIENT, usages=("client auth",), **spec):
    """A CertificateSigningRequest."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {"request": encoded, "signerName": signer, "usages": list(usages), **spec},
    }
