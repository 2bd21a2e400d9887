"""Questions that are answered and not stored: who am I, what may I do; and acting as others."""

from __future__ import annotations

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.http.headers import combined
from podwire.client.counters import Request, User

AUTHN, AUTHZ = "/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1"
PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


async def asked_as(w, *fields, user=None):
    """The answer to ``kubectl auth whoami`` with these header fields."""
    body = msgspec.json.encode({"kind": "SelfSubjectReview"})
    headers = combined([("Content-Type", "application/json"), *fields])
    user = user or User("admin", ("system:masters", "system:authenticated"))
    path = f"{AUTHN}/selfsubjectreviews"
    response = await w.server.handle(Request("POST", path, (), headers, body, user))
    return msgspec.json.decode(response.body)


def test_whoami_tells_all_that_the_server_knows_of_the_caller(simulate):
    """Name, uid, groups and extra of the credential."""

    async def story(w):
        user = User("ann", ("dev", "system:authenticated"), "7", (("scopes", ("a", "b")),))
        answer = await asked_as(w, user=user)
        assert answer["metadata"] == {"creationTimestamp": "2026-01-01T00:00:00Z"}
        assert answer["status"]["userInfo"] == {
            "username": "ann",
            "uid": "7",
            "groups": ["dev", "system:authenticated"],
            "extra": {"scopes": ["a", "b"]},
        }

    simulate(story)


def test_impersonation_makes_the_caller_somebody_else(simulate):
    """Groups, uid and extra come from headers; system:authenticated is added."""

    async def story(w):
        answer = await asked_as(
            w,
            ("Impersonate-User", "bob"),
            ("Impersonate-Group", "dev, ops"),
            ("Impersonate-Group", "qa"),
            ("Impersonate-Uid", "42"),
            ("Impersonate-Extra-Scopes", "view"),
            ("Impersonate-Extra-Scopes", "edit"),
            ("Impersonate-Extra-Acme.com%2FProject", "x"),
        )
        assert answer["status"]["userInfo"] == {
            "username": "bob",
            "uid": "42",
            "groups": ["dev, ops", "qa", "system:authenticated"],
            "extra": {"acme.com/project": ["x"], "scopes": ["view", "edit"]},
        }

    simulate(story)


def test_a_service_account_brings_its_groups(simulate):
    """They follow from its name, unless groups are given."""

    async def story(w):
        name = "system:serviceaccount:default:robot"
        answer = await asked_as(w, ("Impersonate-User", name))
        assert answer["status"]["userInfo"]["groups"] == [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ]
        answer = await asked_as(w, ("Impersonate-User", name), ("Impersonate-Group", "g"))
        assert answer["status"]["userInfo"]["groups"] == ["g", "system:authenticated"]

    simulate(story)


def test_groups_without_a_user_are_refused(simulate):
    """400: there is nobody to give them to."""

    async def story(w):
        answer = await asked_as(w, ("Impersonate-Group", "dev"))
        assert answer["code"] == 400
        assert answer["message"] == (
            'requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"dev"}, '
            "Extra:map[string][]string(nil)} without impersonating a user name"
        )

    simulate(story)


def test_who_acts_as_nobody_may_do_nothing(simulate):
    """system:anonymous stays unauthenticated; anonymous may not become anybody."""

    async def story(w):
        answer = await asked_as(w, ("Impersonate-User", "system:anonymous"))
        assert answer["reason"] == "Forbidden"
        assert (
            'User "system:anonymous" cannot create resource "selfsubjectreviews"'
            in (answer["message"])
        )
        anonymous = User("system:anonymous", ("system:unauthenticated",))
        answer = await asked_as(w, ("Impersonate-User", "ann"), user=anonymous)
        assert answer["message"] == (
            'users "ann" is forbidden: User "system:anonymous" cannot impersonate resource '
            '"users" in API group "" at the cluster scope'
        )

    simulate(story)


def test_an_access_review_answers_by_the_one_decision(simulate):
    """Anybody known may do everything, anonymous nothing."""

    async def story(w):
        async def status(path, spec, **meta):
            body = {"metadata": meta, "spec": spec}
            return (await w.json("POST", f"{AUTHZ}/{path}", body))["status"]

        own = {"resourceAttributes": PODS}
        assert await status("selfsubjectaccessreviews", own) == {"allowed": True}
        bob = {"user": "bob", "resourceAttributes": PODS}
        assert await status("subjectaccessreviews", bob) == {"allowed": True}
        nobody = {**bob, "user": "system:anonymous"}
        assert await status("subjectaccessreviews", nobody) == {"allowed": False}
        path = "namespaces/default/localsubjectaccessreviews"
        assert await status(path, bob) == {"allowed": True}
        url = {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/version"}}
        assert await status("subjectaccessreviews", url) == {"allowed": True}

    simulate(story)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "subjectaccessreviews",
            {"spec": {"resourceAttributes": PODS}},
            'spec.user: Invalid value: "": at least one of user or group must be specified',
        ),
        (
            "selfsubjectaccessreviews",
            {"spec": {}},
            (
                "spec.resourceAttributes: Invalid value: null: exactly one of "
                "nonResourceAttributes or resourceAttributes must be specified"
            ),
        ),
        (
            "selfsubjectaccessreviews",
            {"metadata": {"name": "x"}, "spec": {"resourceAttributes": PODS}},
            'metadata: Invalid value: {"name":"x"}: must be empty',
        ),
        (
            "namespaces/kube-system/localsubjectaccessreviews",
            {"spec": {"user": "bob", "resourceAttributes": PODS}},
            (
                'spec.resourceAttributes.namespace: Invalid value: "default": must match '
                "metadata.namespace"
            ),
        ),
    ],
)
def test_a_review_that_asks_nothing_clear_is_refused(simulate, path, body, told):
    """Source: pkg/apis/authorization/validation."""

    async def story(w):
        answer = await w.json("POST", f"{AUTHZ}/{path}", body)
        assert answer["code"] == 422
        assert answer["message"].endswith(f'authorization.k8s.io "" is invalid: {told}')

    simulate(story)


def test_rules_tell_what_a_user_may_do_in_a_namespace(simulate):
    """kubectl auth can-i --list prints them."""

    async def story(w):
        path = f"{AUTHZ}/selfsubjectrulesreviews"
        answer = await w.json("POST", path, {"spec": {"namespace": "default"}})
        assert answer["status"] == {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
        answer = await w.json("POST", path, {"spec": {}})
        assert answer["message"] == "no namespace on request"

    simulate(story)


def test_a_certificate_names_user_groups_and_itself():
    """CN, O and uid of the subject; the credential-id is the certificate's digest."""
    subject = (
        (("organizationName", "dev"),),
        (("organizationName", "ops"),),
        (("commonName", "ann"),),
        (("1.3.6.1.4.1.57683.2", "7"),),
    )
    user = Authenticator({}).user({"subject": subject, "sha256": "ab"}, "")
    assert user == User(
        "ann",
        ("dev", "ops", "system:authenticated"),
        "7",
        (("authentication.kubernetes.io/credential-id", ("X509SHA256=ab",)),),
    )


def test_no_review_is_stored(simulate):
    """Nothing was written by any of them."""

    async def story(w):
        before = await w.store.revision()
        await asked_as(w)
        body = {"spec": {"resourceAttributes": PODS}}
        await w.json("POST", f"{AUTHZ}/selfsubjectaccessreviews", body)
        assert await w.store.revision() == before
        assert (await w.raw("GET", f"{AUTHZ}/subjectaccessreviews")).status == 405
        assert kinds.by_gvk("authorization.k8s.io/v1", "SubjectAccessReview") is not None

    simulate(story)
