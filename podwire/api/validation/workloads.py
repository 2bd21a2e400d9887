"""Validation of Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController and
ControllerRevision.

Source: kubernetes pkg/apis/apps/validation and pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from podwire.api import names, selectors
from podwire.api.status import ApiError
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.validation.pod import check_template
from podwire.api.view import JSON

_STATEFUL_SET_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_STATEFUL_SET_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)


def check_deployment(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A Deployment; its selector never changes."""
    spec = new["spec"]
    errors.not_negative("spec.replicas", spec.get("replicas"))
    _selector_and_template(errors, spec, "empty selector is invalid for deployment")
    check_template(errors, "spec.template", spec["template"])
    _always(
        errors, spec["template"]["spec"], "activeDeadlineSeconds in ReplicaSet is not Supported"
    )
    _deployment_strategy(errors, spec["strategy"])
    minimum = spec.get("minReadySeconds", 0)
    errors.not_negative("spec.minReadySeconds", minimum)
    errors.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    errors.not_negative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= minimum:
        detail = "must be greater than minReadySeconds"
        errors.invalid("spec.progressDeadlineSeconds", deadline, detail)
    _selector_update(errors, new, old)


def check_replica_set(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ReplicaSet; its selector never changes."""
    spec = new["spec"]
    errors.not_negative("spec.replicas", spec.get("replicas"))
    errors.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    _selector_and_template(errors, spec, "empty selector is invalid for deployment")
    check_template(errors, "spec.template", spec["template"])
    _always(
        errors, spec["template"]["spec"], "activeDeadlineSeconds in ReplicaSet is not Supported"
    )
    _selector_update(errors, new, old)


def check_stateful_set(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A StatefulSet; few fields of it may change."""
    spec = new["spec"]
    policy = spec.get("podManagementPolicy", "")
    if policy not in {"OrderedReady", "Parallel"}:
        detail = "must be 'OrderedReady' or 'Parallel'"
        errors.invalid("spec.podManagementPolicy", policy, detail)
    _stateful_strategy(errors, spec["updateStrategy"])
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        where = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
        errors.one_of(where, retention.get(name, ""), ("Retain", "Delete"))
    errors.not_negative("spec.replicas", spec.get("replicas"))
    errors.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if "ordinals" in spec:
        errors.not_negative("spec.ordinals.start", spec["ordinals"].get("start"))
    _selector_and_template(errors, spec, "empty selector is invalid for statefulset")
    claims = [claim["metadata"].get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    template = spec["template"]
    check_template(errors, "spec.template", template, tuple(claims))
    _always(errors, template["spec"], "activeDeadlineSeconds in StatefulSet is not Supported")
    if old is not None:
        before = old["spec"]
        fixed = [k for k in sorted(spec.keys() | before.keys()) if k not in _STATEFUL_SET_MUTABLE]
        if any(spec.get(name) != before.get(name) for name in fixed):
            errors.forbidden("spec", _STATEFUL_SET_FORBIDDEN)


def _stateful_strategy(errors: Errors, strategy: JSON) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if not kind:
        errors.required(path)
    elif kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            errors.invalid(f"{path}.rollingUpdate", rolling, detail)
    elif kind == "RollingUpdate":
        rolling = rolling or {}
        errors.not_negative(f"{path}.rollingUpdate.partition", rolling.get("partition"))
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            where = f"{path}.rollingUpdate.maxUnavailable"
            _amount(errors, where, unavailable)
            if _is_zero(unavailable):
                errors.invalid(where, unavailable, "cannot be 0")
    else:
        errors.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")


def check_daemon_set(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A DaemonSet; its selector never changes."""
    spec = new["spec"]
    _selector_and_template(errors, spec, "empty selector is invalid for daemonset")
    check_template(errors, "spec.template", spec["template"])
    _always(errors, spec["template"]["spec"], "activeDeadlineSeconds in DaemonSet is not Supported")
    errors.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    strategy = spec["updateStrategy"]
    kind, path = strategy.get("type", ""), "spec.updateStrategy"
    if kind == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        _amount(errors, f"{path}.rollingUpdate.maxUnavailable", unavailable)
        _amount(errors, f"{path}.rollingUpdate.maxSurge", surge)
        if _is_zero(unavailable) and _is_zero(surge):
            detail = "cannot be 0 when maxSurge is 0"
            errors.required(f"{path}.rollingUpdate.maxUnavailable", detail)
        elif not _is_zero(unavailable) and not _is_zero(surge):
            detail = "may not be set when maxUnavailable is non-zero"
            errors.invalid(f"{path}.rollingUpdate.maxSurge", surge, detail)
    elif kind != "OnDelete":
        errors.unsupported(path, strategy, ("RollingUpdate", "OnDelete"))
    errors.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    _selector_update(errors, new, old)


def check_replication_controller(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A ReplicationController: a plain map selects its pods."""
    spec = new["spec"]
    errors.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector = spec.get("selector") or {}
    if not selector:
        errors.required("spec.selector")
    errors.not_negative("spec.replicas", spec.get("replicas"))
    template = spec.get("template")
    if template is None:
        errors.required("spec.template")
        return
    labels = template["metadata"].get("labels") or {}
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        detail = "`selector` does not match template `labels`"
        errors.invalid("spec.template.metadata.labels", labels, detail)
    check_template(errors, "spec.template", template)
    _always(
        errors,
        template["spec"],
        "activeDeadlineSeconds in ReplicationController is not Supported",
    )


_COUNTS = (
    "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "updatedReplicas",
    "unavailableReplicas", "currentReplicas", "terminatingReplicas", "observedGeneration",
)  # fmt: skip


def check_replica_status(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """Counts that are not negative, and parts that are not more than the whole."""
    status = new.get("status") or {}
    for name in _COUNTS:
        errors.not_negative(f"status.{name}", status.get(name))
    whole = status.get("replicas", 0)
    for name in ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"):
        if (count := status.get(name, 0)) > whole:
            errors.invalid(f"status.{name}", count, "cannot be greater than status.replicas")
    available = status.get("availableReplicas", 0)
    if available > status.get("readyReplicas", 0):
        errors.invalid(
            "status.availableReplicas", available, "cannot be greater than readyReplicas"
        )


def check_deployment_status(errors: Errors, new: JSON, old: JSON | None) -> None:
    """The same; and collisions of template hashes are counted upwards only."""
    check_replica_status(errors, new, old)
    status, before = new.get("status") or {}, (old or {}).get("status") or {}
    if (updated := status.get("updatedReplicas", 0)) > status.get("replicas", 0):
        errors.invalid("status.updatedReplicas", updated, "cannot be greater than status.replicas")
    count, known = status.get("collisionCount"), before.get("collisionCount")
    if known is not None and (count is None or count < known):
        errors.invalid("status.collisionCount", count, "cannot be decremented")


def check_controller_revision(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ControllerRevision: data that never changes."""
    if new.get("data") is None:
        errors.required("data", "data is mandatory")
    errors.not_negative("revision", new.get("revision"))
    if old is not None:
        errors.immutable("data", new.get("data"), old.get("data"))


def _selector_and_template(errors: Errors, spec: JSON, empty: str) -> None:
    """The selector must be there, mean something, and choose the template's own pods."""
    selector = spec.get("selector")
    if selector is None:
        errors.required("spec.selector")
        return
    meta.label_selector(errors, "spec.selector", selector)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.invalid("spec.selector", selector, empty)
        return
    try:
        matcher = selectors.from_json(selector)
    except ApiError:
        errors.invalid("spec.selector", selector, "invalid label selector")
        return
    labels = spec["template"]["metadata"].get("labels") or {}
    if not matcher.matches(labels):
        detail = "`selector` does not match template `labels`"
        errors.invalid("spec.template.metadata.labels", labels, detail)


def _always(errors: Errors, template_spec: JSON, deadline_detail: str) -> None:
    policy = template_spec.get("restartPolicy")
    if policy in {"OnFailure", "Never"}:
        errors.unsupported("spec.template.spec.restartPolicy", policy, ("Always",))
    if template_spec.get("activeDeadlineSeconds") is not None:
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", deadline_detail)


def _selector_update(errors: Errors, new: JSON, old: JSON | None) -> None:
    if old is not None:
        mine, theirs = new["spec"].get("selector"), old["spec"].get("selector")
        errors.immutable("spec.selector", mine, theirs)


def _deployment_strategy(errors: Errors, strategy: JSON) -> None:
    kind, path = strategy.get("type", ""), "spec.strategy"
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            detail = "may not be specified when strategy `type` is 'Recreate'"
            errors.forbidden(f"{path}.rollingUpdate", detail)
    elif kind == "RollingUpdate":
        rolling = rolling or {}
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        _amount(errors, f"{path}.rollingUpdate.maxUnavailable", unavailable)
        _amount(errors, f"{path}.rollingUpdate.maxSurge", surge, limited=False)
        if _is_zero(unavailable) and _is_zero(surge):
            detail = "may not be 0 when `maxSurge` is 0"
            errors.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, detail)
    else:
        errors.unsupported(path, strategy, ("Recreate", "RollingUpdate"))


def _percent(amount: Any) -> int | None:
    if not isinstance(amount, str) or names.percent(amount):
        return None
    digits = amount.removesuffix("%")
    return int(digits) if len(digits) < 10 else 10**9


def _is_zero(amount: Any) -> bool:
    return amount == 0 or _percent(amount) == 0


def _amount(errors: Errors, path: str, amount: Any, *, limited: bool = True) -> None:
    """A count or a percentage."""
    if isinstance(amount, str):
        complaints = names.percent(amount)
        if complaints:
            detail = "must be an integer or percentage (e.g '5%%')"
            errors.complaints(path, amount, complaints or [detail])
        elif limited and (_percent(amount) or 0) > 100:
            errors.invalid(path, amount, "must not be greater than 100%")
    else:
        errors.not_negative(path, amount)
