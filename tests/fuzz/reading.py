"""Lists, watches and paths that are nearly right, and tokens that are not."""

from __future__ import annotations

import base64
import json
import random
from typing import Any
from urllib.parse import quote

import msgspec

from tests.fuzz.drawing import JSON, Asked, Drawing, target_of

PATHS = (
    "/", "/api", "/apis", "/version", "/healthz/etcd", "/livez", "/readyz", "/metrics",
    "/openapi/v2",
    "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks", "/apis/podwire.dev/v1alpha1", "/apis/podwire.dev/v1alpha1/traces",
    "/apis/podwire.dev/v1alpha1/components", "/apis/metrics.k8s.io/v1beta1/nodes", "/logs",
    "/debug/pprof",
    "/api/v1/namespaces/default/pods/a/proxy/x", "/api/v1/nodes/a/proxy/metrics", "/apis/apps",
    "/api/v1/namespaces/default/services/http:a:80/proxy/", "/apis/example.com/v1/widgets",
)  # fmt: skip


class Reading(Drawing):
    """What reads."""

    def query(self) -> Asked:
        """A list (or a short watch) with selectors and parameters that may be wrong."""
        kind = self.kind()
        query = self.query_of(dry=0)
        if self.rng.random() < 0.7:
            query[self.rng.choice(("labelSelector", "fieldSelector"))] = self.wild.selector()
        path = self.collection(kind) if self.rng.random() < 0.7 else self.named(kind)
        return Asked("query", "GET", target_of(path, query), {})

    def path(self) -> Asked:
        """Paths that are nearly right."""
        path = self.rng.choice(PATHS)
        if self.rng.random() < 0.6:
            parts = path.split("/")
            parts[self.rng.randrange(len(parts))] = quote(self.wild.text(), errors="replace")
            path = "/" + "/".join(parts).lstrip("/")
        method = self.rng.choice(("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
        headers = {"Content-Type": self.rng.choice((JSON, "", "x/y", JSON + ";charset=\xff"))}
        if self.rng.random() < 0.1:
            name = self.rng.choice(
                (
                    "Impersonate-User",
                    "Impersonate-Group",
                    "Impersonate-Uid",
                    "Impersonate-Extra-a%zz",
                )
            )
            headers[name] = self.rng.choice(("a", "", "system:serviceaccount:", "system:masters"))
        body = b"" if method == "GET" else self.wild.encoded(self.wild.value())
        return Asked("path", method, target_of(path, self.query_of(dry=0)), headers, body)


class Tokens(Drawing):
    """Spoilt forms of ``token``, which the server believes."""

    def __init__(self, rng: random.Random, token: str) -> None:
        super().__init__(rng)
        self.token = token

    def jwt(self) -> Asked:
        """A request with a spoilt token; whoever gets in with one is a defect."""
        head, body, signature = self.token.split(".")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=="))
        which = self.rng.randrange(7)
        if which == 0:
            head = _part({"alg": self.rng.choice(("none", "HS256", "RS256", "ES384", "None", 1))})
            signature = self.rng.choice(("", signature))
        elif which == 1:
            claims[self.rng.choice(list(claims))] = self.wild.value()
            body = _part(claims)
        elif which == 2:
            signature = signature[: self.rng.randrange(len(signature) - 2)]
        elif which == 3:
            body = base64.urlsafe_b64encode(
                b'{"iss":' + b"[" * self.rng.choice((50, 2000))
            ).decode()
        elif which == 4:
            head = _part(
                {"alg": "ES256", "kid": self.wild.value(), "x": "A" * self.rng.choice((1, 3000))}
            )
        elif which == 5:
            signature = base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()
        else:
            text = self.wild.flipped(f"{head}.{body}".encode())
            head, body = "".join(chr(c) for c in text if 32 < c < 127), "x"
        return self._with_token(f"{head}.{body}.{signature}")

    def _with_token(self, token: str) -> Asked:
        return Asked(
            "jwt", "GET", "/api/v1/namespaces/default/pods", {"Authorization": f"Bearer {token}"}
        )


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
