"""How an EndpointSlice says that its endpoint is a process outside the model (``podwire attach``).

Its annotation holds the real ``host:port``; its one address is the gateway's, where the fabric
listens and carries bytes out to the real socket.
"""

from __future__ import annotations

from collections.abc import Mapping

ANNOTATION = "podwire.dev/attached"
MANAGED_BY = "podwire-attach"
"""Its label endpointslice.kubernetes.io/managed-by, so that no controller takes it for its own."""
PATH = "/apis/podwire.dev/v1alpha1/attachments"
"""Who may POST there (a non-resource URL) may attach."""

STANDS_IN = "X-Podwire-Stands-In"
"""Header of a modelled extension server's discovery: the API server itself has what it would
serve, and answers for it.
"""


class AddressError(ValueError):
    """The text is no ``host:port``."""


def parse(text: str) -> tuple[str, int]:
    """``host:port`` (an IPv6 host in brackets). Raises AddressError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise AddressError(f"{text!r}: give HOST:PORT, as in 127.0.0.1:9443")
    return host, int(port)


def address_of(annotations: Mapping[str, str]) -> tuple[str, int] | None:
    """The real address that an EndpointSlice leads to; None for an ordinary one."""
    text = annotations.get(ANNOTATION)
    if text is None:
        return None
    try:
        return parse(text)
    except AddressError:
        return None
