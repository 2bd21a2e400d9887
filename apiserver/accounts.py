"""Who a service account token speaks for: its claims held against the objects they name.

A token is worth nothing once its ServiceAccount, or the Pod, Secret or Node it is bound to, is
gone. Source: upstream pkg/serviceaccount (claims.go and legacy.go, their validators).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.times import NS, parse_time
from podwire.api.view import JSON
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.tokens import LEGACY_ISSUER, Issuer, TokenError
from podwire.client.counters import User

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

LEEWAY_S = 60
"""How far the clocks of those who check tokens may differ (go-jose's DefaultLeeway)."""
PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
AUTHENTICATED = "system:authenticated"
_EXTRA = "authentication.kubernetes.io/"
_INVALIDATED = "service account token has been invalidated"
_LEGACY = "kubernetes.io/serviceaccount/"


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A user, and which of the asked audiences its token is meant for."""

    user: User
    audiences: tuple[str, ...] = ()


def groups_of(namespace: str) -> tuple[str, ...]:
    """The groups of every service account of a namespace, without system:authenticated."""
    return (GROUP, f"{GROUP}:{namespace}")


class ServiceAccounts:
    """Authenticates tokens of ``issuer`` by the objects in the server's cache."""

    def __init__(self, server: Apiserver, issuer: Issuer) -> None:
        self.issuer = issuer
        self._server = server

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> Authenticated | None:
        """The account of a token, None when the token is none of ours. Raises TokenError.

        ``audiences`` are those that the asker belongs to: the API server's unless given.
        """
        claims = self.issuer.claims(token)
        if claims is None:
            return None
        legacy = claims.get("iss") == LEGACY_ISSUER
        own = claims.get("aud") or []
        has = [own] if isinstance(own, str) else own
        asked = list(audiences) or list(self.issuer.audiences)
        if legacy or not has:
            has = list(self.issuer.audiences)
        common = tuple(name for name in has if name in asked)
        if not common:
            raise TokenError(
                f"token audiences {_quoted(has)} is invalid for the target audiences "
                f"{_quoted(asked)}"
            )
        user = self._legacy(claims, token) if legacy else self._bound(claims)
        return Authenticated(user, common)

    def _bound(self, claims: JSON) -> User:
        self._check_times(claims)
        own: JSON = claims.get("kubernetes.io") or {}
        namespace, account = own.get("namespace", ""), own.get("serviceaccount") or {}
        name = account.get("name", "")
        self._account(namespace, name, account.get("uid", ""))
        extra: dict[str, str] = {}
        if (secret := own.get("secret")) is not None:
            self._tied(kinds.SECRET, namespace, secret, "secret")
        if (pod := own.get("pod")) is not None:
            self._tied(kinds.POD, namespace, pod, "pod")
            extra["pod-name"], extra["pod-uid"] = pod["name"], pod["uid"]
        if (node := own.get("node")) is not None:
            if pod is None:
                self._tied(kinds.NODE, "", node, "node")
            extra["node-name"] = node["name"]
            if node.get("uid"):
                extra["node-uid"] = node["uid"]
        if claims.get("jti"):
            extra["credential-id"] = f"JTI={claims['jti']}"
        return _user(namespace, name, account["uid"], extra)

    def _check_times(self, claims: JSON) -> None:
        now_s = self._server.world.clock.now_ns() // NS
        if now_s - LEEWAY_S > claims.get("exp", 0):
            raise TokenError("service account token has expired")
        if now_s + LEEWAY_S < claims.get("nbf", 0):
            raise TokenError("service account token is not valid yet")
        if now_s + LEEWAY_S < claims.get("iat", 0):
            raise TokenError("service account token is issued in the future")

    def _account(self, namespace: str, name: str, uid: str) -> None:
        entry = self._server.caches.of(kinds.SERVICE_ACCOUNT).get(namespace, name)
        if entry is None:
            raise TokenError(f'serviceaccounts "{name}" not found')
        found = entry.view.metadata.uid
        if found != uid:
            raise TokenError(f"service account UID ({found}) does not match claim ({uid})")
        if self._ended(entry):
            raise TokenError(f"service account {namespace}/{name} has been deleted")

    def _tied(self, kind: Kind[Any], namespace: str, reference: JSON, word: str) -> Entry:
        entry = self._server.caches.of(kind).get(namespace, reference.get("name", ""))
        if entry is None:
            raise TokenError(_INVALIDATED)
        found, uid = entry.view.metadata.uid, reference.get("uid", "")
        if found != uid:
            ref = f"service account {word} ref claim"
            raise TokenError(f"{word} UID ({found}) does not match {ref} ({uid})")
        if self._ended(entry):
            raise TokenError(_INVALIDATED)
        return entry

    def _ended(self, entry: Entry) -> bool:
        """Whether an object's deletion is due, clocks allowed for."""
        due = entry.view.metadata.deletion_timestamp
        if not due:
            return False
        return parse_time(due) < self._server.world.clock.now_ns() - LEEWAY_S * NS

    def _legacy(self, claims: JSON, token: str) -> User:
        namespace = claims.get(f"{_LEGACY}namespace", "")
        secret = claims.get(f"{_LEGACY}secret.name", "")
        name = claims.get(f"{_LEGACY}service-account.name", "")
        uid = claims.get(f"{_LEGACY}service-account.uid", "")
        entry = self._server.caches.of(kinds.SECRET).get(namespace, secret)
        if entry is None or entry.view.metadata.deletion_timestamp:
            raise TokenError(_INVALIDATED)
        kept = base64.b64decode((entry.json().get("data") or {}).get("token", ""))
        if not hmac.compare_digest(kept, token.encode()):
            raise TokenError("service account token does not match server's copy")
        self._account(namespace, name, uid)
        return _user(namespace, name, uid, {})


def _user(namespace: str, name: str, uid: str, extra: dict[str, str]) -> User:
    return User(
        f"{PREFIX}{namespace}:{name}",
        (*groups_of(namespace), AUTHENTICATED),
        uid,
        tuple((f"{_EXTRA}{key}", (value,)) for key, value in sorted(extra.items())),
    )


def _quoted(names: Sequence[str]) -> str:
    """A list as Go's %q prints it."""
    return "[" + " ".join(f'"{name}"' for name in names) + "]"
