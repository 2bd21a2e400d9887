"""Views of Job and CronJob."""

from __future__ import annotations

from podwire.api.view import JSON, View
from podwire.api.views.meta import Condition, LabelSelector, Object, ObjectMeta, ObjectReference
from podwire.api.views.workloads import PodTemplate


class OnExitCodes(View, frozen=True, kw_only=True):
    """podFailurePolicy.rules[].onExitCodes."""

    container_name: str | None = None
    operator: str = ""
    values: list[int] = []


class OnPodCondition(View, frozen=True, kw_only=True):
    """podFailurePolicy.rules[].onPodConditions[]."""

    type: str = ""
    status: str = "True"


class PodFailureRule(View, frozen=True, kw_only=True):
    """podFailurePolicy.rules[]."""

    action: str = ""
    on_exit_codes: OnExitCodes | None = None
    on_pod_conditions: list[OnPodCondition] = []


class PodFailurePolicy(View, frozen=True, kw_only=True):
    """What becomes of a Job when a pod fails in a certain way."""

    rules: list[PodFailureRule] = []


class SuccessRule(View, frozen=True, kw_only=True):
    """successPolicy.rules[]."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(View, frozen=True, kw_only=True):
    """When an indexed Job has succeeded before all its indexes have."""

    rules: list[SuccessRule] = []


class JobSpec(View, frozen=True, kw_only=True):
    """job spec."""

    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_replacement_policy: str = "TerminatingOrFailed"
    managed_by: str | None = None


class UncountedTerminatedPods(View, frozen=True, kw_only=True):
    """Uids of finished pods that the counters do not hold yet."""

    succeeded: list[str] = []
    failed: list[str] = []


class JobStatus(View, frozen=True, kw_only=True):
    """job status."""

    conditions: list[Condition] = []
    start_time: str = ""
    completion_time: str = ""
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None


class Job(Object, frozen=True, kw_only=True):
    """batch/v1 Job."""

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    def condition(self, type: str) -> Condition | None:
        """The condition of a type, if it is true."""
        return next(
            (c for c in self.status.conditions if c.type == type and c.status == "True"), None
        )

    @property
    def finished(self) -> Condition | None:
        """The condition Complete or Failed, if the Job has come to its end."""
        return self.condition("Complete") or self.condition("Failed")


class JobTemplate(View, frozen=True, kw_only=True):
    """cronJob.spec.jobTemplate; ``spec`` is kept whole because it is copied into new Jobs."""

    metadata: ObjectMeta = ObjectMeta()
    spec: JSON = {}


class CronJobSpec(View, frozen=True, kw_only=True):
    """cronJob spec."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: JobTemplate = JobTemplate()
    successful_jobs_history_limit: int | None = None
    failed_jobs_history_limit: int | None = None


class CronJobStatus(View, frozen=True, kw_only=True):
    """cronJob status."""

    active: list[ObjectReference] = []
    last_schedule_time: str = ""
    last_successful_time: str = ""


class CronJob(Object, frozen=True, kw_only=True):
    """batch/v1 CronJob."""

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
