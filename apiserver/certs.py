"""The cluster's certificate authority, its server certificate and client certificates.

EC P-256 throughout; keys come from a ``Secret`` source, so that a simulation's certificates replay.
Subjects follow kubeadm: the user is CN, the groups are O.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CA_DAYS = 3650
_LEAF_DAYS = 365
_BACKDATE_S = 300


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Issues certificates of one cluster: a new CA, or one that was kept.

    Raises ValueError for a kept one that cannot be read.
    """

    def __init__(
        self, secret: Callable[[int], bytes], now_ns: int, kept: Pair | None = None
    ) -> None:
        self._secret = secret
        self._now = dt.datetime.fromtimestamp(now_ns // 10**9, tz=dt.UTC)
        self._name = _name("podwire-ca", ())
        if kept is None:
            self._key = self._new_key()
            self._certificate = self._build(
                self._name, self._key, _CA_DAYS, is_authority=True, names=(), usage=None
            )
        else:
            self._key = _kept_key(kept.key)
            self._certificate = x509.load_pem_x509_certificate(kept.certificate)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        """The CA certificate (what kubeconfigs and kube-root-ca.crt carry)."""

    @property
    def pair(self) -> Pair:
        """The CA itself, to be kept."""
        return _pair(self._certificate, self._key)

    def server(self, names: Sequence[str]) -> Pair:
        """A server certificate for DNS names and IP addresses."""
        return self._leaf("kube-apiserver", (), names, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, user: str, groups: Sequence[str]) -> Pair:
        """A client certificate for a user in groups."""
        return self._leaf(user, groups, (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _leaf(
        self, user: str, groups: Sequence[str], names: Sequence[str], usage: x509.ObjectIdentifier
    ) -> Pair:
        key = self._new_key()
        certificate = self._build(
            _name(user, groups), key, _LEAF_DAYS, is_authority=False, names=names, usage=usage
        )
        return _pair(certificate, key)

    def _new_key(self) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(self._secret(48), "big") % (_P256_ORDER - 1) + 1
        return ec.derive_private_key(number, ec.SECP256R1())

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: int,
        *,
        is_authority: bool,
        names: Sequence[str],
        usage: x509.ObjectIdentifier | None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(self._secret(16), "big") >> 1 or 1)
            .not_valid_before(self._now - dt.timedelta(seconds=_BACKDATE_S))
            .not_valid_after(self._now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(_key_usage(is_authority), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(n) for n in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _kept_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is not an elliptic-curve key")  # noqa: TRY004  bad content
    return key


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
