"""Checks of names in fields that more than one kind has, reporting where they look.

Source: apimachinery pkg/util/validation and kubernetes pkg/apis/core/validation.
"""

from __future__ import annotations

import re

from podwire.api import names, quantity
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_path_re = re.compile(_PATH)
_STANDARD_RESOURCES = frozenset((
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "storage", "requests.storage", "services.nodeports",
    "services.loadbalancers",
))  # fmt: skip
_QUOTA_RESOURCES = _STANDARD_RESOURCES - {"storage"}
_INTEGER_RESOURCES = frozenset((
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
))  # fmt: skip
CONTAINER_RESOURCES = frozenset(("cpu", "memory", "ephemeral-storage"))
NEGATIVE = "must be greater than or equal to 0"


def domain_prefixed_path(errors: Errors, path: str, text: str) -> None:
    """``acme.io/foo``: controllers, managers."""
    if not text:
        errors.required(path)
        return
    host, slash, rest = text.partition("/")
    if not slash or not host or not rest:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.invalid(path, text, detail)
        return
    errors.complaints(path, host, names.dns1123_subdomain(host))
    if not _path_re.fullmatch(rest):
        errors.invalid(path, rest, names.regex_complaint("Invalid path", _PATH))


def class_name(errors: Errors, path: str, text: str) -> None:
    """The name of a StorageClass and the like."""
    errors.complaints(path, text, names.dns1123_subdomain(text))


def path_segment(errors: Errors, path: str, text: str, missing: str = "") -> None:
    """A required text that may stand in a URL path."""
    if text:
        errors.complaints(path, text, names.path_segment(text))
    else:
        errors.required(path, missing)


def csi_driver_name(errors: Errors, path: str, text: str) -> None:
    """The name of a CSI driver."""
    if not text:
        errors.required(path)
    if len(text) > 63:
        errors.too_long(path, 63)
    lower = text.lower()
    errors.complaints(path, text, names.dns1123_subdomain(lower))


def resource_name(errors: Errors, path: str, name: str) -> bool:
    """A resource of a list: a standard one, or a qualified name. Whether it is fine."""
    before = len(errors.causes)
    errors.complaints(path, name, names.label_key(name))
    if len(errors.causes) == before and "/" not in name and not _is_standard(name):
        errors.invalid(path, name, "must be a standard resource type or fully qualified")
    return len(errors.causes) == before


def _is_standard(name: str) -> bool:
    return name in _STANDARD_RESOURCES or name.startswith(("hugepages-", "requests.hugepages-"))


def container_resource_name(errors: Errors, path: str, name: str) -> None:
    """A resource that containers may ask for."""
    if name in CONTAINER_RESOURCES:
        return
    resource_name(errors, path, name)
    prefix, slash, _ = name.partition("/")
    if not slash:
        if not name.startswith("hugepages-"):
            errors.invalid(path, name, "must be a standard resource for containers")
    elif not prefix.endswith("kubernetes.io") and name.startswith("requests."):
        errors.invalid(path, name, "doesn't follow extended resource name standard")


def quota_resource_name(errors: Errors, path: str, name: str) -> None:
    """A resource that a quota may bound."""
    resource_name(errors, path, name)
    if "/" not in name and name not in _QUOTA_RESOURCES and not _is_huge(name):
        errors.invalid(path, name, "must be a standard resource for quota")


def _is_huge(name: str) -> bool:
    return name.startswith(("hugepages-", "requests.hugepages-"))


def resource_amount(errors: Errors, path: str, name: str, amount: str) -> None:
    """An amount that is not negative, and whole where only whole ones make sense."""
    nano = quantity.parse(amount).nano
    if nano < 0:
        errors.invalid(path, amount, NEGATIVE)
    if nano % 10**9 and (name in _INTEGER_RESOURCES or is_extended(name)):
        errors.invalid(path, amount, "must be an integer")


def is_extended(name: str) -> bool:
    """Whether a resource is a device or the like, counted in whole pieces."""
    prefix, slash, _ = name.partition("/")
    return bool(slash) and not prefix.endswith("kubernetes.io")


def positive_amount(errors: Errors, path: str, amount: str) -> None:
    """An amount above zero."""
    if quantity.parse(amount).nano <= 0:
        errors.invalid(path, amount, "must be greater than zero")


def secret_reference(errors: Errors, path: str, reference: JSON | None) -> None:
    """The name and namespace of a Secret that a volume's driver reads."""
    if reference is None:
        return
    for name in ("name", "namespace"):
        if not reference.get(name):
            errors.required(f"{path}.{name}")
