"""pods/ephemeralcontainers and pods/resize: one part of a pod that may change after all."""

from __future__ import annotations

import pytest

from podwire.api import kinds
from tests import csr

POD = kinds.POD
STRATEGIC = "application/strategic-merge-patch+json"
AMOUNTS = {"cpu": "100m", "memory": "64Mi"}


async def pod(w, **container):
    spec = {"containers": [{"name": "c", "image": "nginx", **container}]}
    await w.client.create(POD, {"metadata": {"name": "a"}, "spec": spec}, "default")
    return await w.client.get_json(POD, "a", "default")


async def patched(w, part, **spec):
    path = POD.path("default", "a", part)
    return await w.json("PATCH", path, {"spec": spec}, content_type=STRATEGIC)


def debugger(name="d", **fields):
    return {"name": name, "image": "busybox", **fields}


def test_a_debugger_joins_a_pod(simulate):
    """It is defaulted as any container; nothing else changed but the generation."""

    async def story(w):
        before = await pod(w)
        answer = await patched(
            w, "ephemeralcontainers", ephemeralContainers=[debugger()], hostNetwork=True
        )
        (made,) = answer["spec"].pop("ephemeralContainers")
        assert made["name"] == "d"
        assert made["terminationMessagePolicy"] == "File"
        assert answer["spec"] == before["spec"]
        assert answer["metadata"]["generation"] == before["metadata"]["generation"] + 1
        shown = await w.json("GET", POD.path("default", "a", "ephemeralcontainers"))
        assert shown["spec"]["ephemeralContainers"] == [made]

    simulate(story)


def test_debuggers_are_added_never_changed_or_removed(simulate):
    """Source: ValidatePodEphemeralContainersUpdate."""

    async def story(w):
        await pod(w)
        await patched(w, "ephemeralcontainers", ephemeralContainers=[debugger()])
        answer = await patched(
            w, "ephemeralcontainers", ephemeralContainers=[debugger(image="other")]
        )
        assert answer["code"] == 422
        assert 'existing ephemeral containers "d" may not be changed' in answer["message"]
        body = await w.client.get_json(POD, "a", "default")
        body["spec"]["ephemeralContainers"] = []
        answer = await w.json("PUT", POD.path("default", "a", "ephemeralcontainers"), body)
        assert 'existing ephemeral containers "d" may not be removed' in answer["message"]
        answer = await patched(w, "ephemeralcontainers", ephemeralContainers=[debugger("e")])
        assert [c["name"] for c in answer["spec"]["ephemeralContainers"]] == ["e", "d"]

    simulate(story)


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (
            {"name": "c"},
            'spec.ephemeralContainers[0].name: Duplicate value: "c"',
        ),
        (
            {"ports": [{"containerPort": 80}]},
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral",
        ),
        (
            {"resources": {"requests": AMOUNTS}},
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral",
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "x"}]},
            "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an",
        ),
        (
            {"targetContainerName": "x"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "x"',
        ),
    ],
)
def test_a_debugger_that_cannot_be_is_refused(simulate, container, told):
    """Source: validateEphemeralContainers."""

    async def story(w):
        await pod(w)
        answer = await patched(
            w, "ephemeralcontainers", ephemeralContainers=[debugger() | container]
        )
        assert answer["code"] == 422
        assert told in answer["message"]

    simulate(story)


def test_cpu_and_memory_may_be_resized(simulate):
    """In place, by the subresource; an ordinary update may not."""

    async def story(w):
        before = await pod(w, resources={"requests": AMOUNTS})
        more = {"requests": {"cpu": "200m"}}
        answer = await patched(w, "resize", containers=[{"name": "c", "resources": more}])
        (container,) = answer["spec"]["containers"]
        assert container["resources"]["requests"] == {"cpu": "200m", "memory": "64Mi"}
        assert answer["metadata"]["generation"] == before["metadata"]["generation"] + 1
        path = POD.path("default", "a")
        patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": AMOUNTS}}]}}
        answer = await w.json("PATCH", path, patch, content_type=STRATEGIC)
        assert answer["code"] == 422

    simulate(story)


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"limits": AMOUNTS}, 'Invalid value: "Guaranteed": Pod QOS Class may not change'),
        (
            {"requests": {"memory": None}},
            "requests: Forbidden: resource requests cannot be removed",
        ),
        (
            {"requests": {"ephemeral-storage": "1Gi"}},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}, "must be less than or equal to"),
    ],
)
def test_a_resize_keeps_what_a_pod_is(simulate, resources, told):
    """Source: ValidatePodResize."""

    async def story(w):
        before = await pod(w, resources={"requests": AMOUNTS})
        answer = await patched(w, "resize", containers=[{"name": "c", "resources": resources}])
        assert answer["code"] == 422, answer
        assert told in answer["message"]
        assert await w.client.get_json(POD, "a", "default") == before

    simulate(story)


def test_a_resize_cannot_bring_containers(simulate):
    """The image of one, or another field, is quietly kept as it was."""

    async def story(w):
        await pod(w, resources={"requests": AMOUNTS})
        answer = await patched(w, "resize", containers=[{"name": "x", "image": "i"}])
        assert (
            "spec.containers: Forbidden: containers may not be added or removed on resize"
            in (answer["message"])
        )
        answer = await patched(w, "resize", containers=[{"name": "c", "image": "other"}])
        assert answer["spec"]["containers"][0]["image"] == "nginx"

    simulate(story)


def test_an_apply_changes_no_more_than_its_part(simulate):
    """And an approver who applies cannot slip a certificate in."""

    async def story(w):
        apply = "application/apply-patch+yaml"
        await pod(w, resources={"requests": AMOUNTS})
        more = {"cpu": "200m", "memory": "64Mi"}
        containers = [{"name": "c", "image": "other", "resources": {"requests": more}}]
        config = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a"},
            "spec": {"containers": containers},
        }
        answer = await w.json(
            "PATCH", POD.path("default", "a", "resize"), config, content_type=apply,
            fieldManager="me", force="true",
        )  # fmt: skip
        (container,) = answer["spec"]["containers"]
        assert container["resources"]["requests"] == more
        assert container["image"] == "nginx"
        kind = kinds.CERTIFICATE_SIGNING_REQUEST
        await w.client.create(kind, csr.body("x", csr.request("ann")))
        config = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": "x"},
            "status": {
                "certificate": "YQ==",
                "conditions": [{"type": "Approved", "status": "True", "reason": "me"}],
            },
        }
        answer = await w.json(
            "PATCH", kind.path("", "x", "approval"), config, content_type=apply,
            fieldManager="me",
        )  # fmt: skip
        assert [c["type"] for c in answer["status"]["conditions"]] == ["Approved"]
        assert "certificate" not in answer["status"]

    simulate(story)
