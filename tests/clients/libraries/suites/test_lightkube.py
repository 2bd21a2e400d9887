"""lightkube 1.0: small, typed, synchronous and asynchronous."""

import asyncio

import pytest
from lightkube import ApiError, AsyncClient, Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.operators import in_, not_equal
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Node, Pod
from lightkube.types import PatchType


def config_map(name, labels=None, **data):
    return ConfigMap(metadata=ObjectMeta(name=name, labels=labels), data=data)


def deployment(replicas=1):
    spec = PodSpec(containers=[Container(name="c", image="nginx:1.29")])
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"app": "web"}), spec=spec)
    return Deployment(
        metadata=ObjectMeta(name="web"),
        spec=DeploymentSpec(
            selector=LabelSelector(matchLabels={"app": "web"}), template=template, replicas=replicas
        ),
    )


@pytest.fixture
def client(ns):
    with Client(namespace=ns, field_manager="lightkube") as made:
        yield made


def test_objects_are_made_listed_and_deleted(client):
    for number in range(4):
        client.create(config_map(f"c{number}", {"n": str(number)}, a="b"))
    paged = client.list(ConfigMap, chunk_size=2, labels={"n": not_equal("9")})
    assert {"c0", "c1", "c2", "c3"} <= {o.metadata.name for o in paged}
    chosen = client.list(ConfigMap, labels={"n": in_(["1", "2"])})
    assert [o.metadata.name for o in chosen] == ["c1", "c2"]
    found = client.get(ConfigMap, "c1")
    found.data["a"] = "c"
    assert client.replace(found).data == {"a": "c"}
    with pytest.raises(ApiError) as conflict:
        client.replace(found)
    assert conflict.value.status.code == 409
    client.deletecollection(ConfigMap)
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "c1")
    assert gone.value.status.reason == "NotFound"
    assert len(list(client.list(Node))) == 3


def test_patches_of_every_kind(client):
    client.create(config_map("c", a="1"))
    assert client.patch(ConfigMap, "c", {"data": {"b": "2"}}).data == {"a": "1", "b": "2"}
    merged = client.patch(ConfigMap, "c", {"data": {"a": None}}, patch_type=PatchType.MERGE)
    assert merged.data == {"b": "2"}
    operations = [{"op": "add", "path": "/data/c", "value": "3"}]
    assert client.patch(ConfigMap, "c", operations, patch_type=PatchType.JSON).data["c"] == "3"


def test_what_is_applied_is_owned(client):
    body = config_map("c", a="1")
    body.apiVersion, body.kind = "v1", "ConfigMap"
    made = client.apply(body)
    assert made.metadata.managedFields[0].manager == "lightkube"
    body.data = {"a": "2"}
    with pytest.raises(ApiError) as refused:
        client.apply(body, field_manager="other")
    assert 'conflict with "lightkube"' in refused.value.status.message
    assert client.apply(body, field_manager="other", force=True).data == {"a": "2"}


def test_a_deployment_is_waited_for_and_scaled(client):
    client.create(deployment())
    done = client.wait(Deployment, "web", for_conditions=["Available"])
    assert done.status.readyReplicas == 1
    scale = client.get(Deployment.Scale, "web")
    scale.spec.replicas = 2
    assert client.replace(scale, "web").spec.replicas == 2
    status = client.get(Deployment.Status, "web")
    assert status.metadata.name == "web"
    client.delete(Deployment, "web")


def test_a_watch_sees_each_change(client):
    start = client.list(ConfigMap)
    list(start)
    client.create(config_map("c"))
    client.delete(ConfigMap, "c")
    seen = []
    fields = {"metadata.name": "c"}
    for kind, _ in client.watch(ConfigMap, fields=fields, resource_version=start.resourceVersion,
                                server_timeout=60):  # fmt: skip
        seen.append(kind)
        if kind == "DELETED":
            break
    assert seen == ["ADDED", "DELETED"]


def test_pods_are_entered_and_read(client, pod):
    assert any("Started HTTP server" in line for line in client.log(pod))
    done = client.exec(pod, command=["sh", "-c", "echo out; echo err >&2; exit 4"], stdout=True,
                       stderr=True)  # fmt: skip
    assert (done.stdout.strip(), done.stderr.strip(), done.exit_code) == ("out", "err", 4)
    fed = client.exec(pod, command=["cat"], stdin="given", stdout=True)
    assert fed.stdout == "given"


def test_kinds_are_made_up_at_run_time(client):
    leases = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")
    made = client.create(leases(metadata=ObjectMeta(name="l"), spec={"holderIdentity": "me"}))
    assert made.spec["holderIdentity"] == "me"
    assert client.get(leases, "l").metadata.name == "l"


async def test_the_asynchronous_half(ns):
    async with AsyncClient(namespace=ns, field_manager="lightkube") as client:
        await client.create(deployment())
        async with asyncio.timeout(60):
            await client.wait(Deployment, "web", for_conditions=["Available"])
        pods = [p.metadata.name async for p in client.list(Pod, labels={"app": "web"})]
        assert len(pods) == 1
        await client.delete(Deployment, "web")


def test_a_definition_is_established_and_its_objects_live(client, gadgets):
    client.create(CustomResourceDefinition.from_dict(gadgets))
    name = gadgets["metadata"]["name"]
    client.wait(CustomResourceDefinition, name, for_conditions=["Established"])
    gadget = create_namespaced_resource("lib.example.com", "v1", "Gadget", "gadgets")
    made = client.create(gadget(metadata=ObjectMeta(name="g"), spec={"size": 1}))
    assert made.metadata.generation == 1
    with pytest.raises(ApiError) as refused:
        client.patch(gadget, "g", {"spec": {"size": 0}}, patch_type=PatchType.MERGE)
    assert "should be greater than or equal to 1" in refused.value.status.message
    applied = client.apply(gadget(metadata=ObjectMeta(name="g"), spec={"size": 1}), force=True)
    assert applied.spec == {"size": 1}
    told = client.patch(
        gadget.Status, "g", {"status": {"phase": "Ready"}}, patch_type=PatchType.MERGE
    )
    assert told.status == {"phase": "Ready"}
    assert [o.metadata.name for o in client.list(gadget)] == ["g"]
    client.delete(gadget, "g")
    client.delete(CustomResourceDefinition, name)
