"""Defaults of pods, pod templates, containers, probes and volumes.

Source: kubernetes pkg/apis/core/v1/defaults.go (SetDefaults_Pod, _PodSpec, _Container, _Probe...).
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.api.defaults.storage import default_volume_source
from podwire.api.view import JSON

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod(obj: JSON) -> None:
    """A Pod: what templates get, and a few things only real pods get."""
    spec = obj["spec"]
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                port["hostPort"] = port.get("hostPort") or port["containerPort"]
    default_pod_status(obj["status"])


def default_pod_status(status: JSON) -> None:
    """What a kubelet reports of a pod."""
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    if status.get("hostIP") and not status.get("hostIPs"):
        status["hostIPs"] = [{"ip": status["hostIP"]}]


def default_pod_spec(spec: JSON) -> None:
    """The spec of a pod or of a template."""
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:  # two names of one field; both are printed
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in _containers(spec):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _containers(spec: JSON) -> Iterator[JSON]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name) or ()


def _container(container: JSON) -> None:
    container.setdefault("imagePullPolicy", pull_policy(container.get("image", "")))
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container["resources"]
    for name in ("limits", "requests"):
        if resources.get(name) == {}:
            del resources[name]
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            _field_ref((variable["valueFrom"] or {}).get("fieldRef"))
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    if lifecycle := container.get("lifecycle"):
        for name in ("preStop", "postStart"):
            _http_get((lifecycle.get(name) or {}).get("httpGet"))


def pull_policy(image: str) -> str:
    """Always for ``:latest`` and for images without tag or digest, else IfNotPresent."""
    name, digest, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if not colon:
        return "IfNotPresent" if digest else "Always"
    return "Always" if tag == "latest" else "IfNotPresent"


def _probe(probe: JSON) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    _http_get(probe.get("httpGet"))
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: JSON | None) -> None:
    if action is not None:
        action.setdefault("path", "/")
        action.setdefault("scheme", "HTTP")


def _field_ref(reference: JSON | None) -> None:
    if reference is not None:
        reference.setdefault("apiVersion", "v1")


def _volume(volume: JSON) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
    else:
        default_volume_source(volume)
