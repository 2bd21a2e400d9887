"""Validation of Job and CronJob.

Source: kubernetes pkg/apis/batch/validation.
"""

from __future__ import annotations

import re
import zoneinfo

from podwire.api import cron, names, selectors
from podwire.api.status import ApiError
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.validation.jobpolicy import check_failure_policy, check_success_policy
from podwire.api.validation.pod import check_template
from podwire.api.validation.syntax import domain_prefixed_path
from podwire.api.view import JSON

_MODES = ("NonIndexed", "Indexed")
_POLICIES = ("Allow", "Forbid", "Replace")
_MAX_PARALLELISM = 100_000
_MANY_COMPLETIONS = 100_000
_PARALLELISM_OF_MANY = 10_000
_FAILED_OF_MANY = 10_000
_MAX_FAILED_INDEXES = 100_000
_MAX_MANAGED_BY = 63
_CRON_JOB_NAME = 52
_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_zone_part = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def check_job(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Job. Its template, selector and mode never change (but see ``_template_update``)."""
    spec, metadata = new["spec"], new["metadata"]
    if old is None and not spec.get("manualSelector"):
        _generated(errors, new)
    check_job_spec(errors, "spec", spec)
    _selector(errors, spec)
    completions = spec.get("completions") or 0
    if old is None:
        if spec.get("completionMode") == "Indexed" and completions > 0:
            host = f"{metadata.get('name', '')}-{completions - 1}"
            if names.dns1123_label(host):
                detail = f"will not able to create pod with invalid DNS label: {host}"
                errors.invalid("metadata.name", metadata.get("name", ""), detail)
        return
    before = old["spec"]
    _completions_update(errors, spec, before)
    errors.immutable("spec.selector", spec.get("selector"), before.get("selector"))
    _template_update(errors, spec, old)
    for name in (
        "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy",
    ):  # fmt: skip
        errors.immutable(f"spec.{name}", spec.get(name), before.get(name))


def _generated(errors: Errors, job: JSON) -> None:
    """The labels by which a Job without manualSelector finds its pods were put there."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("selector") is None:
        return
    labels = spec["template"]["metadata"].get("labels") or {}
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    path = "spec.template.metadata.labels"
    wanted = {**dict.fromkeys(_UID_LABELS, uid), **dict.fromkeys(_NAME_LABELS, name)}
    for key in (_UID_LABELS[1], _NAME_LABELS[1], _UID_LABELS[0], _NAME_LABELS[0]):
        if key not in labels:
            errors.required(f"{path}[{key}]", f"must be '{wanted[key]}'")
        elif labels[key] != wanted[key]:
            errors.invalid(f"{path}[{key}]", labels, f"must be '{wanted[key]}'")
    try:
        if not selectors.from_json(spec["selector"]).matches(wanted):
            errors.invalid("spec.selector", spec["selector"], "`selector` not auto-generated")
    except ApiError:
        pass  # its syntax is complained of below


def check_job_spec(errors: Errors, path: str, spec: JSON) -> None:
    """What Jobs and the templates of CronJobs have in common."""
    for name in (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes",
    ):  # fmt: skip
        errors.not_negative(f"{path}.{name}", spec.get(name))
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        errors.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if "managedBy" in spec:
        domain_prefixed_path(errors, f"{path}.managedBy", spec["managedBy"])
        if len(spec["managedBy"]) > _MAX_MANAGED_BY:
            errors.too_long(f"{path}.managedBy", _MAX_MANAGED_BY)
    mode = spec.get("completionMode")
    if mode is not None:
        errors.one_of(f"{path}.completionMode", mode, _MODES)
    if mode == "Indexed":
        _indexed(errors, path, spec)
    elif mode in {None, "NonIndexed"}:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if name in spec:
                errors.invalid(f"{path}.{name}", spec[name], "requires indexed completion mode")
    if "podFailurePolicy" in spec:
        check_failure_policy(errors, f"{path}.podFailurePolicy", spec)
    if "successPolicy" in spec:
        where = f"{path}.successPolicy"
        if mode != "Indexed":
            errors.invalid(where, spec["successPolicy"], "requires indexed completion mode")
        elif "completions" in spec:
            check_success_policy(errors, where, spec)
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
        errors.one_of(f"{path}.podReplacementPolicy", replacement, allowed)
    check_template(errors, f"{path}.template", spec["template"])
    _restart_policy(errors, f"{path}.template.spec.restartPolicy", spec)


def _restart_policy(errors: Errors, path: str, spec: JSON) -> None:
    policy = spec["template"]["spec"].get("restartPolicy", "")
    if policy in {"", "Always"}:
        errors.required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in {"OnFailure", "Never"}:
        errors.unsupported(path, policy, ("OnFailure", "Never"))
    elif "podFailurePolicy" in spec and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.invalid(path, policy, detail)


def _indexed(errors: Errors, path: str, spec: JSON) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        errors.required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism is not None and parallelism > _MAX_PARALLELISM:
        detail = f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is Indexed"
        errors.invalid(f"{path}.parallelism", parallelism, detail)
    if completions is not None and failed is not None and failed > completions:
        detail = "must be less than or equal to completions"
        errors.invalid(f"{path}.maxFailedIndexes", failed, detail)
    if failed is not None and failed > _MAX_FAILED_INDEXES:
        detail = f"must be less than or equal to {_MAX_FAILED_INDEXES}"
        errors.invalid(f"{path}.maxFailedIndexes", failed, detail)
    if (completions or 0) <= _MANY_COMPLETIONS or "backoffLimitPerIndex" not in spec:
        return
    above = f"when completions are above {_MANY_COMPLETIONS} and used with backoff limit per index"
    if failed is None:
        detail = f"must be specified when completions is above {_MANY_COMPLETIONS}"
        errors.required(f"{path}.maxFailedIndexes", detail)
    if parallelism is not None and parallelism > _PARALLELISM_OF_MANY:
        detail = f"must be less than or equal to {_PARALLELISM_OF_MANY} {above}"
        errors.invalid(f"{path}.parallelism", parallelism, detail)
    if failed is not None and failed > _FAILED_OF_MANY:
        detail = f"must be less than or equal to {_FAILED_OF_MANY} {above}"
        errors.invalid(f"{path}.maxFailedIndexes", failed, detail)


def _selector(errors: Errors, spec: JSON) -> None:
    selector = spec.get("selector")
    if selector is None:
        errors.required("spec.selector")
        return
    meta.label_selector(errors, "spec.selector", selector)
    labels = spec["template"]["metadata"].get("labels") or {}
    try:
        matches = selectors.from_json(selector).matches(labels)
    except ApiError:
        return
    if not matches:
        detail = "`selector` does not match template `labels`"
        errors.invalid("spec.template.metadata.labels", labels, detail)


def _completions_update(errors: Errors, new: JSON, old: JSON) -> None:
    mine, theirs = new.get("completions"), old.get("completions")
    if new.get("completionMode") != "Indexed":
        errors.immutable("spec.completions", mine, theirs)
    elif mine != theirs and mine is not None and mine != new.get("parallelism"):
        detail = "can only be modified in tandem with spec.parallelism"
        errors.invalid("spec.completions", mine, detail)


_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")


def _template_update(errors: Errors, spec: JSON, old: JSON) -> None:
    """The template is frozen; a suspended Job that never ran may still be steered to nodes."""
    mine, theirs = spec["template"], old["spec"]["template"]
    if old["spec"].get("suspend") and "startTime" not in old.get("status", {}):
        if _without_directives(mine) != _without_directives(theirs):
            errors.invalid("spec.template", mine, "field is immutable")
        return
    errors.immutable("spec.template", mine, theirs)


def _without_directives(template: JSON) -> JSON:
    metadata = {k: v for k, v in template["metadata"].items() if k not in {"labels", "annotations"}}
    spec = {k: v for k, v in template["spec"].items() if k not in _SCHEDULING}
    affinity = {k: v for k, v in (spec.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    return {"metadata": metadata, "spec": spec, "affinity": affinity}


def check_job_status(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """The status of a Job counts nothing below zero, and a finished Job runs nothing."""
    status = new.get("status") or {}
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        errors.not_negative(f"status.{name}", status.get(name))
    true = [c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"]
    if "Complete" in true and "Failed" in true:
        detail = "cannot set Complete=True and Failed=true conditions"
        errors.omitted("status.conditions", detail)
    if status.get("active", 0) > 0 and ("Complete" in true or "Failed" in true):
        errors.invalid("status.active", status["active"], "active>0 is invalid for finished job")
    if status.get("completionTime") and "Complete" not in true:
        detail = "cannot set completionTime when there is no Complete=True condition"
        errors.invalid("status.completionTime", status["completionTime"], detail)


def check_cron_job(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A CronJob."""
    spec = new["spec"]
    before = None if old is None else old["spec"]
    schedule = spec.get("schedule", "")
    if not schedule:
        errors.required("spec.schedule")
    else:
        _schedule(errors, spec, schedule, before)
    errors.not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    zone = spec.get("timeZone")
    if zone is not None and (before is None or before.get("timeZone") != zone):
        _time_zone(errors, zone)
    policy = spec.get("concurrencyPolicy", "")
    if not policy:
        errors.required("spec.concurrencyPolicy")
    else:
        errors.one_of("spec.concurrencyPolicy", policy, _POLICIES)
    template = spec["jobTemplate"]["spec"]
    check_job_spec(errors, "spec.jobTemplate.spec", template)
    if template.get("selector") is not None:
        detail = "`selector` will be auto-generated"
        errors.invalid("spec.jobTemplate.spec.selector", template["selector"], detail)
    if template.get("manualSelector"):
        errors.unsupported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors.not_negative(f"spec.{name}", spec.get(name))
    name = new["metadata"].get("name", "")
    if old is None and len(name) > _CRON_JOB_NAME:
        errors.invalid("metadata.name", name, f"must be no more than {_CRON_JOB_NAME} characters")


def _schedule(errors: Errors, spec: JSON, schedule: str, before: JSON | None) -> None:
    try:
        cron.parse(schedule)
    except cron.CronError as error:
        errors.invalid("spec.schedule", schedule, str(error))
    if "TZ" not in schedule:
        return
    if before is None or "TZ" not in before.get("schedule", ""):
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.invalid("spec.schedule", schedule, detail)
    elif "timeZone" in spec:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.invalid("spec.schedule", schedule, detail)


def _time_zone(errors: Errors, zone: str) -> None:
    path = "spec.timeZone"
    if not zone:
        errors.invalid(path, zone, "timeZone must be nil or non-empty string")
        return
    for part in zone.split("/"):
        if part in {".", ".."} or part.startswith("-") or not _zone_part.fullmatch(part):
            errors.invalid(path, zone, f"unknown time zone {zone}")
            return
    if zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in "
        errors.invalid(path, zone, f"{detail}https://www.iana.org/time-zones")
    if not _known_zone(zone) and _known_zone("Europe/Paris"):
        errors.invalid(path, zone, f"unknown time zone {zone}")


def _known_zone(zone: str) -> bool:
    """Whether this machine's time zone database has it (some machines have none)."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
