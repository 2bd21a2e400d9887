"""Who speaks for others: the front proxy's authority, its headers, and what is published of them.

A request whose client certificate is of this authority and names the front proxy is made by whom
its X-Remote-* headers say. The API server itself is such a proxy to extension API servers; the
ConfigMap kube-system/extension-apiserver-authentication tells those whom to believe. Names are
kubeadm's. Source: apiserver pkg/authentication/request/headerrequest, client-go
transport/round_trippers.go (SetAuthProxyHeaders), kubernetes
pkg/controlplane/controller/clusterauthenticationtrust.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from podwire.api.view import JSON
from podwire.apiserver.certs import Pair
from podwire.client import http1
from podwire.client.counters import User

AUTHORITY = "front-proxy-ca"
CLIENT = "front-proxy-client"
PREFIX = "x-remote-"
_USER, _UID, _GROUP, _EXTRA = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group", "X-Remote-Extra-"
NAMESPACE, CONFIG_MAP = "kube-system", "extension-apiserver-authentication"
_KEY_SAFE = "!#$&'*+-.^_`|~"
"""What a header's name may hold beside letters and digits (RFC 9110, 5.6.2), but for %."""

_REMEMBERED = 1024


class FrontProxy:
    """The authority that vouches for front proxies, and the API server's own pair of it.

    ``client_ca`` is who vouches for everybody else (PEM). Raises ValueError for what is no PEM.
    """

    def __init__(self, ca: bytes, own: Pair, client_ca: bytes) -> None:
        self.ca = ca
        self.own = own
        self.client_ca = client_ca
        self._authority = x509.load_pem_x509_certificate(ca)
        self._known: dict[bytes, bool] = {}

    def issued(self, der: bytes) -> bool:
        """Whether a certificate that TLS verified is of this authority; remembered."""
        known = self._known.get(der)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[der] = self._is_issued(der)
        return known

    def _is_issued(self, der: bytes) -> bool:
        try:
            x509.load_der_x509_certificate(der).verify_directly_issued_by(self._authority)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def data(self) -> dict[str, str]:
        """What the ConfigMap says."""
        return {
            "client-ca-file": self.client_ca.decode(),
            "requestheader-allowed-names": json.dumps([CLIENT]),
            "requestheader-client-ca-file": self.ca.decode(),
            "requestheader-extra-headers-prefix": json.dumps([_EXTRA]),
            "requestheader-group-headers": json.dumps([_GROUP]),
            "requestheader-uid-headers": json.dumps([_UID]),
            "requestheader-username-headers": json.dumps([_USER]),
        }

    def config_map(self) -> JSON:
        """The ConfigMap, whole."""
        meta = {"namespace": NAMESPACE, "name": CONFIG_MAP}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": self.data()}


def speaks_for(headers: dict[str, str], name: str, authenticated: str) -> User | None:
    """Whom a front proxy with the certificate's ``name`` speaks for; None when it may not, or
    names nobody. The headers that say it are taken out. One that came more than once has its
    values on lines of their own (``http/headers.py``).
    """
    given = {key: headers.pop(key).split("\n") for key in list(headers) if key.startswith(PREFIX)}
    user = given.get(_USER.lower(), [""])[0]
    if name != CLIENT or not user:
        return None
    groups = [value for value in given.get(_GROUP.lower(), ()) if value]
    if authenticated not in groups:
        groups.append(authenticated)
    extra: dict[str, tuple[str, ...]] = {}
    for key, values in given.items():
        if key.startswith(_EXTRA.lower()):
            told = unquote(key.removeprefix(_EXTRA.lower()))
            extra[told] = (*extra.get(told, ()), *values)
    uid = given.get(_UID.lower(), [""])[0]
    return User(user, tuple(groups), uid, tuple(sorted(extra.items())))


def headers_of(user: User) -> http1.Headers:
    """The headers by which an extension API server learns who asks."""
    told: http1.Headers = [(_USER, user.name)]
    if user.uid:
        told.append((_UID, user.uid))
    told += [(_GROUP, group) for group in user.groups]
    for key, values in user.extra:
        name = f"{_EXTRA}{quote(key, safe=_KEY_SAFE)}"
        told += [(name, value) for value in values]
    return told


def common_name(certificate: Mapping[str, Any]) -> str:
    """CN of what ``ssl.SSLSocket.getpeercert`` tells."""
    rdns = certificate.get("subject", ())
    return next((v for rdn in rdns for key, v in rdn if key == "commonName"), "")
