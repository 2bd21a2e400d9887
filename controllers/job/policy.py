"""podFailurePolicy and successPolicy of a Job (pure).

Source: kubernetes pkg/controller/job (pod_failure_policy.go, success_policy.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from podwire.api.views import ContainerStatus, Pod
from podwire.api.views.batch import OnExitCodes, PodFailurePolicy, PodFailureRule, SuccessPolicy
from podwire.controllers.job import indexes
from podwire.controllers.job.indexes import Intervals


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that a failed pod met: its action, '' for none."""

    action: str = ""
    message: str = ""
    """Why the Job fails, with action FailJob."""

    @property
    def counts(self) -> bool:
        """Whether the failure counts towards the backoff limits."""
        return self.action != "Ignore"


def matched(policy: PodFailurePolicy | None, pod: Pod) -> Match:
    """The first rule that a failed pod meets."""
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        what = _met(rule, pod)
        if what:
            return Match(rule.action, f"{what} matching {rule.action} rule at index {number}")
    return Match()


def _met(rule: PodFailureRule, pod: Pod) -> str:
    meta, status = pod.metadata, pod.status
    if rule.on_exit_codes is not None:
        for group in (status.container_statuses, status.init_container_statuses):
            found = _exit_code(rule.on_exit_codes, group)
            if found is not None:
                container, code = found
                return (
                    f"Container {container} for pod {meta.namespace}/{meta.name}"
                    f" failed with exit code {code}"
                )
        return ""
    for condition in status.conditions:
        for pattern in rule.on_pod_conditions:
            if (condition.type, condition.status) == (pattern.type, pattern.status):
                return f"Pod {meta.namespace}/{meta.name} has condition {condition.type}"
    return ""


def _exit_code(wanted: OnExitCodes, group: Sequence[ContainerStatus]) -> tuple[str, int] | None:
    for status in group:
        code = (status.state.get("terminated") or {}).get("exitCode", 0)
        if not code or wanted.container_name not in {None, status.name}:
            continue
        if (code in wanted.values) == (wanted.operator == "In"):
            return status.name, code
    return None


def success(policy: SuccessPolicy | None, completions: int, succeeded: Intervals) -> str:
    """Why an indexed Job has succeeded early; '' when it has not."""
    if policy is None or not succeeded:
        return ""
    for number, rule in enumerate(policy.rules):
        count = rule.succeeded_count
        have = indexes.total(succeeded)
        met = count is not None and have >= count
        if rule.succeeded_indexes is not None:
            required = indexes.parse(rule.succeeded_indexes, completions)
            if not required:
                continue
            have = indexes.shared(required, succeeded)
            met = have == indexes.total(required) or (count is not None and have >= count)
        if met:
            return f"Matched rules at index {number}"
    return ""
