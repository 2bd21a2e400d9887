"""What admission reads out of objects that users write: quotas, bounds, classes."""

from __future__ import annotations

from typing import Any

from podwire.api import kinds

POD = kinds.POD
CLAIM = kinds.named("v1", "PersistentVolumeClaim")
QUOTA = kinds.named("v1", "ResourceQuota")
LIMIT_RANGE = kinds.named("v1", "LimitRange")
RUNTIME_CLASS = kinds.named("node.k8s.io/v1", "RuntimeClass")
PRIORITY_CLASS = kinds.PRIORITY_CLASS
STORAGE_CLASS = kinds.named("storage.k8s.io/v1", "StorageClass")


def pod(name: str, resources: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "nginx", "resources": resources or {}}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def named(name: str, **body: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **body}


def quota(name: str, hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    return named(name, spec={"hard": hard, **spec})


def claim(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"storage": size}}
    return named(name, spec={"accessModes": ["ReadWriteOnce"], "resources": resources, **spec})


def test_a_quota_counts_pods_and_their_requests(simulate):
    """Upstream's sentence: what was asked for, what is used, what is allowed."""

    async def story(w):
        await w.client.create(QUOTA, quota("q", {"pods": "2", "requests.cpu": "1"}), "default")
        half = {"requests": {"cpu": "600m"}}
        await w.client.create(POD, pod("a", half), "default")
        error = await w.refused(w.client.create(POD, pod("b", half), "default"))
        assert (error.code, error.message) == (403, (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, '
            "used: requests.cpu=600m, limited: requests.cpu=1"
        ))  # fmt: skip
        error = await w.refused(w.client.create(POD, pod("b"), "default"))
        assert error.message == (
            'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: c'
        )
        await w.client.create(POD, pod("b", {"requests": {"cpu": "400m"}}), "default")
        error = await w.refused(
            w.client.create(POD, pod("d", {"requests": {"cpu": "0"}}), "default")
        )
        assert error.message.endswith("requested: pods=1, used: pods=2, limited: pods=2")
        await w.client.create(POD, pod("d", {"requests": {"cpu": "1"}}), "kube-system")

    simulate(story)


def test_what_a_quota_demands_comes_before_what_another_forbids(simulate):
    """Upstream looks at the demands of all quotas first."""

    async def story(w):
        await w.client.create(QUOTA, quota("a", {"pods": "0"}), "default")
        await w.client.create(QUOTA, quota("b", {"requests.cpu": "1"}), "default")
        error = await w.refused(w.client.create(POD, pod("p"), "default"))
        assert error.message.endswith("failed quota: b: must specify requests.cpu for: c")

    simulate(story)


def test_a_quota_lets_go_of_what_is_deleted_or_has_ended(simulate):
    """A pod that has succeeded is no pod of the quota; nor is one that is gone."""

    async def story(w):
        await w.client.create(QUOTA, quota("q", {"pods": "1"}), "default")
        await w.client.create(POD, pod("a"), "default")
        await w.refused(w.client.create(POD, pod("b"), "default"))
        await w.json(
            "PATCH", f"{POD.path('default')}/a/status", {"status": {"phase": "Succeeded"}},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        await w.client.create(POD, pod("b"), "default")
        await w.client.delete(POD, "b", "default")
        await w.client.create(POD, pod("d"), "default")

    simulate(story)


def test_a_quota_of_a_scope_counts_only_what_is_in_it(simulate):
    """BestEffort pods are those that ask for nothing."""

    async def story(w):
        body = quota("q", {"pods": "0"}, scopes=["BestEffort"])
        await w.client.create(QUOTA, body, "default")
        await w.client.create(POD, pod("a", {"requests": {"cpu": "1"}}), "default")
        error = await w.refused(w.client.create(POD, pod("b"), "default"))
        assert error.message.endswith("requested: pods=1, used: pods=0, limited: pods=0")

    simulate(story)


def test_a_quota_counts_objects_ports_and_storage(simulate):
    """Any kind by count/…, node ports of Services, storage of claims per class."""

    async def story(w):
        hard = {
            "count/deployments.apps": "0", "configmaps": "1", "services.nodeports": "1",
            "requests.storage": "3Gi", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi",
        }  # fmt: skip
        await w.client.create(QUOTA, quota("q", hard), "default")
        labels = {"app": "d"}
        template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        error = await w.refused(w.client.create(kinds.DEPLOYMENT, named("d", spec=spec), "default"))
        assert error.message == (
            'deployments.apps "d" is forbidden: exceeded quota: q, requested: '
            "count/deployments.apps=1, used: count/deployments.apps=0, "
            "limited: count/deployments.apps=0"
        )
        ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
        body = named("s", spec={"type": "NodePort", "ports": ports})
        error = await w.refused(w.client.create(kinds.SERVICE, body, "default"))
        assert "requested: services.nodeports=2, used: services.nodeports=0" in error.message
        await w.client.create(CLAIM, claim("a", storageClassName="fast"), "default")
        error = await w.refused(
            w.client.create(CLAIM, claim("b", storageClassName="fast"), "default")
        )
        assert (
            "requested: fast.storageclass.storage.k8s.io/requests.storage=1Gi, "
            "used: fast.storageclass.storage.k8s.io/requests.storage=1Gi"
        ) in error.message
        await w.client.create(CLAIM, claim("b", "2Gi", storageClassName="slow"), "default")

    simulate(story)


def test_an_update_is_held_to_a_quota_only_for_what_it_adds(simulate):
    """A Service that is over already may change, if it asks for nothing more."""

    async def story(w):
        body = named("s", spec={"type": "NodePort", "ports": [{"name": "a", "port": 1}]})
        made = await w.client.create(kinds.SERVICE, body, "default")
        await w.client.create(QUOTA, quota("q", {"services.nodeports": "0"}), "default")
        patch = {"metadata": {"labels": {"a": "b"}}}
        path = f"{kinds.SERVICE.path('default')}/{made.metadata.name}"
        merge = "application/merge-patch+json"
        assert (await w.raw("PATCH", path, patch, content_type=merge)).status == 200
        more = {"spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}}
        assert (await w.raw("PATCH", path, more, content_type=merge)).status == 403

    simulate(story)


def test_containers_get_the_defaults_of_a_limit_range(simulate):
    """The annotation tells what was set, on pods and not on their owners."""

    async def story(w):
        limits = [{
            "type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"},
        }]  # fmt: skip
        await w.client.create(LIMIT_RANGE, named("l", spec={"limits": limits}), "default")
        await w.client.create(POD, pod("a"), "default")
        await w.client.create(POD, pod("b", {"limits": {"cpu": "200m"}}), "default")
        shown = await w.client.get_json(POD, "a", "default")
        assert shown["spec"]["containers"][0]["resources"] == {
            "limits": {"cpu": "500m", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "1Gi"},
        }
        assert shown["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
            "LimitRanger plugin set: cpu, memory request for container c; "
            "cpu, memory limit for container c"
        )
        assert shown["status"]["qosClass"] == "Burstable"
        shown = await w.client.get_json(POD, "b", "default")
        assert shown["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "200m"

    simulate(story)


def test_a_limit_range_bounds_containers_pods_and_claims(simulate):
    """Every complaint at once; the words are upstream's."""

    async def story(w):
        limits = [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "64Mi"},
             "default": {"cpu": "1"}, "defaultRequest": {"memory": "64Mi"}},
            {"type": "Pod", "max": {"cpu": "1500m"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]  # fmt: skip
        await w.client.create(LIMIT_RANGE, named("l", spec={"limits": limits}), "default")
        big = {"limits": {"cpu": "2"}, "requests": {"memory": "1Mi"}}
        error = await w.refused(w.client.create(POD, pod("a", big), "default"))
        assert error.message == (
            'pods "a" is forbidden: [minimum memory usage per Container is 64Mi, but request is '
            "1Mi, maximum cpu usage per Container is 1, but limit is 2, "
            "maximum cpu usage per Pod is 1500m, but limit is 2]"
        )
        error = await w.refused(w.client.create(CLAIM, claim("c", "2Gi"), "default"))
        assert error.message == (
            'persistentvolumeclaims "c" is forbidden: '
            "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
        )
        await w.client.create(POD, pod("a"), "default")

    simulate(story)


def test_a_users_priority_class_counts_and_one_may_be_everybodys(simulate):
    """Pods that name none get the default, with its name; a second default is refused."""

    async def story(w):
        await w.client.create(PRIORITY_CLASS, named("high", value=1000, preemptionPolicy="Never"))
        await w.client.create(PRIORITY_CLASS, named("usual", value=5, globalDefault=True))
        error = await w.refused(
            w.client.create(PRIORITY_CLASS, named("other", value=6, globalDefault=True))
        )
        assert error.message == (
            'priorityclasses.scheduling.k8s.io "other" is forbidden: '
            "PriorityClass usual is already marked as default. Only one default can exist"
        )
        await w.client.create(POD, pod("a", priorityClassName="high"), "default")
        await w.client.create(POD, pod("b"), "default")
        found = []
        for name in ("a", "b"):
            spec = (await w.client.get_json(POD, name, "default"))["spec"]
            found.append((spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]))
        assert found == [("high", 1000, "Never"), ("usual", 5, "PreemptLowerPriority")]

    simulate(story)


def test_a_claim_without_class_gets_the_default_one(simulate):
    """An empty name is a choice too."""

    async def story(w):
        body = named("standard", provisioner="example.com/p")
        body["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        await w.client.create(STORAGE_CLASS, body)
        await w.client.create(CLAIM, claim("a"), "default")
        await w.client.create(CLAIM, claim("b", storageClassName=""), "default")
        found = [
            (await w.client.get_json(CLAIM, name, "default"))["spec"]["storageClassName"]
            for name in ("a", "b")
        ]
        assert found == ["standard", ""]

    simulate(story)


def test_a_pod_takes_over_what_its_runtime_class_says(simulate):
    """Overhead, node selector and tolerations; a class that is missing is refused."""

    async def story(w):
        body = named(
            "sandbox", handler="runsc", overhead={"podFixed": {"cpu": "10m"}},
            scheduling={"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "k"}]},
        )  # fmt: skip
        await w.client.create(RUNTIME_CLASS, body)
        await w.client.create(
            POD, pod("a", runtimeClassName="sandbox", nodeSelector={"z": "1"}), "default"
        )
        spec = (await w.client.get_json(POD, "a", "default"))["spec"]
        assert spec["overhead"] == {"cpu": "10m"}
        assert spec["nodeSelector"] == {"disk": "ssd", "z": "1"}
        assert {"key": "k"} in [{"key": t["key"]} for t in spec["tolerations"]]
        error = await w.refused(w.client.create(POD, pod("b", runtimeClassName="none"), "default"))
        assert error.message == (
            'pods "b" is forbidden: pod rejected: RuntimeClass "none" not found'
        )
        clash = pod("b", runtimeClassName="sandbox", nodeSelector={"disk": "hdd"})
        error = await w.refused(w.client.create(POD, clash, "default"))
        assert "conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd" in error.message

    simulate(story)
