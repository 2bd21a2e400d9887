"""Validation of containers: ports, environment, mounts, resources, probes, hooks.

Source: kubernetes pkg/apis/core/validation (validateContainerCommon and what it calls).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from podwire.api import names, quantity
from podwire.api.validation.field import Errors
from podwire.api.validation.securitycontext import check_container_security
from podwire.api.validation.syntax import (
    CONTAINER_RESOURCES,
    container_resource_name,
    resource_amount,
)
from podwire.api.validation.volumes import local_path, resource_field
from podwire.api.view import JSON

PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_NUMBERS = (
    "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
    "failureThreshold",
)  # fmt: skip
_SCHEMES = ("HTTP", "HTTPS")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "fileKeyRef", "secretKeyRef")
_FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_NOT_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe",
    "readinessProbe", "startupProbe", "lifecycle",
)  # fmt: skip
_SIGNAL_NAMES = (
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
    *(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)),
)  # fmt: skip
_SIGNALS = {
    "windows": ["SIGKILL", "SIGTERM"],
    "linux": sorted(f"SIG{name}" for name in _SIGNAL_NAMES),
}
"""Signals that may stop a container, by the pod's operating system."""
_RESTART = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_MAX_RESTART_RULES, _MAX_EXIT_CODES = 20, 255


def check_containers(
    errors: Errors, path: str, spec: JSON, volumes: Collection[str], claims: Collection[str]
) -> None:
    """All containers of a pod spec.

    ``volumes`` are the names that mounts may refer to, ``claims`` those of resource claims.
    """
    regular = spec.get("containers") or []
    if not regular:
        errors.required(f"{path}.containers")
    seen: dict[str, None] = {}
    for i, container in enumerate(regular):
        where = f"{path}.containers[{i}]"
        _common(errors, where, container, volumes, claims)
        _unique_name(errors, where, container, seen)
        _probes_and_hooks(errors, where, container, spec)
        _restarts(errors, where, container)
    _host_ports(errors, path, "containers", regular)
    for i, container in enumerate(spec.get("initContainers") or ()):
        where = f"{path}.initContainers[{i}]"
        _common(errors, where, container, volumes, claims)
        _init_only(errors, where, container, spec)
        _unique_name(errors, where, container, seen)
        _host_ports(errors, path, "initContainers", [container])
    others = dict(seen)
    for i, container in enumerate(spec.get("ephemeralContainers") or ()):
        where = f"{path}.ephemeralContainers[{i}]"
        _common(errors, where, container, volumes, claims)
        _unique_name(errors, where, container, seen)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.not_found(f"{where}.targetContainerName", target)
        _ephemeral_only(errors, where, container)


def _ephemeral_only(errors: Errors, path: str, container: JSON) -> None:
    """An ephemeral container is no part of what the pod is there for."""
    why = "cannot be set for an Ephemeral Container"
    for name in _NOT_EPHEMERAL:
        if name in container and (name != "resources" or container[name]):
            errors.forbidden(f"{path}.{name}", why)
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        for name in ("subPath", "subPathExpr"):
            if mount.get(name):
                errors.forbidden(f"{path}.volumeMounts[{i}].{name}", why)


def _unique_name(errors: Errors, path: str, container: JSON, seen: dict[str, None]) -> None:
    name = container.get("name", "")
    if name in seen:
        errors.duplicate(f"{path}.name", name)
    elif name:
        seen[name] = None


def _common(
    errors: Errors, path: str, container: JSON, volumes: Collection[str], claims: Collection[str]
) -> None:
    name = container.get("name", "")
    if not name:
        errors.required(f"{path}.name")
    elif complaints := names.dns1123_label(name):
        errors.complaints(f"{path}.name", name, complaints)
    image = container.get("image", "")
    if not image:
        errors.required(f"{path}.image")
    elif image != image.strip():
        errors.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    policy = container.get("terminationMessagePolicy", "")
    if policy not in _MESSAGE_POLICIES:
        errors.unsupported(f"{path}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    if container.get("ports"):
        _ports(errors, path, container["ports"])
    _environment(errors, path, container)
    if container.get("volumeMounts"):
        _mounts(errors, f"{path}.volumeMounts", container["volumeMounts"], volumes)
    pull = container.get("imagePullPolicy", "")
    if pull not in _PULL_POLICIES:
        errors.unsupported(f"{path}.imagePullPolicy", pull, _PULL_POLICIES)
    if container.get("resources"):
        check_resources(errors, f"{path}.resources", container["resources"], claims)
    if container.get("securityContext"):
        check_container_security(errors, f"{path}.securityContext", container["securityContext"])


def _init_only(errors: Errors, path: str, container: JSON, spec: JSON) -> None:
    """Init containers have no probes and hooks, unless they are sidecars."""
    _restarts(errors, path, container)
    if container.get("restartPolicy") == "Always":
        _probes_and_hooks(errors, path, container, spec)
        return
    for name in ("lifecycle", *_PROBES):
        if name in container:
            detail = "may not be set for init containers without restartPolicy=Always"
            errors.forbidden(f"{path}.{name}", detail)


def _restarts(errors: Errors, path: str, container: JSON) -> None:
    """A container's own restart policy and the rules that come before it.

    Source: validateContainerRestartPolicy.
    """
    rules = container.get("restartPolicyRules") or ()
    if "restartPolicy" in container:
        errors.one_of(f"{path}.restartPolicy", container["restartPolicy"], _RESTART)
    elif rules:
        detail = "must specify restartPolicy when restart rules are used"
        errors.required(f"{path}.restartPolicy", detail)
    if len(rules) > _MAX_RESTART_RULES:
        errors.too_many(f"{path}.restartPolicyRules", len(rules), _MAX_RESTART_RULES)
    for i, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{i}]"
        errors.one_of(f"{where}.action", rule.get("action", ""), _RESTART_ACTIONS)
        codes = rule.get("exitCodes")
        if codes is None:
            errors.required(f"{where}.exitCodes", "must be specified")
            continue
        errors.one_of(f"{where}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn"))
        values = codes.get("values") or ()
        if len(values) > _MAX_EXIT_CODES:
            errors.too_many(f"{where}.exitCodes.values", len(values), _MAX_EXIT_CODES)


def _ports(errors: Errors, path: str, ports: list[JSON]) -> None:
    seen: dict[str, None] = {}
    for i, port in enumerate(ports):
        where = f"{path}.ports[{i}]"
        name = port.get("name", "")
        if name:
            complaints = names.port_name(name)
            if complaints:
                errors.complaints(f"{where}.name", name, complaints)
            if not complaints and name in seen:
                errors.duplicate(f"{where}.name", name)
            seen[name] = None
        number = port.get("containerPort", 0)
        if number == 0:
            errors.required(f"{where}.containerPort")
        elif not 1 <= number <= 65535:
            errors.complaints(f"{where}.containerPort", number, names.port_number(number))
        host = port.get("hostPort", 0)
        if host:
            errors.complaints(f"{where}.hostPort", host, names.port_number(host))
        if port.get("protocol", "") not in PROTOCOLS:
            errors.unsupported(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS)


def _host_ports(errors: Errors, path: str, group: str, containers: list[JSON]) -> None:
    seen: dict[str, None] = {}
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                errors.duplicate(f"{path}.{group}[{i}].ports[{j}].hostPort", key)
            seen[key] = None


def _environment(errors: Errors, path: str, container: JSON) -> None:
    variables = container.get("env") or ()
    fine = names.are_env_var_names([variable.get("name", "") for variable in variables])
    for i, variable in enumerate(variables):
        if not fine:
            _variable_name(errors, f"{path}.env[{i}].name", variable.get("name", ""))
        if "valueFrom" in variable:
            _value_from(errors, f"{path}.env[{i}].valueFrom", variable)
    for i, source in enumerate(container.get("envFrom") or ()):
        where = f"{path}.envFrom[{i}]"
        if source.get("prefix"):
            complaints = names.env_var_name(source["prefix"])
            errors.complaints(f"{where}.prefix", source["prefix"], complaints)
        given = [name for name in ("configMapRef", "secretRef") if name in source]
        if not given:
            errors.invalid(where, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            errors.invalid(where, "", "may not have more than one field specified at a time")
        for name in given:
            if not source[name].get("name"):
                errors.required(f"{where}.{name}.name")


def _variable_name(errors: Errors, path: str, name: str) -> None:
    if not name:
        errors.required(path)
    elif complaints := names.env_var_name(name):
        errors.complaints(path, name, complaints)


def _value_from(errors: Errors, path: str, variable: JSON) -> None:
    source = variable["valueFrom"]
    given = [name for name in _SOURCES if name in source]
    if not given:
        listed = ", ".join(f"`{name}`" for name in _SOURCES[:-1])
        errors.invalid(path, "", f"must specify one of: {listed} or `{_SOURCES[-1]}`")
    elif variable.get("value"):
        errors.invalid(path, "", "may not be specified when `value` is not empty")
    elif len(given) > 1:
        errors.invalid(path, "", "may not have more than one field specified at a time")
    for name in given:
        reference = source[name]
        if name == "fieldRef":
            check_field_path(errors, f"{path}.fieldRef", reference, _FIELD_PATHS)
        elif name == "resourceFieldRef":
            resource_field(errors, f"{path}.resourceFieldRef", reference)
        elif name in {"configMapKeyRef", "secretKeyRef"}:
            if not reference.get("name"):
                errors.required(f"{path}.{name}.name")
            key = reference.get("key", "")
            if key:
                errors.complaints(f"{path}.{name}.key", key, names.config_key(key))
            else:
                errors.required(f"{path}.{name}.key")


def check_field_path(errors: Errors, path: str, ref: JSON, supported: tuple[str, ...]) -> None:
    """A downward API field; labels and annotations may be asked for by key."""
    field = ref.get("fieldPath", "")
    if not field:
        errors.required(f"{path}.fieldPath")
        return
    base, bracket, _ = field.partition("['")
    if bracket and field.endswith("']") and base in {"metadata.labels", "metadata.annotations"}:
        return
    errors.one_of(f"{path}.fieldPath", field, supported)


def _mounts(errors: Errors, path: str, mounts: list[JSON], volumes: Collection[str]) -> None:
    seen: dict[str, None] = {}
    for i, mount in enumerate(mounts):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        sound = name and name in volumes and target and target not in seen
        if not sound or "subPath" in mount or "subPathExpr" in mount:
            _mount(errors, f"{path}[{i}]", mount, volumes, seen)
        seen[target] = None


def _mount(
    errors: Errors, where: str, mount: JSON, volumes: Collection[str], seen: dict[str, None]
) -> None:
    """One mount with something to say of it."""
    name = mount.get("name", "")
    if not name:
        errors.required(f"{where}.name")
    if name not in volumes:
        errors.not_found(f"{where}.name", name)
    target = mount.get("mountPath", "")
    if not target:
        errors.required(f"{where}.mountPath")
    if target in seen:
        errors.invalid(f"{where}.mountPath", target, "must be unique")
    if mount.get("subPath"):
        local_path(errors, f"{where}.subPath", mount["subPath"])
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.invalid(f"{where}.subPathExpr", mount["subPathExpr"], detail)
        local_path(errors, f"{where}.subPathExpr", mount["subPathExpr"])


def check_resources(errors: Errors, path: str, resources: JSON, claims: Collection[str]) -> None:
    """Names and amounts; a request may not exceed its limit."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    parse = quantity.parse
    bounds: dict[str, int] = {}
    for name, amount in limits.items():
        bounds[name] = nano = parse(amount).nano
        if nano < 0 or name not in CONTAINER_RESOURCES:
            _amount(errors, path, "limits", name, amount)
    for name, amount in requests.items():
        asked = parse(amount).nano
        exact = name not in CONTAINER_RESOURCES  # huge pages and devices are not overcommitted
        if asked < 0 or exact:
            _amount(errors, path, "requests", name, amount)
        most = bounds.get(name)
        if most is None:
            if exact:
                detail = "Limit must be set for non overcommitable resources"
                errors.required(f"{path}.limits", detail)
            continue
        if exact and asked != most:
            detail = f"must be equal to {name} limit of {limits[name]}"
            errors.invalid(f"{path}.requests", amount, detail)
        elif asked > most:
            detail = f"must be less than or equal to {name} limit of {limits[name]}"
            errors.invalid(f"{path}.requests", amount, detail)
    if not limits.keys() <= CONTAINER_RESOURCES or not requests.keys() <= CONTAINER_RESOURCES:
        named = limits.keys() | requests.keys()
        if any(name.startswith("hugepages-") for name in named) and not named & {"cpu", "memory"}:
            errors.forbidden(path, "HugePages require cpu or memory")
    for i, claim in enumerate(resources.get("claims") or ()):
        if claim.get("name", "") not in claims:
            known = f": {', '.join(sorted(claims))}" if claims else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{known}"
            errors.not_found(f"{path}.claims[{i}]", claim.get("name", ""), detail)


def _amount(errors: Errors, path: str, group: str, name: str, amount: str) -> None:
    where = f"{path}.{group}[{name}]"
    container_resource_name(errors, where, name)
    resource_amount(errors, where, name, amount)


def _stop_signal(errors: Errors, path: str, signal: str, spec: JSON) -> None:
    if not spec.get("os"):
        errors.forbidden(path, "may not be set for containers with empty `spec.os.name`")
    elif (known := _SIGNALS.get(spec["os"].get("name", ""))) is not None:
        errors.one_of(path, signal, known)


def _probes_and_hooks(errors: Errors, path: str, container: JSON, spec: JSON) -> None:
    grace: int | None = spec.get("terminationGracePeriodSeconds")
    if lifecycle := container.get("lifecycle"):
        for name in ("postStart", "preStop"):
            if name in lifecycle:
                _handler(errors, f"{path}.lifecycle.{name}", lifecycle[name], grace)
        if "stopSignal" in lifecycle:
            _stop_signal(errors, f"{path}.lifecycle.stopSignal", lifecycle["stopSignal"], spec)
    for name in _PROBES:
        if name not in container:
            continue
        probe, where = container[name], f"{path}.{name}"
        _handler(errors, where, probe, grace)
        for number in _PROBE_NUMBERS:
            if (value := probe.get(number)) is not None and value < 0:
                errors.not_negative(f"{where}.{number}", value)
        own = probe.get("terminationGracePeriodSeconds")
        if own is not None and own <= 0:
            errors.invalid(f"{where}.terminationGracePeriodSeconds", own, "must be greater than 0")
        if name == "readinessProbe":
            if own is not None:
                detail = "must not be set for readinessProbes"
                errors.invalid(f"{where}.terminationGracePeriodSeconds", own, detail)
        elif probe.get("successThreshold") != 1:
            errors.invalid(f"{where}.successThreshold", probe.get("successThreshold"), "must be 1")


def _handler(errors: Errors, path: str, handler: JSON, grace: int | None) -> None:
    name = ""
    for handling in _HANDLERS:
        if handling not in handler:
            continue
        if name:
            errors.forbidden(f"{path}.{handling}", "may not specify more than 1 handler type")
        else:
            name = handling
    if not name:
        errors.required(path, "must specify a handler type")
        return
    action, where = handler[name], f"{path}.{name}"
    if name == "exec":
        if not action.get("command"):
            errors.required(f"{where}.command")
    elif name == "sleep":
        seconds = action.get("seconds", 0)
        if grace is not None and not 0 <= seconds <= grace:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            errors.invalid(where, seconds, detail)
    else:
        port = action.get("port", 0)
        if port.__class__ is not int or not 1 <= port <= 65535:
            check_port(errors, f"{where}.port", port)
    if name == "httpGet":
        if action.get("scheme", "") not in _SCHEMES:
            errors.unsupported(f"{where}.scheme", action.get("scheme", ""), _SCHEMES)
        for header in action.get("httpHeaders") or ():
            complaints = names.http_header_name(header.get("name", ""))
            errors.complaints(f"{where}.httpHeaders", header.get("name", ""), complaints)


def check_port(errors: Errors, path: str, port: Any) -> None:
    """A port by number or by name."""
    if isinstance(port, int):
        errors.complaints(path, port, names.port_number(port))
    else:
        errors.complaints(path, port, names.port_name(port))
