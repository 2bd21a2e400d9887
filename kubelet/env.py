"""A container's environment and command line. Pure.

Source: documentation "Define Environment Variables", "Accessing the Service" (service links) and
the Go package third_party/forked/golang/expansion (what ``$(VAR)`` and ``$$`` mean).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podwire.api import quantity
from podwire.api.views import ConfigMap, Container, EnvVarSource, Pod, Secret, Service

NANO = 10**9
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ConfigError(Exception):
    """A reference cannot be resolved: the container waits with CreateContainerConfigError."""


class MissingObjectError(ConfigError):
    """The ConfigMap or Secret itself is absent."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Where references are looked up: by (namespace, name); None when absent."""

    config_map: Callable[[str, str], ConfigMap | None]
    secret: Callable[[str, str], Secret | None]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; ``$$`` gives ``$``; what is unknown or malformed stays as written."""
    if "$" not in text:
        return text
    out: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        out.append(text[at:dollar])
        after = text[dollar + 1 : dollar + 2]
        at = dollar + 2
        if after == "(" and (close := text.find(")", at)) >= 0:
            name = text[at:close]
            out.append(variables.get(name, f"$({name})"))
            at = close + 1
        elif after == "$":
            out.append("$")
        else:
            out.append(f"${after}")
    out.append(text[at:])
    return "".join(out)


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")


def service_variables(service: Service) -> dict[str, str]:
    """The docker-links style variables of one Service; none for headless or external ones."""
    address = service.spec.cluster_ip
    if not address or address == "None" or not service.spec.ports:
        return {}
    name = _variable_name(service.metadata.name)
    first = service.spec.ports[0]
    variables = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(first.port)}
    for port in service.spec.ports:
        if port.name:
            variables[f"{name}_SERVICE_PORT_{_variable_name(port.name)}"] = str(port.port)
    protocol = first.protocol.lower()
    variables[f"{name}_PORT"] = f"{protocol}://{address}:{first.port}"
    for port in service.spec.ports:
        protocol = port.protocol.lower()
        prefix = f"{name}_PORT_{port.port}_{protocol.upper()}"
        variables[prefix] = f"{protocol}://{address}:{port.port}"
        variables[f"{prefix}_PROTO"] = protocol
        variables[f"{prefix}_PORT"] = str(port.port)
        variables[f"{prefix}_ADDR"] = address
    return variables


def service_links(pod: Pod, services: Sequence[Service]) -> dict[str, str]:
    """Variables of the pod's namespace's Services, and of default/kubernetes always."""
    variables: dict[str, str] = {}
    for service in services:
        meta = service.metadata
        if (meta.namespace, meta.name) == ("default", "kubernetes") or (
            pod.spec.enable_service_links and meta.namespace == pod.metadata.namespace
        ):
            variables.update(service_variables(service))
    return variables


_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field_ref(pod: Pod, path: str, *, host_ips: Sequence[str], pod_ips: Sequence[str]) -> str:
    """The value of a downward API field. Raises ConfigError for one that does not exist."""
    meta = pod.metadata
    match path:
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case "metadata.labels":
            return _pairs(meta.labels)
        case "metadata.annotations":
            return _pairs(meta.annotations)
        case "spec.nodeName":
            return pod.spec.node_name
        case "spec.serviceAccountName":
            return pod.spec.service_account_name
        case "status.hostIP":
            return host_ips[0]
        case "status.hostIPs":
            return ",".join(host_ips)
        case "status.podIP":
            return pod_ips[0] if pod_ips else ""
        case "status.podIPs":
            return ",".join(pod_ips)
    if found := _SUBSCRIPT.fullmatch(path):
        source = meta.labels if found[1] == "labels" else meta.annotations
        return source.get(found[2], "")
    raise ConfigError(f"unsupported fieldPath: {path}")


def _pairs(labels: Mapping[str, str]) -> str:
    escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"') for k, v in labels.items()}
    return "\n".join(f'{key}="{escaped[key]}"' for key in sorted(escaped))


def config_map_data(config_map: ConfigMap) -> dict[str, bytes]:
    """All keys of a ConfigMap as bytes, sorted."""
    data = {key: value.encode() for key, value in config_map.data.items()}
    data.update({k: base64.b64decode(v) for k, v in config_map.binary_data.items()})
    return {key: data[key] for key in sorted(data)}


def secret_data(secret: Secret) -> dict[str, bytes]:
    """All keys of a Secret, decoded, sorted."""
    return {key: base64.b64decode(secret.data[key]) for key in sorted(secret.data)}


@dataclass(frozen=True, slots=True)
class PodValues:
    """What environment variables may refer to."""

    pod: Pod
    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    links: Mapping[str, str]
    lookups: Lookups
    allocatable: Mapping[str, str]
    """What the node has of each resource."""
    hostname: str = ""


def environment(container: Container, values: PodValues) -> dict[str, str]:
    """The container's variables. Raises ConfigError when a reference is not optional."""
    namespace = values.pod.metadata.namespace
    variables: dict[str, str] = {"PATH": PATH, "HOSTNAME": values.hostname}
    known: dict[str, str] = {**variables, **values.links}
    for source in container.env_from:
        if ref := source.config_map_ref:
            data = _config_map(values.lookups, namespace, ref.name, ref.optional)
        elif ref := source.secret_ref:
            data = _secret(values.lookups, namespace, ref.name, ref.optional)
        else:
            continue
        for key, value in data.items():
            known[source.prefix + key] = value.decode(errors="replace")
    for variable in container.env:
        if variable.value_from is None:
            known[variable.name] = expand(variable.value, known)
        else:
            value_from = _value_from(variable.value_from, container, values)
            if value_from is not None:
                known[variable.name] = value_from
    return known


def _config_map(lookups: Lookups, namespace: str, name: str, optional: bool) -> dict[str, bytes]:
    found = lookups.config_map(namespace, name)
    if found is None:
        if optional:
            return {}
        raise MissingObjectError(f'configmap "{name}" not found')
    return config_map_data(found)


def _secret(lookups: Lookups, namespace: str, name: str, optional: bool) -> dict[str, bytes]:
    found = lookups.secret(namespace, name)
    if found is None:
        if optional:
            return {}
        raise MissingObjectError(f'secret "{name}" not found')
    return secret_data(found)


def _value_from(source: EnvVarSource, container: Container, values: PodValues) -> str | None:
    namespace = values.pod.metadata.namespace
    if source.field_ref is not None:
        return field_ref(
            values.pod, source.field_ref.field_path,
            host_ips=values.host_ips, pod_ips=values.pod_ips,
        )  # fmt: skip
    if source.resource_field_ref is not None:
        return resource_field(
            values.pod, container.name, source.resource_field_ref, values.allocatable
        )
    if ref := source.config_map_key_ref:
        data, kind = _config_map(values.lookups, namespace, ref.name, ref.optional), "ConfigMap"
    elif ref := source.secret_key_ref:
        data, kind = _secret(values.lookups, namespace, ref.name, ref.optional), "Secret"
    else:
        return None
    if ref.key not in data:
        if ref.optional:
            return None
        raise ConfigError(f"couldn't find key {ref.key} in {kind} {namespace}/{ref.name}")
    return data[ref.key].decode(errors="replace")


def resource_field(
    pod: Pod, container: str, ref: Mapping[str, str], allocatable: Mapping[str, str]
) -> str:
    """A resourceFieldRef's value in units of its divisor, rounded up.

    A limit that is not set is what the node has (``allocatable``). Raises ConfigError. Source:
    kubernetes pkg/api/v1/resource (ExtractContainerResourceValue).
    """
    wanted = ref.get("containerName") or container
    holder = next(
        (c for c in (*pod.spec.containers, *pod.spec.init_containers) if c.name == wanted), None
    )
    if holder is None:
        raise ConfigError(f"container {wanted} not found")
    section, _, name = ref.get("resource", "").partition(".")
    resources = holder.resources
    if section == "limits":
        amount = resources.limits.get(name) or allocatable.get(name, "0")
    elif section == "requests":
        amount = resources.requests.get(name, "0")
    else:
        raise ConfigError(f"unsupported container resource: {ref.get('resource')}")
    divisor = quantity.parse(ref.get("divisor") or "1").nano or NANO
    return str(-(-quantity.parse(amount).nano // divisor))


def command_line(container: Container, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Command + args after expansion; empty when both are the image's own."""
    return tuple(expand(word, variables) for word in (*container.command, *container.args))
