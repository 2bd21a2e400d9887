"""Definitions whose objects would cost far more than they say: refused, or cheap."""

from podwire.api import regex
from podwire.api.crd import formats
from tests.samples_crd import definition

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def widget(spec):
    """The definition with this schema for ``spec``."""
    obj = definition(selectableFields=[], additionalPrinterColumns=[])
    version = obj["spec"]["versions"][0]
    version.pop("subresources", None)
    version["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": spec}}
    return obj


def lists(depth, leaf):
    """Lists of 200 defaults in lists of 200 defaults."""
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": leaf}}
        leaf = {"type": "array", "default": [{}] * 200, "items": inner}
    return {"type": "object", "properties": {"a": leaf}}


async def made(w, spec):
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}}
    return await w.raw("POST", WIDGETS, {**body, "spec": spec})


def test_defaults_within_defaults_are_not_multiplied_beyond_what_can_be_stored(simulate):
    """A write is refused as the store would refuse it; what is stored already can be read."""

    async def story(w):
        path = f"{CRDS}/widgets.example.com"
        few = lists(1, {"type": "string", "default": "x"})
        assert (await w.raw("POST", CRDS, widget(few))).status == 201
        await w.env.clock.sleep(1)
        assert (await made(w, {})).status == 201
        many = {"spec": widget(lists(5, {"type": "string", "default": "x"}))["spec"]}
        many["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"][
            "properties"
        ]["b"] = lists(5, {"type": "string", "default": "x"})
        changed = await w.raw("PATCH", path, many, "application/merge-patch+json")
        assert changed.status == 200, changed.body
        await w.env.clock.sleep(1)
        assert (await w.raw("GET", f"{WIDGETS}/a")).status == 200
        assert (await w.raw("DELETE", f"{WIDGETS}/a")).status == 200
        refused = await made(w, {})
        assert refused.status == 413
        assert b"etcdserver: request is too large" in refused.body

    simulate(story)


def test_a_multiple_of_almost_nothing_is_none(simulate):
    """As kube-openapi decides: what cannot be divided is no multiple."""

    async def story(w):
        schema = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 1e-320}}}
        assert (await w.raw("POST", CRDS, widget(schema))).status == 201
        await w.env.clock.sleep(1)
        for number in (1e308, 3, -0.5):
            refused = await made(w, {"n": number})
            assert refused.status == 422
            assert b"should be a multiple of" in refused.body

    simulate(story)


def test_patterns_nest_as_deep_as_gos(simulate):
    """RE2 takes deeper ones, and a second for each match; parentheses in classes count not."""
    for depth, wrong in ((999, ""), (1000, ""), (1001, "expression nests too deeply")):
        assert wrong in formats.pattern_error("(" * depth + "a" + ")" * depth)
    parts = ("()", "[(]", r"\(", "[](]", r"[^\](]")
    for text in (*(part * 5000 for part in parts), "()" * 2000 + "[" * 300_000):
        assert not regex.too_deep(text)
