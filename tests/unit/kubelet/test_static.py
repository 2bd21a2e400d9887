"""Static pods: what lies in a node's manifest folder runs, and the API shows it."""

import asyncio
import json

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.kubelet.manifests import ManifestError, read
from podwire.kubelet.static import FOLDER

SPEC = {"containers": [{"name": "c", "image": "sleeper"}]}
WEB = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"role": "myrole"}},
    "spec": SPEC,
}
MIRROR = "web-node-1"


def manifest(image="sleeper", **spec):
    containers = [{"name": "c", "image": image}]
    return json.dumps({**WEB, "spec": {"containers": containers, **spec}}).encode()


async def put(node, data, name="web.yaml"):
    await node.fabric.write_file("node-1", f"{FOLDER}/{name}", data)


def test_a_manifest_runs_and_the_api_shows_a_mirror(simulate):
    """Named after the node, owned by it, tolerant of NoExecute; its status is the pod's."""

    async def story(node):
        await put(node, manifest())
        pod = await node.ready(MIRROR)
        notes = pod.metadata.annotations
        hashed = notes["kubernetes.io/config.hash"]
        assert notes["kubernetes.io/config.mirror"] == hashed != pod.metadata.uid
        assert notes["kubernetes.io/config.source"] == "file"
        (owner,) = pod.metadata.owner_references
        assert (owner.kind, owner.name, owner.controller) == ("Node", "node-1", True)
        assert pod.metadata.labels == {"role": "myrole"}
        (toleration,) = (t for t in pod.spec.tolerations if not t.key)
        assert (toleration.operator, toleration.effect) == ("Exists", "NoExecute")
        assert pod.status.pod_ip == "10.244.0.2"
        assert await node.log(MIRROR) == "hello from c\n"
        listed = (await node.client.list(kinds.EVENT, "default")).items
        started = next(e for e in listed if e.reason == "Started")
        assert started.involved_object.uid == hashed

    simulate(story)


def test_a_deleted_mirror_comes_back_and_the_pod_never_noticed(simulate):
    """Only whoever writes the node's disk ends a static pod."""

    async def story(node):
        await put(node, manifest())
        before = await node.ready(MIRROR)
        await node.delete(MIRROR)
        after = await node.until(
            lambda p: p is not None and p.ready and p.metadata.uid != before.metadata.uid, MIRROR
        )
        assert len(node.started) == 1
        shown = [p.status.container_statuses[0].container_id for p in (before, after)]
        assert shown[0] == shown[1]

    simulate(story)


def test_another_manifest_replaces_the_pod_and_none_ends_it(simulate):
    """In order: the new one starts when the old one has ended; the mirror goes with its pod."""

    async def story(node):
        await put(node, manifest())
        old = await node.ready(MIRROR)
        await put(node, manifest(terminationGracePeriodSeconds=1, hostNetwork=True))
        new = await node.until(
            lambda p: p is not None and p.ready and p.metadata.uid != old.metadata.uid, MIRROR
        )
        assert new.spec.host_network
        assert await node.events("Killing", name=MIRROR) == [("Killing", "Stopping container c")]
        assert len(node.started) == 2
        await node.fabric.remove_file("node-1", f"{FOLDER}/web.yaml")
        await node.gone(MIRROR)
        assert node.fabric.netns() == []

    simulate(story)


def test_a_static_pod_runs_without_an_api_server(simulate):
    """Its mirror appears when the server does, with what happened meanwhile."""

    async def story(node):
        node.kubelet.cancel()
        await asyncio.sleep(1)
        node.link.up = False
        node.restart()
        await put(node, manifest())
        await node.env.clock.sleep(20)
        assert [p.spec.pod for p in node.started] == [MIRROR]
        node.link.up = True
        pod = await node.ready(MIRROR)
        assert pod.status.start_time < pod.metadata.creation_timestamp

    simulate(story)


def test_a_later_kubelet_knows_the_mirror_and_clears_those_without_a_manifest(simulate):
    """The mirror stays the same object; the restart counts."""

    async def story(node):
        await put(node, manifest())
        await put(node, json.dumps({**WEB, "metadata": {"name": "old"}}).encode(), "old.json")
        before = await node.ready(MIRROR)
        await node.ready("old-node-1")
        node.kubelet.cancel()
        await asyncio.sleep(1)
        del node.fabric.disk[f"{FOLDER}/old.json"]
        node.restart()
        pod = await node.until(
            lambda p: p.ready and p.status.container_statuses[0].restart_count == 1, MIRROR
        )
        assert pod.metadata.uid == before.metadata.uid
        await node.gone("old-node-1")

    simulate(story)


def test_a_bad_manifest_stops_the_pod_and_kubelet_says_why(simulate):
    """In its journal, in klog's form; other files are not disturbed, hidden ones are none."""

    async def story(node):
        await put(node, manifest())
        await put(node, b"{", ".web.yaml.swp")
        await node.ready(MIRROR)
        await put(node, manifest(restartPolicy="Sometimes"))
        await node.gone(MIRROR)
        told = await node.streams.run("node-1", ["journalctl", "-u", "kubelet", "-g", "manifest"])
        (line,) = told.stdout.splitlines()
        assert 'file.go:187] "Could not process manifest file" err="invalid pod: ' in line
        assert r"[spec.restartPolicy: Unsupported value: \"Sometimes\"" in line
        assert line.endswith(f'path="{FOLDER}/web.yaml"')

    simulate(story)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"apiVersion": "v2"},
            'couldn\'t parse as pod(no kind "Pod" is registered for version "v2"',
        ),
        ({"kind": None}, "Object 'Kind' is missing in"),
        ({"metadata": {}}, "invalid pod: name is needed for the pod"),
        ({"spec": {}}, "invalid pod: [spec.containers: Required value]"),
        (
            {"spec": {**SPEC, "serviceAccountName": "x"}},
            "static pods may not reference serviceaccounts",
        ),
        (
            {"spec": {**SPEC, "volumes": [{"name": "v", "configMap": {"name": "x"}}]}},
            "static pods may not reference configmaps",
        ),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(change, message):
    """In upstream's words."""
    with pytest.raises(ManifestError) as caught:
        read("/m/web.yaml", json.dumps({**WEB, **change}).encode(), "node-1")
    assert message in str(caught.value)


def test_yaml_that_cannot_be_read_names_file_and_place():
    """The line is the parser's."""
    with pytest.raises(ManifestError) as caught:
        read("/m/web.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: [", "node-1")
    assert str(caught.value).startswith("/m/web.yaml: couldn't parse as pod(yaml: ")
    assert str(caught.value).endswith("), please check config file")


def test_a_mirror_needs_no_service_account_and_an_api_pod_of_its_name_is_left_alone(simulate):
    """The static pod runs; nothing of the other pod is touched."""

    async def story(node):
        with pytest.raises(ApiError):
            await node.client.get(kinds.POD, MIRROR, "default")
        body = {"metadata": {"name": MIRROR}, "spec": {"containers": [{"name": "x", "image": "y"}]}}
        mine = await node.client.create(kinds.POD, body, "default")
        await put(node, manifest())
        await node.env.clock.sleep(10)
        assert len(node.started) == 1
        assert (await node.client.get(kinds.POD, MIRROR, "default")).metadata == mine.metadata
        await node.delete(MIRROR)
        await node.ready(MIRROR)

    simulate(story)
