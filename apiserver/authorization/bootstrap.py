"""The roles and bindings that every API server makes, and how those of an older one are mended.

Source: kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy (bootstrap.json, made by
``derive``) and component-helpers auth/rbac/reconciliation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from podwire.api.view import JSON
from podwire.apiserver.authorization import rules
from podwire.apiserver.authorization.rbac import GROUP
from podwire.apiserver.authorization.rules import Rule

API_VERSION = f"{GROUP}/v1"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_FIELDS = ("rules", "aggregationRule", "roleRef", "subjects")


@cache
def _rows() -> list[JSON]:
    found: list[JSON] = msgspec.json.decode((Path(__file__).parent / "bootstrap.json").read_bytes())
    return found


@cache
def rules_of(cluster_role: str) -> tuple[Rule, ...]:
    """The rules of a ClusterRole of the bootstrap policy. Raises LookupError."""
    for row in _rows():
        if row["kind"] == "ClusterRole" and row["name"] == cluster_role:
            return rules.parsed(row.get("rules"))
    raise LookupError(cluster_role)


def objects() -> list[JSON]:
    """The bootstrap policy, in the order in which it is made. The caller owns the objects."""
    return [_object(row) for row in _rows()]


def _object(row: JSON) -> JSON:
    meta: JSON = {
        "name": row["name"],
        "annotations": {AUTOUPDATE: "true"},
        "labels": {**_LABEL, **row.get("labels", {})},
    }
    if "namespace" in row:
        meta["namespace"] = row["namespace"]
    obj = {"apiVersion": API_VERSION, "kind": row["kind"], "metadata": meta}
    if row["kind"] in {"ClusterRole", "Role"}:
        obj["rules"] = row.get("rules")
    return obj | {key: row[key] for key in _FIELDS if key in row}


def mended(wanted: JSON, found: JSON) -> JSON | None:
    """An object as it is, with what the policy demands and it lacks: rules, subjects, labels,
    annotations. None when nothing is missing, or its owner said ``autoupdate: "false"``.

    Nothing is taken away, and a binding to another role is left as it is (upstream replaces it).
    """
    if (found["metadata"].get("annotations") or {}).get(AUTOUPDATE) == "false":
        return None
    meta = dict(found["metadata"])
    for key in ("labels", "annotations"):
        meta[key] = {**wanted["metadata"][key], **(meta.get(key) or {})}
    new = {**found, "metadata": meta}
    if wanted["kind"] in {"ClusterRole", "Role"}:
        missing = rules.uncovered(rules.parsed(found.get("rules")), rules.parsed(wanted["rules"]))
        if missing:
            new["rules"] = [*(found.get("rules") or ()), *map(rules.to_json, missing)]
        if "aggregationRule" in wanted:
            new["aggregationRule"] = found.get("aggregationRule") or wanted["aggregationRule"]
    elif found["roleRef"] == wanted["roleRef"]:
        held = found.get("subjects") or []
        absent = [subject for subject in wanted.get("subjects", ()) if subject not in held]
        if absent:
            new["subjects"] = [*held, *absent]
    return None if new == found else new


def complete(policy: Sequence[JSON], held: Sequence[JSON]) -> list[JSON]:
    """What is to be written so that ``held`` has all of ``policy``: new objects, and mended ones
    (those have a uid).
    """
    known = {_key(obj): obj for obj in held}
    wanted: list[JSON] = []
    for obj in policy:
        found = known.get(_key(obj))
        if found is None:
            wanted.append(obj)
        elif (new := mended(obj, found)) is not None:
            wanted.append(new)
    return wanted


def _key(obj: JSON) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
