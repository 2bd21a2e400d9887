"""One object under two versions: listed, watched, selected, patched and deleted in each."""

from __future__ import annotations

import msgspec

from podwire.api import kinds
from podwire.apiserver.registry.list import expired

EVENT, NEW_EVENT = kinds.EVENT, kinds.EVENTS_EVENT
V1, V2 = kinds.HORIZONTAL_POD_AUTOSCALER_V1, kinds.HORIZONTAL_POD_AUTOSCALER
BODY = {
    "metadata": {"name": "e", "labels": {"x": "y"}},
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    "message": "hello",
    "reason": "Because",
}
NEW_BODY = {
    "metadata": {"name": "e"},
    "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "type": "Normal",
    "action": "Look",
    "reason": "Because",
    "reportingController": "example.com/c",
    "reportingInstance": "c-1",
}
"""What events.k8s.io accepts."""


def test_an_event_is_the_same_object_under_both_groups(simulate):
    """One uid, one resourceVersion, one list's revision."""

    async def story(w):
        made = await w.json("POST", EVENT.path("default"), BODY)
        shown = await w.json("GET", NEW_EVENT.path("default", "e"))
        assert (shown["apiVersion"], shown["note"]) == ("events.k8s.io/v1", "hello")
        assert shown["metadata"] == made["metadata"]
        listed = await w.json("GET", NEW_EVENT.path(), labelSelector="x=y")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["e"]
        assert listed["metadata"] == (await w.json("GET", EVENT.path()))["metadata"]
        new = {**NEW_BODY, "metadata": {"name": "f"}, "note": "new"}
        assert (await w.json("POST", NEW_EVENT.path("default"), new))["note"] == "new"
        assert (await w.json("GET", EVENT.path("default", "f")))["message"] == "new"

    simulate(story)


def test_each_version_is_watched_in_its_own_words(simulate, take):
    """A watch that resumes sees what happened before the version was first asked for."""

    async def story(w):
        start = (await w.json("GET", EVENT.path()))["metadata"]["resourceVersion"]
        await w.json("POST", EVENT.path("default"), BODY)
        new = w.client.watch(NEW_EVENT, resource_version=start)
        old = w.client.watch(EVENT, resource_version=start)
        patch = {"metadata": {"labels": {"x": "z"}}}
        path = NEW_EVENT.path("default", "e")
        patched = await w.raw("PATCH", path, patch, "application/merge-patch+json")
        assert patched.status == 200
        assert (await w.raw("DELETE", EVENT.path("default", "e"))).status == 200
        expected = [("ADDED", "e"), ("MODIFIED", "e"), ("DELETED", "e")]
        assert await take(new, 3) == expected
        assert await take(old, 3) == expected

    simulate(story)


def test_refusals_name_the_version_that_was_asked(simulate):
    """``events.events.k8s.io``."""

    async def story(w):
        missing = await w.json("GET", NEW_EVENT.path("default", "x"))
        assert missing["message"] == 'events.events.k8s.io "x" not found'
        await w.json("POST", EVENT.path("default"), BODY)
        again = await w.json("POST", NEW_EVENT.path("default"), NEW_BODY)
        assert again["message"] == 'events.events.k8s.io "e" already exists'

    simulate(story)


def test_what_v1_cannot_say_survives_its_writes(simulate):
    """A v2 autoscaler scaled and reported on through v1 keeps metrics, behaviour, conditions."""

    async def story(w):
        memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}
        spec = {
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": memory}],
            "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
        }
        body = {"metadata": {"name": "h"}, "spec": spec}
        made = await w.json("POST", V2.path("default"), body)
        merge = "application/merge-patch+json"
        path = V1.path("default", "h")
        patch = {"spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 70}}
        assert (await w.raw("PATCH", path, patch, merge)).status == 200
        status = {"metadata": {"annotations": None}, "status": {"desiredReplicas": 2}}
        answer = await w.raw("PATCH", V1.path("default", "h", "status"), status, merge)
        assert answer.status == 200
        now = await w.json("GET", V2.path("default", "h"))
        assert now["spec"]["maxReplicas"] == 5
        assert now["spec"]["behavior"] == made["spec"]["behavior"]
        assert now["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
        names = [metric["resource"]["name"] for metric in now["spec"]["metrics"]]
        assert names == ["memory", "cpu"]
        assert now["status"]["desiredReplicas"] == 2
        assert now["metadata"]["uid"] == made["metadata"]["uid"]
        assert "annotations" not in now["metadata"]

    simulate(story)


def test_a_reload_reaches_every_version(simulate):
    """Both caches start over; their watches end."""

    async def story(w):
        await w.json("POST", EVENT.path("default"), BODY)
        await w.json("GET", NEW_EVENT.path())
        await w.server.caches.start()
        assert len((await w.json("GET", NEW_EVENT.path()))["items"]) == 1
        late = await w.raw("GET", NEW_EVENT.path(), watch="true", resourceVersion="1")
        frame = await anext(late.stream)
        assert expired("x").status()["reason"].encode() in frame.data

    simulate(story)


def test_a_dry_run_in_another_version_shows_what_would_be(simulate):
    """Not the object as it is, which has the same resourceVersion."""

    async def story(w):
        await w.json("POST", EVENT.path("default"), BODY)
        path, merge = NEW_EVENT.path("default", "e"), "application/merge-patch+json"
        change = {"metadata": {"labels": {"x": "tried"}}}
        answer = await w.raw("PATCH", path, change, merge, dryRun="All")
        assert msgspec.json.decode(answer.body)["metadata"]["labels"] == {"x": "tried"}
        assert (await w.json("GET", path))["metadata"]["labels"] == {"x": "y"}

    simulate(story)


def test_events_made_in_the_new_group_are_held_to_its_rules(simulate):
    """events.k8s.io demands what v1 forgives, and lets a recorder count the series only."""

    async def story(w):
        path = NEW_EVENT.path("default")
        body = {"metadata": {"name": "n"}, "regarding": {"kind": "Pod", "namespace": "default"}}
        answer = await w.json("POST", path, body)
        assert answer["message"] == (
            'Event "n" is invalid: [eventTime: Required value, '
            'type: Invalid value: "": has invalid value: ]'
        )
        body |= {"eventTime": NEW_BODY["eventTime"], "type": "Normal", "note": "x" * 1025}
        told = [cause["field"] for cause in (await w.json("POST", path, body))["details"]["causes"]]
        assert told[0] == "reportingController"
        assert told[-4:] == ["reportingInstance", "action", "reason", "message"]
        body = {**NEW_BODY, "metadata": {"name": "n"}, "note": "fine"}
        made = await w.json("POST", path, body)
        series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
        path = NEW_EVENT.path("default", "n")
        assert (await w.raw("PUT", path, {**made, "series": series})).status == 200
        told = await w.json("PUT", path, {**body, "series": {"count": 1}, "note": "else"})
        assert [cause["field"] for cause in told["details"]["causes"]] == [
            "series.count", "series.lastObservedTime", "message",
        ]  # fmt: skip
        core = {"involvedObject": body["regarding"], "metadata": {"name": "old"}}
        assert (await w.raw("POST", EVENT.path("default"), core)).status == 201

    simulate(story)
