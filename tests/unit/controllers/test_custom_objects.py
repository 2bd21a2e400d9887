"""Controllers and the objects of CustomResourceDefinitions: owners, namespaces, quotas, scales."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.views import Object
from podwire.client.api import MERGE
from tests.samples_crd import definition, widget
from tests.unit.controllers.cluster import workload
from tests.unit.controllers.real import World, play

WIDGET = Kind(Object, "example.com", "v1", "Widget", "widgets", "widget")


async def install(w: World) -> None:
    await w.client.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    await w.env.clock.sleep(1)


async def make(w: World, name: str, namespace: str = "default", **meta: Any) -> Object:
    body = widget(name)
    body["metadata"] |= meta
    return await w.client.create(WIDGET, body, namespace)


def owner(obj: Object, **more: Any) -> dict[str, Any]:
    meta = obj.metadata
    reference = {"apiVersion": "example.com/v1", "kind": "Widget"}
    return {"ownerReferences": [{**reference, "name": meta.name, "uid": meta.uid, **more}]}


def test_what_a_custom_object_owns_goes_with_it():
    """In the background; in the foreground the owner waits for those that block."""

    async def story(w: World) -> None:
        await install(w)
        for name, policy in (("back", "Background"), ("front", "Foreground")):
            parent = await make(w, name)
            owned = {"name": f"{name}-map", **owner(parent, blockOwnerDeletion=True)}
            await w.client.create(kinds.CONFIG_MAP, {"metadata": owned}, "default")
            child = await make(w, f"{name}-child", **owner(parent))
            await make(w, f"{name}-grandchild", **owner(child))
            await w.env.clock.sleep(1)
            assert len(await w.names(WIDGET)) == 3
            await w.client.delete(WIDGET, name, "default", propagation_policy=policy)
            await w.env.clock.sleep(5)
            assert await w.names(WIDGET) == []
            assert f"{name}-map" not in await w.names(kinds.CONFIG_MAP)

    play(story)


def test_a_namespace_takes_its_custom_objects_with_it():
    """And waits for those with finalizers."""

    async def story(w: World) -> None:
        await install(w)
        await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
        await make(w, "plain", "team")
        await make(w, "held", "team", finalizers=["example.com/wait"])
        await w.client.delete(kinds.NAMESPACE, "team")
        await w.env.clock.sleep(5)
        assert await w.names(WIDGET, "team") == ["held"]
        namespace = await w.client.get(kinds.NAMESPACE, "team")
        told = {c.type: c.message for c in namespace.status.conditions}
        assert told["NamespaceContentRemaining"] == (
            "Some resources are remaining: widgets.example.com has 1 resource instances"
        )
        patch = {"metadata": {"finalizers": None}}
        await w.client.patch(WIDGET, "held", patch, "team", content_type=MERGE)
        await w.env.clock.sleep(5)
        assert "team" not in await w.names(kinds.NAMESPACE, "")

    play(story)


def test_a_quota_counts_custom_objects():
    """``count/widgets.example.com``: told, and held."""

    async def story(w: World) -> None:
        await install(w)
        hard = {"count/widgets.example.com": "1"}
        quota = {"metadata": {"name": "q"}, "spec": {"hard": hard}}
        await w.client.create(kinds.RESOURCE_QUOTA, quota, "default")
        await w.env.clock.sleep(1)
        await make(w, "one")
        await w.env.clock.sleep(1)
        found = await w.client.get_json(kinds.RESOURCE_QUOTA, "q", "default")
        assert found["status"]["used"] == {"count/widgets.example.com": "1"}
        with pytest.raises(ApiError) as refused:
            await make(w, "two")
        assert "exceeded quota: q" in refused.value.message

    play(story)


def test_controllers_forget_a_definition_and_meet_it_again():
    """Its informers end with it; a new life of the same name is followed like the first."""

    async def story(w: World) -> None:
        for _ in range(2):
            await install(w)
            parent = await make(w, "w")
            owned = {"name": "map", **owner(parent)}
            await w.client.create(kinds.CONFIG_MAP, {"metadata": owned}, "default")
            await w.client.delete(WIDGET, "w", "default")
            await w.env.clock.sleep(2)
            assert "map" not in await w.names(kinds.CONFIG_MAP)
            await w.client.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "widgets.example.com")
            await w.env.clock.sleep(2)
            assert await w.names(kinds.CUSTOM_RESOURCE_DEFINITION, "") == []

    play(story)


def test_an_autoscaler_finds_the_scale_of_a_custom_object():
    """scaleTargetRef names a kind with a scale subresource."""

    async def story(w: World) -> None:
        await install(w)
        await w.node("node-1")
        await make(w, "w")
        await w.client.create(kinds.DEPLOYMENT, workload("web", 1), "default")
        target = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w"}
        spec = {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 5}
        body = {"metadata": {"name": "h"}, "spec": spec}
        await w.client.create(kinds.HORIZONTAL_POD_AUTOSCALER, body, "default")
        await w.env.clock.sleep(60)
        answer = await w.client.send("GET", WIDGET.path("default", "w"))
        assert msgspec.json.decode(answer.body)["spec"]["replicas"] == 3

    play(story)
