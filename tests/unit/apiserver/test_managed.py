"""managedFields as clients of the API server see them."""

import pytest

from podwire.api import codec, kinds, protobuf_encode, schema
from podwire.client.api import Client
from podwire.client.counters import User
from tests.unit.apiserver.managed import (
    CONFIG_MAP,
    DEPLOYMENT,
    MERGE,
    POD,
    SERVICE,
    WEB,
    A,
    apply,
    config_map,
    deployment,
    managers,
    owned,
)


def test_who_creates_is_named_by_the_request_or_by_its_user_agent(simulate):
    """?fieldManager=, else the User-Agent up to the slash, else unknown."""

    async def story(w):
        made = await w.json("POST", CONFIG_MAP.path("default"), config_map({"k": "v"}))
        assert managers(made) == [("unknown", "Update", "")]
        assert owned(made, "unknown") == {"f:data": {".": {}, "f:k": {}}}
        body = config_map({}, "b")
        made = await w.json("POST", CONFIG_MAP.path("default"), body, fieldManager="me")
        assert managers(made) == []  # nothing but a name: nothing to own
        client = Client(w.client.api, User("u"), "kubelet/v1.37.1 (linux/amd64)")
        await client.create(CONFIG_MAP, config_map({"k": "v"}, "c"), "default")
        assert managers(await w.client.get_json(CONFIG_MAP, "c", "default")) == [
            ("kubelet", "Update", "")
        ]

    simulate(story)


def test_what_the_server_fills_in_belongs_to_nobody(simulate):
    """Allocated addresses, the phase, what admission added; defaults belong to the creator."""

    async def story(w):
        body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        made = await w.json("POST", SERVICE.path("default"), body)
        assert made["spec"]["clusterIP"]
        assert owned(made, "unknown")["f:spec"] == {
            "f:internalTrafficPolicy": {},
            "f:ports": {
                ".": {},
                'k:{"port":80,"protocol":"TCP"}': {
                    ".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
                },
            },
            "f:sessionAffinity": {}, "f:type": {},
        }  # fmt: skip
        body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        made = await w.json("POST", POD.path("default"), body)
        assert made["spec"]["tolerations"]
        assert made["status"]["phase"] == "Pending"
        assert {"f:tolerations", "f:serviceAccountName"}.isdisjoint(
            owned(made, "unknown")["f:spec"]
        )
        assert "f:status" not in owned(made, "unknown")

    simulate(story)


def test_every_way_to_write_is_recorded_and_every_subresource_apart(simulate):
    """PUT, the patches, /status, /scale; a status belongs to nobody who writes the rest."""

    async def story(w):
        await w.json("POST", DEPLOYMENT.path("default"), deployment(1), fieldManager="creator")
        status = {"status": {"replicas": 1, "readyReplicas": 1}, "spec": {"replicas": 9}}
        await w.raw("PATCH", f"{WEB}/status", status, MERGE, fieldManager="reporter")
        await w.raw(
            "PATCH", f"{WEB}/scale", {"spec": {"replicas": 3}}, MERGE, fieldManager="scaler"
        )
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
        await w.raw("PATCH", WEB, patch, "application/json-patch+json", fieldManager="labeller")
        body = {"status": {"replicas": 7}, "metadata": {"annotations": {"a": "b"}}}
        shown = await w.json("PATCH", WEB, body, content_type=MERGE, fieldManager="noter")
        assert shown["spec"]["replicas"] == 3
        assert managers(shown) == [
            ("scaler", "Update", "scale"),
            ("creator", "Update", ""),
            ("labeller", "Update", ""),
            ("noter", "Update", ""),
            ("reporter", "Update", "status"),
        ]
        assert owned(shown, "reporter") == {"f:status": {"f:readyReplicas": {}, "f:replicas": {}}}
        assert owned(shown, "scaler") == {"f:spec": {"f:replicas": {}}}
        assert owned(shown, "labeller") == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}
        assert owned(shown, "noter") == {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}}
        assert "f:replicas" not in owned(shown, "creator")["f:spec"]

    simulate(story)


def test_a_write_that_changes_nothing_changes_nobody(simulate):
    """No new revision, no new time, whoever it comes from, also when managedFields is sent back."""

    async def story(w):
        path = CONFIG_MAP.path("default")
        made = await w.json("POST", path, config_map({"k": "v"}), fieldManager="one")
        await w.env.clock.sleep(5)
        again = await w.json("PUT", A, made, fieldManager="two")
        assert again == made
        again = await w.json("PUT", A, config_map({"k": "v"}), fieldManager="two")
        assert again == made
        again = await w.json("PATCH", A, {"data": {"k": "v"}}, content_type=MERGE)
        assert again == made
        await apply(w, A, config_map({"k": "v"}))
        status, first = await apply(w, A, config_map({"k": "v"}))
        await w.env.clock.sleep(5)
        status, second = await apply(w, A, config_map({"k": "v"}))
        assert (status, first) == (200, second)

    simulate(story)


@pytest.mark.parametrize("forget", [[], [{}]])
def test_managed_fields_are_forgotten_on_request_only(simulate, forget):
    """An empty list, or one empty entry; leaving them out keeps them."""

    async def story(w):
        made = await w.json("POST", CONFIG_MAP.path("default"), config_map({"k": "v"}))
        body = config_map({"k": "w"}, managedFields=forget)
        assert managers(await w.json("PUT", A, body)) == []
        assert managers(await w.json("PUT", A, config_map({"k": "x"}))) == []  # not tracked now
        _, shown = await apply(w, A, config_map({"l": "1"}))
        assert managers(shown) == [("me", "Apply", ""), ("before-first-apply", "Update", "")]
        merge = {"metadata": {"managedFields": forget}}
        assert managers(await w.json("PATCH", A, merge, content_type=MERGE)) == []
        assert made["metadata"]["managedFields"]

    simulate(story)


def test_managed_fields_can_be_patched_and_what_is_no_entry_is_ignored(simulate):
    """So kubectl turns the entry of a client-side apply into one of a server-side apply."""

    async def story(w):
        made = await w.json("POST", CONFIG_MAP.path("default"), config_map({"k": "v"}))
        revision = made["metadata"]["resourceVersion"]
        entry = {**made["metadata"]["managedFields"][0], "manager": "k", "operation": "Apply"}
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": revision},
        ]
        json_patch = "application/json-patch+json"
        shown = await w.json("PATCH", A, patch, content_type=json_patch)
        assert shown["metadata"]["managedFields"] == [entry]
        test = {"op": "test", "path": "/metadata/managedFields/0/fieldsV1/f:data/f:k", "value": {}}
        label = {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
        shown = await w.json("PATCH", A, [test, label], content_type=json_patch)
        assert managers(shown) == [("k", "Apply", ""), ("unknown", "Update", "")]
        for wrong in ({"operation": "Steal"}, {"fieldsType": "V2"}, {"apiVersion": ""},
                      {"fieldsV1": {"bad": {}}}):  # fmt: skip
            body = config_map({"k": "v"}, labels={"a": "b"}, managedFields=[{**entry, **wrong}])
            assert managers(await w.json("PUT", A, body)) == managers(shown)
        body = config_map({"k": "v"}, managedFields=[{**entry, "manager": "m" * 129}])
        answer = await w.json("PUT", A, body)
        assert answer["message"] == (
            'ConfigMap "a" is invalid: metadata.managedFields[0].manager: Too long: may not be '
            "more than 128 bytes"
        )

    simulate(story)


@pytest.mark.parametrize(
    ("method", "name", "kind", "why"),
    [
        ("POST", "x" * 129, "CreateOptions", "Too long: may not be more than 128 bytes"),
        ("PUT", "a\u0001", "UpdateOptions",
         'Invalid value: "a\\u0001": invalid character U+0001 (at position 1)'),
        ("PATCH", "é\u0001", "PatchOptions",
         'Invalid value: "é\\u0001": invalid character U+0001 (at position 2)'),
    ],
)  # fmt: skip
def test_a_manager_is_short_and_printable(simulate, method, name, kind, why):
    """Otherwise 422."""

    async def story(w):
        await w.config_map("a")
        path = CONFIG_MAP.path("default") if method == "POST" else A
        body = config_map({"k": "v"}, "b" if method == "POST" else "a")
        media = MERGE if method == "PATCH" else "application/json"
        answer = await w.json(method, path, body, content_type=media, fieldManager=name)
        assert (answer["code"], answer["message"]) == (
            422, f'{kind}.meta.k8s.io "" is invalid: fieldManager: {why}',
        )  # fmt: skip

    simulate(story)


def test_an_object_too_large_with_its_managers_is_kept_without_them(simulate):
    """Upstream drops managedFields rather than the write."""

    async def story(w):
        data = {f"{i:05}-{'x' * 150}": "v" * 30 for i in range(5000)}
        made = await w.json("POST", CONFIG_MAP.path("default"), config_map(data))
        assert len(made["data"]) == 5000
        assert managers(made) == []

    simulate(story)


def test_text_that_speaks_of_managed_fields_is_only_text(simulate):
    """Also in protobuf, which has no empty lists."""

    async def story(w):
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c"},
            "data": {"a": "managedFields: []"},
        }
        struct = schema.type_of(kinds.CONFIG_MAP)
        body = protobuf_encode.wrap("v1", "ConfigMap", protobuf_encode.encode(struct, made))
        path = kinds.CONFIG_MAP.path("default")
        assert (await w.raw("POST", path, body, codec.PROTOBUF_TYPE)).status == 201

    simulate(story)
