"""Validation per kind: upstream's field paths and messages for the kinds that podwire models.

``validate`` expects an object that was decoded and defaulted; it returns every complaint.
Source of the behaviour: kubernetes pkg/apis/*/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import Cause
from podwire.api.validation import config, meta, network, pod, service, workloads
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.view import JSON

__all__ = ["Errors", "invalid_error", "validate", "validate_metadata"]

Check = Callable[[Errors, JSON, JSON | None], None]


def validate(kind: Kind[Any], new: JSON, old: JSON | None = None) -> list[Cause]:
    """Everything wrong with an object (as the successor of ``old``), in upstream's order."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    check = _BY_KIND.get(kind)
    if check is not None:
        check(errors, new, old)
    return errors.causes


def validate_metadata(kind: Kind[Any], new: JSON, old: JSON | None = None) -> list[Cause]:
    """Everything wrong with an object's metadata."""
    errors = Errors()
    _metadata(errors, kind, new, old)
    return errors.causes


def _metadata(errors: Errors, kind: Kind[Any], new: JSON, old: JSON | None) -> None:
    meta.metadata(errors, kind, new["metadata"])
    if old is not None:
        meta.metadata_update(errors, new["metadata"], old["metadata"])


_BY_KIND: dict[Kind[Any], Check] = {
    kinds.POD: pod.check_pod,
    kinds.SERVICE: service.check_service,
    kinds.DEPLOYMENT: workloads.check_deployment,
    kinds.REPLICA_SET: workloads.check_replica_set,
    kinds.STATEFUL_SET: workloads.check_stateful_set,
    kinds.DAEMON_SET: workloads.check_daemon_set,
    kinds.JOB: workloads.check_job,
    kinds.CONTROLLER_REVISION: workloads.check_controller_revision,
    kinds.NETWORK_POLICY: network.check_network_policy,
    kinds.ENDPOINT_SLICE: network.check_endpoint_slice,
    kinds.ENDPOINTS: network.check_endpoints,
    kinds.INGRESS: network.check_ingress,
    kinds.CONFIG_MAP: config.check_config_map,
    kinds.SECRET: config.check_secret,
    kinds.NODE: config.check_node,
    kinds.LEASE: config.check_lease,
    kinds.EVENT: config.check_event,
    kinds.ROLE_BINDING: config.check_role_binding,
    kinds.CLUSTER_ROLE_BINDING: config.check_role_binding,
    kinds.POD_DISRUPTION_BUDGET: config.check_disruption_budget,
}
