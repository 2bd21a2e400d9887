"""Whether a conversion webhook's ``caBundle`` has a certificate in it, and what Go says if not.

Source: apiserver pkg/util/webhook (ValidateCABundle), client-go transport/transport.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from podwire.api.view import JSON

_EDGE = re.compile(rb"^-----(BEGIN|END) ([^\n]{0,100})-----[ \t\r]*$", re.MULTILINE)


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The label and the whole text of each PEM block, in one pass."""
    began: re.Match[bytes] | None = None
    for edge in _EDGE.finditer(data):
        if edge[1] == b"BEGIN":
            began = edge
        elif began is not None and began[2] == edge[2]:
            yield edge[2], data[began.start() : edge.end()]
            began = None


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
    why = "unable to parse bytes as PEM block"
    for label, block in _blocks(data):
        if label != b"CERTIFICATE" or b":" in block:
            why = "no valid certificate authority data seen"
            continue
        try:
            x509.load_pem_x509_certificate(block)
        except ValueError:
            why = "failed to parse certificate: x509: malformed certificate"
        else:
            return ""
    return f"unable to load root certificates: {why}"
