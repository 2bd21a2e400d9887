"""CustomResourceDefinitions: what they serve, from the first object to the last."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.apiserver import discovery, openapi
from podwire.apiserver.config import Config
from podwire.apiserver.server import Apiserver
from podwire.apiserver.tables.shapes import chooser
from podwire.client.counters import Request, User
from tests.samples_crd import definition, widget

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ADMIN = User("admin", ("system:masters", "system:authenticated"))
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


async def install(w, body=None):
    """Create a definition and wait until it says that it is established."""
    made = await w.raw("POST", CRDS, body or definition())
    assert made.status == 201, made.body
    name = msgspec.json.decode(made.body)["metadata"]["name"]
    for _ in range(20):
        found = await w.json("GET", f"{CRDS}/{name}")
        conditions = {c["type"]: c["status"] for c in found["status"].get("conditions", [])}
        if conditions.get("Established") == "True":
            return found
        await w.env.clock.sleep(0.01)
    raise AssertionError(found["status"])


def test_an_established_definition_serves_objects(simulate):
    """Create, read, list, replace, patch, delete, as any kind."""

    async def story(w):
        found = await install(w)
        assert found["status"]["acceptedNames"]["singular"] == "widget"
        assert found["status"]["storedVersions"] == ["v1"]
        made = await w.raw("POST", WIDGETS, widget())
        assert made.status == 201, made.body
        obj = msgspec.json.decode(made.body)
        assert obj["spec"] == {"size": 3, "replicas": 1, "colour": "red"}
        assert obj["metadata"]["generation"] == 1
        assert (await w.json("GET", f"{WIDGETS}/w"))["spec"]["size"] == 3
        listed = await w.json("GET", "/apis/example.com/v1/widgets")
        assert listed["kind"] == "WidgetList"
        assert [i["metadata"]["name"] for i in listed["items"]] == ["w"]
        obj["spec"]["size"] = 4
        put = await w.json("PUT", f"{WIDGETS}/w", obj)
        assert put["metadata"]["generation"] == 2
        patched = await w.json(
            "PATCH", f"{WIDGETS}/w", {"spec": {"colour": "green"}},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert patched["spec"]["colour"] == "green"
        gone = await w.json("DELETE", f"{WIDGETS}/w")
        assert gone["status"] == "Success"

    simulate(story)


def test_what_a_schema_does_not_know_is_pruned_or_refused(simulate):
    """Warned of by default, refused under Strict, silent under Ignore."""

    async def story(w):
        await install(w)
        body = widget(sizee=1, parts=[{"name": "a", "extra": 1}], free={"any": {"thing": 1}})
        warned = await w.raw("POST", WIDGETS, body)
        obj = msgspec.json.decode(warned.body)
        assert "sizee" not in obj["spec"]
        assert obj["spec"]["parts"] == [{"name": "a", "weight": 7}]
        assert obj["spec"]["free"] == {"any": {"thing": 1}}
        told = ("spec.parts[0].extra", "spec.sizee")
        assert warned.headers["warning"] == ", ".join(
            f'299 - "unknown field \\"{field}\\""' for field in told
        )
        refused = await w.json("POST", WIDGETS, widget("x", sizee=1), fieldValidation="Strict")
        assert refused["message"] == (
            'Widget in version "v1" cannot be handled as a Widget: strict decoding error: '
            'unknown field "spec.sizee"'
        )
        silent = await w.raw("POST", WIDGETS, widget("y", sizee=1), fieldValidation="Ignore")
        assert silent.status == 201
        assert "warning" not in silent.headers

    simulate(story)


_OF_TYPE = "in body must be of type"
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a type": ({"size": "3"}, "spec.size",
               f'Invalid value: "string": spec.size {_OF_TYPE} integer: "string"'),
    "a bound": ({"size": 11}, "spec.size",
                "Invalid value: 11: spec.size in body should be less than or equal to 10"),
    "an enumeration": ({"colour": "blue"}, "spec.colour",
                       'Unsupported value: "blue": supported values: "red", "green"'),
    "a pattern": ({"name": "A"}, "spec.name",
                  "Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
    "a length": ({"name": "abcdef"}, "spec.name", "Too long: may not be more than 5 bytes"),
    "a null": ({"size": None}, "spec.size", "Required value"),
    "a choice": ({"port": {}}, "spec.port",
                 f'Invalid value: "object": spec.port {_OF_TYPE} integer,string: "object"'),
    "an item of a set": ({"tags": ["a", "a"]}, "spec.tags[1]", 'Duplicate value: "a"'),
    "a key": ({"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]",
              'Duplicate value: {"name":"a"}'),
    "an embedded resource": ({"template": {"kind": "X"}}, "spec.template.apiVersion",
                             "Required value: must not be empty"),
    "replicas": ({"replicas": -1}, ".spec.replicas",
                 "Invalid value: -1: should be a non-negative integer"),
}  # fmt: skip
"""By what is wrong: a spec, the field that is told, and what is told of it."""


def test_values_are_refused_in_upstreams_words(simulate):
    """One complaint each, as a real API server words it."""

    async def story(w):
        await install(w)
        for what, (spec, field, complaint) in REFUSED.items():
            body = widget()
            body["spec"] |= spec
            answer = await w.json("POST", WIDGETS, body)
            wanted = f'Widget.example.com "w" is invalid: {field}: {complaint}'
            assert (what, answer["message"]) == (what, wanted)

    simulate(story)


def test_what_was_wrong_already_and_did_not_change_is_forgiven(simulate):
    """Ratcheting: a stricter schema does not keep one from changing the rest."""

    async def story(w):
        await install(w)
        obj = await w.json("POST", WIDGETS, widget(colour="green"))
        stricter = definition()
        properties = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        properties["spec"]["properties"]["colour"] = {"type": "string", "enum": ["red"]}
        crd = await w.json("GET", f"{CRDS}/widgets.example.com")
        crd["spec"]["versions"] = stricter["spec"]["versions"]
        assert (await w.raw("PUT", f"{CRDS}/widgets.example.com", crd)).status == 200
        obj["spec"]["size"] = 5
        assert (await w.raw("PUT", f"{WIDGETS}/w", obj)).status == 200
        refused = await w.raw("POST", WIDGETS, widget("x", colour="green"))
        assert refused.status == 422

    simulate(story)


def test_status_is_written_by_its_own_path(simulate):
    """Neither create nor update takes it, /status takes nothing else; generations count specs."""

    async def story(w):
        await install(w)
        obj = await w.json("POST", WIDGETS, {**widget(), "status": {"phase": "x"}})
        assert "status" not in obj
        obj["status"] = {"phase": "Ready"}
        obj["spec"]["size"] = 9
        obj["metadata"]["labels"] = {"a": "b"}
        told = await w.json("PUT", f"{WIDGETS}/w/status", obj)
        assert told["status"] == {"phase": "Ready"}
        assert told["spec"]["size"] == 3
        assert "labels" not in told["metadata"]
        assert told["metadata"]["generation"] == 1
        wrong = {"status": {"phase": 1}}
        refused = await w.json(
            "PATCH", f"{WIDGETS}/w/status", wrong, content_type="application/merge-patch+json"
        )
        assert refused["details"]["causes"][0]["field"] == "status.phase"

    simulate(story)


def test_scale_reads_and_writes_where_the_definition_says(simulate):
    """autoscaling/v1 Scale of a custom object."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget(replicas=2))
        scale = await w.json("GET", f"{WIDGETS}/w/scale")
        assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
        scale["spec"]["replicas"] = 5
        assert (await w.json("PUT", f"{WIDGETS}/w/scale", scale))["spec"] == {"replicas": 5}
        obj = await w.json("GET", f"{WIDGETS}/w")
        assert (obj["spec"]["replicas"], obj["metadata"]["generation"]) == (5, 2)

    simulate(story)


def test_lists_can_be_filtered_by_selectable_fields(simulate):
    """And by no others."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget("r"))
        await w.raw("POST", WIDGETS, widget("g", colour="green"))
        green = await w.json("GET", WIDGETS, fieldSelector="spec.colour=green")
        assert [i["metadata"]["name"] for i in green["items"]] == ["g"]
        refused = await w.json("GET", WIDGETS, fieldSelector="spec.size=3")
        assert refused["message"].endswith("field label not supported: spec.size")

    simulate(story)


def test_a_watch_sees_custom_objects(simulate):
    """ADDED, MODIFIED, DELETED; and its end when the schema changes."""

    async def story(w):
        await install(w)
        stream = (await w.raw("GET", WIDGETS, watch="true", resourceVersion="0")).stream
        await w.raw("POST", WIDGETS, widget())
        event = msgspec.json.decode((await anext(stream)).data)
        assert (event["type"], event["object"]["kind"]) == ("ADDED", "Widget")
        await w.raw("DELETE", f"{WIDGETS}/w")
        assert msgspec.json.decode((await anext(stream)).data)["type"] == "DELETED"
        await w.raw("DELETE", f"{CRDS}/widgets.example.com")
        assert [frame async for frame in stream] == []

    simulate(story)


def test_fields_are_owned_as_the_schema_says(simulate):
    """Server-side apply: two appliers share a list-map and a set, and meet over a field."""

    async def story(w):
        await install(w)

        def config(**spec):
            body = widget(**spec)
            del body["spec"]["size"]
            return body

        async def apply(who, body, **more):
            return await w.raw(
                "PATCH", f"{WIDGETS}/w", body, content_type="application/apply-patch+yaml",
                fieldManager=who, **more,
            )  # fmt: skip

        one = widget(parts=[{"name": "a"}], tags=["x"])
        assert (await apply("one", one)).status == 201
        two = config(parts=[{"name": "b"}], tags=["y"])
        merged = msgspec.json.decode((await apply("two", two)).body)
        assert [part["name"] for part in merged["spec"]["parts"]] == ["a", "b"]
        assert merged["spec"]["tags"] == ["x", "y"]
        conflict = msgspec.json.decode((await apply("two", widget(size=4))).body)
        assert conflict["message"] == (
            'Apply failed with 1 conflict: conflict with "one": .spec.size'
        )
        left = msgspec.json.decode((await apply("one", widget())).body)
        assert [part["name"] for part in left["spec"]["parts"]] == ["b"]

    simulate(story)


def test_strategic_merge_has_no_strategy_here(simulate):
    """415, with what would have been accepted."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget())
        refused = await w.json(
            "PATCH", f"{WIDGETS}/w", {}, content_type="application/strategic-merge-patch+json"
        )
        assert refused["code"] == 415
        accepted = refused["message"].partition("accepted media types include: ")[2]
        patches = ("json-patch+json", "merge-patch+json", "apply-patch+yaml")
        assert accepted == ", ".join(f"application/{name}" for name in patches)

    simulate(story)


def versioned(storage="v1"):
    """Widgets in two versions; v2 knows a field more."""
    body = definition()
    (first,) = body["spec"]["versions"]
    second = definition()["spec"]["versions"][0] | {"name": "v2"}
    spec = second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["extra"] = {"type": "string", "default": "new"}
    body["spec"]["versions"] = [v | {"storage": v["name"] == storage} for v in (first, second)]
    return body


def test_versions_show_the_same_object(simulate):
    """Conversion None: each version prunes and defaults by its own schema."""

    async def story(w):
        crd = await install(w, versioned())
        await w.raw("POST", WIDGETS, widget())
        path = WIDGETS.replace("/v1/", "/v2/")
        newer = await w.json("GET", f"{path}/w")
        assert (newer["apiVersion"], newer["spec"]["extra"]) == ("example.com/v2", "new")
        assert "extra" not in (await w.json("GET", f"{WIDGETS}/w"))["spec"]
        found = await w.json("GET", "/apis/example.com")
        assert [v["version"] for v in found["versions"]] == ["v2", "v1"]
        crd["spec"]["versions"] = versioned("v2")["spec"]["versions"]
        moved = await w.json("PUT", f"{CRDS}/widgets.example.com", crd)
        assert moved["status"]["storedVersions"] == ["v1", "v2"]
        before = await w.json("GET", f"{path}/w")
        same = await w.json("PUT", f"{path}/w", before)
        assert same["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
        page = await w.store.range("/registry/widgets.example.com/")
        assert page.kvs[0].value.startswith(b'{"apiVersion":"example.com/v2"')
        again = await w.json("PUT", f"{path}/w", same)
        assert again["metadata"]["resourceVersion"] == same["metadata"]["resourceVersion"]

    simulate(story)


def test_a_stored_version_cannot_be_dropped(simulate):
    """Until status.storedVersions says that nothing is stored in it."""

    async def story(w):
        crd = await install(w, versioned())
        crd["spec"]["versions"] = versioned("v2")["spec"]["versions"]
        crd = await w.json("PUT", f"{CRDS}/widgets.example.com", crd)
        crd["spec"]["versions"] = crd["spec"]["versions"][1:]
        refused = await w.json("PUT", f"{CRDS}/widgets.example.com", crd)
        assert (
            'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions'
            in (refused["message"])
        )

    simulate(story)


def test_a_definition_takes_its_objects_with_it(simulate):
    """Those with finalizers hold it up; then its name is free for another."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget("plain"))
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/wait"]
        await w.raw("POST", WIDGETS, held)
        gone = await w.raw("DELETE", f"{CRDS}/widgets.example.com")
        assert gone.status == 200
        await w.env.clock.sleep(0.1)
        crd = await w.json("GET", f"{CRDS}/widgets.example.com")
        conditions = {c["type"]: c["reason"] for c in crd["status"]["conditions"]}
        assert conditions["Terminating"] == "InstanceDeletionInProgress"
        refused = await w.json("POST", WIDGETS, widget("late"))
        assert refused["message"] == (
            'widgets.example.com "late" is forbidden: create not allowed while custom resource '
            "definition is terminating"
        )
        patch = {"metadata": {"finalizers": None}}
        await w.raw("PATCH", f"{WIDGETS}/held", patch, content_type="application/merge-patch+json")
        await w.env.clock.sleep(0.1)
        assert (await w.raw("GET", f"{CRDS}/widgets.example.com")).status == 404
        assert (await w.raw("GET", WIDGETS)).status == 404
        await install(w)
        assert (await w.json("GET", WIDGETS))["items"] == []

    simulate(story)


def test_a_name_that_is_taken_waits_for_its_turn(simulate):
    """A second definition with the same kind is not established until the first has gone."""

    async def story(w):
        await install(w)
        other = definition()
        other["metadata"]["name"] = "others.example.com"
        other["spec"]["names"]["plural"] = "others"
        await w.raw("POST", CRDS, other)
        await w.env.clock.sleep(0.1)
        told = (await w.json("GET", f"{CRDS}/others.example.com"))["status"]["conditions"]
        found = {c["type"]: (c["status"], c["reason"], c["message"]) for c in told}
        assert found["NamesAccepted"] == (
            "False", "ListKindConflict", '"WidgetList" is already in use',
        )  # fmt: skip
        assert found["Established"][:2] == ("False", "NotAccepted")
        await w.raw("DELETE", f"{CRDS}/widgets.example.com")
        await w.env.clock.sleep(0.1)
        assert (await w.raw("GET", "/apis/example.com/v1/others")).status == 200

    simulate(story)


def test_discovery_and_openapi_follow_at_once(simulate):
    """What is established is told everywhere, and forgotten with its definition."""

    async def story(w):
        for route in (*discovery.routes(), *openapi.ROUTES):
            w.server.routes.add(route)
        await install(w)
        listed = (await w.json("GET", "/apis/example.com/v1"))["resources"]
        assert [r["name"] for r in listed] == ["widgets", "widgets/status", "widgets/scale"]
        assert listed[0]["shortNames"] == ["wd"]
        index = await w.json("GET", "/openapi/v3")
        where, _, hashed = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].partition("?")
        document = await w.json("GET", where, hash=hashed.removeprefix("hash="))
        spec = document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]
        assert spec["properties"]["size"]["type"] == "integer"
        swagger = await w.json("GET", "/openapi/v2")
        assert "com.example.v1.WidgetList" in swagger["definitions"]
        service = await w.json("GET", f"{API_SERVICES}/v1.example.com")
        assert service["status"]["conditions"][0]["reason"] == "Local"
        await w.raw("DELETE", f"{CRDS}/widgets.example.com")
        await w.env.clock.sleep(0.1)
        assert (await w.raw("GET", f"{API_SERVICES}/v1.example.com")).status == 404
        groups = (await w.json("GET", "/apis"))["groups"]
        assert "example.com" not in [group["name"] for group in groups]
        assert (await w.raw("GET", "/apis/example.com/v1")).status == 404

    simulate(story)


def test_tables_have_the_columns_that_the_definition_names(simulate):
    """Values by JSONPath, ages as people read them."""

    async def story(w):
        w.server.shapes.append(chooser(w.env.clock.now_ns))
        await install(w)
        await w.raw("POST", WIDGETS, widget())
        table = await w.json("GET", WIDGETS, accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        names = [column["name"] for column in table["columnDefinitions"]]
        assert names == ["Name", "Size", "Colour", "Age"]
        assert table["rows"][0]["cells"] == ["w", 3, "red", "0s"]

    simulate(story)


def test_a_server_that_starts_again_serves_what_was_defined(simulate):
    """Definitions and objects are found in the store."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget())
        server = Apiserver(w.env, w.store, Config())
        await server.start()
        found = await server.handle(Request("GET", f"{WIDGETS}/w", (), {}, b"", ADMIN))
        assert msgspec.json.decode(found.body)["spec"]["size"] == 3
        server.stop()

    simulate(story)


@pytest.mark.parametrize("wrong", [{"spec": 7}, {"spec": {"parts": 7}}, {"spec": {"labels": [1]}}])
def test_a_patch_to_another_type_is_invalid(simulate, wrong):
    """What is owned is asked before the schema judges: neither may stumble over it."""

    async def story(w):
        await install(w)
        await w.raw("POST", WIDGETS, widget(parts=[{"name": "a"}], labels={"a": "b"}))
        answer = await w.raw("PATCH", f"{WIDGETS}/w", wrong, "application/merge-patch+json")
        assert answer.status == 422

    simulate(story)


def test_a_server_that_starts_again_goes_on_with_a_definition_s_end(simulate):
    """Objects of a definition that is going can still be changed, so that they can go."""

    async def story(w):
        await install(w)
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/wait"]
        await w.raw("POST", WIDGETS, held)
        await w.raw("DELETE", f"{CRDS}/widgets.example.com")
        await w.env.clock.sleep(0.1)
        w.server.stop()
        w.server = Apiserver(w.env, w.store, Config())
        await w.server.start()
        patch = {"metadata": {"finalizers": None}}
        media = "application/merge-patch+json"
        assert (await w.raw("PATCH", f"{WIDGETS}/held", patch, content_type=media)).status == 200
        await w.env.clock.sleep(0.1)
        assert (await w.raw("GET", f"{CRDS}/widgets.example.com")).status == 404

    simulate(story)
