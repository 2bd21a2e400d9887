"""Which writes a kind permits, what it adds by itself, and what it warns of."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from podwire.api import kinds
from podwire.apiserver.registry import strategy
from tests.samples import sample

POD_TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}


def change(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with a value set at a dotted path; digits count in lists."""
    changed = copy.deepcopy(body)
    at: Any = changed
    *parents, last = path.split("/")
    for key in parents:
        at = at[int(key)] if key.isdigit() else at.setdefault(key, {})
    at[last] = value
    return changed


CREATED_BY_PUT = [kind for kind in kinds.STORED if strategy.creates_by_update(kind)]


@pytest.mark.parametrize("kind", CREATED_BY_PUT, ids=str)
def test_put_creates_what_may_be_created_so(simulate, kind):
    """201 once, 200 from then on."""

    async def story(w):
        namespace = "default" if kind.namespaced else None
        body = sample(kind, "new", namespace)
        path = f"{kind.path(namespace)}/new"
        made = await w.raw("PUT", path, body)
        assert made.status == 201, made.body
        stored = await w.json("GET", path)
        assert (await w.raw("PUT", path, stored)).status == 200

    simulate(story)


def test_put_of_something_absent_is_not_found(simulate):
    """A Deployment comes to be by POST or apply only."""

    async def story(w):
        path = f"{kinds.DEPLOYMENT.path('default')}/d"
        answer = await w.json("PUT", path, sample(kinds.DEPLOYMENT, "d", "default"))
        assert answer["message"] == 'deployments.apps "d" not found'

    simulate(story)


@pytest.mark.parametrize("name", ["Lease", "PodDisruptionBudget", "RuntimeClass"])
def test_some_kinds_are_updated_only_by_who_read_them(simulate, name):
    """A PUT without resourceVersion is refused; a ConfigMap's is not."""

    async def story(w):
        (kind,) = [kind for kind in kinds.STORED if kind.kind == name]
        namespace = "default" if kind.namespaced else None
        body = sample(kind, "a", namespace)
        await w.json("POST", kind.path(namespace), body)
        answer = await w.json("PUT", f"{kind.path(namespace)}/a", body)
        assert (answer["code"], answer["details"]["causes"]) == (422, [{
            "reason": "FieldValueInvalid", "field": "metadata.resourceVersion",
            "message": "Invalid value: 0: must be specified for an update",
        }])  # fmt: skip
        await w.config_map("c")
        body = sample(kinds.CONFIG_MAP, "c", "default")
        assert (await w.raw("PUT", f"{kinds.CONFIG_MAP.path('default')}/c", body)).status == 200

    simulate(story)


def test_a_job_finds_its_pods_by_its_own_uid(simulate):
    """Selector and labels, those of old and those of today; a manual selector stays as it is."""

    async def story(w):
        body = {"metadata": {"name": "j"}, "spec": {"template": POD_TEMPLATE}}
        job = await w.json("POST", kinds.JOB.path("default"), body)
        uid = job["metadata"]["uid"]
        assert job["spec"]["selector"] == {
            "matchLabels": {"batch.kubernetes.io/controller-uid": uid}
        }
        assert job["spec"]["template"]["metadata"]["labels"] == {
            "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "j",
            "controller-uid": uid, "job-name": "j",
        }  # fmt: skip
        body = change(body, "spec/selector", {"matchLabels": {"a": "b"}})
        body = change(body, "metadata/name", "k")
        answer = await w.json("POST", kinds.JOB.path("default"), body)
        assert answer["code"] == 422
        assert "`selector` not auto-generated" in answer["message"]

    simulate(story)


POD = sample(kinds.POD, "a", "default")
INGRESS = sample(kinds.INGRESS, "a", "default")
NULL_SELECTOR = {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    ("body", "path", "value", "warning"),
    [
        (POD, "spec/containers/0/env", [{"name": "A", "value": "1"}, {"name": "A"}],
         ('spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when '
         "using apply")),
        (POD, "spec/containers/0/ports", [{"containerPort": 80}, {"containerPort": 80}],
         "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"),
        (POD, "spec/containers/0/resources", {"requests": {"memory": "100m"}},
         ('spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, '
         "must be an integer")),
        (POD, "spec/nodeSelector", {"beta.kubernetes.io/os": "linux"},
         ("spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "
          '"kubernetes.io/os" instead')),
        (POD, "spec/topologySpreadConstraints", [NULL_SELECTOR],
         ("spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in "
         "matching no pod")),
        (POD, "metadata/name", "a.b",
         ("metadata.name: this is used in the Pod's hostname, which can result in surprising "
         "behavior; a DNS label is recommended: [must not contain dots]")),
        (INGRESS, "metadata/annotations", {"kubernetes.io/ingress.class": "nginx"},
         ('annotation "kubernetes.io/ingress.class" is deprecated, please use '
         "'spec.ingressClassName' instead")),
    ],
)  # fmt: skip
def test_what_is_accepted_may_still_be_warned_of(simulate, body, path, value, warning):
    """Upstream's words in a Warning header, quoted; dry runs get them too."""

    async def story(w):
        kind = kinds.POD if body is POD else kinds.INGRESS
        changed = change(body, path, value)
        if kind is kinds.INGRESS:
            changed["spec"].pop("ingressClassName", None)
        for query in ({"dryRun": "All"}, {}):
            made = await w.raw("POST", kind.path("default"), changed, **query)
            assert made.status == 201, made.body
            assert warning in warnings(made)

    simulate(story)


def test_whoever_uses_endpoints_is_told_of_slices(simulate):
    """On every request, reads too."""

    async def story(w):
        for answer in (
            await w.raw("GET", kinds.ENDPOINTS.path("default")),
            await w.raw("PUT", f"{kinds.ENDPOINTS.path('default')}/e",
                        sample(kinds.ENDPOINTS, "e", "default")),
        ):  # fmt: skip
            assert answer.status in {200, 201}
            assert warnings(answer) == [
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
            ]
        assert warnings(await w.raw("GET", kinds.POD.path("default"))) == []

    simulate(story)


def warnings(answer: Any) -> list[str]:
    """The texts of an answer's Warning headers."""
    found = []
    for name, value in dict(answer.headers).items():
        if name.lower() == "warning":
            found += [
                text.replace('\\"', '"') for text in re.findall(r'299 - "((?:\\"|[^"])*)"', value)
            ]
    return found
