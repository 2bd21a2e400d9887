"""A container's environment and command line. Pure.

Source: documentation "Define Environment Variables", "Accessing the Service" (service links) and
the Go package third_party/forked/golang/expansion (what ``$(VAR)`` and ``$$`` mean).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

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


class Layers(Mapping[str, str]):
    """Mappings one over the other, the last one on top, in the order of ``{**a, **b}``: many
    containers rest on the same large ones. Read only, as ``collections.ChainMap`` is not.
    """

    __slots__ = ("_layers",)

    def __init__(self, *layers: Mapping[str, str]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> str:
        for layer in reversed(self._layers):
            if name in layer:
                return layer[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for layer in self._layers for name in layer})

    def __len__(self) -> int:
        return len({name: None for layer in self._layers for name in layer})


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")


_Linked = tuple[str, str, tuple[tuple[str, str, int], ...]]
"""Of a Service: name, address, and name, protocol and number of its ports."""


def _linked(service: Service) -> _Linked:
    ports = tuple([(port.name, port.protocol, port.port) for port in service.spec.ports])
    return service.metadata.name, service.spec.cluster_ip, ports


@lru_cache(maxsize=4096)
def _variables(
    service: str, address: str, ports: tuple[tuple[str, str, int], ...]
) -> Mapping[str, str]:
    """The docker-links style variables of one Service; none for headless or external ones."""
    if not address or address == "None" or not ports:
        return {}
    name = _variable_name(service)
    _, first_protocol, first = ports[0]
    variables = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(first)}
    for port_name, _, port in ports:
        if port_name:
            variables[f"{name}_SERVICE_PORT_{_variable_name(port_name)}"] = str(port)
    variables[f"{name}_PORT"] = f"{first_protocol.lower()}://{address}:{first}"
    for _, protocol, port in ports:
        prefix = f"{name}_PORT_{port}_{protocol.upper()}"
        variables[prefix] = f"{protocol.lower()}://{address}:{port}"
        variables[f"{prefix}_PROTO"] = protocol.lower()
        variables[f"{prefix}_PORT"] = str(port)
        variables[f"{prefix}_ADDR"] = address
    return MappingProxyType(variables)


class Links(NamedTuple):
    """``service_links`` of a namespace, and of which Services they are."""

    services: Sequence[Service]
    api_server: Service | None
    variables: Mapping[str, str]


def service_links(pod: Pod, services: Sequence[Service]) -> Mapping[str, str]:
    """Variables of the pod's namespace's Services, and of default/kubernetes always.

    Containers that see the same Services share one mapping: with a hundred Services it weighs more
    than all else of a container.
    """
    own = pod.metadata.namespace if pod.spec.enable_service_links else None
    linked = []
    for service in services:
        meta = service.metadata
        if meta.namespace == own or (meta.namespace, meta.name) == ("default", "kubernetes"):
            linked.append(_linked(service))
    return _links(tuple(linked))


@lru_cache(maxsize=64)
def _links(services: tuple[_Linked, ...]) -> Mapping[str, str]:
    variables: dict[str, str] = {}
    for service in services:
        variables.update(_variables(*service))
    return MappingProxyType(variables)


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


def environment(container: Container, values: PodValues) -> Mapping[str, str]:
    """The container's variables. Raises ConfigError when a reference is not optional."""
    namespace = values.pod.metadata.namespace
    own: dict[str, str] = {}
    known = Layers({"PATH": PATH, "HOSTNAME": values.hostname}, values.links, own)
    for source in container.env_from:
        if ref := source.config_map_ref:
            data = _config_map(values.lookups, namespace, ref.name, ref.optional)
        elif ref := source.secret_ref:
            data = _secret(values.lookups, namespace, ref.name, ref.optional)
        else:
            continue
        for key, value in data.items():
            own[source.prefix + key] = value.decode(errors="replace")
    for variable in container.env:
        if variable.value_from is None:
            own[variable.name] = expand(variable.value, known)
        else:
            value_from = _value_from(variable.value_from, container, values)
            if value_from is not None:
                own[variable.name] = value_from
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
