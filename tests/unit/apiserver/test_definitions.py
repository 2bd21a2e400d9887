"""CustomResourceDefinitions: what they serve, from the first object to the last."""

from __future__ import annotations

import msgspec

from tests.samples_crd import definition, widget

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
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
