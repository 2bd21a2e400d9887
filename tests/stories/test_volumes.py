"""PersistentVolumes: claims get volumes, and pods keep their data."""

import json

import pytest

from podwire.api import kinds
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

pytestmark = pytest.mark.xdist_group("volumes")

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data", "namespace": "default"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
DB = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {
        "serviceName": "db",
        "replicas": 1,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "c",
                        "image": "busybox",
                        "command": ["sleep", "infinity"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }
                ],
            },
        },
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": CLAIM["spec"]}],
    },
}


def volume(name, size, **spec):
    """A volume that an administrator made."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/srv/{name}"},
            **spec,
        },
    }


@pytest.fixture(scope="module")
def site():
    """Two nodes, and a set of one pod that keeps data."""
    cluster = VirtualCluster(ClusterSettings(nodes=2, time_profile="fast"), 0)
    cluster.boot()
    cluster.apply(DB)
    cluster.converge()
    yield cluster
    cluster.close()


def claim(site, name):
    """A claim as it is now."""
    return site.get(kinds.PERSISTENT_VOLUME_CLAIM, name, "default")


def events(site, about):
    """Reasons and messages of an object's events."""
    found = site.run(site.cluster.client.send("GET", "/api/v1/events"))
    return {
        (e["reason"], e["message"])
        for e in json.loads(found.body)["items"]
        if e["involvedObject"]["name"] == about
    }


def run(site, pod, script):
    """What a script in a pod prints."""
    node = site.get(kinds.POD, pod, "default").spec.node_name

    async def ask():
        streams = site.cluster.streams
        session = await streams.exec(node, "default", pod, "c", ["sh", "-c", script], False)
        await session.send_stdin(b"")
        return b"".join([data async for _, data in session.output()]).decode()

    return site.run(ask())


def test_a_stateful_sets_pod_finds_its_data_again_where_its_volume_is(site):
    """The claim waits for the pod, the volume for the node; the pod's next life reads the file."""
    first = site.get(kinds.POD, "db-0", "default")
    bound = claim(site, "data-db-0")
    made = site.get(kinds.PERSISTENT_VOLUME, bound.spec.volume_name)
    assert (bound.status.phase, made.status.phase) == ("Bound", "Bound")
    assert bound.status.capacity == {"storage": "1Gi"}
    assert made.spec.persistent_volume_reclaim_policy == "Delete"
    assert bound.metadata.finalizers == ["kubernetes.io/pvc-protection"]
    run(site, "db-0", "mkdir /data/log; echo kept > /data/log/1")
    site.run(site.cluster.client.delete(kinds.POD, "db-0", "default"))
    assert site.converge()
    again = site.get(kinds.POD, "db-0", "default")
    assert again.metadata.uid != first.metadata.uid
    assert again.spec.node_name == first.spec.node_name
    assert run(site, "db-0", "cat /data/log/1") == "kept\n"


def test_claims_go_when_their_set_shrinks_if_it_says_so(site):
    """persistentVolumeClaimRetentionPolicy: whenScaled Delete, whenDeleted Retain."""
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    site.apply({**DB, "metadata": {"name": "two", "namespace": "default"},
                "spec": {**DB["spec"], "replicas": 2,
                         "persistentVolumeClaimRetentionPolicy": policy}})  # fmt: skip
    assert site.converge()
    client = site.cluster.client
    site.run(client.patch(kinds.STATEFUL_SET, "two", {"spec": {"replicas": 1}}, "default"))
    assert site.converge()
    site.sleep(5)
    site.run(client.delete(kinds.STATEFUL_SET, "two", "default"))
    assert site.converge()
    left = [c.metadata.name for c in site.objects(kinds.PERSISTENT_VOLUME_CLAIM)]
    assert "data-two-0" in left
    assert "data-two-1" not in left


def test_a_claim_waits_for_its_first_consumer_and_says_so(site):
    """kind's class ``standard`` is the default."""
    site.apply(CLAIM)
    assert site.converge()
    waiting = claim(site, "data")
    assert waiting.spec.storage_class_name == "standard"
    assert waiting.status.phase == "Pending"
    told = ("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    assert told in events(site, "data")


def test_a_volume_of_an_administrator_is_bound_at_once_and_kept(site):
    """The smallest that is large enough; Retain leaves it Released when its claim goes."""
    site.apply(volume("small", "1Mi"), volume("fits", "2Gi"), volume("huge", "9Gi"))
    site.apply({**CLAIM, "metadata": {"name": "static", "namespace": "default"},
                "spec": {**CLAIM["spec"], "storageClassName": ""}})  # fmt: skip
    assert site.converge()
    assert claim(site, "static").spec.volume_name == "fits"
    assert site.get(kinds.PERSISTENT_VOLUME, "huge").status.phase == "Available"
    site.run(site.cluster.client.delete(kinds.PERSISTENT_VOLUME_CLAIM, "static", "default"))
    assert site.converge()
    assert site.get(kinds.PERSISTENT_VOLUME, "fits").status.phase == "Released"


def test_a_claim_in_use_is_not_removed_and_its_volume_goes_with_it(site):
    """pvc-protection holds it until the pod is gone; then Delete empties the folder."""
    name = claim(site, "data-db-0").spec.volume_name
    run(site, "db-0", "echo kept > /data/file")
    path = site.get(kinds.PERSISTENT_VOLUME, name).spec.host_path["path"]
    node = site.get(kinds.POD, "db-0", "default").spec.node_name
    client, fabric = site.cluster.client, site.cluster.fabric
    site.run(client.delete(kinds.PERSISTENT_VOLUME_CLAIM, "data-db-0", "default"))
    assert site.converge()
    assert claim(site, "data-db-0").metadata.deletion_timestamp
    assert site.run(fabric.list_files(node, path))
    site.run(client.delete(kinds.STATEFUL_SET, "db", "default"))
    assert site.converge()
    claims = [c.metadata.name for c in site.objects(kinds.PERSISTENT_VOLUME_CLAIM)]
    assert "data-db-0" not in claims
    site.sleep(30)
    assert name not in [v.metadata.name for v in site.objects(kinds.PERSISTENT_VOLUME)]
    assert not site.run(fabric.list_files(node, f"{path}/"))


def test_a_pod_does_not_leave_the_node_of_its_volume(site):
    """The node is cordoned: the pod stays Pending, in the scheduler's words."""
    site.apply(DB)
    assert site.converge()
    node = site.get(kinds.POD, "db-0", "default").spec.node_name
    patch = {"spec": {"unschedulable": True}}
    site.run(site.cluster.client.patch(kinds.NODE, node, patch))
    site.run(site.cluster.client.delete(kinds.POD, "db-0", "default"))
    site.sleep(5)
    pod = site.get(kinds.POD, "db-0", "default")
    assert pod.spec.node_name == ""
    assert "didn't match PersistentVolume's node affinity" in pod.condition("PodScheduled").message
