"""Server-side apply as clients of the API server see it."""

import pytest

from podwire.api import kinds
from tests.unit.apiserver.managed import (
    APPLY,
    DEPLOYMENT,
    MERGE,
    WEB,
    A,
    apply,
    config_map,
    deployment,
    managers,
    owned,
)


def test_apply_creates_changes_and_prunes(simulate):
    """201, then 200; a dry run does neither; YAML or JSON."""

    async def story(w):
        status, _ = await apply(w, A, config_map({"k": "v"}), dryRun="All")
        assert status == 201
        assert await w.names() == []
        text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: {k: v, l: v}\n"
        status, shown = await apply(w, A, text)
        assert (status, shown["data"]) == (201, {"k": "v", "l": "v"})
        status, shown = await apply(w, A, config_map({"k": "w"}), dryRun="All")
        assert (status, shown["data"]) == (200, {"k": "w"})
        status, shown = await apply(w, A, config_map({"k": "w"}))
        assert (status, shown["data"]) == (200, {"k": "w"})
        assert (await w.json("GET", A)) == shown
        assert managers(shown) == [("me", "Apply", "")]

    simulate(story)


def test_a_conflict_is_refused_until_it_is_forced(simulate):
    """With upstream's message and one cause for each field."""

    async def story(w):
        await w.json(
            "POST", DEPLOYMENT.path("default"), deployment(1), fieldManager="kubectl-create"
        )
        status, answer = await apply(w, WEB, deployment(2))
        assert status == 409
        conflict = 'conflict with "kubectl-create" using apps/v1'
        assert answer["message"] == f"Apply failed with 1 conflict: {conflict}: .spec.replicas"
        assert answer["reason"] == "Conflict"
        assert answer["details"] == {
            "causes": [
                {"reason": "FieldManagerConflict", "message": conflict, "field": ".spec.replicas"}
            ]
        }
        status, shown = await apply(w, WEB, deployment(2), force="true")
        assert (status, shown["spec"]["replicas"], shown["metadata"]["generation"]) == (200, 2, 2)
        status, shown = await apply(w, WEB, deployment(), "me")
        assert shown["spec"]["replicas"] == 1  # given up by its last owner: the default again

    simulate(story)


@pytest.mark.parametrize(
    ("body", "query", "code", "message"),
    [
        (config_map({}), {"fieldManager": ""}, 422,
         'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for'),
        (b"{", {}, 400, "error decoding patch: error converting YAML to JSON: yaml: "),
        (b"[]", {}, 400, "error decoding patch: "),
        (config_map({}, ""), {}, 400,
         "the name of the object (a based on URL) was undeterminable: name must be provided"),
        (config_map({}, "b"), {}, 400,
         "the name of the object (b) does not match the name on the URL (a)"),
        (config_map({}, namespace="other"), {}, 400,
         "the namespace of the provided object does not match the namespace sent on the request"),
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, {}, 400,
         "invalid object type: /, Kind=ConfigMap"),
        ({**config_map({}), "apiVersion": "a/v2"}, {}, 400,
         "invalid object type: a/v2, Kind=ConfigMap"),
        (config_map({}, managedFields=[]), {}, 400, "metadata.managedFields must be nil"),
        (config_map({}, uid="u"), {}, 409,
         'Operation cannot be fulfilled on configmaps "a": uid mismatch: the provided object spe'),
        (config_map({}, resourceVersion="7"), {}, 400,
         "resourceVersion should not be set on objects to be created"),
        ({**config_map({}), "foo": 1}, {}, 500,
         "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not decl"),
        (b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","name":"a"}}',
         {"fieldValidation": "Strict"}, 400,
         'error strict decoding patch: yaml: unmarshal errors:\n  line 1: key "name" already'),
        (config_map({}, "_"), {}, 400, "the name of the object (_) does not match"),
    ],
)  # fmt: skip
def test_a_wrong_apply_says_what_is_wrong_and_creates_nothing(simulate, body, query, code, message):
    """In upstream's words."""

    async def story(w):
        answer = await w.json(
            "PATCH", A, body, content_type=APPLY, **{"fieldManager": "me", **query}
        )
        assert answer["code"] == code, answer
        assert answer["message"].startswith(message), answer
        assert await w.names() == []

    simulate(story)


def test_other_patches_cannot_be_forced(simulate):
    """force is a word of apply."""

    async def story(w):
        await w.config_map("a")
        answer = await w.json("PATCH", A, {}, content_type=MERGE, force="true")
        assert answer["message"] == (
            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for '
            "non-apply patch"
        )

    simulate(story)


def test_apply_checks_the_revision_it_is_given_and_needs_no_name_where_one_is(simulate):
    """The object merged has the name; a stale revision is a conflict."""

    async def story(w):
        await apply(w, A, config_map({"k": "v"}))
        status, answer = await apply(w, A, config_map({"k": "w"}, resourceVersion="1"))
        assert status == 409
        assert "the object has been modified" in answer["message"]
        status, shown = await apply(w, A, config_map({"k": "w"}, ""))
        assert (status, shown["data"]) == (200, {"k": "w"})
        now = shown["metadata"]["resourceVersion"]
        status, shown = await apply(w, A, config_map({"k": "x"}, resourceVersion=now))
        assert (status, shown["data"]) == (200, {"k": "x"})

    simulate(story)


def test_status_is_applied_by_its_own_endpoint(simulate):
    """The main one ignores it and owns nothing of it; /status creates no object."""

    async def story(w):
        body = {**deployment(1), "status": {"replicas": 5}}
        status, answer = await apply(w, f"{WEB}/status", body)
        assert (status, answer["reason"]) == (404, "NotFound")
        status, shown = await apply(w, WEB, body)
        assert (status, shown["status"].get("replicas", 0)) == (201, 0)
        assert "f:status" not in owned(shown, "me")
        only = {key: body[key] for key in ("apiVersion", "kind", "metadata", "status")}
        status, shown = await apply(w, f"{WEB}/status", only, "reporter")
        assert (status, shown["status"]["replicas"]) == (200, 5)
        assert managers(shown) == [("me", "Apply", ""), ("reporter", "Apply", "status")]
        assert owned(shown, "reporter") == {"f:status": {"f:replicas": {}}}
        status, answer = await apply(w, f"{WEB}/status", {**only, "status": {"replicas": 6}}, "x")
        assert answer["message"] == (
            'Apply failed with 1 conflict: conflict with "reporter" with subresource "status": '
            ".status.replicas"
        )

    simulate(story)


def test_scale_is_applied_and_owned_through_the_parent(simulate):
    """Its conflicts name the parent's managers."""

    def scale(replicas):
        return {
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": replicas},
        }  # fmt: skip

    async def story(w):
        await apply(w, WEB, deployment(1), "owner")
        status, answer = await apply(w, f"{WEB}/scale", scale(4), "scaler")
        assert status == 409
        assert answer["message"] == (
            'Apply failed with 1 conflict: conflict with "owner": .spec.replicas'
        )
        status, answer = await apply(w, f"{WEB}/scale", scale(4), "scaler", force="true")
        assert (status, answer["kind"], answer["spec"]) == (200, "Scale", {"replicas": 4})
        shown = await w.json("GET", WEB)
        assert managers(shown) == [("scaler", "Apply", "scale"), ("owner", "Apply", "")]
        assert "f:replicas" not in owned(shown, "owner")["f:spec"]
        status, answer = await apply(w, WEB, deployment(2), "owner")
        assert answer["message"] == (
            'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale": '
            ".spec.replicas"
        )
        status, _ = await apply(w, WEB, deployment(), "owner")
        assert (status, (await w.json("GET", WEB))["spec"]["replicas"]) == (200, 4)
        status, answer = await apply(w, f"{WEB}/scale", {**scale(1), "spec": [1]}, "scaler")
        assert answer["message"].startswith("failed to create typed patch object")

    simulate(story)


def test_an_apply_of_lists_by_key_keeps_what_others_added(simulate):
    """A container of somebody else stays, its order too."""

    async def story(w):
        await apply(w, WEB, deployment(1))
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}
        await w.raw("PATCH", WEB, patch, "application/strategic-merge-patch+json", fieldManager="x")
        status, shown = await apply(w, WEB, deployment(1, "nginx:2"))
        containers = shown["spec"]["template"]["spec"]["containers"]
        assert status == 200
        assert sorted((c["name"], c["image"]) for c in containers) == [
            ("c", "nginx:2"), ("side", "s"),
        ]  # fmt: skip

    simulate(story)


def test_an_apply_needs_no_revision_where_an_update_does(simulate):
    """A Lease is never replaced blindly; an apply merges into what it read."""

    async def story(w):
        path = kinds.LEASE.path("default", "l")
        body = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"holderIdentity": "a"},
        }  # fmt: skip
        assert (await apply(w, path, body))[0] == 201
        body["spec"] = {"holderIdentity": "b"}
        status, shown = await apply(w, path, body)
        assert (status, shown["spec"]) == (200, {"holderIdentity": "b"})

    simulate(story)


def test_what_the_server_writes_differently_is_no_change(simulate):
    """1000m is 1: applying it again neither conflicts with oneself nor makes a revision."""

    async def story(w):
        body = deployment(1)
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["resources"] = {"requests": {"cpu": "1000m"}}
        _, first = await apply(w, WEB, body)
        await w.env.clock.sleep(5)
        status, second = await apply(w, WEB, body)
        assert (status, second) == (200, first)

    simulate(story)


def test_apply_to_an_object_that_fits_no_schema_says_so(simulate):
    """A list whose items lack their key may be stored; upstream says why it cannot apply to it."""

    async def story(w):
        path = kinds.SERVICE_ACCOUNT.path("default", "s")
        made = {"metadata": {"name": "s", "managedFields": [{}]}, "secrets": [{"namespace": "x"}]}
        await w.json("POST", kinds.SERVICE_ACCOUNT.path("default"), made)
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}}
        status, answer = await apply(w, path, body)
        assert status == 500
        assert answer["message"].startswith("failed to create typed live object (")
        assert "omits all key fields" in answer["message"]

    simulate(story)
