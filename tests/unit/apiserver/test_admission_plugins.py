"""Admission plugins one by one: those that nodes and claims meet, those that are off by default."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podwire.api import kinds
from podwire.apiserver.admission import PLUGINS, Chain, check
from podwire.client.counters import User

POD, NODE, SERVICE, NAMESPACE = kinds.POD, kinds.NODE, kinds.SERVICE, kinds.NAMESPACE
CLAIM = kinds.named("v1", "PersistentVolumeClaim")
CLASS = kinds.named("storage.k8s.io/v1", "StorageClass")
MERGE = "application/merge-patch+json"
JANE = User("jane", ("system:authenticated",))


def pod(name: str, metadata: dict[str, Any] | None = None, **spec) -> dict[str, Any]:
    containers = [{"name": "c", "image": "nginx:1.27"}]
    return {"metadata": {"name": name, **(metadata or {})},
            "spec": {"containers": containers, **spec}}  # fmt: skip


def switch(w, *enabled: str, **configuration) -> None:
    """Run these plugins, too, from now on."""
    w.server.admission = Chain(PLUGINS, enabled, (), configuration, w.env.clock)


async def annotate(w, **annotations: str) -> None:
    patch = {"metadata": {"annotations": {
        f"scheduler.alpha.kubernetes.io/{key}": text for key, text in annotations.items()
    }}}  # fmt: skip
    await w.json("PATCH", NAMESPACE.path("", "default"), patch, content_type=MERGE)


def test_a_new_node_is_tainted_until_it_is_known_to_be_ready(simulate):
    """TaintNodesByCondition; a node that brings the taint has it once."""

    async def story(w):
        taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        await w.client.create(NODE, {"metadata": {"name": "a"}})
        await w.client.create(NODE, {"metadata": {"name": "b"}, "spec": {"taints": [taint]}})
        for name in ("a", "b"):
            assert (await w.client.get_json(NODE, name))["spec"]["taints"] == [taint]

    simulate(story)


def test_a_pod_has_the_zone_of_its_node_once_it_is_bound(simulate):
    """PodTopologyLabels, by a Binding or from the start; a pod's own labels stay at its birth."""

    async def story(w):
        zone = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r"}
        await w.client.create(NODE, {"metadata": {"name": "n", "labels": {**zone, "other": "x"}}})
        await w.client.create(POD, pod("a", {"labels": {"app": "a"}}), "default")
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
        await w.json("POST", POD.path("default", "a") + "/binding", binding)
        shown = await w.client.get_json(POD, "a", "default")
        assert shown["metadata"]["labels"] == {"app": "a", **zone}
        own = {"labels": {"topology.kubernetes.io/zone": "mine"}}
        await w.client.create(POD, pod("b", own, nodeName="n"), "default")
        shown = await w.client.get_json(POD, "b", "default")
        assert shown["metadata"]["labels"] == {**zone, **own["labels"]}

    simulate(story)


def test_a_claim_grows_only_if_it_is_bound_and_its_class_lets_it(simulate):
    """PersistentVolumeClaimResize."""

    async def story(w):
        for name, may in (("fixed", False), ("elastic", True)):
            body = {"metadata": {"name": name}, "provisioner": "x", "allowVolumeExpansion": may}
            await w.client.create(CLASS, body)
            claim = {"metadata": {"name": name}, "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": name,
                "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v",
            }}  # fmt: skip
            await w.client.create(CLAIM, claim, "default")
        grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}

        async def grow(name: str) -> Any:
            answer = await w.json("PATCH", CLAIM.path("default", name), grown, content_type=MERGE)
            return answer.get("message", "grown")

        bound = {"status": {"phase": "Bound"}}
        for name in ("fixed", "elastic"):
            at = CLAIM.path("default", name)
            assert "spec is immutable after creation" in await grow(name)  # not bound yet
            await w.json("PATCH", f"{at}/status", bound, content_type=MERGE)
        assert await grow("fixed") == (
            'persistentvolumeclaims "fixed" is forbidden: only dynamically provisioned pvc can be '
            "resized and the storageclass that provisions the pvc must support resize"
        )
        assert await grow("elastic") == "grown"

    simulate(story)


def test_claims_in_use_are_protected_if_the_plugin_runs(simulate):
    """StorageObjectInUseProtection gives claims and volumes the finalizer of its controller."""

    async def story(w):
        switch(w, "StorageObjectInUseProtection")
        claim = {"metadata": {"name": "c"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}  # fmt: skip
        await w.client.create(CLAIM, claim, "default")
        shown = await w.client.get_json(CLAIM, "c", "default")
        assert shown["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]

    simulate(story)


def test_images_are_always_pulled(simulate):
    """AlwaysPullImages; an update that brings no new image changes nothing."""

    async def story(w):
        await w.client.create(POD, pod("old"), "default")
        switch(w, "AlwaysPullImages")
        await w.client.create(POD, pod("new", initContainers=[{"name": "i", "image": "x:1"}]),
                              "default")  # fmt: skip
        spec = (await w.client.get_json(POD, "new", "default"))["spec"]
        policies = [c["imagePullPolicy"] for c in spec["initContainers"] + spec["containers"]]
        assert policies == ["Always", "Always"]
        labels = {"metadata": {"labels": {"a": "b"}}}
        kept = await w.json("PATCH", POD.path("default", "old"), labels, content_type=MERGE)
        assert kept["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"

    simulate(story)


def test_required_anti_affinity_reaches_no_further_than_a_node(simulate):
    """LimitPodHardAntiAffinityTopology."""

    async def story(w):
        switch(w, "LimitPodHardAntiAffinityTopology")

        def apart(name: str, key: str) -> dict[str, Any]:
            term = {"topologyKey": key, "labelSelector": {"matchLabels": {"a": "b"}}}
            anti = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
            return pod(name, affinity={"podAntiAffinity": anti})

        await w.client.create(POD, apart("a", "kubernetes.io/hostname"), "default")
        error = await w.refused(w.client.create(POD, apart("b", "zone"), "default"))
        assert error.message == (
            'pods "b" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has '
            "TopologyKey zone but only key kubernetes.io/hostname is allowed"
        )

    simulate(story)


def test_no_service_takes_new_external_addresses(simulate):
    """DenyServiceExternalIPs; those that it has may stay, or go."""

    async def story(w):
        ports = [{"port": 80}]
        spec = {"ports": ports, "externalIPs": ["192.0.2.1", "192.0.2.2"]}
        await w.client.create(SERVICE, {"metadata": {"name": "old"}, "spec": spec}, "default")
        switch(w, "DenyServiceExternalIPs")
        new = {"metadata": {"name": "new"}, "spec": spec}
        error = await w.refused(w.client.create(SERVICE, new, "default"))
        assert error.message == (
            'services "new" is forbidden: Use of external IPs is denied by admission control'
        )
        fewer = {"spec": {"externalIPs": ["192.0.2.2"]}}
        shown = await w.json("PATCH", SERVICE.path("default", "old"), fewer, content_type=MERGE)
        assert shown["spec"]["externalIPs"] == ["192.0.2.2"]

    simulate(story)


def test_who_asks_for_a_device_tolerates_its_nodes(simulate):
    """ExtendedResourceToleration."""

    async def story(w):
        switch(w, "ExtendedResourceToleration")
        asked = {"example.com/gpu": "1", "cpu": "1"}
        container = {"name": "c", "image": "x", "resources": {"requests": asked, "limits": asked}}
        await w.client.create(POD, pod("a", containers=[container]), "default")
        spec = (await w.client.get_json(POD, "a", "default"))["spec"]
        assert spec["tolerations"][-1] == {
            "key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule",
        }  # fmt: skip
        assert len(spec["tolerations"]) == 3

    simulate(story)


def test_namespaces_are_made_for_what_goes_into_them(simulate):
    """NamespaceAutoProvision; a dry run makes none, and without the plugin it must be there."""

    async def story(w):
        switch(w, "NamespaceAutoProvision", "NamespaceExists")
        at = kinds.CONFIG_MAP.path("team")
        body = {"metadata": {"name": "m"}}
        tried = await w.json("POST", at, body, dryRun="All")
        assert tried["message"] == 'namespaces "team" not found'
        assert (await w.json("POST", at, body))["metadata"]["namespace"] == "team"
        switch(w, "NamespaceExists")
        missing = await w.json("POST", kinds.CONFIG_MAP.path("other"), body)
        assert missing["message"] == 'namespaces "other" not found'

    simulate(story)


def test_a_namespaces_pods_run_on_its_nodes(simulate):
    """PodNodeSelector: by annotation, or by the cluster's configuration; within a whitelist."""

    async def story(w):
        selectors = {"clusterDefaultNodeSelector": "pool=any", "default": "pool=any,disk=ssd"}
        switch(w, "PodNodeSelector", PodNodeSelector={"podNodeSelectorPluginConfig": selectors})
        await w.client.create(POD, pod("a", nodeSelector={"disk": "ssd"}), "default")
        spec = (await w.client.get_json(POD, "a", "default"))["spec"]
        assert spec["nodeSelector"] == {"pool": "any", "disk": "ssd"}
        error = await w.refused(w.client.create(POD, pod("b", nodeSelector={"x": "y"}), "default"))
        assert error.message == (
            'pods "b" is forbidden: pod node label selector labels conflict with its namespace '
            "whitelist"
        )
        await annotate(w, **{"node-selector": "pool=own"})
        wrong = pod("b", nodeSelector={"pool": "any"})
        error = await w.refused(w.client.create(POD, wrong, "default"))
        assert error.message == (
            'pods "b" is forbidden: pod node label selector conflicts with its namespace node '
            "label selector"
        )

    simulate(story)


def test_a_namespace_says_what_its_pods_tolerate(simulate):
    """PodTolerationRestriction: defaults are added, and nothing outside the whitelist gets in."""

    async def story(w):
        switch(w, "PodTolerationRestriction")
        gpu = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
        await annotate(w, defaultTolerations=json.dumps([gpu]))
        narrow = {"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
        await w.client.create(POD, pod("a", tolerations=[narrow]), "default")
        spec = (await w.client.get_json(POD, "a", "default"))["spec"]
        assert gpu in spec["tolerations"]
        assert narrow not in spec["tolerations"]  # the default covers it
        await annotate(w, tolerationsWhitelist=json.dumps([gpu]))
        error = await w.refused(w.client.create(POD, pod("b"), "default"))
        assert error.message == (
            "pod tolerations (possibly merged with namespace default tolerations) conflict with "
            "its namespace whitelist"
        )

    simulate(story)


def test_a_flood_of_events_is_told_to_wait(simulate):
    """EventRateLimit: a bucket for each namespace, refilled by time."""

    async def story(w):
        limits = [{"type": "Namespace", "qps": 1, "burst": 2}]
        switch(w, "EventRateLimit", EventRateLimit={"limits": limits})
        about = {"kind": "Pod", "name": "p"}

        async def tell(name: str, namespace: str) -> Any:
            at = kinds.named("v1", "Event").path(namespace)
            body = {"metadata": {"name": name}, "involvedObject": {**about, "namespace": namespace}}
            return await w.json("POST", at, body)

        for name in ("a", "b"):
            assert (await tell(name, "default"))["kind"] == "Event"
        refused = await tell("c", "default")
        assert (refused["code"], refused["message"]) == (
            429, "limit reached on type Namespace for key default",
        )  # fmt: skip
        assert (await tell("a", "kube-system"))["kind"] == "Event"
        await w.env.clock.sleep(1.0)
        assert (await tell("c", "default"))["kind"] == "Event"

    simulate(story)


ROLE = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch"]}]


def test_owners_are_set_by_who_may_delete(simulate):
    """OwnerReferencesPermissionEnforcement: an update needs delete, blocking needs finalizers."""

    async def story(w):
        switch(w, "OwnerReferencesPermissionEnforcement")
        role = {"metadata": {"name": "writer"}, "rules": ROLE}
        await w.client.create(kinds.CLUSTER_ROLE, role)
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                     "name": "writer"}  # fmt: skip
        bound = {"metadata": {"name": "jane"}, "subjects": [subject], "roleRef": reference}
        await w.client.create(kinds.CLUSTER_ROLE_BINDING, bound)
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "1"}
        at = kinds.CONFIG_MAP.path("default")
        owned = {"metadata": {"name": "m", "ownerReferences": [owner]}}
        assert (await w.json("POST", at, owned, user=JANE))["metadata"]["name"] == "m"
        none = {"metadata": {"ownerReferences": []}}
        answer = await w.json("PATCH", f"{at}/m", none, content_type=MERGE, user=JANE)
        assert answer["message"].startswith(
            'configmaps "m" is forbidden: cannot set an ownerRef on a resource you can\'t delete: '
        )
        blocking = {"metadata": {"name": "b", "ownerReferences": [
            {**owner, "blockOwnerDeletion": True}
        ]}}  # fmt: skip
        answer = await w.json("POST", at, blocking, user=JANE)
        assert answer["message"].startswith(
            'configmaps "b" is forbidden: cannot set blockOwnerDeletion if an ownerReference '
            "refers to a resource you can't set finalizers on: "
        )

    simulate(story, authorization_mode="RBAC")


def test_always_deny_denies(simulate):
    """Deprecated, and there."""

    async def story(w):
        switch(w, "AlwaysDeny", "AlwaysAdmit")
        error = await w.refused(w.config_map("m"))
        assert error.message == (
            'configmaps "m" is forbidden: admission control is denying all modifications'
        )

    simulate(story)


CONFIG = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: EventRateLimit
  path: limits.yaml
"""


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ("limits: [{type: Server, qps: 5, burst: 9}]", ""),
        ("limits: []", "must not be empty"),
        ("limits: [{type: Server, qps: 0, burst: 9}]", r"limits\[0\].qps: must be positive"),
        ("limits: [{type: X, qps: 1, burst: 9}]", r"limits\[0\].type: choose Server, Namespace"),
    ],
)
def test_plugins_are_told_by_a_file(tmp_path, limits, why):
    """--admission-control-config-file, checked before a cluster is started."""
    file = tmp_path / "admission.yaml"
    file.write_text(CONFIG)
    (tmp_path / "limits.yaml").write_text(limits)
    if not why:
        check(("EventRateLimit",), (), str(file))
        return
    with pytest.raises(ValueError, match=why):
        check(("EventRateLimit",), (), str(file))
