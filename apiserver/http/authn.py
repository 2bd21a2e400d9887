"""Who is asking: client certificate, bearer token, or nobody.

Source of the order and the groups: apiserver pkg/authentication (x509: CN is the user, O the
groups; token; anonymous).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from podwire.api.status import ApiError
from podwire.client.counters import ANONYMOUS, User

_AUTHENTICATED = "system:authenticated"


class Authenticator:
    """Maps certificates and tokens to users. ``tokens`` maps a bearer token to its user.

    Tokens are kept and looked up as digests: neither how many there are nor how much of one was
    guessed shows in the time that a look-up takes, and a dump of the table gives none away.
    """

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._users = {_digest(token): user for token, user in tokens.items()}

    def user(self, peer_certificate: Mapping[str, Any] | None, authorization: str) -> User:
        """The user of a request. Raises ApiError Unauthorized for a token nobody issued."""
        if peer_certificate:
            return _of_certificate(peer_certificate)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            return self._of_token(token.strip())
        return ANONYMOUS

    def _of_token(self, token: str) -> User:
        user = self._users.get(_digest(token))
        if user is None:
            raise ApiError("Unauthorized", "Unauthorized")
        return user


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()  # headers need not be UTF-8


def _of_certificate(certificate: Mapping[str, Any]) -> User:
    """``ssl.SSLSocket.getpeercert()`` as a user."""
    name = ""
    groups: list[str] = []
    for rdn in certificate.get("subject", ()):
        for key, value in rdn:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, _AUTHENTICATED))
