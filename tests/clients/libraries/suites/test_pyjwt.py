"""PyJWT verifies service accounts' tokens by what the API server publishes of its keys."""

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.request

import jwt
import pytest


def kubectl(*argv):
    """What kubectl printed."""
    done = subprocess.run(["kubectl", *argv], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def cluster():
    """The API server's address, and a TLS context that trusts it."""
    view = json.loads(kubectl("config", "view", "--minify", "--raw", "-o", "json"))
    found = view["clusters"][0]["cluster"]
    ca = base64.b64decode(found["certificate-authority-data"]).decode()
    return found["server"], ssl.create_default_context(cadata=ca)


def get(cluster, path, token):
    """What the API server answers the holder of a token."""
    server, context = cluster
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(server + path, headers=headers)  # noqa: S310  https
    with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310  https
        return answer.headers.get_content_type(), json.loads(answer.read())


def test_a_token_is_verified_by_the_published_keys(ns, cluster):
    """Issuer from the discovery document, key by the token's kid, audience and expiry checked."""
    own = kubectl("create", "token", "default", "-n", ns).strip()
    token = kubectl(
        "create", "token", "default", "-n", ns, "--audience=vault", "--duration=15m"
    ).strip()
    kind, about = get(cluster, "/.well-known/openid-configuration", own)
    assert kind == "application/json"
    assert get(cluster, "/openid/v1/jwks", own)[0] == "application/jwk-set+json"
    server, context = cluster
    keys = jwt.PyJWKClient(
        f"{server}/openid/v1/jwks", headers={"Authorization": f"Bearer {own}"}, ssl_context=context
    )
    key = keys.get_signing_key_from_jwt(token)
    algorithms = about["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms, audience="vault", issuer=about["issuer"])
    assert claims["sub"] == f"system:serviceaccount:{ns}:default"
    assert claims["exp"] - claims["iat"] == 900
    assert claims["kubernetes.io"]["serviceaccount"]["name"] == "default"
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms, audience="other", issuer=about["issuer"])
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[:-8]}{'A' * 8}"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, key, algorithms, audience="vault", issuer=about["issuer"])


def test_only_service_accounts_may_read_the_keys(cluster):
    """By system:service-account-issuer-discovery; anonymous needs a binding of its own."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(cluster, "/openid/v1/jwks", "")
    assert refused.value.code == 403
