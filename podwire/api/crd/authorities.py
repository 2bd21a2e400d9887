"""Whether a conversion webhook's ``caBundle`` has a certificate in it, and what Go says if not.

Source: apiserver pkg/util/webhook (ValidateCABundle), client-go transport/transport.go.
"""

from __future__ import annotations

import base64
import binascii
import re

from podwire.api.view import JSON

_BLOCK = re.compile(
    rb"^-----BEGIN ([^\n]*)-----[ \t\r]*\n(.*?)^-----END \1-----[ \t\r]*$", re.MULTILINE | re.DOTALL
)


def bundle_of(spec: JSON) -> str:
    """The bundle (base64) of a definition's conversion webhook; "" without one."""
    webhook = (spec.get("conversion") or {}).get("webhook") or {}
    return (webhook.get("clientConfig") or {}).get("caBundle") or ""


def wrong(bundle: str) -> str:
    """Why a bundle is of no use, "" when it is."""
    from cryptography import x509  # noqa: PLC0415  few definitions have webhooks

    try:
        data = base64.b64decode(bundle)
    except (binascii.Error, ValueError):
        data = bundle.encode()
    if not data:
        return ""
    why, blocks = "unable to parse bytes as PEM block", list(_BLOCK.finditer(data))
    for block in blocks:
        if block[1] != b"CERTIFICATE" or b":" in block[2]:
            why = "no valid certificate authority data seen"
            continue
        try:
            x509.load_pem_x509_certificate(block[0])
        except ValueError:
            why = "failed to parse certificate: x509: malformed certificate"
        else:
            return ""
    return f"unable to load root certificates: {why}"
