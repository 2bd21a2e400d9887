"""Service account tokens: issued, believed, and worth nothing once what they name is gone."""

from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.tokens import ISSUER, Issuer, TokenError, new_signing_key

SA, POD, SECRET, NODE = kinds.SERVICE_ACCOUNT, kinds.POD, kinds.SECRET, kinds.NODE
TOKEN = SA.path("default", "robot", "token")
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def issuing(story):
    """The story, in a server that issues tokens and has a service account ``robot``."""

    async def told(w):
        w.server.issue_tokens(Issuer(new_signing_key(w.env.secret)))
        await w.client.create(SA, {"metadata": {"name": "robot"}}, "default")
        await story(w)

    return told


async def token(w, **spec):
    answer = await w.json("POST", TOKEN, {"spec": spec})
    return answer["status"]["token"]


def claims(text):
    body = text.split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def holder(w, text):
    return w.server.authenticator.user(None, f"Bearer {text}")


def refused(w, text):
    with pytest.raises(TokenError) as caught:
        w.server.authenticator.token(text)
    return str(caught.value)


def test_a_token_states_whose_it_is_and_how_long(simulate):
    """An hour unless asked otherwise, for the API server itself."""

    async def story(w):
        answer = await w.json("POST", TOKEN, {"spec": {}})
        uid = (await w.client.get(SA, "robot", "default")).metadata.uid
        assert list(answer)[:5] == ["kind", "apiVersion", "metadata", "spec", "status"]
        assert answer["metadata"] == {
            "name": "robot",
            "namespace": "default",
            "uid": uid,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
        assert answer["status"]["expirationTimestamp"] == "2026-01-01T01:00:00Z"
        stated = claims(answer["status"]["token"])
        assert stated["iss"] == ISSUER
        assert stated["sub"] == "system:serviceaccount:default:robot"
        assert stated["exp"] - stated["iat"] == 3600
        assert stated["kubernetes.io"] == {
            "namespace": "default",
            "serviceaccount": {"name": "robot", "uid": uid},
        }
        user = holder(w, answer["status"]["token"])
        assert (user.name, user.uid) == (stated["sub"], uid)
        assert user.groups == (
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        )
        assert user.extra == (
            ("authentication.kubernetes.io/credential-id", (f"JTI={stated['jti']}",)),
        )

    simulate(issuing(story))


def test_the_published_key_verifies_a_token(simulate):
    """Others need no more than /openid/v1/jwks, which the discovery document names."""

    async def story(w):
        text = await token(w)
        found = await w.raw("GET", "/.well-known/openid-configuration")
        assert found.headers["cache-control"] == "public, max-age=3600"
        document = msgspec.json.decode(found.body)
        assert document["issuer"] == ISSUER
        assert document["jwks_uri"] == "https://192.168.0.10:6443/openid/v1/jwks"
        answer = await w.raw("GET", "/openid/v1/jwks")
        assert answer.headers["content-type"] == "application/jwk-set+json"
        (key,) = msgspec.json.decode(answer.body)["keys"]
        x, y = (
            int.from_bytes(base64.urlsafe_b64decode(key[part] + "=" * (-len(key[part]) % 4)), "big")
            for part in "xy"
        )
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        head, body, signature = text.split(".")
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
        public.verify(
            utils.encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())
        )
        assert (await w.raw("GET", "/openid/v1/jwks", user=None)).status == 403

    simulate(issuing(story))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (599, "may not specify a duration less than 10 minutes"),
        ((1 << 32) + 1, "may not specify a duration larger than 2^32 seconds"),
    ],
)
def test_a_token_lives_ten_minutes_at_least(simulate, seconds, told):
    """And 2^32 seconds at most. Source: authentication/validation."""

    async def story(w):
        answer = await w.json("POST", TOKEN, {"spec": {"expirationSeconds": seconds}})
        assert answer["code"] == 422
        assert answer["message"] == (
            'TokenRequest.authentication.k8s.io "" is invalid: '
            f"spec.expirationSeconds: Invalid value: {seconds}: {told}"
        )

    simulate(issuing(story))


def test_a_token_expires(simulate):
    """A minute of grace allows for clocks that differ."""

    async def story(w):
        text = await token(w, expirationSeconds=600)
        await w.env.clock.sleep(659)
        assert holder(w, text).name == "system:serviceaccount:default:robot"
        await w.env.clock.sleep(2)
        assert refused(w, text) == "[invalid bearer token, service account token has expired]"
        with pytest.raises(ApiError, match="Unauthorized"):
            holder(w, text)

    simulate(issuing(story))


def test_a_token_dies_with_its_service_account(simulate):
    """A namesake is another account."""

    async def story(w):
        text = await token(w)
        await w.client.delete(SA, "robot", "default")
        assert refused(w, text) == '[invalid bearer token, serviceaccounts "robot" not found]'
        await w.client.create(SA, {"metadata": {"name": "robot"}}, "default")
        assert "does not match claim" in refused(w, text)

    simulate(issuing(story))


def test_a_token_dies_with_the_pod_it_is_bound_to(simulate):
    """It says of which pod and node its holder is."""

    async def story(w):
        node = await w.client.create(NODE, {"metadata": {"name": "node-1"}})
        spec = {
            "serviceAccountName": "robot",
            "nodeName": "node-1",
            "containers": [{"name": "c", "image": "nginx"}],
        }
        pod = await w.client.create(POD, {"metadata": {"name": "a"}, "spec": spec}, "default")
        reference = {"kind": "Pod", "apiVersion": "v1", "name": "a"}
        text = await token(w, boundObjectRef=reference)
        extra = dict(holder(w, text).extra)
        prefix = "authentication.kubernetes.io"
        assert extra[f"{prefix}/pod-name"] == ("a",)
        assert extra[f"{prefix}/pod-uid"] == (pod.metadata.uid,)
        assert extra[f"{prefix}/node-name"] == ("node-1",)
        assert extra[f"{prefix}/node-uid"] == (node.metadata.uid,)
        await w.client.delete(NODE, "node-1")  # the pod's node is told, not checked
        assert holder(w, text).uid
        await w.client.delete(POD, "a", "default", grace_period_seconds=0)
        told = "[invalid bearer token, service account token has been invalidated]"
        assert refused(w, text) == told

    simulate(issuing(story))


def test_what_a_token_can_be_bound_to(simulate):
    """A pod of that account, a Secret, a Node: by name, and by uid if one is given."""

    async def story(w):
        spec = {"containers": [{"name": "c", "image": "nginx"}]}
        await w.client.create(POD, {"metadata": {"name": "other"}, "spec": spec}, "default")
        await w.client.create(SECRET, {"metadata": {"name": "s"}}, "default")

        async def told(**reference):
            return await w.json("POST", TOKEN, {"spec": {"boundObjectRef": reference}})

        assert (await told(kind="Pod", apiVersion="v1", name="other"))["message"] == (
            'cannot bind token for serviceaccount "robot" to pod running with different '
            "serviceaccount name."
        )
        answer = await told(kind="Pod", apiVersion="v1", name="none")
        assert answer["message"] == 'pods "none" not found'
        answer = await told(kind="Deployment", apiVersion="apps/v1", name="x")
        assert answer["message"] == "cannot bind token to object of type apps/v1, Kind=Deployment"
        answer = await told(kind="Secret", apiVersion="v1", name="s", uid="other")
        assert answer["code"] == 409
        text = (await told(kind="Secret", apiVersion="v1", name="s"))["status"]["token"]
        assert claims(text)["kubernetes.io"]["secret"]["name"] == "s"
        await w.client.delete(SECRET, "s", "default")
        assert "invalidated" in refused(w, text)

    simulate(issuing(story))


def test_a_request_must_mean_the_account_of_its_url(simulate):
    """Name, namespace and uid of the body are checked. Source: serviceaccount/storage/token.go."""

    async def story(w):
        answer = await w.json("POST", TOKEN, {"metadata": {"name": "other"}, "spec": {}})
        assert answer["message"].endswith(
            'metadata.name: Invalid value: "other": must match the service account name if '
            "specified"
        )
        answer = await w.json("POST", TOKEN, {"metadata": {"uid": "other"}, "spec": {}})
        assert answer["reason"] == "Conflict"
        answer = await w.json("POST", SA.path("default", "nobody", "token"), {"spec": {}})
        assert answer["message"] == 'serviceaccounts "nobody" not found'

    simulate(issuing(story))


def test_a_token_for_others_does_not_open_this_door(simulate):
    """TokenReview, asked for those others, knows it."""

    async def story(w):
        text = await token(w, audiences=["vault"])
        assert "token audiences" in refused(w, text)
        spec = {"token": text, "audiences": ["vault", "other"]}
        answer = await w.json("POST", REVIEWS, {"spec": spec})
        assert answer["status"]["authenticated"] is True
        assert answer["status"]["audiences"] == ["vault"]
        assert answer["status"]["user"]["username"] == "system:serviceaccount:default:robot"
        answer = await w.json("POST", REVIEWS, {"spec": {"token": text}})
        assert "authenticated" not in answer["status"]
        assert answer["status"]["error"].startswith("[invalid bearer token, token audiences")

    simulate(issuing(story))


def test_a_token_that_was_tampered_with_is_not_believed(simulate):
    """Neither is one of another cluster, nor one that says it needs no signature."""

    async def story(w):
        text = await token(w)
        head, body, signature = text.split(".")
        other = claims(text) | {"sub": "system:serviceaccount:kube-system:default"}
        forged = base64.urlsafe_b64encode(msgspec.json.encode(other)).rstrip(b"=").decode()
        assert "invalid signature" in refused(w, f"{head}.{forged}.{signature}")
        none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        assert "unsupported algorithm" in refused(w, f"{none}.{body}.")
        stranger = Issuer(new_signing_key(lambda n: b"\7" * n))
        assert "no keys found" in refused(w, stranger.sign(claims(text)))
        assert refused(w, "a.b.c") == "invalid bearer token"
        assert refused(w, "x" * 20_000) == "invalid bearer token"
        review = await w.json("POST", REVIEWS, {"spec": {"token": ""}})
        assert review["message"] == "token is required for TokenReview in authentication"

    simulate(issuing(story))


def test_without_a_key_there_are_no_tokens(simulate):
    """The subresource answers as if it were not there."""

    async def story(w):
        answer = await w.json("POST", SA.path("default", "default", "token"), {"spec": {}})
        assert answer["code"] == 404

    simulate(story)


@pytest.mark.parametrize("part", ["iss", "kid"])
def test_a_token_whose_issuer_or_key_is_no_string_is_refused(simulate, part):
    """It is not verified yet, so it may be anything: an object, too, is an answer, not a crash."""

    async def story(w):
        text = await token(w)
        head, _, signature = text.split(".")
        body = {**claims(text), **({"iss": {}} if part == "iss" else {})}
        if part == "kid":
            head = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":{}}').rstrip(b"=").decode()
        made = base64.urlsafe_b64encode(msgspec.json.encode(body)).rstrip(b"=").decode()
        assert "invalid" in refused(w, f"{head}.{made}.{signature}")

    simulate(issuing(story))
