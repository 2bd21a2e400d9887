"""Who is asking: whom a front proxy names, client certificate, bearer token, or nobody.

Source of the order and the groups: apiserver pkg/authentication (x509: CN is the user, O the
groups; token; anonymous).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from podwire.api.status import ApiError
from podwire.apiserver import frontproxy
from podwire.apiserver.accounts import AUTHENTICATED, Authenticated, ServiceAccounts
from podwire.apiserver.frontproxy import FrontProxy
from podwire.apiserver.tokens import TokenError
from podwire.client.counters import ANONYMOUS, User

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""Begins the WebSocket sub-protocol that is a token."""
_PROTOCOLS = "sec-websocket-protocol"
FINGERPRINT = "sha256"
"""Where ``peer_certificate`` puts the certificate's digest."""
DER = "der"
"""Where it puts the certificate itself."""
_UID_OID = "1.3.6.1.4.1.57683.2"
"""The subject attribute that holds a user's uid (apiserver pkg/apis/asn1)."""


class Authenticator:
    """Maps certificates and tokens to users. ``tokens`` maps a bearer token to its user.

    ``accounts`` (None: there are none) knows the tokens of service accounts, ``front_proxy``
    who may speak for others.
    """

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens: dict[bytes, User] = {}
        self.know(tokens)
        self.accounts: ServiceAccounts | None = None
        self.front_proxy: FrontProxy | None = None

    def know(self, tokens: Mapping[str, User]) -> None:
        """Accept these tokens too."""
        self._tokens |= {_digest(token): user for token, user in tokens.items()}

    def requester(
        self, peer_certificate: Mapping[str, Any] | None, headers: dict[str, str]
    ) -> User:
        """The user of a request; headers that are about that are taken out. Raises ApiError
        Unauthorized.
        """
        proxy = self.front_proxy
        if proxy is not None and peer_certificate and proxy.issued(peer_certificate.get(DER, b"")):
            name = frontproxy.common_name(peer_certificate)
            user = frontproxy.speaks_for(headers, name, AUTHENTICATED)
            if user is None:
                raise ApiError("Unauthorized", "Unauthorized")
            return user
        return self.user(peer_certificate, authorization(headers))

    def user(self, peer_certificate: Mapping[str, Any] | None, authorization: str) -> User:
        """The user of a request. Raises ApiError Unauthorized for a token nobody issued."""
        if peer_certificate:
            return _of_certificate(peer_certificate)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        try:
            return self.token(token.strip()).user
        except TokenError:
            raise ApiError("Unauthorized", "Unauthorized") from None

    def token(self, token: str, audiences: Sequence[str] = ()) -> Authenticated:
        """Whose token it is, and for which of ``audiences`` (the API server's when none).

        Raises TokenError.
        """
        digest = _digest(token)  # one look, whose time tells nothing about other tokens
        static = self._tokens.get(digest)
        if static is not None:
            return Authenticated(static, tuple(audiences))
        try:
            found = self.accounts.authenticate(token, audiences) if self.accounts else None
        except TokenError as error:
            raise TokenError(f"[invalid bearer token, {error}]") from None
        if found is None:
            raise TokenError("invalid bearer token")
        return found


def authorization(headers: dict[str, str]) -> str:
    """The Authorization of a request. A page's script cannot set one for a WebSocket: its token is
    among the sub-protocols, beside one more at least, and is taken out of ``headers``.

    Source: apiserver pkg/authentication/request/websocket.
    """
    own, offered = headers.get("authorization", ""), headers.get(_PROTOCOLS, "")
    if own or BEARER_PROTOCOL not in offered or headers.get("upgrade", "").lower() != "websocket":
        return own
    names = [name.strip() for name in offered.split(",")]
    tokens = [name for name in names if name.startswith(BEARER_PROTOCOL)]
    rest = [name for name in names if name not in tokens]
    headers[_PROTOCOLS] = ", ".join(rest)
    coded = tokens[0].removeprefix(BEARER_PROTOCOL) if len(tokens) == 1 and rest else ""
    try:
        token = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        return f"Bearer {token.decode() or _NO_TOKEN}"
    except ValueError:  # binascii.Error and UnicodeDecodeError are some
        return f"Bearer {_NO_TOKEN}"


_NO_TOKEN = "malformed"  # noqa: S105  what nobody is ever issued


def _digest(token: str) -> bytes:
    # Header bytes need not be UTF-8.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def peer_certificate(tls: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any] | None:
    """The verified client certificate of a connection, for ``Authenticator.user``."""
    found = tls.getpeercert()
    raw = tls.getpeercert(binary_form=True) if found else None
    if not found or raw is None:
        return None
    return {**found, FINGERPRINT: hashlib.sha256(raw).hexdigest(), DER: raw}


def _of_certificate(certificate: Mapping[str, Any]) -> User:
    """``ssl.SSLSocket.getpeercert()`` (with its FINGERPRINT, if known) as a user."""
    name = uid = ""
    groups: list[str] = []
    for rdn in certificate.get("subject", ()):
        for key, value in rdn:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
            elif key == _UID_OID:
                uid = value
    digest = certificate.get(FINGERPRINT)
    extra = ((CREDENTIAL_ID, (f"X509SHA256={digest}",)),) if digest else ()
    return User(name, (*groups, AUTHENTICATED), uid, extra)
