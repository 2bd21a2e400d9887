"""What the certificate in a Secret is good for.

Source: ingress-nginx v1.15.1 internal/net/ssl (tls.crt and tls.key must be there and belong
together) and Go's x509 VerifyHostname (subject alternative names decide).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass

from podwire.api.views import Secret


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate (chain) and its key, PEM, with the DNS names that it covers."""

    certificate: bytes
    key: bytes
    names: tuple[str, ...]


def key_pair(secret: Secret) -> KeyPair:
    """The pair in a Secret. Raises ValueError that says what is wrong with it."""
    found = []
    for name in ("tls.crt", "tls.key"):
        if not secret.data.get(name):
            raise ValueError(f"key {name!r} missing from Secret {secret.key!r}")
        try:
            found.append(b64decode(secret.data[name], validate=True))
        except binascii.Error as error:
            raise ValueError(f"{name} of Secret {secret.key!r} is no base64") from error
    certificate, key = found
    return KeyPair(certificate, key, _names(secret.key, certificate, key))


def _names(where: str, certificate: bytes, key: bytes) -> tuple[str, ...]:
    # Imported by the first TLS Secret: most clusters have none.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        public = load_pem_private_key(key, None).public_key()
        same = public == leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"unexpected error loading the key pair of {where!r}: {error}") from error
    if not same:
        raise ValueError(f"the key of Secret {where!r} does not belong to its certificate")
    try:
        named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(named.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(attribute.value) for attribute in common)
