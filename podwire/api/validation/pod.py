"""Validation of pods and pod templates, and of what may change about a pod.

Source: kubernetes pkg/apis/core/validation (ValidatePodSpec, ValidatePodUpdate and callees).
"""

from __future__ import annotations

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.address import check_ip
from podwire.api.validation.containers import (
    check_containers,
    check_field_path,
    check_local_path,
)
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_INT32 = 2**31 - 1
_VOLUME_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels",
    "metadata.annotations",
)  # fmt: skip
_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A pod; as the successor of ``old`` most of its spec is immutable."""
    spec = new["spec"]
    check_pod_spec(errors, "spec", spec)
    if spec.get("hostNetwork"):
        _host_network_ports(errors, spec)
    if old is None:
        if spec.get("ephemeralContainers"):
            errors.forbidden("spec.ephemeralContainers", "cannot be set on create")
        if spec.get("nodeName") and spec.get("schedulingGates"):
            detail = "cannot be set until all schedulingGates have been cleared"
            errors.forbidden("spec.nodeName", detail)
    else:
        _check_update(errors, spec, old["spec"])


def check_template(errors: Errors, path: str, template: JSON) -> None:
    """The pod template of a workload."""
    labels = template["metadata"].get("labels")
    meta.check_labels(errors, f"{path}.labels", labels)
    meta.check_annotations(errors, f"{path}.annotations", template["metadata"].get("annotations"))
    check_pod_spec(errors, f"{path}.spec", template["spec"])
    if template["spec"].get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.forbidden(f"{path}.spec.ephemeralContainers", detail)


def check_pod_spec(errors: Errors, path: str, spec: JSON, claims: tuple[str, ...] = ()) -> None:
    """A pod spec; ``claims`` are volumes that come from elsewhere (StatefulSet claims)."""
    volumes = _volumes(errors, f"{path}.volumes", spec.get("volumes") or [])
    check_containers(errors, path, spec, [*volumes, *claims])
    errors.one_of(f"{path}.restartPolicy", spec.get("restartPolicy", ""), _RESTART)
    errors.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), _DNS)
    _dns_config(errors, f"{path}.dnsConfig", spec)
    meta.check_labels(errors, f"{path}.nodeSelector", spec.get("nodeSelector"))
    for name in ("serviceAccountName", "nodeName", "priorityClassName"):
        if spec.get(name):
            errors.complaints(f"{path}.{name}", spec[name], names.dns1123_subdomain(spec[name]))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            errors.complaints(f"{path}.{name}", spec[name], names.dns1123_label(spec[name]))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        complaints = names.in_range(deadline, 1, _MAX_INT32)
        errors.complaints(f"{path}.activeDeadlineSeconds", deadline, complaints)
    _tolerations(errors, f"{path}.tolerations", spec.get("tolerations") or [])
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        check_ip(errors, f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
        for j, host in enumerate(alias.get("hostnames") or ()):
            where = f"{path}.hostAliases[{i}].hostnames[{j}]"
            errors.complaints(where, host, names.dns1123_subdomain(host))
    _node_affinity(errors, f"{path}.affinity.nodeAffinity", spec)
    _spread(errors, f"{path}.topologySpreadConstraints", spec)


def _host_network_ports(errors: Errors, spec: JSON) -> None:
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort", 0) != port["containerPort"]:
                where = f"spec.containers[{i}].ports[{j}].hostPort"
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.invalid(where, port.get("hostPort", 0), detail)


def _volumes(errors: Errors, path: str, volumes: list[JSON]) -> list[str]:
    seen: list[str] = []
    for i, volume in enumerate(volumes):
        where = f"{path}[{i}]"
        name = volume.get("name", "")
        if not name:
            errors.required(f"{where}.name")
        else:
            errors.complaints(f"{where}.name", name, names.dns1123_label(name))
        if name in seen:
            errors.duplicate(f"{where}.name", name)
        seen.append(name)
        sources = [source for source in volume if source != "name"]
        for source in sources[1:]:
            errors.forbidden(f"{where}.{source}", "may not specify more than 1 volume type")
        _volume_source(errors, where, volume)
    return seen


def _volume_source(errors: Errors, path: str, volume: JSON) -> None:
    if "secret" in volume and not volume["secret"].get("secretName"):
        errors.required(f"{path}.secret.secretName")
    if "configMap" in volume and not volume["configMap"].get("name"):
        errors.required(f"{path}.configMap.name")
    for name in ("secret", "configMap"):
        for i, item in enumerate((volume.get(name) or {}).get("items") or ()):
            where = f"{path}.{name}.items[{i}]"
            if not item.get("key"):
                errors.required(f"{where}.key")
            if not item.get("path"):
                errors.required(f"{where}.path")
            check_local_path(errors, f"{where}.path", item.get("path", ""))
    if "hostPath" in volume and not volume["hostPath"].get("path"):
        errors.required(f"{path}.hostPath.path")
    claim = volume.get("persistentVolumeClaim")
    if claim is not None and not claim.get("claimName"):
        errors.required(f"{path}.persistentVolumeClaim.claimName")
    for i, item in enumerate((volume.get("downwardAPI") or {}).get("items") or ()):
        if "fieldRef" in item:
            where = f"{path}.downwardAPI.items[{i}].fieldRef"
            check_field_path(errors, where, item["fieldRef"], _VOLUME_FIELDS)


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


def _tolerations(errors: Errors, path: str, tolerations: list[JSON]) -> None:
    for i, toleration in enumerate(tolerations):
        where = f"{path}[{i}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            errors.complaints(f"{where}.key", key, names.label_key(key))
        elif operator != "Exists":
            detail = (
                "operator must be Exists when `key` is empty, which means "
                '"match all values and all keys"'
            )
            errors.invalid(f"{where}.operator", operator, detail)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.invalid(f"{where}.effect", effect, detail)
        if operator in {"", "Equal"}:
            complaints = names.label_value(value)
            if complaints:
                errors.invalid(f"{where}.operator", value, ";".join(complaints))
        elif operator == "Exists":
            if value:
                detail = "value must be empty when `operator` is 'Exists'"
                errors.invalid(f"{where}.operator", value, detail)
        else:
            errors.unsupported(f"{where}.operator", operator, ("Equal", "Exists"))
        if effect:
            errors.one_of(f"{where}.effect", effect, _EFFECTS)


def _node_affinity(errors: Errors, path: str, spec: JSON) -> None:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return
    where = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    terms = required.get("nodeSelectorTerms") or []
    if not terms:
        errors.required(where, "must have at least one node selector term")
    for i, term in enumerate(terms):
        for j, expression in enumerate(term.get("matchExpressions") or ()):
            here = f"{where}[{i}].matchExpressions[{j}]"
            _node_expression(errors, here, expression)


def _node_expression(errors: Errors, path: str, expression: JSON) -> None:
    operator, values = expression.get("operator", ""), expression.get("values") or []
    if operator in {"In", "NotIn"}:
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.required(f"{path}.values", detail)
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.forbidden(f"{path}.values", detail)
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.required(f"{path}.values", detail)
    else:
        errors.invalid(f"{path}.operator", operator, "not a valid selector operator")
    key = expression.get("key", "")
    errors.complaints(f"{path}.key", key, names.label_key(key))


def _spread(errors: Errors, path: str, spec: JSON) -> None:
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = f"{path}[{i}]"
        if constraint.get("maxSkew", 0) <= 0:
            errors.invalid(
                f"{where}.maxSkew", constraint.get("maxSkew"), "must be greater than zero"
            )
        if not constraint.get("topologyKey"):
            errors.required(f"{where}.topologyKey", "can not be empty")
        action = constraint.get("whenUnsatisfiable", "")
        errors.one_of(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))


def _check_update(errors: Errors, new: JSON, old: JSON) -> None:
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
    kept = [_without_seconds(t) for t in new.get("tolerations") or ()]
    if any(_without_seconds(t) not in kept for t in old.get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.forbidden("spec.tolerations", detail)
    known = [gate.get("name") for gate in old.get("schedulingGates") or ()]
    for i, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.forbidden(f"spec.schedulingGates[{i}].name", detail)
    changed = changed_fields(_frozen(new, old), _frozen(old, old))
    if changed:
        listed = "\n".join(f"  spec.{path}" for path in changed)
        errors.forbidden(
            "spec", f"pod updates may not change fields other than {_MUTABLE}\n{listed}"
        )


def _without_seconds(toleration: JSON) -> JSON:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


def _frozen(spec: JSON, old: JSON) -> JSON:
    """The part of a pod spec that may not change."""
    free = {"activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"}
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


def changed_fields(new: object, old: object, path: str = "") -> list[str]:
    """Paths at which two JSON values differ, sorted."""
    if isinstance(new, dict) and isinstance(old, dict):
        keys = sorted(new.keys() | old.keys())
        dot = f"{path}." if path else ""
        return [p for k in keys for p in changed_fields(new.get(k), old.get(k), f"{dot}{k}")]
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = enumerate(zip(new, old, strict=True))
        return [p for i, (n, o) in pairs for p in changed_fields(n, o, f"{path}[{i}]")]
    return [] if new == old else [path]
