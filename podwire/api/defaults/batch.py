"""Defaults of Job and CronJob.

Source: kubernetes pkg/apis/batch/v1/defaults.go.
"""

from __future__ import annotations

from podwire.api.defaults.pod import default_pod_spec
from podwire.api.view import JSON

_MAX_INT32 = 2**31 - 1


def default_job(obj: JSON) -> None:
    """One completion, six retries; labels come from the template."""
    spec = obj["spec"]
    template = spec["template"]
    default_job_template(spec)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _MAX_INT32 if "backoffLimitPerIndex" in spec else 6)
    labels = template["metadata"].get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", replacement)
    spec.setdefault("manualSelector", False)


def default_job_template(spec: JSON) -> None:
    """What the job template of a CronJob gets too: the pod template, conditions that are True."""
    default_pod_spec(spec["template"]["spec"])
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"


def default_cron_job(obj: JSON) -> None:
    """Runs may overlap; three successful Jobs and one failed are kept."""
    spec = obj["spec"]
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    default_job_template(spec["jobTemplate"]["spec"])
