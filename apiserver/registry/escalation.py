"""Nobody grants what he does not hold: roles and bindings, before they are written.

Source: kubernetes pkg/registry/rbac (escalation_check.go, */policybased/storage.go) and
pkg/registry/rbac/validation (rule.go). Where roles do not decide (AlwaysAllow) everybody holds all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.authorization import rules
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorization.rbac import GROUP, not_found
from podwire.apiserver.authorizer import MASTERS
from podwire.apiserver.calls import Call

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_ROLES = (kinds.ROLE, kinds.CLUSTER_ROLE)
_BINDINGS = (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)
_AGGREGATES = "must have cluster-admin privileges to use the aggregationRule"
_FOR_GC = ("ownerReferences", "finalizers")


def check(server: Apiserver, call: Call, kind: Kind[Any], obj: JSON, old: JSON | None) -> None:
    """Whether the caller may write a role or binding. Raises ApiError Forbidden, NotFound."""
    if kind.group != GROUP or not server.authorizer.enforces or MASTERS in call.user.groups:
        return
    if old is not None and _for_collection_only(obj, old):
        return
    if kind in _ROLES:
        _role(server, call, kind, obj, old)
    elif kind in _BINDINGS:
        _binding(server, call, kind, obj)


def _for_collection_only(new: JSON, old: JSON) -> bool:
    """Whether an update only does what the garbage collector needs (IsOnlyMutatingGCFields)."""
    ignored = (*_FOR_GC, "managedFields", "resourceVersion")

    def rest(obj: JSON) -> JSON:
        meta = {key: value for key, value in obj["metadata"].items() if key not in ignored}
        return {**obj, "metadata": meta}

    return rest(new) == rest(old)


def _role(server: Apiserver, call: Call, kind: Kind[Any], obj: JSON, old: JSON | None) -> None:
    name = obj["metadata"].get("name", "")
    asked = Attributes(
        call.user, "escalate", kind.group, "*", kind.plural, "", call.namespace, call.name
    )
    if server.authorizer.allows(asked):
        return
    _demand(server, call, kind, name, rules.parsed(obj.get("rules")))
    if _aggregates(obj) or (old is not None and _aggregates(old)):
        owned, _ = server.authorizer.policy.rules(call.user, "")
        if rules.uncovered(owned, rules.EVERYTHING):
            raise calls.forbidden(kind, name, _AGGREGATES)


def _aggregates(role: JSON) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _binding(server: Apiserver, call: Call, kind: Kind[Any], obj: JSON) -> None:
    role = obj["roleRef"]
    plural = {"ClusterRole": "clusterroles", "Role": "roles"}.get(role["kind"], "")
    asked = Attributes(
        call.user, "bind", role.get("apiGroup") or "", "*", plural, "", call.namespace, role["name"]
    )
    if plural and server.authorizer.allows(asked):
        return
    granted = server.authorizer.policy.rules_of(role["kind"], role["name"], call.namespace)
    if granted is None:
        details = {"name": role["name"], "group": GROUP, "kind": role["kind"].lower()}
        raise ApiError("NotFound", not_found(role["kind"], role["name"]), 0, details)
    _demand(server, call, kind, obj["metadata"].get("name", ""), granted)


def _demand(
    server: Apiserver, call: Call, kind: Kind[Any], name: str, wanted: tuple[rules.Rule, ...]
) -> None:
    owned, errors = server.authorizer.policy.rules(call.user, call.namespace)
    missing = rules.uncovered(owned, wanted)
    if missing:
        why = rules.escalation(call.user.name, call.user.groups, missing)
        if errors:
            why += f"; resolution errors: [{' '.join(errors)}]"
        raise calls.forbidden(kind, name, why)
