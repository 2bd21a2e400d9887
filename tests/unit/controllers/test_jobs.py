"""Decisions about Jobs: indexes, policies, backoff, what is counted when."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.times import NS, format_time
from podwire.api.views import Job, Pod
from podwire.api.views.batch import PodFailurePolicy, SuccessPolicy
from podwire.client.effects import Create, Delete, Effect, Patch, RequeueAfter, Together
from podwire.controllers.job import core, indexes, policy
from podwire.controllers.job.backoff import Backoff, finished_ns, remaining_s
from podwire.controllers.job.pods import FAILURES, FINALIZER, INDEX

NOW = 1_767_300_000 * NS


def job(status: dict[str, Any] | None = None, **spec: Any) -> Job:
    """A Job ``work`` of uid ``j``, with what the API would have defaulted."""
    labels = {"batch.kubernetes.io/controller-uid": "j"}
    pod_spec = {"restartPolicy": spec.pop("restart", "Never"), "containers": [{"name": "c"}]}
    full = {
        "completions": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec},
        **spec,
    }
    meta = {"name": "work", "namespace": "default", "uid": "j", "resourceVersion": "1"}
    body = {"metadata": {**meta, **spec.pop("meta", {})}, "spec": full, "status": status or {}}
    return msgspec.convert(body, Job)


def pod(name: str, phase: str = "Running", **facts: Any) -> Pod:
    """A pod of ``work``; it ended ``ago_s`` seconds ago with exit code ``code``."""
    notes = dict(facts.get("notes", {}))
    if "index" in facts:
        notes[INDEX] = str(facts["index"])
    owner = {"kind": "Job", "apiVersion": "batch/v1", "name": "work", "uid": "j"}
    meta = {
        "name": name,
        "namespace": "default",
        "uid": name,
        "labels": {"batch.kubernetes.io/controller-uid": "j"},
        "annotations": notes,
        "finalizers": [FINALIZER] if facts.get("tracked", True) else [],
        "ownerReferences": [{**owner, "controller": True}],
        **({"deletionTimestamp": format_time(NOW)} if facts.get("dying") else {}),
    }
    state: dict[str, Any] = {"running": {}}
    if phase in {"Succeeded", "Failed"}:
        code = facts.get("code", int(phase == "Failed"))
        at = format_time(NOW - facts.get("ago_s", 0) * NS)
        state = {"terminated": {"exitCode": code, "finishedAt": at}}
    status = {
        "phase": phase,
        "conditions": facts.get("conditions", []),
        "containerStatuses": [
            {"name": "c", "state": state, "restartCount": facts.get("restarts", 0)}
        ],
    }
    return msgspec.convert({"metadata": meta, "spec": {}, "status": status}, Pod)


def flat(effects: list[Effect]) -> list[Any]:
    return [e for x in effects for e in (x.effects if isinstance(x, Together) else (x,))]


def run(item: Job, *pods: Pod, backoff: Backoff | None = None, **options: Any) -> list[Any]:
    return flat(core.reconcile(item, pods, backoff or Backoff(), NOW, **options).effects)


def statuses(effects: list[Any]) -> list[dict[str, Any]]:
    return [e.patch["status"] for e in effects if isinstance(e, Patch) and e.subresource]


def conditions(effects: list[Any]) -> list[tuple[str, str]]:
    """(type, reason) of the conditions that are written last."""
    written = [s["conditions"] for s in statuses(effects) if s.get("conditions")]
    return [(c["type"], c["reason"]) for c in written[-1]] if written else []


# ---------------------------------------------------------------- indexes


@given(st.sets(st.integers(0, 40)))
def test_a_set_of_indexes_survives_its_text(numbers: set[int]) -> None:
    """Written and read again it is the same, and it counts right."""
    made = indexes.adding((), numbers)
    assert indexes.parse(indexes.text(made), 41) == made
    assert indexes.total(made) == len(numbers)
    assert [n for n in range(41) if indexes.has(made, n)] == sorted(numbers)
    free = indexes.first_free(made, 5, 41)
    assert free == [n for n in range(41) if n not in numbers][:5]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((1,), "1"), ((1, 2), "1,2"), ((1, 2, 3, 7), "1-3,7"), ((0, 2, 3), "0,2,3")],
)
def test_neighbours_are_written_with_a_comma_and_runs_with_a_hyphen(
    numbers: tuple[int, ...], text: str
) -> None:
    """As status.completedIndexes documents it."""
    assert indexes.text(indexes.adding((), numbers)) == text


@pytest.mark.parametrize(
    ("rules", "succeeded", "message"),
    [
        ([{"succeededIndexes": "0-2"}], "0-2", "Matched rules at index 0"),
        ([{"succeededIndexes": "0-2"}], "0,1", ""),
        ([{"succeededIndexes": "0-4", "succeededCount": 2}], "1,3", "Matched rules at index 0"),
        ([{"succeededCount": 3}, {"succeededCount": 2}], "5,6", "Matched rules at index 1"),
        ([{"succeededCount": 1}], "", ""),
    ],
)
def test_a_success_policy_matches_indexes_or_their_number(
    rules: list[Any], succeeded: str, message: str
) -> None:
    """Source of the cases: kubernetes pkg/controller/job/success_policy_test.go."""
    given_policy = msgspec.convert({"rules": rules}, SuccessPolicy)
    assert policy.success(given_policy, 10, indexes.parse(succeeded, 10)) == message


@pytest.mark.parametrize(
    ("rule", "failed", "action", "message"),
    [
        (
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2, 3]}},
            pod("p", "Failed", code=2),
            "FailJob",
            "Container c for pod default/p failed with exit code 2 matching FailJob rule at index 0",  # noqa: E501  upstream says it in one line
        ),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [5]}},
            pod("p", "Failed", code=5),
            "",
            "",
        ),
        (
            {
                "action": "Count",
                "onExitCodes": {"operator": "In", "values": [1], "containerName": "x"},
            },
            pod("p", "Failed", code=1),
            "",
            "",
        ),
        (
            {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]},
            pod("p", "Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}]),
            "FailJob",
            "Pod default/p has condition DisruptionTarget matching FailJob rule at index 0",
        ),
    ],
)
def test_a_failure_policy_names_the_rule_that_a_pod_met(
    rule: Any, failed: Pod, action: str, message: str
) -> None:
    """Source of the words: kubernetes pkg/controller/job/pod_failure_policy.go."""
    found = policy.matched(msgspec.convert({"rules": [rule]}, PodFailurePolicy), failed)
    assert found.action == action
    assert found.message == message or action != "FailJob"


# ---------------------------------------------------------------- backoff


@pytest.mark.parametrize(
    ("failures", "ago_s", "left_s"),
    [(0, 0, 0), (1, 0, 10), (1, 4, 6), (2, 0, 20), (3, 1, 39), (7, 0, 600), (50, 0, 600)],
)
def test_the_backoff_doubles_from_ten_seconds_to_ten_minutes(
    failures: int, ago_s: int, left_s: float
) -> None:
    """Counted from the last failure."""
    assert remaining_s(failures, NOW - ago_s * NS, NOW) == left_s


def test_a_success_after_the_failures_forgets_them():
    """Only failures later than the last success count."""
    old, late = pod("a", "Failed", ago_s=30), pod("b", "Failed", ago_s=5)
    good = pod("c", "Succeeded", ago_s=10)
    assert Backoff(4, 1).after([good], [old]).failures == 0
    record = Backoff(4, 1).after([good], [old, late])
    assert (record.failures, record.last_ns) == (1, finished_ns(late))


def test_a_failure_whose_count_was_never_written_is_not_counted_twice():
    """The pod turns up as new again: the record goes back to where it was before it."""
    lost = pod("a", "Failed")
    once = Backoff().after([], [lost])
    assert once.after([], [lost]).failures == once.failures == 1
    assert once.after([], [pod("b", "Failed")]).failures == 2


def test_a_failed_pod_is_replaced_after_its_backoff():
    """Ten seconds after the first failure, and not before."""
    waiting = run(job(), pod("a", "Failed", ago_s=3))
    assert not [e for e in waiting if isinstance(e, Create)]
    assert [e.delay_s for e in waiting if isinstance(e, RequeueAfter)] == [7]
    due = run(job(), pod("a", "Failed", ago_s=10))
    assert len([e for e in due if isinstance(e, Create)]) == 1


# ---------------------------------------------------------------- counting


def test_a_pod_is_counted_by_status_then_finalizer_then_status():
    """Its uid is written first, so that nothing is lost whatever happens in between."""
    effects = run(job(completions=2), pod("a", "Succeeded"), pod("b"))
    kinds = [("status" if e.subresource else "pod") for e in effects if isinstance(e, Patch)]
    assert kinds == ["status", "pod", "status"]
    first, last = statuses(effects)
    assert first["uncountedTerminatedPods"] == {"succeeded": ["a"], "failed": None}
    assert last["uncountedTerminatedPods"] == {"succeeded": None, "failed": None}
    assert last["succeeded"] == 1


def test_a_uid_in_the_status_is_counted_once_its_pod_is_gone():
    """The previous controller died after removing the finalizer."""
    known = {"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["b"]}}
    last = statuses(run(job(known, completions=5, parallelism=0)))[-1]
    assert (last["succeeded"], last["failed"]) == (1, 1)


def test_the_last_completion_ends_the_job_in_one_pass():
    """SuccessCriteriaMet is written before the finalizers go, Complete after them."""
    effects = run(job(), pod("a", "Succeeded"))
    assert [[c["type"] for c in s.get("conditions", [])] for s in statuses(effects)] == [
        ["SuccessCriteriaMet"],
        ["SuccessCriteriaMet", "Complete"],
    ]
    assert conditions(effects)[-1] == ("Complete", "CompletionsReached")


@pytest.mark.parametrize(
    ("spec", "pods", "reason"),
    [
        ({"backoffLimit": 0}, [pod("a", "Failed")], "BackoffLimitExceeded"),
        (
            {"backoffLimit": 2, "restart": "OnFailure"},
            [pod("a", restarts=2)],
            "BackoffLimitExceeded",
        ),
        ({"activeDeadlineSeconds": 60}, [pod("a")], "DeadlineExceeded"),
        (
            {
                "podFailurePolicy": {
                    "rules": [
                        {
                            "action": "FailJob",
                            "onExitCodes": {"operator": "In", "values": [42]},
                        }
                    ]
                }
            },
            [pod("a", "Failed", code=42)],
            "PodFailurePolicy",
        ),
        (
            {"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 0},
            [pod("a", "Failed", index=0), pod("b", "Succeeded", index=1)],
            "FailedIndexes",
        ),
        (
            {
                "completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 0,
                "maxFailedIndexes": 1,
            },
            [pod("a", "Failed", index=0), pod("b", "Failed", index=1), pod("c", index=3)],
            "MaxFailedIndexesExceeded",
        ),
    ],
)  # fmt: skip
def test_a_job_fails_for_a_reason(spec: dict[str, Any], pods: list[Pod], reason: str) -> None:
    """FailureTarget at once, running pods deleted, Failed when they are gone."""
    started = {"startTime": format_time(NOW - 60 * NS)}
    effects = run(job(started, **spec), *pods)
    assert ("FailureTarget", reason) in conditions(effects)
    running = [p.metadata.name for p in pods if p.status.phase == "Running"]
    assert [e.name for e in effects if isinstance(e, Delete)] == running
    assert (("Failed", reason) in conditions(effects)) == (not running)


def test_a_job_comes_back_when_its_deadline_is_over_and_not_after_that():
    """While its pods go away nothing is tried again and again."""
    started = {"startTime": format_time(NOW - 20 * NS)}
    early = run(job(started, activeDeadlineSeconds=60), pod("a"))
    assert RequeueAfter(40) in early
    late = run(job(started, activeDeadlineSeconds=20), pod("a", dying=True))
    assert not [e for e in late if isinstance(e, RequeueAfter)]


def test_failed_waits_for_terminating_pods():
    """FailureTarget is told; Failed once nothing of the Job runs."""
    target = {"type": "FailureTarget", "status": "True", "reason": "X", "message": "x"}
    dying = pod("a", dying=True, tracked=False)
    assert ("Failed", "X") not in conditions(run(job({"conditions": [target]}), dying))
    assert ("Failed", "X") in conditions(run(job({"conditions": [target]})))


def test_an_ignored_failure_counts_towards_nothing():
    """The pod goes, the counters stay."""
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}
    effects = run(job(backoffLimit=0, podFailurePolicy={"rules": [rule]}), pod("a", "Failed"))
    assert not conditions(effects)
    assert all("failed" not in s for s in statuses(effects))


@pytest.mark.parametrize(("replacement", "creates"), [("TerminatingOrFailed", 1), ("Failed", 0)])
def test_a_pod_that_goes_away_is_replaced_at_once_or_when_it_has_ended(
    replacement: str, creates: int
) -> None:
    """podReplacementPolicy. What is replaced at once counts as failed (and has its backoff)."""
    going = pod("a", dying=True, conditions=[
        {"type": "Ready", "status": "False", "lastTransitionTime": format_time(NOW - 60 * NS)}
    ])  # fmt: skip
    effects = run(job(podReplacementPolicy=replacement), going)
    assert len([e for e in effects if isinstance(e, Create)]) == creates


# ---------------------------------------------------------------- indexed Jobs


def test_an_indexed_pod_knows_its_number():
    """In name, hostname, label, annotation and environment."""
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
    made = [e.body for e in run(job(**spec), pod("b", index=1)) if isinstance(e, Create)]
    assert [body["metadata"]["generateName"] for body in made] == ["work-0-", "work-2-"]
    last = made[-1]
    assert last["spec"]["hostname"] == "work-2"
    assert last["metadata"]["labels"][INDEX] == last["metadata"]["annotations"][INDEX] == "2"
    assert last["metadata"]["finalizers"] == [FINALIZER]
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    assert last["spec"]["containers"][0]["env"] == [
        {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
    ]


def test_a_failed_index_is_kept_until_its_successor_has_its_count():
    """The finalizer stays while the index backs off; the new pod's annotation counts on."""
    spec = {"completionMode": "Indexed", "completions": 1, "backoffLimitPerIndex": 3}
    fresh = pod("a", "Failed", index=0, ago_s=4, notes={FAILURES: "1"})
    effects = run(job(**spec), fresh)
    assert [e for e in effects if isinstance(e, RequeueAfter)] == [RequeueAfter(16)]
    assert not [e for e in effects if isinstance(e, Patch) and not e.subresource]
    old = pod("a", "Failed", index=0, ago_s=20, notes={FAILURES: "1"})
    made = [e.body for e in run(job(**spec), old) if isinstance(e, Create)]
    assert [body["metadata"]["annotations"][FAILURES] for body in made] == ["2"]
    then = run(job(**spec), old, pod("b", index=0, notes={FAILURES: "2"}))
    assert [e.name for e in then if isinstance(e, Patch) and not e.subresource] == ["a"]


def test_a_second_pod_of_an_index_is_deleted():
    """And so is one whose index does not exist."""
    spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2}
    pods = [pod("a", index=0), pod("b", "Pending", index=0), pod("c", index=7)]
    gone = [e.name for e in run(job(**spec), *pods) if isinstance(e, Delete)]
    assert sorted(gone) == ["b", "c"]


# ---------------------------------------------------------------- suspending, refusals


def test_suspending_takes_the_pods_away_uncounted():
    """Their finalizers go first; the start time is forgotten."""
    started = {"startTime": format_time(NOW - 60 * NS), "active": 1}
    effects = run(job(started, suspend=True), pod("a"))
    order = [type(e).__name__ for e in effects if not (isinstance(e, Patch) and e.subresource)]
    assert order == ["Patch", "Delete", "Emit"]
    last = statuses(effects)[-1]
    assert (last["active"], last["startTime"], last["terminating"]) == (None, None, 1)
    assert conditions(effects) == [("Suspended", "JobSuspended")]


def test_resuming_starts_the_clock_anew():
    """Condition Suspended turns False, startTime is now, pods are made."""
    off = {"type": "Suspended", "status": "True", "reason": "JobSuspended"}
    effects = run(job({"conditions": [off]}))
    assert conditions(effects) == [("Suspended", "JobResumed")]
    assert statuses(effects)[-1]["startTime"] == format_time(NOW)
    assert any(isinstance(e, Create) for e in effects)


def test_after_a_refusal_what_is_known_is_written_first():
    """A quota that refuses the pods does not keep the status from telling the truth."""
    effects = run(job(), refused=True)
    assert [type(e).__name__ for e in effects] == ["Patch", "Create"]
    assert "active" not in statuses(effects)[0]
    assert statuses(run(job()))[0]["active"] == 1
    assert [type(e).__name__ for e in run(job())] == ["Create", "Patch"]


def test_a_job_of_another_controller_is_left_alone():
    """managedBy; and a finished Job stays as it is."""
    assert run(job(managedBy="example.com/mine")) == []
    assert run(job({"conditions": [{"type": "Complete", "status": "True"}]}), pod("a")) == []
