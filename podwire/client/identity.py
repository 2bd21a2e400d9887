"""Who a process is: the certificate of its room, and the authority that it trusts.

Rooms' certificates name the room (``system:podwire:kubelet``) and serve both ends of a connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PREFIX = "system:podwire:"
GROUP = "system:podwire:rooms"
ROOMS = (
    "apiserver",
    "controllers",
    "scheduler",
    "kubelet",
    "fabric",
    "cni",
    "kube-proxy",
    "coredns",
    "ingress",
)
"""Every room that can be a process of its own, in the order in which they are started."""


class IdentityError(Exception):
    """A certificate cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Identity:
    """The files of one room's certificate."""

    room: str
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @cache  # noqa: B019  an identity lives as long as its process
    def client_context(self) -> ssl.SSLContext:
        """TLS toward another room: it must have a certificate of our authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._load(context)

    @cache  # noqa: B019  see client_context
    def server_context(self) -> ssl.SSLContext:
        """TLS for other rooms: who has no certificate of our authority is turned away."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._load(context)

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.ca_file)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def load(directory: Path, room: str) -> Identity:
    """The identity of a room from the folder that ``podwire certs`` filled.

    Raises IdentityError when a file is missing, unreadable, no certificate or no longer valid.
    """
    identity = Identity(
        room, directory / "ca.crt", directory / f"{room}.crt", directory / f"{room}.key"
    )
    for file in (identity.ca_file, identity.certificate_file, identity.key_file):
        try:
            file.read_bytes()
        except OSError as error:
            raise IdentityError(
                f"{file}: {error.strerror}: issue certificates with: podwire certs {directory}"
            ) from error
    try:
        identity.client_context()
        identity.server_context()
    except ssl.SSLError as error:
        raise IdentityError(
            f"{identity.certificate_file}: {error.reason or error}: certificate and key do not "
            f"belong together; issue them anew with: podwire certs {directory}"
        ) from error
    return identity


def room_of(certificate: Mapping[str, Any]) -> str:
    """The room that a peer's certificate names, '' for any other certificate."""
    names = {key: value for part in certificate.get("subject", ()) for key, value in part}
    if names.get("organizationName") != GROUP:
        return ""
    name = str(names.get("commonName", ""))
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""
