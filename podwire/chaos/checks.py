"""Whether a check holds, and if not, why."""

from __future__ import annotations

import re
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.chaos.faults import node_named
from podwire.chaos.scenario import (
    Check,
    EndpointsCheck,
    EventCheck,
    ExecCheck,
    GetCheck,
    NodeCheck,
    ReadyCheck,
    ScenarioError,
    TraceCheck,
)
from podwire.sim.virtual import VirtualCluster


def wrong(check: Check, cluster: VirtualCluster) -> str:
    """Why a check does not hold; '' when it does."""
    found = next(f for name in type(check).model_fields if name != "name"
                 if (f := getattr(check, name)) is not None)  # fmt: skip
    try:
        match found:
            case ReadyCheck():
                return _ready(found, cluster)
            case TraceCheck():
                return _trace(found, cluster)
            case ExecCheck():
                return _exec(found, cluster)
            case NodeCheck():
                return _node(found, cluster)
            case EndpointsCheck():
                return _endpoints(found, cluster)
            case GetCheck():
                return _get(found, cluster)
            case EventCheck():
                return _event(found, cluster)
    except ApiError as error:
        return error.message
    except ScenarioError as error:
        return str(error)
    except (ConnectionError, TimeoutError) as error:
        return str(error) or type(error).__name__
    raise AssertionError(f"no such check: {found!r}")


def _ready(wanted: ReadyCheck, cluster: VirtualCluster) -> str:
    ready = [
        pod
        for pod in cluster.pods(wanted.namespace)
        if pod.ready
        and not pod.metadata.deletion_timestamp
        and all(pod.metadata.labels.get(k) == v for k, v in wanted.selector.items())
    ]
    if len(ready) != wanted.pods:
        return f"{len(ready)} are Ready"
    astray = sorted(p.spec.node_name for p in ready if p.spec.node_name not in wanted.nodes)
    return f"there are some on {', '.join(astray)}" if wanted.nodes and astray else ""


def _trace(wanted: TraceCheck, cluster: VirtualCluster) -> str:
    report = cluster.trace(
        wanted.from_, wanted.to, namespace=wanted.namespace, protocol=wanted.protocol
    )
    fates = [branch.fate for branch in report.branches] or [report.fate]
    seen = fates if wanted.all_branches else [report.fate]
    if all(fate is wanted.fate for fate in seen):
        return ""
    return f"{', '.join(fate.value for fate in seen)}: {report.cause.summary}"


def _exec(wanted: ExecCheck, cluster: VirtualCluster) -> str:
    result = cluster.exec(wanted.in_, *wanted.command, namespace=wanted.namespace)
    output = result.stdout + result.stderr
    if result.code != wanted.code:
        return f"exit code {result.code}: {output.strip()[-200:]}"
    if wanted.output and re.search(wanted.output, output) is None:
        return f"printed {output.strip()[-200:]!r}"
    return ""


def _node(wanted: NodeCheck, cluster: VirtualCluster) -> str:
    name = node_named(wanted.node, wanted.namespace, cluster)
    node = cluster.get(kinds.NODE, name)
    if node is None:
        return f"there is no node {name}"
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    status, reason = (ready.status, ready.reason) if ready is not None else ("", "")
    if wanted.ready is not None and status != wanted.ready:
        return f"Ready is {status or 'not told'}"
    if wanted.reason and reason != wanted.reason:
        return f"Ready has reason {reason}"
    taints = sorted(f"{t.key}:{t.effect}" for t in node.spec.taints)
    if wanted.taints is not None and taints != sorted(wanted.taints):
        return f"it has taints {', '.join(taints) or 'none'}"
    return ""


def _endpoints(wanted: EndpointsCheck, cluster: VirtualCluster) -> str:
    selector = f"kubernetes.io/service-name={wanted.service}"
    slices = cluster.objects(kinds.ENDPOINT_SLICE, wanted.namespace, selector)
    endpoints = [endpoint for piece in slices for endpoint in piece.endpoints]
    ready = sum(endpoint.conditions.ready is not False for endpoint in endpoints)
    rest = len(endpoints) - ready
    if ready != wanted.ready or wanted.not_ready not in {None, rest}:
        return f"{ready} are ready, {rest} are not"
    return ""


def _get(wanted: GetCheck, cluster: VirtualCluster) -> str:
    kind = next(kind for kind in kinds.ALL if kind.kind == wanted.kind)
    namespace = wanted.namespace if kind.namespaced else ""
    try:
        found: Any = cluster.run(cluster.cluster.client.get_json(kind, wanted.name, namespace))
    except ApiError as error:
        if error.reason != "NotFound" or not wanted.absent:
            raise
        return ""
    if wanted.absent:
        return "it exists"
    for part in wanted.path.split("."):
        if isinstance(found, list):
            found = found[int(part)] if part.isdigit() and int(part) < len(found) else ""
        else:
            found = found.get(part, "") if isinstance(found, dict) else ""
    text = str(found)
    return "" if re.fullmatch(wanted.value, text) else f"it is {text!r}"


def _event(wanted: EventCheck, cluster: VirtualCluster) -> str:
    for event in cluster.objects(kinds.EVENT):
        about = event.involved_object
        if (
            about.kind == wanted.kind
            and wanted.name in {"", about.name}
            and event.reason == wanted.reason
            and wanted.message in event.message
        ):
            return ""
    return "there is none"
