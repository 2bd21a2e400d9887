"""PodTolerationRestriction: what the pods of a namespace tolerate, by default and at most.

Source: upstream plugin/pkg/admission/podtolerationrestriction, pkg/util/tolerations.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from podwire.api import kinds
from podwire.api.qos import qos_class
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.admission.chain import Plugin, Steps
from podwire.apiserver.admission.review import Review
from podwire.runtime.ports import Clock

_DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
_WHITELIST = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_MEMORY_PRESSURE = {
    "key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule",
}  # fmt: skip


def configure(given: JSON, _clock: Clock) -> Steps:
    """Steps for the cluster's ``default`` and ``whitelist``. Raises ValueError."""
    for field in ("default", "whitelist"):
        if not _tolerations(given.get(field) or []):
            raise ValueError(f"PodTolerationRestriction: {field}: expected a list of tolerations")
    return partial(_admit, given), partial(_validate, given)


def _tolerations(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, dict) for each in found)


def _admit(given: JSON, review: Review) -> None:
    """Merge the defaults into a new pod's tolerations."""
    spec = review.obj["spec"]
    more: list[JSON] = []
    if review.operation == "CREATE":
        defaults = _of_namespace(review, _DEFAULTS)
        more += (given.get("default") or []) if defaults is None else defaults
    if qos_class(spec) != "BestEffort":
        more.append(_MEMORY_PRESSURE)
    if more:
        spec["tolerations"] = merged(spec.get("tolerations") or [], more)
    _validate(given, review)


def _validate(given: JSON, review: Review) -> None:
    """Hold tolerations to the whitelist. Raises ApiError."""
    own = review.obj["spec"].get("tolerations") or []
    if not own:
        return
    scope, allowed = "namespace", _of_namespace(review, _WHITELIST)
    if allowed is None:
        scope, allowed = "cluster", given.get("whitelist") or []
    if allowed and not all(any(covers(wide, each) for wide in allowed) for each in own):
        why = (
            "pod tolerations (possibly merged with namespace default tolerations) conflict with "
            f"its {scope} whitelist"
        )
        raise ApiError("", why, 500)  # upstream's is no Status either


def _of_namespace(review: Review, key: str) -> list[JSON] | None:
    """Tolerations in an annotation of the namespace; None when it has none."""
    entry = review.server.caches.of(kinds.NAMESPACE).get("", review.namespace)
    text = entry.view.metadata.annotations.get(key) if entry is not None else None
    if text is None:
        return None
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError) as error:
        raise ApiError("InternalError", f"annotation {key}: {error}") from error
    if not _tolerations(found):
        raise ApiError("InternalError", f"annotation {key}: expected a list of tolerations")
    return list(found)


def merged(first: list[JSON], second: list[JSON]) -> list[JSON]:
    """Both, without what another of them covers. Source: pkg/util/tolerations MergeTolerations."""
    every = [*first, *second]
    kept: list[JSON] = []
    for index, each in enumerate(every):
        later = (other for other in every[index + 1 :] if other != each)
        if not any(covers(wide, each) for wide in (*kept, *later)):
            kept.append(each)
    return kept


def covers(wide: JSON, narrow: JSON) -> bool:
    """Whether one toleration tolerates all that another does. Source: isSuperset, beside it."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    if narrow.get("key", "") != wide.get("key", "") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and wide["effect"] != narrow.get("effect"):
        return False
    if wide.get("effect") == "NoExecute" and (seconds := wide.get("tolerationSeconds")) is not None:
        limit = narrow.get("tolerationSeconds")
        if limit is None or limit > seconds:
            return False
    if operator == "Exists":
        return True
    same = operator == "Equal" and narrow.get("operator") == "Equal"
    return same and (wide.get("value") or "") == (narrow.get("value") or "")


PLUGIN = Plugin("PodTolerationRestriction", kinds=(kinds.POD,), on=False, configure=configure)
