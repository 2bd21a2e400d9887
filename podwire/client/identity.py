"""Who a process is: the certificate of its room, and the authority that it trusts.

Rooms' certificates name the room (``system:podwire:kubelet``) and serve both ends of a connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from podwire.client.accounts import named
from podwire.client.counters import User

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


_SPEAKS_AS: dict[str, tuple[str, ...]] = {
    "kubelet": ("system:node:*",),
    "scheduler": ("system:kube-scheduler",),
    "controllers": ("system:kube-controller-manager", "system:serviceaccount:kube-system:*"),
    "kube-proxy": ("system:serviceaccount:*:kube-proxy",),
    "coredns": ("system:serviceaccount:*:coredns",),
    "cni": ("system:serviceaccount:*:flannel", "system:serviceaccount:*:calico-node"),
    "ingress": ("system:serviceaccount:*:ingress-nginx",),
}
"""The names under which a room calls the API: what runs in pods may do so in any namespace."""


def room_user(room: str) -> User:
    """A room as a user of the API: for its own Lease, and where it is nobody else."""
    return User(f"{PREFIX}{room}", (GROUP, "system:authenticated"))


@lru_cache(maxsize=4096)
def speaker(room: str, name: str) -> User | None:
    """The user that a room means by a name, with the groups that belong to it; None when the room
    may not speak for it.
    """
    if any(fnmatchcase(name, pattern) for pattern in _SPEAKS_AS.get(room, ())):
        return named(name)
    return None


class IdentityError(Exception):
    """A certificate cannot be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Identity:
    """The files of one room's certificate."""

    room: str
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """TLS toward another room: it must have a certificate of our authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._load(context)

    @cached_property
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

    Raises IdentityError when a file is missing or unreadable, or peers would not accept it.
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
        _shake_hands_with_itself(identity)
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason or str(error)
        raise IdentityError(
            f"{identity.certificate_file}: cannot be used ({why}): issue it anew with: "
            f"podwire certs {directory}"
        ) from error
    return identity


def _shake_hands_with_itself(identity: Identity) -> None:
    """A peer that does not accept a certificate cannot say so in words: find out before.

    One TLS handshake in memory tries chain, dates, name and key. Raises ssl.SSLError.
    """
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = identity.server_context.wrap_bio(inward, outward, server_side=True)
    client = identity.client_context.wrap_bio(outward, inward, server_hostname=identity.room)
    waiting = [client, server]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def room_of(certificate: Mapping[str, Any]) -> str:
    """The room that a peer's certificate names, '' for any other certificate."""
    names = {key: value for part in certificate.get("subject", ()) for key, value in part}
    if names.get("organizationName") != GROUP:
        return ""
    name = str(names.get("commonName", ""))
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""
