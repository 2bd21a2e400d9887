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
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podwire.client import identity

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CA_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_DAYS = 30
_BACKDATE_S = 300
_SIGNED_S, _LEAST_S = 365 * 24 * 3600, 600
_SHORT = dt.timedelta(hours=8)
"""Certificates that live shorter are not cut by the backdating."""
_FLAGS = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}
"""In the order in which a certificate lists them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Issues certificates of one cluster. ``kept`` is an authority made earlier.

    Raises ValueError when ``kept`` is no certificate of an authority with its key.
    """

    def __init__(
        self,
        secret: Callable[[int], bytes],
        now_ns: int,
        kept: Pair | None = None,
        name: str = "podwire-ca",
    ) -> None:
        self._secret = secret
        self._now = dt.datetime.fromtimestamp(now_ns // 10**9, tz=dt.UTC)
        self._name = _name(name, ())
        if kept is not None:
            self._key = _loaded(kept)
            self._certificate = x509.load_pem_x509_certificate(kept.certificate)
            self._name = self._certificate.subject
        else:
            self._key = self._new_key()
            self._certificate = self._build(
                self._name, self._key, _CA_DAYS, is_authority=True, names=(), usages=()
            )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        """The CA certificate (what kubeconfigs and kube-root-ca.crt carry)."""

    @property
    def pair(self) -> Pair:
        """The authority itself: whoever holds its key can issue certificates."""
        return Pair(self.pem, _private(self._key))

    def server(self, names: Sequence[str]) -> Pair:
        """A server certificate for DNS names and IP addresses."""
        return self._leaf("kube-apiserver", (), names, (ExtendedKeyUsageOID.SERVER_AUTH,))

    def client(self, user: str, groups: Sequence[str]) -> Pair:
        """A client certificate for a user in groups."""
        return self._leaf(user, groups, (), (ExtendedKeyUsageOID.CLIENT_AUTH,))

    def room(self, room: str, names: Sequence[str]) -> Pair:
        """A room's certificate, for both ends of its connections."""
        both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._leaf(identity.PREFIX + room, (identity.GROUP,), (room, *names), both)

    def sign(
        self, request: x509.CertificateSigningRequest, usages: Sequence[str], seconds: int | None,
        now_ns: int,
    ) -> bytes:  # fmt: skip
        """The certificate (PEM) for a request that was approved; ``usages`` are those of the
        certificates API, ``seconds`` how long it shall last at most.

        Source: kubernetes pkg/controller/certificates/authority.
        """
        now = dt.datetime.fromtimestamp(now_ns // 10**9, tz=dt.UTC)
        lifetime = dt.timedelta(seconds=_lifetime_s(seconds))
        begin = now - dt.timedelta(seconds=_BACKDATE_S)
        end = (now if lifetime < _SHORT else begin) + lifetime
        key_usage, purposes = _usages(usages)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._name)
            .public_key(request.public_key())
            .serial_number(int.from_bytes(self._secret(16), "big") >> 1 or 1)
            .not_valid_before(begin)
            .not_valid_after(min(end, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if key_usage is not None:
            builder = builder.add_extension(key_usage, critical=True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        for extension in request.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, critical=extension.critical)
        made = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return made.public_bytes(serialization.Encoding.PEM)

    def still_good(self, pair: Pair, names: Sequence[str], days: int = _RENEW_DAYS) -> bool:
        """Whether a certificate is of this authority, names these, and lasts some ``days``."""
        known: dict[str, None] = {}
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate)
            certificate.verify_directly_issued_by(self._certificate)
            has = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            known = {str(name.value): None for name in has.value}
        except (ValueError, TypeError, InvalidSignature):
            return False
        except x509.ExtensionNotFound:
            pass  # a client's: it names nobody
        until = certificate.not_valid_after_utc - dt.timedelta(days=days)
        return self._now < until and all(name in known for name in names)

    def _leaf(
        self,
        user: str,
        groups: Sequence[str],
        names: Sequence[str],
        usages: Sequence[x509.ObjectIdentifier],
    ) -> Pair:
        key = self._new_key()
        certificate = self._build(
            _name(user, groups), key, _LEAF_DAYS, is_authority=False, names=names, usages=usages
        )
        return Pair(certificate.public_bytes(serialization.Encoding.PEM), _private(key))

    def _new_key(self) -> ec.EllipticCurvePrivateKey:
        return new_key(self._secret)

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: int,
        *,
        is_authority: bool,
        names: Sequence[str],
        usages: Sequence[x509.ObjectIdentifier],
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
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(n) for n in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)


def new_key(secret: Callable[[int], bytes]) -> ec.EllipticCurvePrivateKey:
    """A P-256 key of 48 secret bytes."""
    number = int.from_bytes(secret(48), "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _loaded(pair: Pair) -> ec.EllipticCurvePrivateKey:
    """The key of an authority's pair. Raises ValueError."""
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    key = serialization.load_pem_private_key(pair.key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic curve key")  # noqa: TRY004
    if certificate.public_key() != key.public_key():
        raise ValueError("the authority's certificate and key do not belong together")
    return key


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _lifetime_s(asked: int | None) -> int:
    """What a request may have of --cluster-signing-duration, ten minutes at least."""
    return _SIGNED_S if asked is None else max(_LEAST_S, min(asked, _SIGNED_S))


def _usages(
    usages: Sequence[str],
) -> tuple[x509.KeyUsage | None, list[x509.ObjectIdentifier]]:
    """The certificates API's usages as the two extensions. What X.509 does not know is left out,
    and a KeyUsage that would say nothing (peers refuse such a one).
    """
    flags = dict.fromkeys(_FLAGS.values(), False) | {
        _FLAGS[usage]: True for usage in usages if usage in _FLAGS
    }
    purposes = dict.fromkeys(oid for usage, oid in _PURPOSES.items() if usage in usages)
    if not flags["key_agreement"]:  # the two mean nothing without it
        flags |= {"encipher_only": False, "decipher_only": False}
    return x509.KeyUsage(**flags) if any(flags.values()) else None, list(purposes)


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
