"""Deletion: grace, finalizers, preconditions, propagation, namespaces."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.times import parse_time

POD, CM, NS = kinds.POD, kinds.CONFIG_MAP, kinds.NAMESPACE


def pod(name: str, **spec) -> dict[str, object]:
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
    }


async def scheduled(w, name: str) -> None:
    await w.client.create(POD, pod(name), "default")
    body = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"}}
    answer = await w.raw("POST", POD.path("default", name, "binding"), body)
    assert answer.status == 201


def test_a_scheduled_pod_is_deleted_by_its_kubelet(simulate, take):
    """The first delete sets the deadline, the kubelet's own with grace 0 removes it."""

    async def story(w):
        await scheduled(w, "a")
        stream = w.client.watch(POD, resource_version=str(await w.store.revision()))
        await w.client.delete(POD, "a", "default")
        dying = await w.client.get(POD, "a", "default")
        assert dying.metadata.deletion_timestamp == "2026-01-01T00:00:30Z"
        assert dying.metadata.deletion_grace_period_seconds == 30
        await w.client.delete(POD, "a", "default")  # again: nothing happens
        assert await w.client.get(POD, "a", "default") == dying
        await w.client.delete(POD, "a", "default", grace_period_seconds=0)
        assert (await w.refused(w.client.get(POD, "a", "default"))).reason == "NotFound"
        events = await take(stream, 3)
        assert events == [("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]

    simulate(story)


def test_a_deadline_can_only_come_nearer(simulate):
    """A second delete with a shorter grace moves the deadline, a longer one does not."""

    async def story(w):
        await scheduled(w, "a")
        await w.client.delete(POD, "a", "default")
        await w.client.delete(POD, "a", "default", grace_period_seconds=60)
        later = await w.client.get(POD, "a", "default")
        assert later.metadata.deletion_grace_period_seconds == 30
        await w.client.delete(POD, "a", "default", grace_period_seconds=5)
        sooner = await w.client.get(POD, "a", "default")
        assert sooner.metadata.deletion_timestamp == "2026-01-01T00:00:05Z"

    simulate(story)


def test_a_finished_pod_needs_no_grace(simulate):
    """Unless its deletion already runs: then nothing hastens it but a shorter grace."""

    async def story(w):
        done = {"status": {"phase": "Succeeded"}}
        for name in ("a", "b"):
            await scheduled(w, name)
        await w.client.patch(POD, "a", done, "default", subresource="status")
        await w.client.delete(POD, "a", "default")
        assert await w.names(POD) == ["b"]
        await w.client.delete(POD, "b", "default")
        await w.client.patch(POD, "b", done, "default", subresource="status")
        await w.client.delete(POD, "b", "default")
        assert await w.names(POD) == ["b"]

    simulate(story)


def test_an_unscheduled_pod_goes_at_once(simulate):
    """There is no kubelet to wait for; the answer is the pod, not a Status."""

    async def story(w):
        await w.client.create(POD, pod("a"), "default")
        answer = await w.json("DELETE", POD.path("default", "a"))
        assert answer["kind"] == "Pod"
        assert await w.names(POD) == []

    simulate(story)


def test_a_finalizer_keeps_an_object_until_it_is_removed(simulate):
    """And no new one can be added meanwhile."""

    async def story(w):
        await w.config_map("a", finalizers=["example.com/hold"])
        shown = await w.json("DELETE", CM.path("default", "a"))
        assert shown["metadata"]["deletionGracePeriodSeconds"] == 0
        more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
        error = await w.refused(w.client.patch(CM, "a", more, "default"))
        assert error.reason == "Invalid"
        assert "no new finalizers can be added if the object is being deleted" in error.message
        await w.client.patch(CM, "a", {"metadata": {"finalizers": None}}, "default")
        assert (await w.refused(w.client.get(CM, "a", "default"))).reason == "NotFound"

    simulate(story)


def test_orphan_and_foreground_are_finalizers_for_the_garbage_collector(simulate):
    """Background deletes at once."""

    async def story(w):
        for policy, finalizer in (("Orphan", "orphan"), ("Foreground", "foregroundDeletion")):
            name = policy.lower()
            await w.config_map(name)
            await w.client.delete(CM, name, "default", propagation_policy=policy)
            waiting = await w.client.get(CM, name, "default")
            assert waiting.metadata.finalizers == [finalizer]
        await w.config_map("b")
        await w.client.delete(CM, "b", "default", propagation_policy="Background")
        assert await w.names() == ["foreground", "orphan"]

    simulate(story)


def test_a_delete_guarded_by_uid_spares_the_namesake(simulate):
    """The controller that meant the old object does not delete the new one."""

    async def story(w):
        await w.config_map("a")
        error = await w.refused(w.client.delete(CM, "a", "default", uid="other"))
        uid = (await w.client.get(CM, "a", "default")).metadata.uid
        assert error.reason == "Conflict"
        assert error.message == (
            'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (other) '
            f"does not match the UID in record ({uid}). The object might have been deleted and "
            "then recreated"
        )

    simulate(story)


def test_a_completed_deletion_answers_with_a_status_that_names_the_uid(simulate):
    """kubectl delete waits for that uid to be gone."""

    async def story(w):
        made = await w.config_map("a")
        answer = await w.json("DELETE", CM.path("default", "a"))
        assert answer["status"] == "Success"
        assert answer["details"] == {
            "name": "a", "kind": "configmaps", "uid": made.metadata.uid,
        }  # fmt: skip

    simulate(story)


def test_deleting_a_collection_honours_the_selector(simulate):
    """Only what is selected goes; the answer lists it."""

    async def story(w):
        await w.config_map("a", labels={"x": "1"})
        await w.config_map("b")
        answer = await w.json("DELETE", CM.path("default"), labelSelector="x=1")
        assert [item["metadata"]["name"] for item in answer["items"]] == ["a"]
        assert await w.names() == ["b"]

    simulate(story)


def test_a_namespace_terminates_until_its_controller_finalizes_it(simulate):
    """No new content meanwhile; then it is gone and content is NotFound."""

    async def story(w):
        await w.client.create(NS, {"metadata": {"name": "x"}})
        await w.config_map("a", "x")
        shown = await w.json("DELETE", NS.path("", "x"))
        assert shown["status"]["phase"] == "Terminating"
        assert "deletionGracePeriodSeconds" not in shown["metadata"]
        error = await w.refused(w.config_map("b", "x"))
        assert error.reason == "Forbidden"
        assert error.message == (
            'configmaps "b" is forbidden: unable to create new content in namespace x because '
            "it is being terminated"
        )
        assert error.causes[0].reason == "NamespaceTerminating"
        await w.client.delete(CM, "a", "x")
        body = await w.client.get_json(NS, "x")
        body["spec"]["finalizers"] = []
        await w.client.update(NS, body, "finalize")
        assert (await w.refused(w.client.get(NS, "x"))).reason == "NotFound"
        error = await w.refused(w.config_map("b", "x"))
        assert error.message == 'namespaces "x" not found'

    simulate(story)


def test_the_default_namespace_cannot_be_deleted(simulate):
    """NamespaceLifecycle protects the namespaces every cluster has."""

    async def story(w):
        error = await w.refused(w.client.delete(NS, "default"))
        assert error.message == (
            'namespaces "default" is forbidden: this namespace may not be deleted'
        )

    simulate(story)


def test_a_body_of_options_leaves_the_query_unread(simulate):
    """Source: apiserver handlers/delete.go. Query parameters count only without a body."""

    async def story(w):
        await w.config_map("a")
        path = CM.path("default", "a")
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        answer = await w.json("DELETE", path, options, propagationPolicy="Orphan")
        assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
        await w.config_map("b")
        answer = await w.json("DELETE", CM.path("default", "b"), propagationPolicy="Orphan")
        assert answer["metadata"]["finalizers"] == ["orphan"]

    simulate(story)


def test_delete_options_are_refused_with_every_cause(simulate):
    """Source: ValidateDeleteOptions; the object stays as it is."""

    async def story(w):
        made = await w.config_map("a")
        path = CM.path("default", "a")
        for body, query, told in (
            (
                {"propagationPolicy": "Sideways"}, {},
                ('propagationPolicy: Unsupported value: "Sideways": supported values: '
                '"Foreground", "Background", "Orphan", "nil"'),
            ),
            (
                {"propagationPolicy": "Orphan", "orphanDependents": True}, {},
                ('propagationPolicy: Invalid value: "Orphan": orphanDependents and '
                "deletionPropagation cannot be both set"),
            ),
            (
                None, {"dryRun": "some"},
                'dryRun: Unsupported value: ["some"]: supported values: "All"',
            ),
        ):  # fmt: skip
            answer = await w.json("DELETE", path, body, **query)
            assert answer["code"] == 422
            assert answer["message"] == f'DeleteOptions.meta.k8s.io "" is invalid: {told}'
        assert await w.client.get(CM, "a", "default") == made

    simulate(story)


def test_the_resource_version_of_a_precondition_must_be_current(simulate):
    """An object that changed meanwhile is not deleted."""

    async def story(w):
        made = await w.config_map("a")
        await w.client.patch(CM, "a", {"data": {"k": "2"}}, "default")
        stale = {"preconditions": {"resourceVersion": made.metadata.resource_version}}
        answer = await w.json("DELETE", CM.path("default", "a"), stale)
        assert answer["reason"] == "Conflict"
        assert "does not match the ResourceVersion in record" in answer["message"]
        assert await w.names() == ["a"]

    simulate(story)


def test_a_later_delete_may_change_how_dependents_are_treated(simulate):
    """kubectl delete --cascade=background frees what --cascade=foreground left waiting."""

    async def story(w):
        await w.config_map("a")
        await w.client.delete(CM, "a", "default", propagation_policy="Foreground")
        first = await w.client.get(CM, "a", "default")
        await w.client.delete(CM, "a", "default", propagation_policy="Orphan")
        second = await w.client.get(CM, "a", "default")
        assert second.metadata.finalizers == ["orphan"]
        assert second.metadata.deletion_timestamp == first.metadata.deletion_timestamp
        await w.client.delete(CM, "a", "default", propagation_policy="Background")
        assert await w.names() == []

    simulate(story)


def test_jobs_orphan_their_pods_unless_told_otherwise(simulate):
    """batch/v1 does what the first batch API did, and warns of it."""

    async def story(w):
        job = kinds.JOB
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
        for name in ("a", "b"):
            body = {"metadata": {"name": name}, "spec": {"template": template}}
            await w.client.create(job, body, "default")
        answer = await w.raw("DELETE", job.path("default", "a"))
        assert answer.headers["warning"].startswith(
            '299 - "child pods are preserved by default when jobs are deleted;'
        )
        assert (await w.client.get(job, "a", "default")).metadata.finalizers == ["orphan"]
        answer = await w.raw("DELETE", job.path("default", "b"), propagationPolicy="Background")
        assert "warning" not in answer.headers

    simulate(story)


def test_a_negative_grace_period_is_one_second(simulate):
    """And a deadline is never moved into the past."""

    async def story(w):
        await scheduled(w, "a")
        await w.client.delete(POD, "a", "default", grace_period_seconds=-5)
        dying = await w.client.get(POD, "a", "default")
        assert dying.metadata.deletion_grace_period_seconds == 1
        await scheduled(w, "b")
        await w.client.delete(POD, "b", "default", grace_period_seconds=60)
        await w.env.clock.sleep(30)
        await w.client.delete(POD, "b", "default", grace_period_seconds=10)
        dying = await w.client.get(POD, "b", "default")
        assert dying.metadata.deletion_timestamp == "2026-01-01T00:00:30Z"
        assert dying.metadata.deletion_grace_period_seconds == 1

    simulate(story)


def test_a_collection_is_deleted_page_by_page(simulate):
    """limit deletes that many and hands out a token for the rest, as a list does."""

    async def story(w):
        for name in "abc":
            await w.config_map(name)
        answer = await w.json("DELETE", CM.path("default"), limit="2")
        assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"]
        assert answer["kind"] == "ConfigMapList"
        token = answer["metadata"]["continue"]
        assert await w.names() == ["c"]
        answer = await w.json("DELETE", CM.path("default"), limit="2", continue_=token)
        assert [item["metadata"]["name"] for item in answer["items"]] == ["c"]
        assert await w.names() == []

    simulate(story)


def test_a_dry_run_deletes_nothing(simulate):
    """The answer is the same as that of the deletion."""

    async def story(w):
        await w.config_map("a", finalizers=["example.com/hold"])
        await w.config_map("b")
        revision = await w.store.revision()
        shown = await w.json("DELETE", CM.path("default", "a"), dryRun="All")
        assert shown["metadata"]["deletionTimestamp"]
        gone = await w.json("DELETE", CM.path("default", "b"), {"dryRun": ["All"]})
        assert gone["status"] == "Success"
        listed = await w.json("DELETE", CM.path("default"), dryRun="All")
        assert len(listed["items"]) == 2
        assert await w.store.revision() == revision

    simulate(story)


def test_a_revision_with_any_data_can_be_read_and_deleted(simulate):
    """Upstream asks only that there is some: no object of its controller has to be in it."""

    async def story(w):
        body = {"metadata": {"name": "r"}, "data": [1, "two"], "revision": 1}
        await w.client.create(kinds.CONTROLLER_REVISION, body, "default")
        found = await w.client.get(kinds.CONTROLLER_REVISION, "r", "default")
        assert found.data == [1, "two"]
        await w.client.delete(kinds.CONTROLLER_REVISION, "r", "default")

    simulate(story)


def test_a_grace_period_longer_than_time_ends_in_a_year_of_four_digits(simulate):
    """Durations wrap around as in Go; quotas and kubelets can read when the deletion is due."""

    async def endless(w):
        for name, grace_s in (("a", 2**63 - 1), ("b", 2**62), ("c", 10**10)):
            await scheduled(w, name)
            await w.client.delete(POD, name, "default", grace_period_seconds=grace_s)
            due = (await w.client.get(POD, name, "default")).metadata.deletion_timestamp
            parse_time(due)
            await w.client.delete(POD, name, "default", grace_period_seconds=5)
            dying = await w.client.get(POD, name, "default")
            assert dying.metadata.deletion_grace_period_seconds in {1, 5}

    simulate(endless)
