"""What admission adds to pods, and what it refuses."""

from __future__ import annotations

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError

POD = kinds.POD


def pod(name: str, **spec) -> dict[str, object]:
    containers = [{"name": "c", "image": "nginx"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def test_a_pod_gets_an_account_two_tolerations_a_priority_and_a_class(simulate):
    """What kubectl get pod -o yaml shows beyond what was written."""

    async def story(w):
        await w.client.create(POD, pod("a"), "default")
        shown = await w.client.get_json(POD, "a", "default")
        spec = shown["spec"]
        assert spec["serviceAccountName"] == "default"
        assert spec["priority"] == 0
        assert spec["preemptionPolicy"] == "PreemptLowerPriority"
        assert [(t["key"], t["effect"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
            ("node.kubernetes.io/not-ready", "NoExecute", 300),
            ("node.kubernetes.io/unreachable", "NoExecute", 300),
        ]
        assert shown["status"]["phase"] == "Pending"
        assert shown["status"]["qosClass"] == "BestEffort"

    simulate(story)


def test_a_pods_own_tolerations_are_respected(simulate):
    """A DaemonSet's pods stay on a node that is not ready."""

    async def story(w):
        own = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
        await w.client.create(POD, pod("a", tolerations=own), "default")
        shown = await w.client.get_json(POD, "a", "default")
        keys = [(t["key"], t.get("tolerationSeconds")) for t in shown["spec"]["tolerations"]]
        assert keys == [
            ("node.kubernetes.io/not-ready", None),
            ("node.kubernetes.io/unreachable", 300),
        ]

    simulate(story)


def test_a_pod_of_a_missing_account_is_forbidden(simulate):
    """The message users know from namespaces that are seconds old."""

    async def story(w):
        await w.client.delete(kinds.SERVICE_ACCOUNT, "default", "default")
        error = await w.refused(w.client.create(POD, pod("a"), "default"))
        assert error.reason == "Forbidden"
        assert error.message == (
            'pods "a" is forbidden: error looking up service account default/default: '
            'serviceaccount "default" not found'
        )

    simulate(story)


def test_a_priority_class_is_a_number(simulate):
    """Two are built in; a class must exist, and the number cannot be chosen freely."""

    async def story(w):
        body = pod("a", priorityClassName="system-node-critical")
        await w.client.create(POD, body, "kube-system")
        shown = await w.client.get_json(POD, "a", "kube-system")
        assert shown["spec"]["priority"] == 2000001000
        error = await w.refused(w.client.create(POD, pod("b", priorityClassName="x"), "default"))
        assert error.message == ('pods "b" is forbidden: no PriorityClass with name x was found')
        error = await w.refused(w.client.create(POD, pod("b", priority=7), "default"))
        assert "the integer value of priority (7) must not be provided" in error.message

    simulate(story)


def test_what_can_only_be_created_is_not_stored(simulate):
    """A Trace without the handler that answers it is refused."""

    async def story(w):
        answer = await w.raw("POST", kinds.TRACE.path(), {})
        assert answer.status == 405

    simulate(story)


def ingress(name: str, annotations: dict[str, str] | None = None, **spec) -> dict[str, object]:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    return {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"defaultBackend": backend, **spec},
    }


def test_an_ingress_without_class_gets_the_newest_default(simulate):
    """Of two of the same second, the first by name; who names a class keeps it."""

    async def story(w):
        marked = {"ingressclass.kubernetes.io/is-default-class": "true"}

        async def make(name, annotations):
            meta = {"name": name, "annotations": annotations}
            body = {"metadata": meta, "spec": {"controller": "example.com/c"}}
            await w.client.create(kinds.INGRESS_CLASS, body)

        async def chosen(name, annotations=None, **spec):
            body = ingress(name, annotations, **spec)
            made = await w.client.create(kinds.INGRESS, body, "default")
            return made.spec.ingress_class_name

        await make("plain", {})
        assert await chosen("a") is None
        await make("old", marked)
        assert await chosen("b") == "old"
        await w.env.clock.sleep(2)
        await make("z", marked)
        await make("y", marked)
        assert await chosen("c") == "y"
        assert await chosen("d", ingressClassName="plain") == "plain"
        assert await chosen("e", {"kubernetes.io/ingress.class": "nginx"}) is None

    simulate(story)


def test_class_and_annotation_of_an_ingress_must_agree(simulate):
    """Upstream's words; only when it is created."""

    async def story(w):
        body = ingress("a", {"kubernetes.io/ingress.class": "x"}, ingressClassName="y")
        with pytest.raises(ApiError, match="must match `ingressClassName` when both are specified"):
            await w.client.create(kinds.INGRESS, body, "default")

    simulate(story)
