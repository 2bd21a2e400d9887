"""cloudcoil 0.6 with its models of Kubernetes 1.32: pydantic objects that act by themselves."""

import asyncio

import pytest
from cloudcoil import apimachinery
from cloudcoil.client import Config
from cloudcoil.errors import ResourceNotFound
from cloudcoil.models.kubernetes import apps, core


@pytest.fixture
def configured(ns):
    with Config(namespace=ns) as config:
        yield config


def config_map(name, **data):
    return core.v1.ConfigMap(metadata=apimachinery.ObjectMeta(name=name), data=data)


def deployment():
    labels = {"app": "web"}
    return apps.v1.Deployment(
        metadata=apimachinery.ObjectMeta(name="web"),
        spec=apps.v1.DeploymentSpec(
            selector=apimachinery.LabelSelector(match_labels=labels),
            template=core.v1.PodTemplateSpec(
                metadata=apimachinery.ObjectMeta(labels=labels),
                spec=core.v1.PodSpec(containers=[core.v1.Container(name="c", image="nginx:1.29")]),
            ),
        ),
    )


def test_objects_are_made_changed_and_deleted(configured):
    made = config_map("c", a="1").create()
    assert made.metadata.uid
    made.data["a"] = "2"
    assert made.update().data == {"a": "2"}
    assert core.v1.ConfigMap.get("c").data == {"a": "2"}
    assert "c" in [item.metadata.name for item in core.v1.ConfigMap.list()]
    assert config_map("ghost").create(dry_run=True).metadata.name == "ghost"
    core.v1.ConfigMap.delete("c")
    with pytest.raises(ResourceNotFound):
        core.v1.ConfigMap.get("c")


def test_lists_come_in_pages(configured):
    for number in range(5):
        config_map(f"c{number}").create()
    page = core.v1.ConfigMap.list(limit=2)
    assert len(page.items) == 2
    assert page.has_next_page()
    assert {f"c{n}" for n in range(5)} <= {item.metadata.name for item in page}


def test_a_deployment_is_scaled_and_waited_for(configured):
    made = deployment().create()
    made.wait_for(lambda _, d: bool(d.status and d.status.ready_replicas), timeout=60)
    assert made.scale(2).spec.replicas == 2
    made.fetch().remove()


def test_a_watch_sees_each_change(configured):
    config_map("c").create()
    for kind, item in core.v1.ConfigMap.watch(field_selector="metadata.name=c"):
        assert (kind, item.metadata.name) == ("ADDED", "c")
        break


async def test_the_asynchronous_half(configured):
    made = await config_map("c", a="1").async_create()
    made.data["a"] = "2"
    assert (await made.async_update()).data == {"a": "2"}
    async with asyncio.timeout(60):
        async for kind, item in await core.v1.ConfigMap.async_watch(
            field_selector="metadata.name=c"
        ):
            assert (kind, item.data) == ("ADDED", {"a": "2"})
            break
    await core.v1.ConfigMap.async_delete("c")


def test_an_informer_keeps_a_cache(ns, until):
    with Config(namespace=ns, cache=True) as config:
        added = []
        informer = config.cache.get_informer(core.v1.ConfigMap, sync=True)
        informer.on_add(lambda item: added.append(item.metadata.name))
        config_map("c").create()
        until(lambda: "c" in added)
