"""PKCS#10 certificate requests, and what the signers of Kubernetes accept (pure).

Source: kubernetes pkg/apis/certificates (helpers.go) and pkg/controller/certificates/signer.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING)
"""Signers that a cluster has by itself."""

_NODES, _NODE = "system:nodes", "system:node:"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_HEAD = b"-----BEGIN CERTIFICATE REQUEST-----"


class RequestError(ValueError):
    """The bytes are no certificate request; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a certificate request asks for."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    email_addresses: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def parse(encoded: str) -> Request:
    """The request in ``spec.request`` (base64 of PEM), its signature verified.

    Raises RequestError.
    """
    found = load(encoded)
    names = found.subject

    def values(oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(a.value) for a in names.get_attributes_for_oid(oid))

    common = values(NameOID.COMMON_NAME)
    organizations = values(NameOID.ORGANIZATION_NAME)
    return Request(common[-1] if common else "", organizations, *_alternatives(found))


def load(encoded: str) -> x509.CertificateSigningRequest:
    """The request itself. Raises RequestError."""
    try:
        pem = base64.b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        raise RequestError(str(error)) from None
    if _HEAD not in pem:
        raise RequestError("PEM block type must be CERTIFICATE REQUEST")
    try:
        found = x509.load_pem_x509_csr(pem)
        good = found.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(f"x509: malformed certificate request: {error}") from None
    if not good:
        raise RequestError("x509: the certificate request's signature is not valid")
    return found


def _alternatives(found: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], ...]:
    """DNS names, IP addresses, email addresses and URIs of a request."""
    kinds = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ((),) * len(kinds)
    except ValueError as error:
        raise RequestError(f"x509: malformed extension: {error}") from None
    names = tuple(extension.value)
    return tuple(
        tuple(str(name.value) for name in names if isinstance(name, kind)) for kind in kinds
    )


def complaint(request: Request, signer: str, usages: Sequence[str]) -> str:
    """Why one of SIGNERS will not sign a request, "" when it will."""
    if signer == CLIENT:
        return _client_usages(usages)
    if request.organizations != (_NODES,):
        return "subject organization is not system:nodes"
    if signer == KUBELET_SERVING:
        return _serving(request, usages)
    for held, what in (
        (request.dns_names, "DNS"),
        (request.email_addresses, "Email"),
        (request.ip_addresses, "IP"),
        (request.uris, "URI"),
    ):
        if held:
            return f"{what} subjectAltNames are not allowed"
    if not request.common_name.startswith(_NODE):
        return "subject common name does not begin with system:node:"
    return _usages(usages, "client auth")


def _client_usages(usages: Sequence[str]) -> str:
    for usage in usages:
        if usage not in {"digital signature", "key encipherment", "client auth"}:
            return f"invalid usage for client certificate: {usage}"
    if "client auth" not in usages:
        return "missing required usage for client certificate: client auth"
    return ""


def _serving(request: Request, usages: Sequence[str]) -> str:
    if not request.dns_names and not request.ip_addresses:
        return "DNS or IP subjectAltName is required"
    for held, what in ((request.email_addresses, "Email"), (request.uris, "URI")):
        if held:
            return f"{what} subjectAltNames are not allowed"
    if wrong := _usages(usages, "server auth"):
        return wrong
    if not request.common_name.startswith(_NODE):
        return "subject common name does not begin with system:node:"
    return ""


def _usages(usages: Sequence[str], purpose: str) -> str:
    """Exactly these, key encipherment or not (it is for RSA keys)."""
    given = sorted(dict.fromkeys(usages))
    with_rsa = sorted(("digital signature", "key encipherment", purpose))
    without = sorted(("digital signature", purpose))
    return "" if given in (with_rsa, without) else f"usages did not match [{' '.join(with_rsa)}]"


def certificate_complaint(encoded: str) -> str:
    """Why ``status.certificate`` (base64 of PEM) cannot be one, "" when it can."""
    try:
        pem = base64.b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        return str(error)
    if not pem:
        return ""
    blocks = _BLOCK.findall(pem)
    for kind in blocks:
        if kind != b"CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind.decode()}"'
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return f"x509: malformed certificate: {error}"
    return ""
