"""Service account tokens: JSON web tokens signed with the cluster's ES256 key.

Source of the claims, checks and messages: upstream pkg/serviceaccount (claims.go, jwt.go,
legacy.go, openidmetadata.go) and apiserver pkg/authentication/serviceaccount.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from podwire.api.untrusted import decoded
from podwire.api.view import JSON
from podwire.apiserver.certs import new_key

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""What kubeadm gives --service-account-issuer; the default audience too."""
LEGACY_ISSUER = "kubernetes/serviceaccount"
MAX_TOKEN_BYTES = 16 * 1024
_PART_BYTES = 32
_REMEMBERED = 4096


class TokenError(Exception):
    """A token is not to be believed; the message says why, and holds nothing secret."""


class Issuer:
    """Signs and verifies tokens with one key (``pem``: PKCS8, made by ``new_signing_key``).

    Raises ValueError when ``pem`` is no P-256 key.
    """

    def __init__(self, pem: bytes, name: str = ISSUER, audiences: Sequence[str] = ()) -> None:
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError("the service account key is not a P-256 key")
        self.name = name
        self.audiences = tuple(audiences) or (name,)
        """Audiences of the API server itself; a token must have one of them to be let in."""
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = _b64(hashlib.sha256(der).digest())
        self._head = _b64(msgspec.json.encode({"alg": "ES256", "kid": self.key_id}))
        self._verified: OrderedDict[bytes, JSON] = OrderedDict()
        """Claims whose signature was found good, by the token's digest."""

    def sign(self, claims: JSON) -> str:
        """The token that states ``claims`` (``iss`` is added)."""
        body = {"iss": self.name, **claims}
        signed = f"{self._head}.{_b64(msgspec.json.encode(body, order='sorted'))}"
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), algorithm))
        return f"{signed}.{_b64(r.to_bytes(_PART_BYTES, 'big') + s.to_bytes(_PART_BYTES, 'big'))}"

    def sign_for_secret(self, namespace: str, name: str, uid: str, secret: str) -> str:
        """The token that lies in a Secret: it does not expire, and is good while both exist."""
        own = "kubernetes.io/serviceaccount"
        return self.sign(
            {
                "iss": LEGACY_ISSUER,
                "sub": f"system:serviceaccount:{namespace}:{name}",
                f"{own}/namespace": namespace,
                f"{own}/secret.name": secret,
                f"{own}/service-account.name": name,
                f"{own}/service-account.uid": uid,
            }
        )

    def claims(self, token: str) -> JSON | None:
        """What a token states, None when it is not of this issuer. Raises TokenError."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is not None:
            self._verified.move_to_end(digest)
            return known
        claims = _unverified(token)
        issuer = None if claims is None else claims.get("iss")
        # What is not verified yet may be anything: an object, which has no hash.
        if claims is None or issuer not in (self.name, LEGACY_ISSUER):
            return None
        self._verify(token)
        self._verified[digest] = claims
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return claims

    def _verify(self, token: str) -> None:
        head, body, signature = token.split(".")
        header = _decoded(head)
        if header is None or header.get("alg") != "ES256":
            raise TokenError("invalid signature, unsupported algorithm")
        if header.get("kid") not in (None, "", self.key_id):
            raise TokenError("invalid signature, no keys found")
        raw = _unb64(signature)
        if raw is None or len(raw) != 2 * _PART_BYTES:
            raise TokenError("invalid signature")
        pair = (int.from_bytes(raw[:_PART_BYTES], "big"), int.from_bytes(raw[_PART_BYTES:], "big"))
        try:
            self._public.verify(
                utils.encode_dss_signature(*pair),
                f"{head}.{body}".encode(),
                ec.ECDSA(hashes.SHA256()),
            )
        except InvalidSignature:
            raise TokenError("invalid signature") from None

    def jwks(self) -> JSON:
        """The public key as a JSON web key set."""
        numbers = self._public.public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": _b64(numbers.x.to_bytes(_PART_BYTES, "big")),
                    "y": _b64(numbers.y.to_bytes(_PART_BYTES, "big")),
                }
            ]
        }

    def discovery(self, jwks_uri: str) -> JSON:
        """The OpenID provider's configuration."""
        return {
            "issuer": self.name,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


def new_signing_key(secret: Callable[[int], bytes]) -> bytes:
    """A key for an Issuer, PEM; in simulations it follows from the seed."""
    return new_key(secret).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes | None:
    if "=" in text:
        return None  # a second text of the same token
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _decoded(part: str) -> JSON | None:
    raw = _unb64(part)
    if raw is None:
        return None
    try:
        return decoded(raw, dict)
    except ValueError:
        return None


def _unverified(token: str) -> JSON | None:
    """The claims of what looks like a token, not to be trusted yet."""
    if len(token) > MAX_TOKEN_BYTES or token.count(".") != 2:
        return None
    return _decoded(token.split(".")[1])
