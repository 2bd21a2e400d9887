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


def test_a_pods_priority_is_that_of_its_class(simulate):
    """Of the built-in ones, of one that was made, of the default; it cannot be chosen freely."""

    async def story(w):
        body = pod("a", priorityClassName="system-node-critical")
        await w.client.create(POD, body, "kube-system")
        shown = await w.client.get_json(POD, "a", "kube-system")
        assert shown["spec"]["priority"] == 2000001000
        error = await w.refused(w.client.create(POD, pod("b", priorityClassName="x"), "default"))
        assert error.message == ('pods "b" is forbidden: no PriorityClass with name x was found')
        error = await w.refused(w.client.create(POD, pod("b", priority=7), "default"))
        assert "the integer value of priority (7) must not be provided" in error.message
        mild = {"metadata": {"name": "mild"}, "value": 7, "preemptionPolicy": "Never"}
        await w.client.create(kinds.PRIORITY_CLASS, mild)
        await w.client.create(POD, pod("b", priorityClassName="mild"), "default")
        spec = (await w.client.get_json(POD, "b", "default"))["spec"]
        assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")
        del spec["priority"], spec["preemptionPolicy"]
        body = {"metadata": {"name": "b"}, "spec": spec}
        kept = (await w.json("PUT", POD.path("default", "b"), body))["spec"]
        assert (kept["priority"], kept["preemptionPolicy"]) == (7, "Never")
        wish = pod("c", priorityClassName="mild", preemptionPolicy="PreemptLowerPriority")
        error = await w.refused(w.client.create(POD, wish, "default"))
        assert "the string value of PreemptionPolicy (PreemptLowerPriority) must" in error.message

    simulate(story)


def test_there_is_one_default_priority_class(simulate):
    """Pods that name none get it; a second one is refused."""

    async def story(w):
        usual = {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True}
        await w.client.create(kinds.PRIORITY_CLASS, usual)
        await w.client.create(POD, pod("a"), "default")
        spec = (await w.client.get_json(POD, "a", "default"))["spec"]
        assert (spec["priorityClassName"], spec["priority"]) == ("usual", 5)
        other = {**usual, "metadata": {"name": "other"}}
        error = await w.refused(w.client.create(kinds.PRIORITY_CLASS, other))
        assert error.message == (
            'priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is '
            "already marked as default. Only one default can exist"
        )
        renamed = {**usual, "description": "for most"}
        answer = await w.raw("PUT", kinds.PRIORITY_CLASS.path("", "usual"), renamed)
        assert answer.status == 200

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
