"""Which names a definition gets, and the conditions that say so.

Source: apiextensions-apiserver pkg/controller/{status,establish,apiapproval,finalizer}.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwire.api.crd import authorities
from podwire.api.crd.served import is_true
from podwire.api.gotext import go_quoted
from podwire.api.view import JSON

APPROVED = "api-approved.kubernetes.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def settled(obj: JSON, others: Iterable[JSON], now: str) -> JSON | None:
    """The status of a definition as it should be, None when it is so already.

    ``others`` are the definitions of the same group.
    """
    status = obj.get("status") or {}
    conditions = [dict(c) for c in status.get("conditions") or ()]
    names = _names(status.get("acceptedNames"))
    if names != _names(obj["spec"]["names"]):
        names, wrong = accepted(obj, others)
        told = wrong or ("NoConflicts", "no conflicts found")
        put(conditions, "NamesAccepted", not wrong, *told, now)
        if wrong and not is_true(obj, "Established"):
            put(conditions, "Established", False, "NotAccepted", "not all names are accepted", now)
    if _holds(conditions, "NamesAccepted") and not _holds(conditions, "Established"):
        bundle = authorities.bundle_of(obj["spec"])
        if bundle and authorities.wrong(bundle):
            message = "The conversion webhook CABundle is invalid"
            put(conditions, "Established", False, "InvalidCABundle", message, now)
        else:
            message = "the initial names have been accepted"
            put(conditions, "Established", True, "InitialNamesAccepted", message, now)
    if is_protected(obj["spec"]["group"]):
        word, why = approval(obj["metadata"].get("annotations") or {})
        put(
            conditions, "KubernetesAPIApprovalPolicyConformant", word == "ApprovedAnnotation",
            word, why, now,
        )  # fmt: skip
    if names == _names(status.get("acceptedNames")) and conditions == status.get("conditions", []):
        return None
    return {**status, "acceptedNames": names, "conditions": conditions}


def _names(names: JSON | None) -> JSON:
    return {key: value for key, value in (names or {}).items() if value}


def accepted(obj: JSON, others: Iterable[JSON]) -> tuple[JSON, tuple[str, str] | None]:
    """The names that a definition gets, and (reason, message) for the last it does not get."""
    resources: dict[str, None] = {}
    kinds: dict[str, None] = {}
    for other in others:
        theirs = (other.get("status") or {}).get("acceptedNames") or {}
        for name in (theirs.get("plural"), theirs.get("singular"), *theirs.get("shortNames", ())):
            resources[name or ""] = None
        for name in (theirs.get("kind"), theirs.get("listKind")):
            kinds[name or ""] = None
    wanted = obj["spec"]["names"]
    mine = (obj.get("status") or {}).get("acceptedNames") or {}
    names = _names(mine)
    wrong: tuple[str, str] | None = None
    for field, taken, reason in (
        ("plural", resources, "PluralConflict"), ("singular", resources, "SingularConflict"),
        ("shortNames", resources, "ShortNamesConflict"), ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):  # fmt: skip
        if field == "shortNames":
            had = mine.get(field) or []
            used = [name for name in wanted.get(field) or () if name not in had and name in taken]
        else:
            name = wanted.get(field, "")
            used = [name] if name != mine.get(field, "") and name in taken else []
        if used:
            listed = ", ".join(f"{go_quoted(name)} is already in use" for name in used)
            wrong = (reason, f"[{listed}]" if len(used) > 1 else listed)
        else:
            names[field] = wanted.get(field)
    names["categories"] = wanted.get("categories")
    return _names(names), wrong


def put(
    conditions: list[JSON], type: str, holds: bool, reason: str, message: str, now: str
) -> None:
    """Set a condition; the time is that of the last change of its status."""
    made: JSON = {
        "type": type, "status": "True" if holds else "False", "lastTransitionTime": now,
        "reason": reason, "message": message,
    }  # fmt: skip
    for i, had in enumerate(conditions):
        if had["type"] == type:
            if had["status"] == made["status"]:
                made["lastTransitionTime"] = had.get("lastTransitionTime", now)
            conditions[i] = had if {**had, **made} == had else made
            return
    conditions.append(made)


def _holds(conditions: list[JSON], type: str) -> bool:
    return any(c["type"] == type and c["status"] == "True" for c in conditions)


# ------------------------------------------------------------------ approval


def is_protected(group: str) -> bool:
    """Whether a group belongs to the community, whose APIs are reviewed."""
    return group in {"k8s.io", "kubernetes.io"} or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(annotations: JSON) -> tuple[str, str]:
    """What the annotation of a protected API says: (reason of the condition, message)."""
    text = annotations.get(APPROVED, "")
    if not text:
        why = f"protected groups must have approval annotation {go_quoted(APPROVED)}, {_SEE}"
        return "MissingAnnotation", why
    scheme, found, rest = text.partition("://")
    if found and scheme and rest.partition("/")[0]:
        return "ApprovedAnnotation", f"approved in {text}"
    if text.startswith("unapproved"):
        return "UnapprovedAnnotation", f"not approved: {go_quoted(text)}"
    why = (
        f"protected groups must have approval annotation {go_quoted(APPROVED)} with either a URL "
        f'or a reason starting with "unapproved", {_SEE}'
    )
    return "InvalidAnnotation", why


# ------------------------------------------------------------------ the end


def marked(obj: JSON, now: str) -> None:
    """A definition that is asked to go: it waits for its objects, and says so. In place."""
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if CLEANUP not in finalizers:
        finalizers.append(CLEANUP)
    conditions = obj.setdefault("status", {}).setdefault("conditions", [])
    message = (
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    )
    put(conditions, "Terminating", True, "InstanceDeletionPending", message, now)


def ending(obj: JSON, left: int, now: str) -> JSON:
    """The patch of a terminating definition that has ``left`` objects."""
    conditions = [dict(c) for c in (obj.get("status") or {}).get("conditions") or ()]
    if left:
        message = "CustomResource deletion is in progress"
        put(conditions, "Terminating", True, "InstanceDeletionInProgress", message, now)
        return {"status": {"conditions": conditions}}
    if is_true(obj, "Established"):
        told = ("InstanceDeletionCompleted", "removed all instances")
    else:
        told = ("NeverEstablished", "resource was never established")
    put(conditions, "Terminating", False, *told, now)
    finalizers = [f for f in obj["metadata"].get("finalizers") or () if f != CLEANUP]
    return {"metadata": {"finalizers": finalizers or None}, "status": {"conditions": conditions}}
