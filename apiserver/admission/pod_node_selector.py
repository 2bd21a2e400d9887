"""PodNodeSelector: the pods of a namespace run on its nodes.

Source: upstream plugin/pkg/admission/podnodeselector.
"""

from __future__ import annotations

from functools import partial

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin, Steps
from podwire.apiserver.admission.review import Review
from podwire.runtime.ports import Clock

_ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
_DEFAULT = "clusterDefaultNodeSelector"


def configure(given: JSON, _clock: Clock) -> Steps:
    """Steps for podNodeSelectorPluginConfig: selectors by namespace. Raises ValueError."""
    selectors = given.get("podNodeSelectorPluginConfig") or {}
    if not isinstance(selectors, dict) or not all(
        isinstance(selector, str) for selector in selectors.values()
    ):
        raise ValueError(
            "PodNodeSelector: podNodeSelectorPluginConfig: expected a selector (KEY=VALUE,...) "
            "for each namespace"
        )
    return partial(_admit, selectors), partial(_validate, selectors)


def _admit(selectors: dict[str, str], review: Review) -> None:
    """Add the namespace's selector. Raises ApiError Forbidden."""
    wanted = _checked(selectors, review)
    spec = review.obj["spec"]
    merged = {**wanted, **(spec.get("nodeSelector") or {})}
    if merged:
        spec["nodeSelector"] = merged
    _validate(selectors, review)


def _validate(selectors: dict[str, str], review: Review) -> None:
    """Hold the pod's selector to the namespace's and to its whitelist. Raises ApiError."""
    _checked(selectors, review)
    allowed = _labels(selectors.get(review.namespace, ""))
    own = review.obj["spec"].get("nodeSelector") or {}
    if allowed and any(allowed.get(key) != value for key, value in own.items()):
        why = "pod node label selector labels conflict with its namespace whitelist"
        raise calls.forbidden(kinds.POD, review.name, why)


def _checked(selectors: dict[str, str], review: Review) -> dict[str, str]:
    """The namespace's selector, which the pod's does not contradict."""
    entry = review.server.caches.of(kinds.NAMESPACE).get("", review.namespace)
    annotations = entry.view.metadata.annotations if entry is not None else {}
    wanted = _labels(annotations.get(_ANNOTATION, selectors.get(_DEFAULT, "")))
    own = review.obj["spec"].get("nodeSelector") or {}
    if any(own.get(key, value) != value for key, value in wanted.items()):
        why = "pod node label selector conflicts with its namespace node label selector"
        raise calls.forbidden(kinds.POD, review.name, why)
    return wanted


def _labels(selector: str) -> dict[str, str]:
    """A selector of equalities as a map. Source: apimachinery labels.ConvertSelectorToLabelsMap."""
    found: dict[str, str] = {}
    for part in selector.split(",") if selector else ():
        key, equals, value = part.partition("=")
        if not equals or "=" in value:
            raise ApiError("InternalError", f"invalid selector: [{part}]")
        found[key.strip()] = value.strip()
    return found


PLUGIN = Plugin(
    "PodNodeSelector", kinds=(kinds.POD,), operations=("CREATE",), on=False, configure=configure
)
