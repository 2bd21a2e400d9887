"""What is refused, how it is said, and that it changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.client.counters import Request, User
from tests.rotation import examples

CM, POD = kinds.CONFIG_MAP, kinds.POD
COLLECTION, OBJECT = CM.path("default"), CM.path("default", "a")

REFUSALS = [
    # method, path, query, body, status, part of the message
    ("POST", COLLECTION, {}, b"{", 400, "json parse error"),
    ("POST", COLLECTION, {}, b"", 400, "json parse error"),
    ("POST", COLLECTION, {}, b"[]", 400, ""),
    ("POST", COLLECTION, {}, b"null", 400, ""),
    ("POST", COLLECTION, {}, b"\xff\xfe", 400, ""),
    ("POST", COLLECTION, {}, {"metadata": 1}, 400, ""),
    ("POST", COLLECTION, {}, {"metadata": {"name": "b"}, "data": {"k": 1}}, 400, ""),
    ("POST", COLLECTION, {}, {"kind": "Pod", "apiVersion": "v1"}, 400, ""),
    ("POST", COLLECTION, {}, {"kind": "X", "apiVersion": "v9"}, 400, "no kind"),
    ("POST", COLLECTION, {}, {"metadata": {"name": "b", "namespace": "other"}}, 400, "namespace"),
    ("POST", COLLECTION, {}, {"metadata": {"name": "b", "resourceVersion": "7"}}, 400,
     "resourceVersion should not be set on objects to be created"),
    ("POST", COLLECTION, {"dryRun": "Some"}, {"metadata": {"name": "b"}}, 422, "dryRun"),
    ("POST", COLLECTION, {"fieldValidation": "x"}, {"metadata": {"name": "b"}}, 422, "Unsupported"),
    ("POST", COLLECTION, {"fieldValidation": "Strict"}, {"metadata": {"name": "b"}, "spce": 1}, 400,
     'strict decoding error: unknown field "spce"'),
    ("POST", "/api/v1/namespaces/none/configmaps", {}, {"metadata": {"name": "b"}}, 404,
     'namespaces "none" not found'),
    ("POST", "/api/v1/configmaps", {}, {"metadata": {"name": "b"}}, 405, "does not allow"),
    ("POST", OBJECT, {}, {"metadata": {"name": "b"}}, 405, "does not allow"),
    ("PUT", OBJECT, {}, {"metadata": {"name": "b"}}, 400, "does not match the name on the URL"),
    ("PUT", OBJECT, {}, {"metadata": {"name": "a", "resourceVersion": "x"}}, 422, "integer"),
    ("PUT", OBJECT, {}, {"metadata": {"name": "a", "uid": "other"}}, 409, "UID in precondition"),
    ("PUT", CM.path("default", "b"), {}, {"metadata": {"name": "b"}}, 404, '"b" not found'),
    ("DELETE", OBJECT, {}, b"{", 400, ""),
    ("DELETE", OBJECT, {"gracePeriodSeconds": "soon"}, None, 400, "invalid syntax"),
    ("DELETE", OBJECT, {"propagationPolicy": "Maybe"}, None, 422, "Unsupported value"),
    ("GET", COLLECTION, {"labelSelector": "a in ("}, None, 400,
     "unable to parse requirement: found '', expected: ',' or ')'"),
    ("GET", COLLECTION, {"fieldSelector": "spec.x=1"}, None, 400, "is not a known field selector"),
    ("GET", COLLECTION, {"limit": "many"}, None, 400, "invalid syntax"),
    ("GET", COLLECTION, {"continue": "!"}, None, 400, "continue key is not valid"),
    ("GET", COLLECTION, {"resourceVersion": "x"}, None, 422, "resourceVersion"),
    ("GET", COLLECTION, {"resourceVersionMatch": "Exact"}, None, 422, "forbidden unless"),
    ("GET", COLLECTION, {"resourceVersion": "0", "resourceVersionMatch": "Exact"}, None, 422, "0"),
    ("GET", COLLECTION, {"resourceVersion": "2", "resourceVersionMatch": "No"}, None, 422, "No"),
    ("GET", COLLECTION, {"sendInitialEvents": "true"}, None, 422, "forbidden for list"),
    ("GET", COLLECTION, {"watch": "1", "sendInitialEvents": "1"}, None, 422, "NotOlderThan"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "query", "body", "status", "text"), REFUSALS)
def test_a_bad_request_is_refused_and_changes_nothing(
    simulate, method, path, query, body, status, text
):
    """4xx with a Status that says why."""

    async def story(w):
        await w.config_map("a")
        before = await w.store.revision()
        answer = await w.raw(method, path, body, **query)
        found = msgspec.json.decode(answer.body)
        assert (answer.status, found["code"]) == (status, status), found
        assert (found["kind"], found["status"]) == ("Status", "Failure")
        assert text in found["message"]
        assert await w.store.revision() == before

    simulate(story)


def test_unknown_paths_are_not_found_as_upstreams_mux_says_it(simulate):
    """Plain text, but a Status below the groups that are served (pkg/server/handler.go)."""

    async def story(w):
        for path in ("/nope", "/apis/x.y/v1/widgets", "/apis/x.y"):
            answer = await w.raw("GET", path)
            assert (answer.status, answer.body) == (404, b"404 page not found\n")
        for path in ("/api/v1/widgets", "/apis/apps/v2/pods", "/api/v1/nodes/n/scale", "/api/v2",
                     "/api/v1/namespaces/x/nodes"):  # fmt: skip
            answer = await w.json("GET", path)
            told = "the server could not find the requested resource"
            assert (answer["code"], answer["message"]) == (404, told)

    simulate(story)


def test_a_body_over_three_mebibytes_is_too_large(simulate):
    """413 before anything is decoded."""

    async def story(w):
        body = b'{"metadata":{"name":"b"},"data":{"k":"%b"}}' % (b"x" * (3 << 20))
        answer = await w.raw("POST", COLLECTION, body)
        assert answer.status == 413
        assert b"Request entity too large: limit is 3145728" in answer.body

    simulate(story)


def test_an_unknown_field_is_a_warning_by_default(simulate):
    """Header Warning with code 299; the field is dropped."""

    async def story(w):
        answer = await w.raw("POST", COLLECTION, {"metadata": {"name": "b"}, "spce": 1})
        assert answer.status == 201
        assert answer.headers["warning"] == '299 - "unknown field \\"spce\\""'
        assert b"spce" not in answer.body

    simulate(story)


def test_anonymous_sees_health_and_version_only(simulate):
    """Everything else is forbidden in the authorizer's words."""

    async def story(w):
        for path in ("/healthz", "/livez", "/readyz", "/readyz/ping", "/version"):
            assert (await w.raw("GET", path, user=None)).status == 200
        answer = await w.raw("GET", POD.path("default"), user=None)
        assert answer.status == 403
        assert msgspec.json.decode(answer.body)["message"] == (
            'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group '
            '"" in the namespace "default"'
        )
        answer = await w.raw("GET", "/apis", user=None)
        assert b'User \\"system:anonymous\\" cannot get path \\"/apis\\"' in answer.body

    simulate(story)


def test_health_lists_its_checks_when_asked(simulate):
    """And a server that stops is not ready but alive."""

    async def story(w):
        assert (await w.raw("GET", "/readyz")).body == b"ok"
        text = (await w.raw("GET", "/readyz", verbose="")).body.decode()
        assert text.startswith("[+]ping ok\n")
        assert text.endswith("readyz check passed\n")
        assert (await w.raw("GET", "/readyz/nope")).status == 404
        w.server.stop()
        answer = await w.raw("GET", "/readyz")
        assert answer.status == 500
        assert b"[-]shutdown failed" in answer.body
        assert (await w.raw("GET", "/livez")).status == 200

    simulate(story)


def test_a_failure_inside_is_a_500_with_a_status_and_the_server_lives_on(simulate):
    """One bad request must not take the others down."""

    async def story(w):
        async def broken(_server, _call):
            raise ZeroDivisionError

        w.server.routes.add_verb("get", broken, "exec", kinds.NODE)
        w.server.routes._resources[kinds.POD, "", "get"] = broken
        assert (await w.raw("GET", POD.path("default", "a"))).status == 500
        assert (await w.raw("GET", POD.path("default"))).status == 200

    simulate(story)


JUNK = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["metadata", "spec", "name", "data", "kind", "labels", "x"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    ).map(msgspec.json.encode),
)
KINDS = st.sampled_from([k for k in kinds.ALL if k is not kinds.TRACE])
MEDIA = st.sampled_from(
    [
        "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/x",
        "application/merge-patch+json", "application/strategic-merge-patch+json",
        "application/json-patch+json", "application/apply-patch+yaml", "",
    ]
)  # fmt: skip
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            ["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "dryRun",
             "resourceVersionMatch", "fieldValidation", "gracePeriodSeconds", "propagationPolicy",
             "fieldManager", "force"]
        ),
        st.text(max_size=6),
    ),
    max_size=2,
)  # fmt: skip


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
            KINDS, st.sampled_from(["", "a"]), st.sampled_from(["", "status", "scale"]),
            QUERIES, MEDIA, JUNK,
        ),
        max_size=12,
    )
)  # fmt: skip
def test_junk_never_gets_a_5xx(simulate, requests):
    """Whatever is sent is either served or refused with 4xx, and a refusal changes nothing."""

    async def story(w):
        await w.config_map("a")
        user = User("fuzz")
        for method, kind, name, subresource, query, media, body in requests:
            path = kind.path("default", name, subresource if name else "")
            before = await w.store.revision()
            request = Request(method, path, tuple(query), {"content-type": media}, body, user)
            answer = await w.server.handle(request)
            # A configuration that does not fit its schema is a 500 upstream too.
            known = (b'"reason":"Timeout"', b"failed to create typed patch object")
            assert answer.status < 500 or any(text in answer.body for text in known), request
            if answer.status >= 400:
                assert await w.store.revision() == before, request

    simulate(story)
