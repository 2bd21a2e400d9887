"""Validation of small kinds: namespaces, classes, service ranges, certificate requests, devices.

Source: kubernetes pkg/apis/{core,scheduling,node,networking,certificates,policy,coordination,
resource}/validation.
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.address import check_cidr
from podwire.api.validation.field import Errors
from podwire.api.validation.placement import check_tolerations
from podwire.api.validation.syntax import (
    container_resource_name,
    domain_prefixed_path,
    path_segment,
    resource_amount,
)
from podwire.api.view import JSON

MAX_USER_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign",
    "data encipherment", "decipher only", "digital signature", "email protection",
    "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth",
    "signing", "timestamping",
)  # fmt: skip
_EVICTION = ("IfHealthyBudget", "AlwaysAllow")
_MAX_CONTROLLER = 250


def check_namespace(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A Namespace: finalizers are ``kubernetes`` or qualified."""
    for finalizer in new["spec"].get("finalizers") or ():
        errors.complaints("spec.finalizers", finalizer, names.label_key(finalizer))
        meta.finalizer_name(errors, "spec.finalizers", finalizer)


def check_priority_class(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A PriorityClass; its value never changes, and big values are the system's."""
    name, value = new["metadata"].get("name", ""), new.get("value", 0)
    if old is not None:
        if value != old.get("value", 0):
            errors.forbidden("value", "may not be changed in an update.")
        policy = new.get("preemptionPolicy")
        errors.immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
        return
    if name.startswith("system-") and _SYSTEM_CLASSES.get(name) != value:
        detail = "priority class names with 'system-' prefix are reserved for system use only."
        why = "" if name in _SYSTEM_CLASSES else " error: {} is not a known system priority class"
        errors.forbidden("metadata.name", f"{detail}{why.format(name)}")
    elif value > MAX_USER_PRIORITY and not name.startswith("system-"):
        detail = f"maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}"
        errors.forbidden("value", detail)
    if "preemptionPolicy" in new:
        supported = ("PreemptLowerPriority", "Never")
        errors.one_of("preemptionPolicy", new["preemptionPolicy"], supported)


def check_runtime_class(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A RuntimeClass; its handler never changes."""
    handler = new.get("handler", "")
    errors.complaints("handler", handler, names.dns1123_label(handler))
    for name, amount in ((new.get("overhead") or {}).get("podFixed") or {}).items():
        where = f"overhead.podFixed[{name}]"
        container_resource_name(errors, where, name)
        resource_amount(errors, where, name, amount)
    scheduling = new.get("scheduling") or {}
    meta.check_labels(errors, "scheduling.nodeSelector", scheduling.get("nodeSelector"))
    check_tolerations(errors, "scheduling.tolerations", scheduling.get("tolerations") or [])
    if old is not None:
        errors.immutable("handler", handler, old.get("handler", ""))


def check_ingress_class(errors: Errors, new: JSON, old: JSON | None) -> None:
    """An IngressClass; its controller never changes."""
    spec = new["spec"]
    controller = spec.get("controller", "")
    if old is not None:
        errors.immutable("spec.controller", controller, old["spec"].get("controller", ""))
    if len(controller) > _MAX_CONTROLLER:
        errors.too_long("spec.controller", _MAX_CONTROLLER)
    domain_prefixed_path(errors, "spec.controller", controller)
    parameters = spec.get("parameters")
    if parameters is None:
        return
    path = "spec.parameters"
    check_typed_reference(errors, path, parameters)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errors.required(f"{path}.scope")
        return
    errors.one_of(f"{path}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace":
        if namespace is None:
            errors.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            errors.complaints(f"{path}.namespace", namespace, names.dns1123_label(namespace))
    elif scope == "Cluster" and namespace is not None:
        errors.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def check_typed_reference(errors: Errors, path: str, reference: JSON) -> None:
    """Group, kind and name of an object elsewhere."""
    group = reference.get("apiGroup")
    if group is not None:
        errors.complaints(f"{path}.apiGroup", group, names.dns1123_subdomain(group))
    path_segment(errors, f"{path}.kind", reference.get("kind", ""), "kind is required")
    path_segment(errors, f"{path}.name", reference.get("name", ""), "name is required")


def check_service_cidr(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ServiceCIDR: one range per family, for ever."""
    spec, path = new["spec"], "spec.cidrs"
    cidrs = spec.get("cidrs") or []
    if old is not None:
        errors.immutable(path, cidrs, old["spec"].get("cidrs") or [])
        return
    if not cidrs:
        errors.required(path, "at least one CIDR required")
    elif len(cidrs) > 2:
        errors.invalid(path, spec, "may only hold up to 2 values")
    elif len(cidrs) == 2 and (":" in cidrs[0]) == (":" in cidrs[1]):
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and "
        errors.invalid(path, spec, f"{detail}2001:db8::/64")
    else:
        for i, cidr in enumerate(cidrs):
            check_cidr(errors, f"{path}[{i}]", cidr, canonical=True)


def check_ip_address(errors: Errors, new: JSON, old: JSON | None) -> None:
    """An IPAddress belongs to something, for ever."""
    parent, path = new["spec"].get("parentRef"), "spec.parentRef"
    if old is not None:
        errors.immutable(path, parent, old["spec"].get("parentRef"))
        return
    if parent is None:
        errors.required(path)
        return
    if parent.get("group"):
        errors.complaints(
            f"{path}.group", parent["group"], names.dns1123_subdomain(parent["group"])
        )
    path_segment(errors, f"{path}.resource", parent.get("resource", ""))
    path_segment(errors, f"{path}.name", parent.get("name", ""))
    if parent.get("namespace"):
        complaints = names.path_segment(parent["namespace"])
        errors.complaints(f"{path}.namespace", parent["namespace"], complaints)


def check_csr(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A CertificateSigningRequest; the registry looks into the request itself."""
    spec = new["spec"]
    usages = spec.get("usages") or []
    if not usages:
        errors.required("spec.usages")
    for i, usage in enumerate(usages):
        errors.one_of(f"spec.usages[{i}]", usage, _USAGES)
    for i, usage in enumerate(usages):
        if usage in usages[:i]:
            errors.duplicate(f"spec.usages[{i}]", usage)
    signer = spec.get("signerName", "")
    if signer == "kubernetes.io/legacy-unknown":
        detail = "the legacy signerName is not allowed via this API version"
        errors.invalid("spec.signerName", signer, detail)
    else:
        signer_name(errors, "spec.signerName", signer)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.invalid("spec.expirationSeconds", seconds, detail)


def signer_name(errors: Errors, path: str, text: str) -> None:
    """``example.com/my-signer``."""
    if not text:
        errors.required(path)
        return
    domain, slash, rest = text.partition("/")
    if not slash:
        detail = 'must be a fully qualified domain and path of the form "example.com/signer-name"'
        errors.invalid(path, text, detail)
        return
    if "/" in rest:
        detail = "must not contain more than one '/'"
        errors.invalid(path, text, detail)
    errors.complaints(path, text, names.dns1123_subdomain(domain))
    if "." not in domain:
        errors.invalid(
            path, text, "should be a domain with at least two segments separated by dots"
        )
    errors.complaints(path, text, names.dns1123_subdomain(rest))


def check_disruption_budget(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A PodDisruptionBudget: one bound, or none."""
    spec = new["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        amount = spec.get(name)
        if isinstance(amount, str):
            complaints = names.percent(amount)
            errors.complaints(f"spec.{name}", amount, complaints)
            if not complaints and int(amount[:-1][:9]) > 100:
                errors.invalid(f"spec.{name}", amount, "must not be greater than 100%")
        else:
            errors.not_negative(f"spec.{name}", amount)
    meta.label_selector(errors, "spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        errors.one_of("spec.unhealthyPodEvictionPolicy", policy, _EVICTION)


def check_resource_claim(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ResourceClaim; its spec never changes."""
    _devices(errors, "spec.devices", new["spec"].get("devices") or {})
    if old is not None:
        errors.immutable("spec", new["spec"], old["spec"])


def check_resource_claim_template(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ResourceClaimTemplate; its spec never changes."""
    _devices(errors, "spec.spec.devices", new["spec"]["spec"].get("devices") or {})
    if old is not None:
        errors.immutable("spec", new["spec"], old["spec"])


def _devices(errors: Errors, path: str, devices: JSON) -> None:
    seen: dict[str, None] = {}
    for i, request in enumerate(devices.get("requests") or ()):
        where, name = f"{path}.requests[{i}]", request.get("name", "")
        errors.complaints(f"{where}.name", name, names.dns1123_label(name))
        if name in seen:
            errors.duplicate(f"{where}.name", name)
        seen[name] = None
        exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
        if (exactly is None) == (not alternatives):
            detail = "exactly one of `exactly` or `firstAvailable` is required"
            errors.required(where, detail)
        if exactly is not None and not exactly.get("deviceClassName"):
            errors.required(f"{where}.exactly.deviceClassName")
        for j, alternative in enumerate(alternatives):
            if not alternative.get("deviceClassName"):
                errors.required(f"{where}.firstAvailable[{j}].deviceClassName")


def check_resource_slice(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A ResourceSlice: of a driver and a pool, on a node or many."""
    spec = new["spec"]
    driver, pool = spec.get("driver", ""), spec.get("pool") or {}
    if not driver:
        errors.required("spec.driver")
    else:
        errors.complaints("spec.driver", driver, names.dns1123_subdomain(driver))
    if not pool.get("name"):
        errors.required("spec.pool.name")
    if pool.get("resourceSliceCount", 0) <= 0:
        count = pool.get("resourceSliceCount", 0)
        errors.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero")
    if old is not None:
        before = old["spec"]
        errors.immutable("spec.driver", driver, before.get("driver", ""))
        errors.immutable("spec.pool.name", pool.get("name"), (before.get("pool") or {}).get("name"))
        errors.immutable("spec.nodeName", spec.get("nodeName"), before.get("nodeName"))
