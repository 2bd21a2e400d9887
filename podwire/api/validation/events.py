"""Validation of Events: lenient for v1, strict for those made by events.k8s.io.

Source: kubernetes pkg/apis/core/validation/events.go. Fields go by their names in v1, as there.
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

MAX_NOTE_BYTES = 1024
MAX_BYTES = 128
_MISMATCH = "does not match event.namespace"
_FROZEN = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count",
    "type", "eventTime", "action", "related", "reportingComponent", "reportingInstance",
)  # fmt: skip
_PATHS = {"reportingComponent": "reportingController"}


def check_event(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """An Event lives in the namespace of its object; cluster-scoped objects' in default."""
    namespace = new["metadata"].get("namespace", "")
    about = new["involvedObject"].get("namespace", "")
    if not new.get("eventTime"):
        if namespace != about and (about or namespace not in {"", "default"}):
            errors.invalid("involvedObject.namespace", about, _MISMATCH)
        return
    if not about and namespace not in {"default", "kube-system"}:
        errors.invalid("involvedObject.namespace", about, _MISMATCH)
    controller = new.get("reportingComponent", "")
    if not controller:
        errors.required("reportingController")
    errors.complaints("reportingController", controller, names.label_key(controller))
    for field in ("reportingInstance", "action", "reason"):
        if not new.get(field):
            errors.required(field)
        _limit(errors, field, new.get(field, ""), MAX_BYTES)
    _limit(errors, "message", new.get("message", ""), MAX_NOTE_BYTES)


def _limit(errors: Errors, path: str, text: str, limit: int) -> None:
    if len(text.encode()) > limit:
        errors.invalid(path, "", f"can have at most {limit} characters")


def check_new_event(errors: Errors, new: JSON, old: JSON | None) -> None:
    """What events.k8s.io demands beyond that, of an Event in the form of v1."""
    if old is not None:
        if new.get("series") != old.get("series"):
            _series(errors, new)
        for field in _FROZEN:
            errors.immutable(_PATHS.get(field, field), new.get(field), old.get(field))
        return
    _series(errors, new)
    if not new.get("eventTime"):
        errors.required("eventTime")
    if new.get("type") not in {"Normal", "Warning"}:
        errors.invalid("type", "", f"has invalid value: {new.get('type', '')}")
    for field in ("firstTimestamp", "lastTimestamp", "count"):
        if new.get(field):
            errors.invalid(field, "", "needs to be unset")
    source = new.get("source") or {}
    if source.get("component") or source.get("host"):
        errors.invalid("source", "", "needs to be unset")


def _series(errors: Errors, event: JSON) -> None:
    series = event.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        errors.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        errors.required("series.lastObservedTime")
