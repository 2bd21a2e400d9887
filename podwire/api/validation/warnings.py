"""What a client is told about an object that is accepted all the same (Warning headers).

Source: kubernetes pkg/api/{pod,service,node,persistentvolume,persistentvolumeclaim}/warnings.go and
the strategies' WarningsOnCreate and WarningsOnUpdate.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from podwire.api import names, quantity
from podwire.api.crd import definitions
from podwire.api.kinds import Kind
from podwire.api.validation.address import cidr_warnings, ip_warnings
from podwire.api.view import JSON

_DEPRECATED_NOTES = {
    "scheduler.alpha.kubernetes.io/critical-pod":
        'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls":
        'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls":
        'non-functional in v1.11+; use the "sysctls" field instead',
}  # fmt: skip
_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_DEPRECATED_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN_AS = {"storageos": "storageOS"}
_WHOLE = ("memory", "ephemeral-storage")
_SELECTING = ("nodeSelector", "affinity", "topologySpreadConstraints")
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_HINTS = "service.kubernetes.io/topology-aware-hints"
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_HOSTNAMES = (
    "this is used in Pod names and hostnames, which can result in surprising behavior; "
    "a DNS label is recommended"
)


def warnings_of(kind: Kind[Any], new: JSON, old: JSON | None) -> list[str]:
    """The warnings of a write that succeeds; of an update only about what it changed."""
    if kind.custom is not None:
        return kind.custom.warnings(new, old)
    advise = _advice_of(kind)
    return [] if advise is None else advise(new, old)


@cache
def _advice_of(kind: Kind[Any]) -> Callable[[JSON, JSON | None], list[str]] | None:
    return _BY_TYPE.get(f"{kind.api_version}/{kind.kind}")


def _pod(new: JSON, old: JSON | None) -> list[str]:
    if old is not None:
        return []  # updates of pods are many, and few are people's
    told = _name(new, "this is used in the Pod's hostname, which can result in surprising "
                      "behavior; a DNS label is recommended")  # fmt: skip
    return told + _template("", new)


def _name(obj: JSON, why: str = _HOSTNAMES) -> list[str]:
    name = obj["metadata"].get("name", "")
    complaints = names.dns1123_label(name) if "." in name or len(name) > 63 else []
    return [f"metadata.name: {why}: [{' '.join(complaints)}]"] if complaints else []


def _workload(new: JSON, old: JSON | None) -> list[str]:
    template = new["spec"].get("template")
    if old is None:
        return _name(new) + _template("spec.template.", template or {})
    if template is None or template == old["spec"].get("template"):
        return []
    return _template("spec.template.", template)


def _cron_job(new: JSON, old: JSON | None) -> list[str]:
    template = new["spec"]["jobTemplate"]["spec"]["template"]
    where = "spec.jobTemplate.spec.template."
    if old is None:
        return _name(new) + _template(where, template)
    same = template == old["spec"]["jobTemplate"]["spec"]["template"]
    return [] if same else _template(where, template)


def _pod_template(new: JSON, old: JSON | None) -> list[str]:
    if old is not None and new["template"] == old["template"]:
        return []
    return _template("template.", new["template"])


def _template(path: str, template: JSON) -> list[str]:
    """A pod, or the template of one; ``path`` is '' or ends with a dot."""
    spec = template.get("spec") or {}
    notes = (template.get("metadata") or {}).get("annotations") or {}
    told = _labels(path, spec)
    for key, message in _DEPRECATED_NOTES.items() if notes else ():
        if key in notes:
            told.append(f"{path}metadata.annotations[{key}]: {message}")
    for i, volume in enumerate(spec.get("volumes") or ()):
        for name in volume:
            if name in _DEPRECATED_VOLUMES:
                shown = _SHOWN_AS.get(name, name)
                told.append(f"{path}spec.volumes[{i}].{shown}: {_DEPRECATED_VOLUMES[name]}")
    if spec.get("hostAliases"):
        told += _duplicates(f"{path}spec.hostAliases", spec["hostAliases"], "ip")
    if spec.get("imagePullSecrets"):
        told += _duplicates(f"{path}spec.imagePullSecrets", spec["imagePullSecrets"], "name")
    for i, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            told.append(f'{path}spec.imagePullSecrets[{i}].name: invalid empty name ""')
    groups = [(group, spec[group]) for group in _CONTAINERS if spec.get(group)]
    for group, containers in groups:
        for i, container in enumerate(containers):
            if container.get("resources"):
                told += _fractions(f"{path}spec.{group}[{i}]", container["resources"])
            variables = container.get("env")
            if variables and len({v.get("name", "") for v in variables}) < len(variables):
                told += _environment(f"{path}spec.{group}[{i}]", variables)
    if _same_ports([containers for _, containers in groups]):
        told += _ports(_containers(path, spec))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        told.append(
            f"{path}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid "
            "and will be treated as 1"
        )
    return told + _null_selectors(path, spec) if spec.get("affinity") else told


_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def _containers(path: str, spec: JSON) -> Iterator[tuple[str, JSON]]:
    for group in _CONTAINERS:
        for i, container in enumerate(spec.get(group) or ()):
            yield f"{path}spec.{group}[{i}]", container


def _labels(path: str, spec: JSON) -> list[str]:
    if spec.keys().isdisjoint(_SELECTING):
        return []
    told = [
        f"{path}spec.nodeSelector[{key}]: {_label(key)}"
        for key in spec.get("nodeSelector") or ()
        if key in _DEPRECATED_LABELS
    ]
    if spec.get("affinity"):
        told += _affinity_labels(f"{path}spec.affinity", spec["affinity"])
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}spec.topologySpreadConstraints[{i}]", constraint.get("topologyKey", "")
        if key in _DEPRECATED_LABELS:
            told.append(f"{at}.topologyKey: {key} is {_label(key)}")
        if "labelSelector" not in constraint:
            told.append(f"{at}.labelSelector: a null labelSelector results in matching no pod")
    return told


def _affinity_labels(path: str, affinity: JSON) -> list[str]:
    told: list[str] = []
    nodes = affinity.get("nodeAffinity") or {}
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    where = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    for i, term in enumerate(required.get("nodeSelectorTerms") or ()):
        for j, need in enumerate(term.get("matchExpressions") or ()):
            key = need.get("key", "")
            if key in _DEPRECATED_LABELS:
                at = f"{where}.nodeSelectorTerms[{i}].matchExpressions[{j}].key"
                told.append(f"{at}: {key} is {_label(key)}")
    return told


def _label(key: str) -> str:
    since, instead = _DEPRECATED_LABELS[key]
    return f'deprecated since {since}; use "{instead}" instead'


def _duplicates(path: str, items: list[JSON], field: str) -> list[str]:
    told: list[str] = []
    seen: dict[str, None] = {}
    for i, item in enumerate(items):
        value = item.get(field, "")
        if value in seen:
            told.append(f'{path}[{i}].{field}: duplicate {field} "{value}"')
        seen[value] = None
    return told


def _fractions(path: str, resources: JSON) -> list[str]:
    told: list[str] = []
    for group in ("limits", "requests"):
        amounts = resources.get(group) or {}
        for name in _WHOLE:
            if name in amounts and quantity.parse(amounts[name]).nano % 1_000_000_000:
                where = f"{path}.resources.{group}[{name}]"
                told.append(_fraction(where, amounts[name]))
    return told


def _fraction(path: str, amount: str) -> str:
    return f'{path}: fractional byte value "{amount}" is invalid, must be an integer'


def _environment(path: str, variables: list[JSON]) -> list[str]:
    told: list[str] = []
    seen: dict[str, None] = {}
    for i, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        if name in seen:
            reference = f"$({name})"
            if "valueFrom" in variable or value == reference or reference not in value:
                told.append(
                    f'{path}.env[{i}]: hides previous definition of "{name}", which may be dropped '
                    "when using apply"
                )
        seen[name] = None
    return told


def _same_ports(groups: list[list[JSON]]) -> bool:
    """Whether two ports of a pod have the same number and protocol."""
    ports = [
        (port.get("containerPort", 0), port.get("protocol", ""))
        for containers in groups
        for container in containers
        for port in container.get("ports") or ()
    ]
    return len(ports) > 1 and len(set(ports)) < len(ports)


def _ports(containers: Iterator[tuple[str, JSON]]) -> list[str]:
    told: list[str] = []
    known: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    for where, container in containers:
        for i, port in enumerate(container.get("ports") or ()):
            at = f"{where}.ports[{i}]"
            host, number = port.get("hostIP", ""), port.get("hostPort", 0)
            others = known.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
            for other, other_host, other_number in others:
                if (host, number) == (other_host, other_number):
                    told.append(f"{at}: duplicate port definition with {other}")
                elif number == 0 or other_number == 0:
                    told.append(f"{at}: overlapping port definition with {other}")
                elif number == other_number and (host == "") != (other_host == ""):
                    told.append(f"{at}: dangerously ambiguous port definition with {other}")
            others.append((at, host, number))
    return told


def _null_selectors(path: str, spec: JSON) -> list[str]:
    told: list[str] = []
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = (spec.get("affinity") or {}).get(kind) or {}
        where = f"{path}spec.affinity.{kind}"
        bare = [(f"{where}.{required}[{i}]", t) for i, t in enumerate(terms.get(required) or ())]
        bare += [
            (f"{where}.{preferred}[{i}].podAffinityTerm", t.get("podAffinityTerm") or {})
            for i, t in enumerate(terms.get(preferred) or ())
        ]
        for at, term in bare:
            if "labelSelector" not in term:
                told.append(f"{at}.labelSelector: a null labelSelector results in matching no pod")
    return told


def _service(new: JSON, _old: JSON | None) -> list[str]:
    spec, told = new["spec"], []
    if _HINTS in (new["metadata"].get("annotations") or {}):
        told.append(
            f"annotation {_HINTS} is deprecated, please use service.kubernetes.io/topology-mode "
            "instead"
        )
    if (spec.get("clusterIPs") or ["None"])[0] != "None":
        for i, address in enumerate(spec["clusterIPs"]):
            told += ip_warnings(f"spec.clusterIPs[{i}]", address)
    for i, address in enumerate(spec.get("externalIPs") or ()):
        told += ip_warnings(f"spec.externalIPs[{i}]", address)
    if spec.get("loadBalancerIP"):
        told += ip_warnings("spec.loadBalancerIP", spec["loadBalancerIP"])
    for i, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        told += cidr_warnings(f"spec.loadBalancerSourceRanges[{i}]", cidr)
    return told


def _ingress(new: JSON, old: JSON | None) -> list[str]:
    if old is None and _INGRESS_CLASS in (new["metadata"].get("annotations") or {}):
        instead = "please use 'spec.ingressClassName' instead"
        return [f'annotation "{_INGRESS_CLASS}" is deprecated, {instead}']
    return []


def _claim(new: JSON, _old: JSON | None) -> list[str]:
    told = _beta_class(new)
    resources = new["spec"].get("resources") or {}
    for group in ("requests", "limits"):
        amount = (resources.get(group) or {}).get("storage")
        if amount is not None and quantity.parse(amount).nano % 10**9:
            told.append(_fraction(f"spec.resources.{group}[storage]", amount))
    return told


def _volume(new: JSON, _old: JSON | None) -> list[str]:
    spec, told = new["spec"], _beta_class(new)
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        told.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
    for name in spec:
        if name in _DEPRECATED_VOLUMES:
            told.append(f"spec.{_SHOWN_AS.get(name, name)}: {_DEPRECATED_VOLUMES[name]}")
    amount = (spec.get("capacity") or {}).get("storage")
    if amount is not None and quantity.parse(amount).nano % 10**9:
        told.append(_fraction("spec.capacity[storage]", amount))
    return told


def _beta_class(obj: JSON) -> list[str]:
    if _BETA_CLASS not in (obj["metadata"].get("annotations") or {}):
        return []
    instead = 'deprecated since v1.8; use "storageClassName" attribute instead'
    return [f"metadata.annotations[{_BETA_CLASS}]: {instead}"]


def _account(new: JSON, _old: JSON | None) -> list[str]:
    if _MOUNTABLE not in (new["metadata"].get("annotations") or {}):
        return []
    why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    return [f"metadata.annotations[{_MOUNTABLE}]: {why}"]


def _secret(new: JSON, _old: JSON | None) -> list[str]:
    if new.get("type") != "kubernetes.io/tls":
        return []
    data = new.get("data") or {}
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if b"-----BEGIN" not in base64.b64decode(data.get(key, "")):
            return [f"tls: failed to find any PEM data in {what} input"]
    return []


_BY_TYPE: dict[str, Callable[[JSON, JSON | None], list[str]]] = {
    "v1/Pod": _pod,
    "v1/PodTemplate": _pod_template,
    "v1/ReplicationController": _workload,
    "apps/v1/Deployment": _workload,
    "apps/v1/ReplicaSet": _workload,
    "apps/v1/StatefulSet": _workload,
    "apps/v1/DaemonSet": _workload,
    "batch/v1/Job": _workload,
    "batch/v1/CronJob": _cron_job,
    "v1/Service": _service,
    "networking.k8s.io/v1/Ingress": _ingress,
    "v1/PersistentVolumeClaim": _claim,
    "v1/PersistentVolume": _volume,
    "v1/ServiceAccount": _account,
    "v1/Secret": _secret,
    "apiextensions.k8s.io/v1/CustomResourceDefinition": definitions.advice,
}


def deprecated(kind: Kind[Any]) -> str:
    """What every request for a kind is told, or ''. Source: the types' prerelease lifecycle."""
    if kind.custom is not None:
        return kind.custom.deprecation
    return _DEPRECATED_KINDS.get((kind.api_version, kind.kind), "")


_DEPRECATED_KINDS = {
    (
        "v1",
        "Endpoints",
    ): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
