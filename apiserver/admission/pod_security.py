"""PodSecurity: a namespace's labels say which of the Pod Security Standards its pods keep.

What they enforce refuses pods; what they audit and warn of is told, of workloads' templates too.
Nobody is exempt, and a namespace without labels enforces nothing, as without a configuration file.
Source: k8s.io/pod-security-admission admission/admission.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from podwire.api import kinds, podsecurity
from podwire.api.podsecurity import LEVELS, PRIVILEGED, LevelVersion, Policy
from podwire.api.status import Cause
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_CRON_JOB = kinds.named("batch/v1", "CronJob")
_POD_TEMPLATE = kinds.named("v1", "PodTemplate")
_WORKLOADS = (
    kinds.REPLICATION_CONTROLLER, _POD_TEMPLATE, kinds.REPLICA_SET, kinds.DEPLOYMENT,
    kinds.STATEFUL_SET, kinds.DAEMON_SET, kinds.JOB, _CRON_JOB,
)  # fmt: skip
_MAX_PODS = 3000
"""How many pods of a namespace are looked at when its labels change."""
_AUDIT = "pod-security.kubernetes.io/"
_UNLABELLED = str(Policy().enforce)
_CONTAINERS = ("containers", "initContainers")


def validate(review: Review) -> None:
    """See the module. Raises ApiError Forbidden, and Invalid for labels that cannot be read."""
    if review.kind is kinds.NAMESPACE:
        if not review.subresource:
            _namespace(review)
        return
    if review.kind is not kinds.POD and review.subresource:
        return
    labels = _labels(review)
    if not any(label.startswith(_AUDIT) for label in labels):
        if review.kind is kinds.POD:
            review.annotate(f"{_AUDIT}enforce-policy", _UNLABELLED)
        return
    policy, wrong = podsecurity.policy_of(labels)
    if wrong:
        listed = [f"{cause.field}: {cause.message}" for cause in wrong]
        text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
        review.annotate(f"{_AUDIT}error", f"Failed to parse policy: {text}")
    if review.kind is kinds.POD:
        if review.old is None or _changed(review.obj["spec"], review.old["spec"]):
            metadata, spec = review.obj["metadata"], review.obj.get("spec") or {}
            review.annotate(f"{_AUDIT}enforce-policy", str(policy.enforce))
            _audit(review, policy.audit, metadata, spec)
            _enforce(review, policy.enforce, metadata, spec)
            _warn(review, policy.warn, metadata, spec)
    elif (template := _template(review)) is not None:
        metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
        _audit(review, policy.audit, metadata, spec)
        _warn(review, policy.warn, metadata, spec)


def _labels(review: Review) -> Mapping[str, str]:
    """Those of the namespace."""
    entry = review.server.caches.of(kinds.NAMESPACE).get("", review.namespace)
    return entry.view.metadata.labels if entry is not None else {}


def _enforce(review: Review, asked: LevelVersion, metadata: JSON, spec: JSON) -> None:
    if found := podsecurity.violations(asked, metadata, spec):
        why = f'violates PodSecurity "{asked}": {podsecurity.details(found)}'
        raise calls.forbidden(review.kind, review.name, why)


def _audit(review: Review, asked: LevelVersion, metadata: JSON, spec: JSON) -> None:
    if found := podsecurity.violations(asked, metadata, spec):
        text = f'would violate PodSecurity "{asked}": {podsecurity.details(found)}'
        review.annotate(f"{_AUDIT}audit-violations", text)


def _warn(review: Review, asked: LevelVersion, metadata: JSON, spec: JSON) -> None:
    if found := podsecurity.violations(asked, metadata, spec):
        review.warn(f'would violate PodSecurity "{asked}": {podsecurity.details(found)}')


def _template(review: Review) -> JSON | None:
    """The template of a workload's pods."""
    obj: JSON = review.obj
    if review.kind is _POD_TEMPLATE:
        return obj.get("template") or {}
    spec = obj.get("spec") or {}
    if review.kind is _CRON_JOB:
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    found: JSON | None = spec.get("template")
    return found


def _changed(new: JSON, old: JSON) -> bool:
    """Whether an update changed anything that counts: images, which containers there are."""
    for field in _CONTAINERS:
        mine, theirs = new.get(field) or (), old.get(field) or ()
        if [c.get("image") for c in mine] != [c.get("image") for c in theirs]:
            return True
    before = {c.get("name"): c.get("image") for c in old.get("ephemeralContainers") or ()}
    return any(
        c.get("name") not in before or before[c["name"]] != c.get("image")
        for c in new.get("ephemeralContainers") or ()
    )


# ---------------------------------------------------------------- namespaces


def _namespace(review: Review) -> None:
    """Labels must be readable when they are new; pods that a stricter level would refuse are told.

    Raises ApiError Invalid.
    """
    policy, wrong = podsecurity.policy_of(review.obj["metadata"].get("labels") or {})
    if review.old is None:
        _readable(review, wrong)
        return
    before, wrong_before = podsecurity.policy_of(review.old["metadata"].get("labels") or {})
    if wrong != wrong_before:
        _readable(review, wrong)
    asked, had = policy.enforce, before.enforce
    if asked == had or asked.level == PRIVILEGED:
        return
    if asked.minor == had.minor and LEVELS.index(asked.level) <= LEVELS.index(had.level):
        return
    for text in _existing(review, asked):
        review.warn(text)


def _readable(review: Review, wrong: list[Cause]) -> None:
    if wrong:
        raise invalid_error(kinds.NAMESPACE, review.name, wrong)


def _existing(review: Review, asked: LevelVersion) -> list[str]:
    """What is told of the pods that are there: one of each controller first."""
    entries = review.server.caches.of(kinds.POD).entries(review.name)
    first: list[JSON] = []
    rest: list[JSON] = []
    seen: set[str] = set()
    for entry in entries:
        owner = next((o.uid for o in entry.view.metadata.owner_references if o.controller), "")
        (rest if owner in seen else first).append(entry.json())
        if owner:
            seen.add(owner)
    pods = [*first, *rest][:_MAX_PODS]
    names: dict[str, list[str]] = {}
    for pod in pods:
        if found := podsecurity.violations(asked, pod["metadata"], pod.get("spec") or {}):
            names.setdefault(podsecurity.reasons(found), []).append(pod["metadata"]["name"])
    texts: list[str] = []
    if len(pods) < len(entries):
        why = f"new PodSecurity enforce level only checked against the first {len(pods)} of "
        texts.append(f"{why}{len(entries)} existing pods")
    if names:
        why = (
            f'existing pods in namespace "{review.name}" violate the new PodSecurity enforce level'
        )
        texts.append(f'{why} "{asked}"')
    return texts + sorted(f"{_some(pods)}: {reason}" for reason, pods in names.items())


def _some(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'' if others == 1 else 's'})"


def _unlabelled(review: Review) -> bool:
    """Where a namespace asks for nothing, its pods are all alike."""
    return not any(label.startswith(_AUDIT) for label in _labels(review))


PLUGIN = Plugin(
    "PodSecurity",
    validate=validate,
    kinds=(kinds.NAMESPACE, kinds.POD, *_WORKLOADS),
    subresources=("", "ephemeralcontainers", "resize"),
    repeats=_unlabelled,
)
