"""Validation of metadata, labels and label selectors.

Source: apimachinery pkg/api/validation/objectmeta.go and meta/v1/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from podwire.api import names
from podwire.api.kinds import Kind
from podwire.api.validation.address import address_name
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

MAX_ANNOTATION_BYTES = 256 * 1024

NameCheck = Callable[[str], list[str]]


def _anything(_text: str) -> list[str]:
    return []


_RBAC = "rbac.authorization.k8s.io"
_NAME_CHECKS: dict[tuple[str, str], NameCheck] = {
    ("", "Namespace"): names.dns1123_label,
    ("", "Service"): names.dns1123_label,
    (_RBAC, "Role"): names.path_segment,
    (_RBAC, "RoleBinding"): names.path_segment,
    (_RBAC, "ClusterRole"): names.path_segment,
    (_RBAC, "ClusterRoleBinding"): names.path_segment,
    ("certificates.k8s.io", "CertificateSigningRequest"): _anything,
    ("networking.k8s.io", "IPAddress"): address_name,
    ("apiregistration.k8s.io", "APIService"): names.path_segment,
}
"""Names that are not DNS subdomains, by group and kind."""


def name_check(kind: Kind[Any]) -> NameCheck:
    """The syntax of a kind's names."""
    return names.dns1123_subdomain if kind.custom is not None else _own_name_check(kind)


@cache
def _own_name_check(kind: Kind[Any]) -> NameCheck:
    return _NAME_CHECKS.get((kind.group, kind.kind), names.dns1123_subdomain)


_IMMUTABLE = (
    "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip


def metadata(errors: Errors, kind: Kind[Any], meta: JSON, known: bool = False) -> None:
    """The metadata of an object; a generated name was filled in before.

    The name of a ``known`` one was right when it was created.
    """
    check = _anything if known else name_check(kind)
    prefix = meta.get("generateName", "")
    if prefix:
        masked = f"{prefix[:-1]}a" if prefix.endswith("-") else prefix
        errors.complaints("metadata.generateName", prefix, check(masked))
    name = meta.get("name", "")
    if not name:
        errors.required("metadata.name", "name or generateName is required")
    elif complaints := check(name):
        errors.complaints("metadata.name", name, complaints)
    namespace = meta.get("namespace", "")
    if not kind.namespaced:
        if namespace:
            errors.forbidden("metadata.namespace", "not allowed on this type")
    elif not namespace:
        errors.required("metadata.namespace")
    elif complaints := names.dns1123_label(namespace):
        errors.complaints("metadata.namespace", namespace, complaints)
    errors.not_negative("metadata.generation", meta.get("generation"))
    check_labels(errors, "metadata.labels", meta.get("labels"))
    check_annotations(errors, "metadata.annotations", meta.get("annotations"))
    if meta.get("ownerReferences"):
        _owners(errors, meta["ownerReferences"])
    finalizers = meta.get("finalizers")
    if not finalizers:
        return
    _finalizers(errors, finalizers)
    if kind.custom is None and kind.group not in _ELSEWHERE:
        for i, finalizer in enumerate(finalizers):
            finalizer_name(errors, f"metadata.finalizers[{i}]", finalizer)


def metadata_update(errors: Errors, new: JSON, old: JSON) -> None:
    """What may not change about metadata, ever."""
    if old.get("deletionTimestamp"):
        known = dict.fromkeys(old.get("finalizers") or ())
        extra = sorted(f for f in new.get("finalizers") or () if f not in known)
        if extra:
            listed = ", ".join(f'"{item}"' for item in extra)
            errors.forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, found new "
                f"finalizers []string{{{listed}}}",
            )
    if new.get("generation", 0) < old.get("generation", 0):
        errors.invalid("metadata.generation", new.get("generation", 0), "must not be decremented")
    for name in _IMMUTABLE:
        errors.immutable(f"metadata.{name}", new.get(name), old.get(name))


def check_labels(errors: Errors, path: str, found: dict[str, str] | None) -> None:
    """Label syntax."""
    for key, value in (found or {}).items():
        if complaints := names.label_key(key):
            errors.complaints(path, key, complaints)
        if complaints := names.label_value(value):
            errors.complaints(path, value, complaints)


def check_annotations(errors: Errors, path: str, found: dict[str, str] | None) -> None:
    """Annotation keys and their size in all."""
    size = 0
    for key, value in (found or {}).items():
        if complaints := names.label_key(key.lower()):
            errors.complaints(path, key, complaints)
        size += len(key.encode()) + len(value.encode())
    if size > MAX_ANNOTATION_BYTES:
        errors.too_long(path, MAX_ANNOTATION_BYTES)


def _owners(errors: Errors, owners: list[JSON]) -> None:
    path = "metadata.ownerReferences"
    controller = ""
    for i, owner in enumerate(owners):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                errors.required(f"{path}[{i}].{name}", "must not be empty")
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            detail = "/v1, Kind=Event is disallowed from being an owner"
            errors.invalid(f"{path}[{i}]", owner, detail)
        if owner.get("controller"):
            this = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                errors.invalid(
                    path,
                    owners,
                    "Only one reference can have Controller set to true. Found "
                    f'"true" in references for {controller} and {this}',
                )
            controller = controller or this


def _finalizers(errors: Errors, finalizers: list[str]) -> None:
    path = "metadata.finalizers"
    for finalizer in finalizers:
        errors.complaints(path, finalizer, names.label_key(finalizer))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.invalid(path, finalizers, detail)


def finalizer_name(errors: Errors, path: str, finalizer: str) -> None:
    """A finalizer without a domain is one of Kubernetes' own."""
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        errors.invalid(path, finalizer, detail)


_ELSEWHERE = ("apiextensions.k8s.io", "apiregistration.k8s.io")
"""Groups that other servers bring, which know no standard finalizers."""

_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def label_selector(errors: Errors, path: str, selector: JSON | None) -> None:
    """The syntax of a LabelSelector."""
    selector = selector or {}
    check_labels(errors, f"{path}.matchLabels", selector.get("matchLabels"))
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        _expression(errors, f"{path}.matchExpressions[{i}]", expression)


def _expression(errors: Errors, path: str, expression: JSON) -> None:
    operator, values = expression.get("operator"), expression.get("values") or []
    if operator in {"In", "NotIn"}:
        if not values:
            errors.required(
                f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"
            )
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.forbidden(f"{path}.values", detail)
    else:
        errors.invalid(f"{path}.operator", operator, "not a valid selector operator")
    key = expression.get("key", "")
    errors.complaints(f"{path}.key", key, names.label_key(key))
    for i, value in enumerate(values):
        errors.complaints(f"{path}.values[{i}]", value, names.label_value(value))
