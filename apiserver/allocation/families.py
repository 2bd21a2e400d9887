"""Which IP families a Service gets: its policy, what it asks for, what the cluster has.

Source: kubernetes pkg/registry/core/service/storage/alloc.go (initIPFamilyFields) and
pkg/apis/core/validation (ValidateServiceClusterIPsRelatedFields): defaults, order, words.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from podwire.api import kinds
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.validation.service import ip_family
from podwire.api.view import JSON

HEADLESS = "None"
"""The clusterIP of a Service that has none."""
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}
_POLICY = "spec.ipFamilyPolicy"


def settle(cluster: Mapping[str, object], name: str, spec: JSON, old_spec: JSON) -> None:
    """Fill ``ipFamilyPolicy`` and ``ipFamilies`` of a Service that is no ExternalName.

    ``cluster`` holds the families that the cluster has addresses of, its default first. Raises
    ApiError Invalid for what cannot be had.
    """
    old = old_spec if old_spec.get("ipFamilyPolicy") else {}
    if _stays_preferred(spec, old):
        return
    free = spec.get("clusterIP") == HEADLESS and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        default = "RequireDualStack" if free else "SingleStack"
        spec["ipFamilyPolicy"] = old.get("ipFamilyPolicy") or default
    errors = Errors()
    if old:
        _downgrade(errors, spec, old)
    if spec["ipFamilyPolicy"] == "SingleStack":
        _must_be_one(errors, spec)
    _infer(errors, spec, cluster)
    _bail_out(errors, name)
    default_family = next(iter(cluster))
    if free:
        # Nobody has to serve it: it may name families that the cluster does not have.
        families = spec.setdefault("ipFamilies", [default_family])
        if len(families) < 2 and spec["ipFamilyPolicy"] != "SingleStack":
            families.append(_OTHER[families[0]])
        return
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(cluster) < 2:
        detail = "this cluster is not configured for dual-stack services"
        errors.invalid(_POLICY, "RequireDualStack", detail)
    for i, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in cluster:
            errors.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")
    _bail_out(errors, name)
    families = spec["ipFamilies"] = spec.get("ipFamilies") or [default_family]
    if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1 and len(cluster) == 2:
        families.append(_OTHER[families[0]])


def given_ips(spec: JSON) -> list[str]:
    """The addresses that a Service asks for or has."""
    return spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])


def _stays_preferred(spec: JSON, old: JSON) -> bool:
    """PreferDualStack that keeps policy, addresses and families is never up- or downgraded only
    because the cluster has become dual-stack or ceased to be.
    """
    if not old or spec.get("ipFamilyPolicy") != "PreferDualStack":
        return False
    same = ("ipFamilyPolicy", "clusterIPs", "ipFamilies", "type")
    return bool(spec.get("ipFamilies")) and all(spec.get(k) == old.get(k) for k in same)


def _downgrade(errors: Errors, spec: JSON, old: JSON) -> None:
    """To one family: SingleStack is clear intent; without it, fewer values are an error."""
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        mine, theirs = spec.get(field) or [], old.get(field) or []
        if spec["ipFamilyPolicy"] == "SingleStack":
            if mine == theirs and len(mine) > 1:
                spec[field] = mine[:1]
        elif mine and len(theirs) == 2 and mine == theirs[:1]:
            detail = f"must be 'SingleStack' to release the secondary {what}"
            errors.invalid(_POLICY, spec["ipFamilyPolicy"], detail)


def _must_be_one(errors: Errors, spec: JSON) -> None:
    for field, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
        if len(spec.get(field) or ()) == 2:
            detail = (
                f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are "
                "specified"
            )
            errors.invalid(_POLICY, spec["ipFamilyPolicy"], detail)


def _infer(errors: Errors, spec: JSON, cluster: Container[str]) -> None:
    """Addresses that were asked for say their families."""
    given = given_ips(spec)
    families = list(spec.get("ipFamilies") or ())
    for i, ip in enumerate(given):
        if ip == HEADLESS or not ip:
            break
        if i < len(families):
            continue
        family = ip_family(ip)
        if family not in cluster:
            detail = f"{family} is not configured on this cluster"
            errors.invalid(f"spec.clusterIPs[{i}]", given, detail)
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families


def _bail_out(errors: Errors, name: str) -> None:
    if errors.causes:
        raise invalid_error(kinds.SERVICE, name, errors.causes)
