"""Which columns a kind has, and the function that fills a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.apiserver.tables import cells, cells_network, cells_pod, cells_workload

Cells = Callable[[Any, int], list[Any]]
"""(view or JSON, now in ns) -> one cell per column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column definition; priority 1 shows with ``-o wide`` only."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a kind. ``whole`` rows are filled from the full JSON, not from the view."""

    columns: tuple[Column, ...]
    cells: Cells
    whole: bool = False


def _layout(spec: str, fill: Cells, *, whole: bool = False) -> Layout:
    """``Name|Ready|Age|IP*``: ``*`` wide only, ``:i`` integer, ``:b`` boolean."""
    columns = []
    for word in spec.split("|"):
        name, star, _ = word.partition("*")
        name, _, kind = name.partition(":")
        columns.append(
            Column(
                name,
                {"i": "integer", "b": "boolean"}.get(kind, "string"),
                "name" if name == "Name" else "",
                1 if star else 0,
            )
        )
    return Layout(tuple(columns), fill, whole)


DEFAULT = _layout("Name|Age", cells.default)
CREATED = _layout("Name|Created At", cells.created_at)

LAYOUTS: dict[Kind[Any], Layout] = {
    kinds.POD: _layout(
        "Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*", cells_pod.pod
    ),
    kinds.NODE: _layout(
        "Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*"
        "|Container-Runtime*",
        cells.node,
    ),
    kinds.NAMESPACE: _layout("Name|Status|Age", cells.namespace),
    kinds.SERVICE: _layout(
        "Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", cells_network.service
    ),
    kinds.ENDPOINTS: _layout("Name|Endpoints|Age", cells_network.endpoints),
    kinds.ENDPOINT_SLICE: _layout(
        "Name|AddressType|Ports|Endpoints|Age", cells_network.endpoint_slice
    ),
    kinds.NETWORK_POLICY: _layout("Name|Pod-Selector|Age", cells_network.network_policy),
    kinds.INGRESS: _layout("Name|Class|Hosts|Address|Ports|Age", cells_network.ingress, whole=True),
    kinds.INGRESS_CLASS: _layout(
        "Name|Controller|Parameters|Age", cells_network.ingress_class, whole=True
    ),
    kinds.DEPLOYMENT: _layout(
        "Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*",
        cells_workload.deployment,
    ),
    kinds.REPLICA_SET: _layout(
        "Name|Desired:i|Current:i|Ready:i|Age|Containers*|Images*|Selector*",
        cells_workload.replica_set,
    ),
    kinds.STATEFUL_SET: _layout("Name|Ready|Age|Containers*|Images*", cells_workload.stateful_set),
    kinds.DAEMON_SET: _layout(
        "Name|Desired:i|Current:i|Ready:i|Up-to-date:i|Available:i|Node Selector|Age|Containers*"
        "|Images*|Selector*",
        cells_workload.daemon_set,
    ),
    kinds.CONTROLLER_REVISION: _layout(
        "Name|Controller|Revision|Age", cells_workload.controller_revision
    ),
    kinds.JOB: _layout(
        "Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*",
        cells_workload.job,
        whole=True,
    ),
    kinds.POD_DISRUPTION_BUDGET: _layout(
        "Name|Min Available|Max Unavailable|Allowed Disruptions:i|Age",
        cells.pod_disruption_budget,
        whole=True,
    ),
    kinds.CONFIG_MAP: _layout("Name|Data|Age", cells.config_map),
    kinds.SECRET: _layout("Name|Type|Data|Age", cells.secret),
    kinds.SERVICE_ACCOUNT: _layout("Name|Secrets|Age", cells.service_account),
    kinds.LEASE: _layout("Name|Holder|Age", cells.lease),
    kinds.EVENT: _layout(
        "Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*",
        cells.event,
    ),
    kinds.ROLE: CREATED,
    kinds.CLUSTER_ROLE: CREATED,
    kinds.ROLE_BINDING: _layout(
        "Name|Role|Age|Users*|Groups*|ServiceAccounts*", cells.role_binding, whole=True
    ),
    kinds.CLUSTER_ROLE_BINDING: _layout(
        "Name|Role|Age|Users*|Groups*|ServiceAccounts*", cells.role_binding, whole=True
    ),
}
"""Kinds that are not here print Name and Age."""


def layout(kind: Kind[Any]) -> Layout:
    """The layout of a kind."""
    return LAYOUTS.get(kind, DEFAULT)
