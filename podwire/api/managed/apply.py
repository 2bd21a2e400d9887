"""Server-side apply: merge a configuration, take its fields, give up what it no longer names.

Source: structured-merge-diff merge/update.go (Apply, prune) and apimachinery
pkg/util/managedfields/internal (skipnonapplied, lastappliedmanager, lastappliedupdater, conflict).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from podwire.api.managed import fields as sets
from podwire.api.managed.compare import compare
from podwire.api.managed.fields import Fields
from podwire.api.managed.managers import (
    BEFORE_FIRST_APPLY,
    STRIPPED,
    UPDATE,
    Entries,
    Manager,
    created,
    identity,
    lost,
    made,
    ordered,
    owned_by,
    touched_and_removed,
)
from podwire.api.managed.plans import KeysError, Step
from podwire.api.managed.typed import complaints, ensure_named, field_set, merge, remove
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
"""The only manager that takes over what client-side apply owned."""
_MAX_ANNOTATIONS_BYTES = 256 * 1024


class Applied(NamedTuple):
    """The outcome of an apply. ``obj`` is the live object itself when nothing changed."""

    obj: JSON
    entries: Entries


class _ConflictsError(Exception):
    """Fields that others own with other values: (entry, path) pairs."""

    def __init__(self, found: list[tuple[JSON, tuple[str, ...]]]) -> None:
        super().__init__(f"{len(found)} conflicts")
        self.found = found


def apply(
    step: Step, live: JSON, config: JSON, entries: Entries, by: Manager, now: str,
    ignored: Fields, zero: JSON, *, force: bool, new: bool = False,
) -> Applied:  # fmt: skip
    """Apply a configuration to an object without managedFields.

    ``ignored`` are the fields that the endpoint resets; ``zero`` what Go prints of an unset object;
    ``new`` whether the object is only about to be created.
    Raises ApiError Conflict with all causes; 500 for a configuration or a live object that does
    not fit the schema, as upstream does.
    """
    check_schema(step, config)
    try:
        return _typed(step, live, config, entries, by, now, ignored, zero, force=force, new=new)
    except KeysError as error:  # validation lets such lists be stored
        check_schema(step, live, "live")
        raise ApiError("", f"failed to create typed live object: {error}", 500) from error


def _typed(
    step: Step, live: JSON, config: JSON, entries: Entries, by: Manager, now: str,
    ignored: Fields, zero: JSON, *, force: bool, new: bool,
) -> Applied:  # fmt: skip
    if not entries and not new:
        before = Manager(BEFORE_FIRST_APPLY, UPDATE, by.api_version, by.subresource)
        entries = created(step, zero, live, before, now, ignored)
    try:
        found = _apply(step, live, config, entries, by, now, ignored, force=force)
    except _ConflictsError as conflicts:
        if by.name != KUBECTL:
            raise conflict(conflicts.found) from None
        allowed = _allowed(step, live, by.api_version)
        left = [(e, path) for e, path in conflicts.found if not _has(allowed, path)]
        if left:
            raise conflict(left) from None
        found = _apply(step, live, config, entries, by, now, ignored, force=True)
    if by.name == KUBECTL:
        return Applied(_with_last_applied(found.obj, config), found.entries)
    return found


def _apply(
    step: Step, live: JSON, config: JSON, entries: Entries, by: Manager, now: str,
    ignored: Fields, *, force: bool,
) -> Applied:  # fmt: skip
    merged = merge(step, live, config)
    wanted = field_set(step, config)
    if ignored:
        wanted = sets.recursive_difference(wanted, ignored)
    own = next((entry for entry in entries if identity(entry) == by.identity), None)
    others = [entry for entry in entries if entry is not own]
    if own is not None and not sets.contains(wanted, last := owned_by(own)):
        merged = _pruned(step, merged, last, [wanted, *map(owned_by, others)])
    touched, removed = touched_and_removed(step, live, merged, ignored)
    if not force:
        _look_for_conflicts(others, touched)
    found = [left for entry in others if (left := lost(entry, touched, removed)) is not None]
    same = merged == live
    mine = sets.difference(wanted, STRIPPED)
    if mine:
        time = own.get("time", "") if own is not None else ""
        found.append(_entry(by, own, mine, time if same else now))
    return Applied(live if same else merged, ordered(found))


def _entry(by: Manager, own: JSON | None, mine: Fields, time: str) -> JSON:
    """The applier's entry; the old set is kept when it is the same."""
    if own is not None and owned_by(own) == mine:
        return made(by, own["fieldsV1"], time)
    return made(by, mine, time)


def _pruned(step: Step, merged: JSON, last: Fields, owned: Iterable[Fields]) -> JSON:
    """The object without what was applied last time and is owned by nobody now."""
    everything: Fields = {}
    for one in owned:
        everything = sets.union(everything, one)
    last = ensure_named(step, last)
    whole = ensure_named(step, field_set(step, merged))
    pruned = remove(step, merged, last)
    kept = sets.union(ensure_named(step, field_set(step, pruned)), ensure_named(step, everything))
    pruned = remove(step, merged, sets.difference(whole, kept))
    # What others left without an owner stays: only one's own goes.
    gone = sets.difference(whole, ensure_named(step, field_set(step, pruned)))
    found: JSON = remove(step, merged, sets.intersection(gone, last)) or {}
    return found


def _look_for_conflicts(others: Entries, touched: Fields) -> None:
    found = []
    for entry in sorted(others, key=identity):
        if sets.intersects(touched, owned := owned_by(entry)):
            both = sets.intersection(owned, touched)
            found += [(entry, path) for path in sets.paths(both)]
    if found:
        raise _ConflictsError(found)


def _has(owned: Fields, path: tuple[str, ...]) -> bool:
    node = owned
    for key in path:
        if key not in node:
            return False
        node = node[key]
    return sets.is_member(node)


# ------------------------------------------------------------------ client-side apply


def _allowed(step: Step, live: JSON, api_version: str) -> Fields:
    """What client-side apply owned and the object still has: no conflict for kubectl."""
    annotation = _last_applied(live)
    try:
        config = msgspec.json.decode(annotation) if annotation else None
    except (msgspec.DecodeError, RecursionError):
        return {}
    if not isinstance(config, dict) or config.get("apiVersion") != api_version:
        return {}
    if complaints(step, config) or complaints(step, live):
        return {}
    touched, removed = compare(step, config, live)
    owned = field_set(step, config)
    return sets.difference(sets.difference(owned, touched), removed)


def _last_applied(obj: JSON) -> str:
    found = ((obj.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    return found if isinstance(found, str) else ""


def _with_last_applied(obj: JSON, config: JSON) -> JSON:
    """Keep the annotation true, so that a client-side apply may follow."""
    if not _last_applied(obj):
        return obj
    metadata = dict(config.get("metadata") or {})
    if "annotations" in metadata:
        kept = {k: v for k, v in (metadata["annotations"] or {}).items() if k != LAST_APPLIED}
        metadata["annotations"] = kept
        if not kept:
            del metadata["annotations"]
    text = _encode({**config, "metadata": metadata}).decode() + "\n"
    if text == _last_applied(obj):
        return obj
    annotations = {**obj["metadata"]["annotations"], LAST_APPLIED: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > (
        _MAX_ANNOTATIONS_BYTES
    ):
        del annotations[LAST_APPLIED]
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


_encode = msgspec.json.Encoder(order="sorted").encode


# ------------------------------------------------------------------ errors


def check_schema(step: Step, config: JSON, word: str = "patch") -> None:
    """Refuse a configuration (``word`` "live": an object) that does not fit its type.

    Raises ApiError 500, as upstream does; of a Secret it does not show what was given.
    """
    wrong = complaints(step, config)
    if not wrong:
        return
    if (config.get("apiVersion"), config.get("kind")) == ("v1", "Secret"):
        wrong = [why.partition(", got ")[0] for why in wrong]
    metadata = config.get("metadata") if isinstance(config.get("metadata"), dict) else {}
    group, _, version = str(config.get("apiVersion", "")).rpartition("/")
    where = (
        f"{(metadata or {}).get('namespace', '')}/{(metadata or {}).get('name', '')}; "
        f"{group}/{version}, Kind={config.get('kind', '')}"
    )
    listed = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
    message = f"failed to create typed {word} object ({where}): {listed}"
    raise ApiError("", message, 500)


def conflict(found: list[tuple[JSON, tuple[str, ...]]]) -> ApiError:
    """409 with one cause for each field, in upstream's words."""
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {_manager(entry)}", sets.shown(path))
        for entry, path in found
    )
    if len(found) == 1:
        entry, path = found[0]
        message = f"1 conflict: conflict with {_manager(entry)}: {sets.shown(path)}"
    else:
        by_manager: dict[str, list[str]] = {}
        for entry, path in found:
            by_manager.setdefault(_manager(entry), []).append(sets.shown(path))
        lines = []
        for manager, listed in by_manager.items():
            lines += [f"conflicts with {manager}:", *(f"- {path}" for path in listed)]
        message = f"{len(found)} conflicts: " + "\n".join(lines)
    return ApiError("Conflict", f"Apply failed with {message}", causes=causes)


def _manager(entry: JSON) -> str:
    """``"kubectl" with subresource "scale" using apps/v1``."""
    text = sets.quoted(entry.get("manager", ""))
    if entry.get("subresource"):
        text += f" with subresource {sets.quoted(entry['subresource'])}"
    if entry["operation"] == UPDATE:
        text += f" using {entry['apiVersion']}"
    return text


def check_config(config: Any, api_version: str, kind: str) -> JSON:
    """The decoded configuration, if it is one for this endpoint. Raises ApiError BadRequest."""
    if not isinstance(config, dict):
        raise ApiError("BadRequest", "error decoding patch: the configuration is no object")
    if config.get("apiVersion") != api_version or config.get("kind") != kind:
        group, _, version = str(config.get("apiVersion") or "").rpartition("/")
        shown = f"{group}/{version}, Kind={config.get('kind') or ''}"
        raise ApiError("BadRequest", f"invalid object type: {shown}")
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise ApiError("BadRequest", "metadata.managedFields must be nil")
    return config
