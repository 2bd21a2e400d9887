"""What a Job asks of its pods, and the pods it makes (pure).

Source: kubernetes pkg/controller/job (indexed_job_utils.go, job_controller.go).
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import Job, Pod
from podwire.client.effects import Patch
from podwire.controllers.common import pod_from_template, template_json
from podwire.controllers.job.policy import matched
from podwire.controllers.replicaset.ranking import to_delete

FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps a pod until the Job has counted it."""
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
_ENVIRONMENT = "JOB_COMPLETION_INDEX"
_MAX_GENERATED_NAME = 58
_MAX_INT32 = 2**31 - 1


def tracked(pod: Pod) -> bool:
    """Whether the pod still waits to be counted."""
    return FINALIZER in pod.metadata.finalizers


def index_of(pod: Pod) -> int:
    """The completion index of a pod; -1 without a valid one."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() else -1


def indexed(job: Job) -> bool:
    """Whether each completion has a number."""
    return job.spec.completion_mode == "Indexed"


def terminating(pod: Pod) -> bool:
    """Whether the pod is being deleted and has not ended yet."""
    return bool(pod.metadata.deletion_timestamp) and not ended(pod)


def ended(pod: Pod) -> bool:
    """Whether the pod is in a phase that it never leaves."""
    return pod.status.phase in {"Succeeded", "Failed"}


def failed(pod: Pod, job: Job) -> bool:
    """Whether the pod counts as failed: with TerminatingOrFailed also while it goes away."""
    if pod.status.phase == "Failed":
        return True
    if job.spec.pod_replacement_policy == "Failed":
        return False
    return bool(pod.metadata.deletion_timestamp) and pod.status.phase != "Succeeded"


def failures(pod: Pod) -> int:
    """How often the index of this pod had failed when the pod was made."""
    return _count(pod, FAILURES)


def all_failures(pod: Pod) -> int:
    """The same with the failures that the policy ignored: they lengthen the backoff."""
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def _count(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation, "")
    value = int(text) if text.isascii() and text.isdigit() else 0
    return value if value <= _MAX_INT32 else 0


def untrack(pod: Pod) -> Patch:
    """Let the pod go."""
    meta = pod.metadata
    patch = {"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    return Patch(kinds.POD, meta.name, patch, meta.namespace, missing_ok=True, strategic=True)


def surplus(job: Job, active: Sequence[Pod], least: int, now_ns: int) -> list[Pod]:
    """The pods to delete: those without an index of their own, then ``least`` in all."""
    gone: list[Pod] = []
    left = list(active)
    if indexed(job):
        by_index: dict[int, list[Pod]] = {}
        for pod in active:
            by_index.setdefault(index_of(pod), []).append(pod)
        left = []
        completions = job.spec.completions or 0
        for index, pods in sorted(by_index.items()):
            if not 0 <= index < completions:
                gone += pods
            else:
                spare = to_delete(pods, (), len(pods) - 1, now_ns)
                gone += spare
                left += [pod for pod in pods if pod not in spare]
    if len(gone) < least:
        gone += to_delete(left, (), least - len(gone), now_ns)
    return gone


def body(job: Job, index: int | None, replaced: Pod | None) -> JSON:
    """A new pod. ``index``: of an indexed Job; ``replaced``: the failed pod it follows."""
    made = pod_from_template(template_json(job.spec.template), job, kinds.JOB)
    meta = made["metadata"]
    meta["finalizers"] = [FINALIZER]
    if index is None:
        return made
    name = job.metadata.name
    ending = f"-{index}-"
    meta["generateName"] = name[: _MAX_GENERATED_NAME - len(ending)] + ending
    notes = meta.setdefault("annotations", {})
    notes[INDEX] = meta.setdefault("labels", {})[INDEX] = str(index)
    spec = {**made["spec"], "hostname": f"{name}-{index}"}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            spec[group] = [_with_index(container) for container in spec[group]]
    if job.spec.backoff_limit_per_index is not None:
        notes.update(_failure_counts(job, replaced))
    return {**made, "spec": spec}


def _with_index(container: JSON) -> JSON:
    env = container.get("env") or []
    if any(variable.get("name") == _ENVIRONMENT for variable in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": _ENVIRONMENT, "valueFrom": source}]}


def _failure_counts(job: Job, replaced: Pod | None) -> dict[str, str]:
    counted = ignored = 0
    if replaced is not None:
        counted, ignored = failures(replaced), _count(replaced, IGNORED_FAILURES)
        if matched(job.spec.pod_failure_policy, replaced).counts:
            counted += 1
        else:
            ignored += 1
    return {FAILURES: str(counted), **({IGNORED_FAILURES: str(ignored)} if ignored else {})}
