"""Pod Security: what a namespace's labels refuse, and what they only tell."""

from __future__ import annotations

from podwire.api import kinds

LABEL = "pod-security.kubernetes.io/"
POD, NAMESPACE = kinds.POD, kinds.NAMESPACE
MERGE = "application/merge-patch+json"
MILD = [{"name": "c", "image": "nginx"}]
BAD = [{"name": "c", "image": "nginx", "securityContext": {"privileged": True}}]
EXISTING = "violate the new PodSecurity enforce level"
WHY = 'privileged (container "c" must not set securityContext.privileged=true)'


async def namespace(w, **labels: str) -> None:
    labels = {LABEL + mode.replace("_", "-"): level for mode, level in labels.items()}
    await w.client.create(NAMESPACE, {"metadata": {"name": "n", "labels": labels}})
    await w.client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "n")


def pod(name: str, containers=BAD, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def test_a_pod_that_violates_an_enforced_level_is_forbidden(simulate):
    """In upstream's words; its debug containers are held to the same."""

    async def story(w):
        await namespace(w, enforce="baseline", enforce_version="v1.37")
        error = await w.refused(w.client.create(POD, pod("a"), "n"))
        assert (
            error.message == f'pods "a" is forbidden: violates PodSecurity "baseline:v1.37": {WHY}'
        )
        assert (error.code, error.details) == (403, {"name": "a", "kind": "pods"})
        await w.client.create(POD, pod("a", MILD), "n")
        debug = {"spec": {"ephemeralContainers": [{**BAD[0], "name": "debugger"}]}}
        at = f"{POD.path('n', 'a')}/ephemeralcontainers"
        answer = await w.json("PATCH", at, debug, content_type=MERGE)
        assert "violates PodSecurity" in answer["message"]

    simulate(story)


def test_a_template_is_warned_of_and_its_pods_are_refused(simulate):
    """Also the pods that a controller makes, by their generated names."""

    async def story(w):
        await namespace(w, enforce="baseline")
        body = {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": BAD}},
            },
        }
        answer = await w.raw("POST", kinds.DEPLOYMENT.path("n"), body)
        assert answer.status == 201
        why = WHY.replace('"', '\\"')
        assert answer.headers["warning"] == (
            f'299 - "would violate PodSecurity \\"baseline:latest\\": {why}"'
        )
        made = {"metadata": {"generateName": "d-"}, "spec": {"containers": BAD}}
        error = await w.refused(w.client.create(POD, made, "n"))
        assert error.message.startswith('pods "d-')
        assert 'pods "d-" is forbidden' not in error.message

    simulate(story)


def test_labels_that_cannot_be_read_are_refused_when_they_are_new(simulate):
    """On a new namespace and on one that had others."""

    async def story(w):
        error = await w.refused(namespace(w, enforce="nonsense"))
        assert error.message == (
            'Namespace "n" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: '
            'Invalid value: "nonsense": must be one of privileged, baseline, restricted'
        )
        await namespace(w, audit="baseline")
        body = {"metadata": {"labels": {f"{LABEL}warn-version": "1"}}}
        answer = await w.json("PATCH", NAMESPACE.path("", "n"), body, content_type=MERGE)
        assert answer["reason"] == "Invalid"

    simulate(story)


def test_a_stricter_level_tells_which_pods_would_not_get_in_any_more(simulate):
    """One name for those that have the same fault."""

    async def story(w):
        await namespace(w)
        for name in ("b", "a", "c"):
            await w.client.create(POD, pod(name), "n")
        await w.client.create(POD, pod("h", MILD, hostNetwork=True), "n")
        body = {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}}
        answer = await w.raw("PATCH", NAMESPACE.path("", "n"), body, content_type=MERGE)
        assert answer.status == 200
        told = answer.headers["warning"].replace("\\", "")
        assert told == ", ".join(
            f'299 - "{text}"'
            for text in (
                f'existing pods in namespace "n" {EXISTING} "baseline:latest"',
                "a (and 2 other pods): privileged",
                "h: host namespaces",
            )
        )

    simulate(story)
