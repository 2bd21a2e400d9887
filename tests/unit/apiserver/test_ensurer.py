"""Flow schemas and levels stay what they have to be: the tables of upstream's ensurer, and stories.

Source of the cases: kubernetes pkg/registry/flowcontrol/ensurer (flowschema_test.go).
"""

import pytest

from podwire.api import kinds
from podwire.apiserver.flowcontrol import bootstrap, ensurer

AUTO = bootstrap.AUTOUPDATE
SCHEMA, LEVEL = kinds.FLOW_SCHEMA, kinds.PRIORITY_LEVEL_CONFIGURATION


def schema(precedence, annotation=None, generation=0):
    annotations = {} if annotation is None else {"annotations": {AUTO: annotation}}
    metadata = {"name": "fs1", "generation": generation, **annotations}
    return {"metadata": metadata, "spec": {"matchingPrecedence": precedence}}


@pytest.mark.parametrize(
    ("mandatory", "held", "precedence", "said"),
    [
        (False, schema(200, "true"), 100, "true"),
        (False, schema(200, "false"), None, ""),
        (True, schema(100), 100, "true"),
        (True, schema(200, "false"), 100, "true"),
        (False, schema(200, "true", 1), 100, "true"),
        (False, schema(100, "true", 1), None, ""),
        (False, schema(200, "true", 2), 100, "true"),
        (False, schema(100, "true", 2), None, ""),
        (False, schema(200, "false", 1), None, ""),
        (False, schema(100, "false", 1), None, ""),
        (False, schema(200, "false", 2), None, ""),
        (False, schema(100, "false", 2), None, ""),
        (False, schema(200, None, 1), 100, "true"),
        (False, schema(100, None, 1), 100, "true"),
        (False, schema(200, None, 2), 200, "false"),
        (False, schema(100, None, 2), 100, "false"),
        (False, schema(200, "maybe", 2), 200, "false"),
        (True, schema(100, "t"), None, ""),
    ],
)
def test_what_is_mended(mandatory, held, precedence, said):
    """``precedence`` and annotation afterwards; None: it is left as it is."""
    made = ensurer.mended(held, schema(100), mandatory=mandatory)
    if precedence is None:
        assert made is None
        return
    assert made["spec"]["matchingPrecedence"] == precedence
    assert made["metadata"]["annotations"] == {AUTO: said}


@pytest.mark.parametrize(
    ("name", "annotation", "goes"),
    [("fs0", "true", True), ("fs0", "false", False), ("fs0", "invalid", False),
     ("fs1", "true", False), ("fs1", "false", False), ("fs1", "invalid", False)],
)  # fmt: skip
def test_what_is_suggested_no_more_goes(name, annotation, goes):
    """Unless somebody made it his own."""
    held = schema(200, annotation)
    held["metadata"]["name"] = name
    assert ensurer.unwanted(held, {"fs1": schema(100)}) is goes


def test_mandatory_objects_come_back_within_a_minute(simulate):
    """Suggested ones too; what says that it is somebody's own stays as it is."""

    async def story(w):
        await w.server.ensurer.begin()
        before = w.server.caches.revision
        await w.env.clock.sleep(200)
        assert w.server.caches.revision == before  # what it made is what it wants
        await w.client.delete(LEVEL, "catch-all")
        await w.client.patch(SCHEMA, "exempt", {"spec": {"matchingPrecedence": 77}})
        await w.client.delete(SCHEMA, "probes")
        own = {"metadata": {"annotations": {AUTO: "false"}}, "spec": {"matchingPrecedence": 78}}
        await w.client.patch(SCHEMA, "global-default", own)
        await w.env.clock.sleep(61)
        assert await w.json("GET", LEVEL.path("", "catch-all"))
        found = {
            item["metadata"]["name"]: item["spec"]["matchingPrecedence"]
            for item in (await w.json("GET", SCHEMA.path()))["items"]
        }
        assert found["exempt"] == 1
        assert found["probes"] == 2
        assert found["global-default"] == 78

    simulate(story)


def test_a_schema_says_whether_its_level_is_there(simulate):
    """At once, and again when the level comes."""

    async def story(w):
        await w.server.ensurer.begin()
        spec = {"priorityLevelConfiguration": {"name": "mine"}, "matchingPrecedence": 500}
        await w.client.create(SCHEMA, {"metadata": {"name": "s"}, "spec": spec})

        async def dangling():
            await w.env.clock.sleep(0.1)
            status = (await w.json("GET", SCHEMA.path("", "s")))["status"]
            (found,) = status["conditions"]
            return found["status"], found["reason"], found["message"]

        named = 'This FlowSchema references the PriorityLevelConfiguration object named "mine"'
        assert await dangling() == ("True", "NotFound", f"{named} but there is no such object")
        limited = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
        await w.client.create(LEVEL, {"metadata": {"name": "mine"}, "spec": limited})
        assert await dangling() == ("False", "Found", f"{named} and it exists")

    simulate(story)
