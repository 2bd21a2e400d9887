"""kubernetes_asyncio 36 and kubernetes.aio 37: one library under two names, each case in both."""

import asyncio
import importlib
from functools import partial
from types import SimpleNamespace

import pytest


@pytest.fixture(params=["kubernetes_asyncio", "kubernetes.aio"])
async def k8s(request):
    """The library's modules, configured."""
    names = ("client", "config", "watch", "stream", "dynamic")
    found = {name: importlib.import_module(f"{request.param}.{name}") for name in names}
    found["name"] = request.param
    await found["config"].load_kube_config()
    return SimpleNamespace(**found)


@pytest.fixture
async def core(k8s):
    async with k8s.client.ApiClient() as api:
        yield k8s.client.CoreV1Api(api)


def unread(api, method):
    """The call that leaves the answer's body to the caller; the libraries name it differently."""
    later = getattr(api, f"{method}_without_preload_content", None)
    return later or partial(getattr(api, method), _preload_content=False)


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def test_objects_are_made_changed_and_deleted(k8s, core, ns):
    made = await core.create_namespaced_config_map(ns, config_map("c", a="1"))
    assert made.metadata.resource_version
    changed = await core.patch_namespaced_config_map("c", ns, {"data": {"b": "2"}})
    assert changed.data == {"a": "1", "b": "2"}
    with pytest.raises(k8s.client.exceptions.ApiException) as refused:
        await core.replace_namespaced_config_map("c", ns, made)
    assert refused.value.status == 409
    await core.delete_namespaced_config_map("c", ns)
    with pytest.raises(k8s.client.exceptions.ApiException) as gone:
        await core.read_namespaced_config_map("c", ns)
    assert gone.value.status == 404


async def test_a_deployment_becomes_ready(k8s, ns):
    body = {"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}},
                     "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}}  # fmt: skip
    async with k8s.client.ApiClient() as api:
        apps = k8s.client.AppsV1Api(api)
        await apps.create_namespaced_deployment(ns, body)
        async with asyncio.timeout(60), k8s.watch.Watch() as watching:
            async for event in watching.stream(apps.list_namespaced_deployment, ns):
                if event["object"].status.ready_replicas:
                    break
        scale = await apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 2}})
        assert scale.spec.replicas == 2


async def test_a_watch_sees_each_change(k8s, core, ns):
    start = (await core.list_namespaced_config_map(ns)).metadata.resource_version
    await core.create_namespaced_config_map(ns, config_map("c"))
    await core.delete_namespaced_config_map("c", ns)
    seen = []
    async with k8s.watch.Watch() as watching:
        async for event in watching.stream(core.list_namespaced_config_map, ns, timeout_seconds=60,
                                           resource_version=start,
                                           field_selector="metadata.name=c"):  # fmt: skip
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
    assert seen == ["ADDED", "DELETED"]


async def test_commands_run_in_pods(k8s, ns, pod):
    async with k8s.stream.WsApiClient() as api:
        core = k8s.client.CoreV1Api(api)
        streams = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
        said = await core.connect_get_namespaced_pod_exec(
            pod, ns, command=["sh", "-c", "echo one; echo two"], **streams
        )
        assert said.split() == ["one", "two"]
        call = unread(core, "connect_get_namespaced_pod_exec")
        opened = await call(pod, ns, command=["sh", "-c", "exit 3"], **streams)
        async with opened as socket:
            channels = [message.data async for message in socket]
        error = next(text[1:] for text in channels if text[:1] == bytes([3]))
        assert k8s.stream.WsApiClient.parse_error_data(error.decode()) == 3


async def test_logs_are_read_and_followed(k8s, core, ns, pod):
    assert "Started HTTP server" in await core.read_namespaced_pod_log(pod, ns)
    answer = await unread(core, "read_namespaced_pod_log")(pod, ns, follow=True)
    async with asyncio.timeout(60):
        async for line in answer.content:
            if b"Started HTTP server" in line:
                break
    answer.close()


async def test_the_dynamic_client_creates_applies_and_watches(k8s, ns):
    async with k8s.client.ApiClient() as api:
        found = await k8s.dynamic.DynamicClient(api)
        maps = await found.resources.get(api_version="v1", kind="ConfigMap")
        body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("c", a="1")}
        made = await maps.server_side_apply(body=body, namespace=ns, field_manager="one")
        assert made.metadata.managedFields[0].manager == "one"
        async for event in maps.watch(namespace=ns, name="c", timeout=60):
            assert event["type"] == "ADDED"
            break
        await maps.delete(name="c", namespace=ns)


async def test_custom_objects_live(k8s, ns, gadgets):
    name, where = gadgets["metadata"]["name"], ("lib.example.com", "v1", ns, "gadgets")

    async def established(definitions):
        selector = {"field_selector": f"metadata.name={name}"}
        async with asyncio.timeout(60), k8s.watch.Watch() as watching:
            call = definitions.list_custom_resource_definition
            async for event in watching.stream(call, **selector):
                status = event["raw_object"].get("status", {})
                conditions = [(c["type"], c["status"]) for c in status.get("conditions", ())]
                if ("Established", "True") in conditions:
                    return

    async with k8s.client.ApiClient() as api:
        definitions = k8s.client.ApiextensionsV1Api(api)
        custom = k8s.client.CustomObjectsApi(api)
        await definitions.create_custom_resource_definition(gadgets)
        await established(definitions)
        body = {"apiVersion": "lib.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"},
                "spec": {"size": 1}}  # fmt: skip
        await custom.create_namespaced_custom_object(*where, body)
        listed = await custom.list_namespaced_custom_object(*where)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["g"]
