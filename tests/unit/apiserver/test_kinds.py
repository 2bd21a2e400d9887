"""Every built-in kind: told by discovery as upstream tells it, stored, watched, cleaned up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.apiserver import discovery
from podwire.client.counters import Frame
from tests.samples import sample

GROUPS = [
    "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io",
    "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io",
    "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
    "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
    "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
    "storagemigration.k8s.io", "podwire.dev", "metrics.k8s.io",
]  # fmt: skip
"""As in api/discovery/apis.json of kubernetes/kubernetes, less what is off by default."""

STORED = [kind for kind in kinds.ALL if not kind.behaves and "watch" in kind.verbs]


def discovered(group: str, plural: str) -> dict[str, Any]:
    """A resource of the first version of a group in the aggregated document."""
    body = msgspec.json.decode(discovery.aggregated(group == "", "v2")[0])
    item = next(i for i in body["items"] if i["metadata"].get("name", "") == group)
    return next(r for r in item["versions"][0]["resources"] if r["resource"] == plural)


def test_groups_come_in_upstreams_order_of_priority():
    """kubectl resolves an ambiguous name by it."""
    body = msgspec.json.decode(discovery.aggregated(False, "v2")[0])
    assert [item["metadata"]["name"] for item in body["items"]] == GROUPS


@pytest.mark.parametrize(
    ("accept", "told"),
    [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "v2"),
        ("application/json; v=v2beta1; as=APIGroupDiscoveryList; g=apidiscovery.k8s.io", "v2beta1"),
        ("application/json;v=v3;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,*/*", ""),
        ("application/json,application/json;g=apidiscovery.k8s.io;v=v2;as=Other", ""),
        ("", ""),
    ],
)
def test_aggregated_discovery_is_asked_for_by_parameters_in_any_order(simulate, accept, told):
    """cloudcoil begins with the version; what is not known falls to the next clause."""

    async def story(w):
        for route in discovery.routes():
            w.server.routes.add(route)
        for path, legacy in (("/api", "APIVersions"), ("/apis", "APIGroupList")):
            body = await w.json("GET", path, accept=accept)
            assert body["kind"] == ("APIGroupDiscoveryList" if told else legacy)
            assert not told or body["apiVersion"] == f"apidiscovery.k8s.io/{told}"

    simulate(story)


def test_a_resource_is_told_as_upstream_tells_it():
    """Copied from api/discovery/aggregated_v2.json; only foreign kinds name their group."""
    assert discovered("apps", "deployments") == {
        "categories": ["all"],
        "resource": "deployments",
        "responseKind": {"group": "", "kind": "Deployment", "version": ""},
        "scope": "Namespaced",
        "shortNames": ["deploy"],
        "singularResource": "deployment",
        "subresources": [
            {
                "responseKind": {"group": "autoscaling", "kind": "Scale", "version": "v1"},
                "subresource": "scale",
                "verbs": ["get", "patch", "update"],
            },
            {
                "responseKind": {"group": "", "kind": "Deployment", "version": ""},
                "subresource": "status",
                "verbs": ["get", "patch", "update"],
            },
        ],
        "verbs": list(kinds.ALL_VERBS),
    }


def test_legacy_discovery_knows_what_drain_looks_for(simulate):
    """pods/eviction as policy/v1 Eviction, and every storage version's hash."""

    async def told(w):
        for route in discovery.routes():
            w.server.routes.add(route)
        listed = (await w.json("GET", "/api/v1"))["resources"]
        by_name = {resource["name"]: resource for resource in listed}
        assert by_name["pods/eviction"] == {
            "group": "policy", "kind": "Eviction", "name": "pods/eviction", "namespaced": True,
            "singularName": "", "verbs": ["create"], "version": "v1",
        }  # fmt: skip
        assert by_name["pods"]["storageVersionHash"] == "xPOwRZ+Yhw8="
        assert "storageVersionHash" not in by_name["bindings"]
        listed = (await w.json("GET", "/apis/certificates.k8s.io/v1"))["resources"]
        hashes = {r["name"]: r.get("storageVersionHash") for r in listed}
        assert hashes["podcertificaterequests"] == "wYA9yXQH8fg="  # stored as v1beta1

    simulate(told)


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.resource)
def test_a_stored_kind_is_created_listed_watched_patched_and_deleted(simulate, kind: Kind[Any]):
    """Whatever nobody acts on is kept faithfully."""

    async def life(w):
        namespace = "default" if kind.namespaced else ""
        stream = (await w.raw("GET", kind.path(), watch="true")).stream
        body = sample(kind)
        name = body["metadata"]["name"]
        made = await w.json("POST", kind.path(namespace), body)
        assert (made["apiVersion"], made["kind"]) == (kind.api_version, kind.kind)
        assert made["metadata"]["uid"]
        patch = {"metadata": {"labels": {"x": "y"}}}
        path = kind.path(namespace, name)
        answer = await w.raw("PATCH", path, patch, "application/merge-patch+json")
        assert answer.status == 200
        listed = await w.json("GET", kind.path(), labelSelector="x=y")
        assert [item["metadata"]["name"] for item in listed["items"]] == [name]
        answer = await w.raw("DELETE", path, propagationPolicy="Background")
        assert answer.status == 200
        seen = [await stream.__anext__() for _ in range(3)]
        assert all(isinstance(frame, Frame) for frame in seen)
        types = [msgspec.json.decode(frame.data)["type"] for frame in seen]
        assert types == ["ADDED", "MODIFIED", "DELETED"]

    simulate(life)


def test_a_version_that_is_off_by_default_is_not_served(simulate):
    """Alpha and beta types are known to the decoder, not to the paths."""

    async def asked(w):
        assert (await w.raw("GET", "/apis/resource.k8s.io/v1beta1/deviceclasses")).status == 404

    simulate(asked)


def test_a_deletion_answers_as_the_kinds_strategy_does(simulate):
    """The object for some kinds, a Status for the others; generated clients check it."""

    async def told(w):
        for kind, plural in ((kinds.SECRET, "secrets"), (kinds.SERVICE_ACCOUNT, "")):
            await w.client.create(kind, {"metadata": {"name": "a"}}, "default")
            answer = await w.json("DELETE", kind.path("default", "a"))
            assert answer["kind"] == ("Status" if plural else kind.kind)
        returned = [kind.resource for kind in kinds.ALL if kind.returned]
        assert len(returned) == 17
        assert "devicetaintrules.resource.k8s.io" in returned

    simulate(told)
