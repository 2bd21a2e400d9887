"""Validation of pods and pod templates, and of what may change about a pod.

Source: kubernetes pkg/apis/core/validation (ValidatePodSpec, ValidatePodUpdate and callees).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.qos import qos_class
from podwire.api.validation import meta
from podwire.api.validation.address import check_ip
from podwire.api.validation.changes import changed_fields
from podwire.api.validation.containers import check_containers
from podwire.api.validation.field import Errors
from podwire.api.validation.placement import check_affinity, check_spread, check_tolerations
from podwire.api.validation.securitycontext import check_pod_security
from podwire.api.validation.syntax import container_resource_name, resource_amount
from podwire.api.validation.volumes import POD_SOURCES, check_volume_source
from podwire.api.view import JSON

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("Never", "PreemptLowerPriority")
_MAX_INT32 = 2**31 - 1
_RARE = (
    "readinessGates", "schedulingGates", "hostname", "subdomain", "hostAliases",
    "priorityClassName", "runtimeClassName", "overhead", "os", "hostUsers",
)  # fmt: skip
"""Fields that few pods have: those of all the checks that check_pod_spec makes of such only."""
_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A pod; as the successor of ``old`` most of its spec is immutable."""
    spec = new["spec"]
    check_pod_spec(errors, "spec", spec)
    if old is None:
        if spec.get("ephemeralContainers"):
            errors.forbidden("spec.ephemeralContainers", "cannot be set on create")
        if spec.get("nodeName") and spec.get("schedulingGates"):
            detail = "cannot be set until all schedulingGates have been cleared"
            errors.forbidden("spec.nodeName", detail)
    else:
        _check_update(errors, new, old)


def check_template(errors: Errors, path: str, template: JSON, claims: tuple[str, ...] = ()) -> None:
    """The pod template of a workload; ``claims`` as in check_pod_spec."""
    labels = template["metadata"].get("labels")
    meta.check_labels(errors, f"{path}.labels", labels)
    meta.check_annotations(errors, f"{path}.annotations", template["metadata"].get("annotations"))
    check_pod_spec(errors, f"{path}.spec", template["spec"], claims)
    if template["spec"].get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.forbidden(f"{path}.spec.ephemeralContainers", detail)


def check_pod_template(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A PodTemplate."""
    check_template(errors, "template", new["template"])


def check_pod_spec(errors: Errors, path: str, spec: JSON, claims: tuple[str, ...] = ()) -> None:
    """A pod spec; ``claims`` are volumes that come from elsewhere (StatefulSet claims)."""
    volumes = _volumes(errors, path, spec)
    devices = _resource_claims(errors, path, spec) if "resourceClaims" in spec else {}
    if claims:
        volumes |= dict.fromkeys(claims)
    check_containers(errors, path, spec, volumes, devices)
    if spec.get("restartPolicy", "") not in _RESTART:
        errors.unsupported(f"{path}.restartPolicy", spec.get("restartPolicy", ""), _RESTART)
    if spec.get("dnsPolicy", "") not in _DNS:
        errors.unsupported(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), _DNS)
    if spec.get("nodeSelector"):
        meta.check_labels(errors, f"{path}.nodeSelector", spec["nodeSelector"])
    if spec.get("hostNetwork"):
        _host_network_ports(errors, path, spec)
    check_pod_security(errors, path, spec)
    if spec.get("affinity"):
        check_affinity(errors, f"{path}.affinity", spec["affinity"])
    if spec.get("dnsConfig") is not None or spec.get("dnsPolicy") == "None":
        _dns_config(errors, f"{path}.dnsConfig", spec)
    rare = not spec.keys().isdisjoint(_RARE)
    if rare:
        _gates(errors, path, spec)
    if "topologySpreadConstraints" in spec:
        check_spread(errors, f"{path}.topologySpreadConstraints", spec["topologySpreadConstraints"])
    _names(errors, path, spec, ("serviceAccountName", "nodeName"), names.dns1123_subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        complaints = names.in_range(deadline, 1, _MAX_INT32)
        errors.complaints(f"{path}.activeDeadlineSeconds", deadline, complaints)
    if rare:
        _names(errors, path, spec, ("hostname", "subdomain"), names.dns1123_label)
    if spec.get("tolerations"):
        check_tolerations(errors, f"{path}.tolerations", spec["tolerations"])
    if rare:
        _aliases(errors, path, spec)
        classes = ("priorityClassName", "runtimeClassName")
        _names(errors, path, spec, classes, names.dns1123_subdomain)
    if "preemptionPolicy" in spec:
        errors.one_of(f"{path}.preemptionPolicy", spec["preemptionPolicy"], _PREEMPTION)
    if rare:
        _rarities(errors, path, spec)


def _names(
    errors: Errors, path: str, spec: JSON, fields: tuple[str, str], check: meta.NameCheck
) -> None:
    for name in fields:
        if spec.get(name) and (complaints := check(spec[name])):
            errors.complaints(f"{path}.{name}", spec[name], complaints)


def _aliases(errors: Errors, path: str, spec: JSON) -> None:
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        check_ip(errors, f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
        for j, host in enumerate(alias.get("hostnames") or ()):
            where = f"{path}.hostAliases[{i}].hostnames[{j}]"
            errors.complaints(where, host, names.dns1123_subdomain(host))


def _rarities(errors: Errors, path: str, spec: JSON) -> None:
    """Overhead, operating system, user namespace."""
    for name, amount in (spec.get("overhead") or {}).items():
        where = f"{path}.overhead[{name}]"
        container_resource_name(errors, where, name)
        resource_amount(errors, where, name, amount)
    if "os" in spec:
        system = spec["os"].get("name", "")
        if not system:
            errors.required(f"{path}.os.name", "cannot be empty")
        else:
            errors.one_of(f"{path}.os.name", system, ("linux", "windows"))
    if spec.get("hostUsers") is False:
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(name):
                errors.forbidden(f"{path}.hostUsers", f"when `{name}` is true")


def _gates(errors: Errors, path: str, spec: JSON) -> None:
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType", "")
        complaints = names.label_key(kind)
        errors.complaints(f"{path}.readinessGates[{i}].conditionType", kind, complaints)
    seen: dict[str, None] = {}
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        where, name = f"{path}.schedulingGates[{i}]", gate.get("name", "")
        errors.complaints(where, name, names.label_key(name))
        if name in seen:
            errors.duplicate(where, name)
        seen[name] = None


def _resource_claims(errors: Errors, path: str, spec: JSON) -> dict[str, None]:
    seen: dict[str, None] = {}
    for i, claim in enumerate(spec.get("resourceClaims") or ()):
        where, name = f"{path}.resourceClaims[{i}]", claim.get("name", "")
        if not name:
            errors.required(f"{where}.name")
        elif name in seen:
            errors.duplicate(f"{where}.name", name)
        else:
            errors.complaints(f"{where}.name", name, names.dns1123_label(name))
            seen[name] = None
        given = [k for k in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(k)]
        one = "one of `resourceClaimName`, `resourceClaimTemplateName`"
        if len(given) > 1:
            errors.invalid(where, claim, f"at most {one} may be specified")
        elif not given:
            errors.invalid(where, claim, f"must specify {one}")
        for field in given:
            complaints = names.dns1123_subdomain(claim[field])
            errors.complaints(f"{where}.{field}", claim[field], complaints)
    return seen


def _host_network_ports(errors: Errors, path: str, spec: JSON) -> None:
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort", 0) != port.get("containerPort", 0):
                where = f"{path}.containers[{i}].ports[{j}].hostPort"
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.invalid(where, port.get("hostPort", 0), detail)


def _volumes(errors: Errors, path: str, spec: JSON) -> dict[str, None]:
    seen: dict[str, None] = {}
    for i, volume in enumerate(spec.get("volumes") or ()):
        where = f"{path}.volumes[{i}]"
        name = volume.get("name", "")
        check_volume_source(errors, where, volume, POD_SOURCES)
        if not name:
            errors.required(f"{where}.name")
        else:
            if complaints := names.dns1123_label(name):
                errors.complaints(f"{where}.name", name, complaints)
            if name in seen:
                errors.duplicate(f"{where}.name", name)
        seen[name] = None
    return seen


def _dns_config(errors: Errors, path: str, spec: JSON) -> None:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.required(f"{path}.nameservers", detail)
            return
    if config is None:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        errors.invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers")
    for i, server in enumerate(servers):
        check_ip(errors, f"{path}.nameservers[{i}]", server)
    if len(searches) > 32:
        errors.invalid(f"{path}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        errors.invalid(f"{path}.searches", searches, detail)
    for i, search in enumerate(searches):
        if search != ".":
            plain = search.removesuffix(".").replace("_", "-").strip("-")
            errors.complaints(f"{path}.searches[{i}]", search, names.dns1123_subdomain(plain))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.required(f"{path}.options[{i}]", "must not be empty")


def _check_update(errors: Errors, new_pod: JSON, old_pod: JSON) -> None:
    new, old = new_pod["spec"], old_pod["spec"]
    for name in ("containers", "initContainers"):
        if len(new.get(name) or ()) != len(old.get(name) or ()):
            errors.forbidden(f"spec.{name}", "pod updates may not add or remove containers")
            return
    mine, theirs = new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if theirs is not None:
        if mine is None:
            detail = "must not update from a positive integer to nil value"
            errors.invalid("spec.activeDeadlineSeconds", mine, detail)
        elif theirs < mine:
            detail = "must be less than or equal to previous value"
            errors.invalid("spec.activeDeadlineSeconds", mine, detail)
            return
    kept = {_without_seconds(t): None for t in new.get("tolerations") or ()}
    if any(_without_seconds(t) not in kept for t in old.get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.forbidden("spec.tolerations", detail)
    known = {gate.get("name"): None for gate in old.get("schedulingGates") or ()}
    for i, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.forbidden(f"spec.schedulingGates[{i}].name", detail)
    if new == old:
        return
    if qos_class(new) != qos_class(old):
        shown = (new_pod.get("status") or {}).get("qosClass", "")
        errors.invalid("metadata", shown, "Pod QoS is immutable")
    changed = changed_fields(_frozen(new, old), _frozen(old, old))
    if known:
        changed += _gated_changes(errors, new, old)
    if changed:
        listed = "\n".join(f"  spec.{path}" for path in changed)
        errors.forbidden(
            "spec", f"pod updates may not change fields other than {_MUTABLE}\n{listed}"
        )


def _gated_changes(errors: Errors, new: JSON, old: JSON) -> list[str]:
    """A gated pod may be steered more narrowly; the paths of what else changed in its affinity."""
    mine, theirs = new.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if any(mine.get(key) != value for key, value in theirs.items()):
        detail = "only additions are allowed (no mutations or deletions)"
        errors.invalid("spec.nodeSelector", mine, detail)
    before, after = old.get("affinity") or {}, new.get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    was = (before.get("nodeAffinity") or {}).get(required)
    now = (after.get("nodeAffinity") or {}).get(required)
    if was is not None and was != now:
        path = f"spec.affinity.nodeAffinity.{required}"
        terms = (now or {}).get("nodeSelectorTerms") or []
        old_terms = was.get("nodeSelectorTerms") or []
        if len(terms) != len(old_terms):
            detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
            errors.invalid(f"{path}.nodeSelectorTerms", terms, detail)
        elif not all(_narrower(n, o) for n, o in zip(terms, old_terms, strict=True)):
            detail = "only additions are allowed (no mutations or deletions)"
            errors.invalid(f"{path}.nodeSelectorTerms", terms, detail)
    return changed_fields(
        {k: v for k, v in after.items() if k != "nodeAffinity"},
        {k: v for k, v in before.items() if k != "nodeAffinity"},
        "affinity",
    )


def _narrower(new: JSON, old: JSON) -> bool:
    return all(
        (new.get(name) or [])[: len(old.get(name) or [])] == (old.get(name) or [])
        for name in ("matchExpressions", "matchFields")
    )


def check_pod_status(errors: Errors, new: JSON, old: JSON | None) -> None:
    """What a kubelet reports: terminated containers stay so when the pod does not restart them.

    Source: ValidateContainerStateTransition. Where a rule may start all containers anew, any may.
    """
    spec = new["spec"]
    if old is None or spec.get("restartPolicy") == "Always" or _may_start_anew(spec):
        return
    for name, group in (
        ("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"),
    ):  # fmt: skip
        now = {c.get("name"): c for c in (new.get("status") or {}).get(name) or ()}
        known = {c.get("name"): c for c in spec.get(group) or ()}
        for i, before in enumerate((old.get("status") or {}).get(name) or ()):
            ended = (before.get("state") or {}).get("terminated")
            after, container = now.get(before.get("name")), known.get(before.get("name"))
            if ended is None or after is None:
                continue
            code = ended.get("exitCode") or 0
            if container is not None and _restarts(spec, container, code):
                continue
            if "terminated" not in (after.get("state") or {}):
                detail = "may not be transitioned to non-terminated state"
                errors.forbidden(f"status.{name}[{i}].state", detail)


def _may_start_anew(spec: JSON) -> bool:
    return any(
        rule.get("action") == "RestartAllContainers"
        for group in ("containers", "initContainers")
        for container in spec.get(group) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(spec: JSON, container: JSON, code: int) -> bool:
    """Whether a container that ended is started again: by its rules, its policy, or the pod's."""
    own = container.get("restartPolicy")
    for rule in (container.get("restartPolicyRules") or ()) if own else ():
        codes = rule.get("exitCodes") or {}
        if (code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = own or spec.get("restartPolicy")
    return bool(policy == "Always" or (policy == "OnFailure" and code != 0))


def _without_seconds(toleration: JSON) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in toleration.items() if item[0] != "tolerationSeconds"))


def _frozen(spec: JSON, old: JSON) -> JSON:
    """The part of a pod spec that may not change."""
    free = {"activeDeadlineSeconds", "tolerations", "schedulingGates"}
    grace = old.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        free.add("terminationGracePeriodSeconds")
    if old.get("schedulingGates"):
        free |= {"nodeSelector", "affinity"}
    found = {name: value for name, value in spec.items() if name not in free}
    for name in ("containers", "initContainers"):
        if name in found:
            found[name] = [{k: v for k, v in c.items() if k != "image"} for c in found[name]]
    return found
