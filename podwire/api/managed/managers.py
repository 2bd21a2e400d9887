"""The entries of metadata.managedFields after a write that is no apply.

Entries are handled in their JSON form, the sets of stored ones still encoded (msgspec.Raw): most
writes look at them and leave them. A write owns what it changed: everybody else loses those fields,
and all lose what went. An entry whose set stays the same stays as it is.

Source: apimachinery pkg/util/managedfields/internal (buildmanagerinfo, managedfieldsupdater,
stripmeta, capmanagers, managedfields) and structured-merge-diff merge/update.go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypedDict

import msgspec

from podwire.api.kinds import Kind
from podwire.api.managed import fields as sets
from podwire.api.managed.compare import compare
from podwire.api.managed.fields import Fields, FieldsError
from podwire.api.managed.plans import Step
from podwire.api.managed.shapes import written
from podwire.api.schema import type_named, type_of
from podwire.api.view import JSON

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
"""Entries of updates kept apart; the oldest of more are merged."""
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
UNKNOWN = "unknown"
MAX_NAME_BYTES = 128
MAX_SUBRESOURCE_BYTES = 256

Entries = list[JSON]
"""metadata.managedFields."""

_SERVERS_OWN = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
    "managedFields", "resourceVersion",
)  # fmt: skip
STRIPPED = sets.of_paths((
    ("f:apiVersion",), ("f:kind",), ("f:metadata",),
    *(("f:metadata", f"f:{name}") for name in _SERVERS_OWN),
))  # fmt: skip
"""What nobody ever owns."""


class Manager(NamedTuple):
    """Who writes, how and where: what makes an entry one's own."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Appliers are the same whatever version they apply."""
        version = "" if self.operation == APPLY else self.api_version
        return (self.name, self.operation, version, self.subresource)


def identity(entry: JSON) -> tuple[str, str, str, str]:
    """What makes an entry the same as another."""
    operation = entry.get("operation", "")
    version = "" if operation == APPLY else entry.get("apiVersion", "")
    return (entry.get("manager", ""), operation, version, entry.get("subresource", ""))


def owned_by(entry: JSON) -> Fields:
    """The set of an entry, stored or new."""
    owned = entry["fieldsV1"]
    return sets.stored(bytes(owned)) if owned.__class__ is msgspec.Raw else owned


def made(by: Manager, owned: Any, time: str) -> JSON:
    """A new entry, in upstream's order of fields; without ``time`` when that is ''.

    ``owned`` is a set, or a stored one as it stands.
    """
    entry: JSON = {"manager": by.name, "operation": by.operation, "apiVersion": by.api_version}
    if time:
        entry["time"] = time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = owned
    if by.subresource:
        entry["subresource"] = by.subresource
    return entry


def changed(entry: JSON, owned: Fields) -> JSON:
    """The entry with another set."""
    return {**entry, "fieldsV1": owned}


def ordered(entries: Entries) -> Entries:
    """Applies first, then by time (whole seconds), manager, version, subresource."""
    return sorted(entries, key=_order)


def _order(entry: JSON) -> tuple[str, str, str, str, str]:
    return (
        entry["operation"], entry.get("time", ""), entry.get("manager", ""),
        entry["apiVersion"], entry.get("subresource", ""),
    )  # fmt: skip


def touched_and_removed(step: Step, old: JSON, new: JSON, ignored: Fields) -> tuple[Fields, Fields]:
    """The comparison without the fields that the write resets anyway. Raises KeysError."""
    touched, removed = compare(step, old, new)
    if ignored and (touched or removed):
        touched = sets.recursive_difference(touched, ignored)
        removed = sets.recursive_difference(removed, ignored)
    return touched, removed


def created(step: Step, zero: JSON, obj: JSON, by: Manager, now: str, ignored: Fields) -> Entries:
    """The entries of a new object, sealed. ``zero`` is what Go prints of an unset one.

    Raises KeysError.
    """
    text = written(step, zero, obj, ignored, STRIPPED)
    if text is None:
        return sealed(compared(step, zero, obj, by, now, ignored))
    return [made(by, msgspec.Raw(text), now)] if text else []


def compared(step: Step, zero: JSON, obj: JSON, by: Manager, now: str, ignored: Fields) -> Entries:
    """The entries of a new object by comparison with an unset one. Raises KeysError."""
    touched, _ = touched_and_removed(step, zero, obj, ignored)
    owned = sets.difference(touched, STRIPPED)
    return [made(by, owned, now)] if owned else []


def updated(
    step: Step, old: JSON, new: JSON, entries: Entries, by: Manager, now: str, ignored: Fields
) -> Entries:
    """The entries after a write: ``entries`` itself when nothing changed. Raises KeysError.

    ``old`` and ``new`` come without managedFields.
    """
    touched, removed = touched_and_removed(step, old, new, ignored)
    if not touched and not removed:
        return entries
    mine = sets.difference(touched, STRIPPED)
    own, found = None, []
    for entry in entries:
        if identity(entry) == by.identity:
            own = entry
            continue
        left = lost(entry, touched, removed)
        if left is not None:
            found.append(left)
    if own is not None:
        own = _own(own, mine, removed, now)
    elif mine:
        own = made(by, mine, now)
    if own is not None:
        found.append(own)
    return capped(ordered(found))


def lost(entry: JSON, touched: Fields, removed: Fields) -> JSON | None:
    """Somebody's entry after another's write; None when nothing is left."""
    before = owned = owned_by(entry)
    if touched and sets.intersects(touched, owned):
        owned = sets.difference(owned, sets.intersection(owned, touched))
    if removed and sets.intersects(removed, owned):
        owned = sets.difference(owned, removed)
    if not owned:
        return None
    return entry if owned is before else changed(entry, owned)


def _own(own: JSON, mine: Fields, removed: Fields, now: str) -> JSON | None:
    """The writer's own entry: what it had, less what went, and what it touched."""
    before = owned = owned_by(own)
    if removed and sets.intersects(removed, owned):
        owned = sets.difference(owned, removed)
    if not mine:
        return None if not owned else own if owned is before else changed(own, owned)
    if not sets.contains(owned, mine):
        owned = sets.union(owned, mine)
    by = Manager(own["manager"], UPDATE, own["apiVersion"], own.get("subresource", ""))
    return made(by, own["fieldsV1"] if owned is before else owned, now)


def capped(entries: Entries) -> Entries:
    """At most MAX_UPDATERS updates: the oldest are merged into one bucket for each version."""
    updaters = [entry for entry in entries if entry["operation"] == UPDATE]
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return entries
    updaters.sort(key=lambda e: (e.get("time", ""), identity(e)))
    by_identity = {identity(entry): entry for entry in entries}
    first: dict[str, tuple[str, str, str, str]] = {}
    for entry in updaters:
        if surplus <= 0:
            break
        version = entry["apiVersion"]
        if version not in first:
            first[version] = identity(entry)
            continue
        bucket = Manager(ANCIENT, UPDATE, version)
        into = by_identity.get(bucket.identity)
        if into is None:
            into = by_identity.pop(first[version])
        both = sets.union(owned_by(entry), owned_by(into))
        # The bucket may be the entry that is merged: it takes that one's place then.
        by_identity.pop(identity(entry), None)
        by_identity[bucket.identity] = made(bucket, both, entry.get("time", ""))
        surplus -= 1
    return ordered(list(by_identity.values()))


# ------------------------------------------------------------------ entries from outside


def is_reset(given: Any) -> bool:
    """Whether a request asks to forget all managers: ``[]`` or ``[{}]``."""
    return given in ([], [{}])


def decoded(given: Any, live: Entries, knows: Callable[[str], bool]) -> Entries:
    """Entries that a request brought, checked and in canonical form.

    ``knows`` tells whether an apiVersion of theirs is served; others are forgotten as upstream
    forgets them. Raises FieldsError.
    """
    stored = {bytes(entry["fieldsV1"]): entry["fieldsV1"] for entry in live}
    found: dict[tuple[str, str, str, str], JSON] = {}
    for i, entry in enumerate(given or ()):
        if entry.get("operation") not in {APPLY, UPDATE}:
            raise FieldsError("operation must be `Apply` or `Update`")
        if not entry.get("apiVersion"):
            raise FieldsError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            kind = entry.get("fieldsType")
            why = f'invalid fieldsType "{kind}"' if kind else "missing fieldsType"
            raise FieldsError(f"{why} in managed fields entry {i}")
        value = entry.get("fieldsV1") or {}
        owned = stored.get(sets.plain(value)) or sets.parse(value)
        if owned and knows(entry["apiVersion"]):
            by = Manager(
                entry.get("manager", ""), entry["operation"], entry["apiVersion"],
                entry.get("subresource", ""),
            )  # fmt: skip
            found[by.identity] = made(by, owned, entry.get("time") or "")
    return ordered(list(found.values()))


def plain(entries: Entries) -> Entries:
    """Entries as any JSON, for patches that look into them."""
    return [{**entry, "fieldsV1": msgspec.json.decode(entry["fieldsV1"])} for entry in entries]


def unfit(entry: JSON) -> tuple[str, str, str] | None:
    """What validation refuses in an entry: (field, reason, message), or None."""
    name = entry.get("manager", "")
    if why := unfit_name(name):
        return ("manager", *why)
    if len(entry.get("subresource", "").encode()) > MAX_SUBRESOURCE_BYTES:
        why = ("FieldValueTooLong", f"Too long: may not be more than {MAX_SUBRESOURCE_BYTES} bytes")
        return ("subresource", *why)
    return None


@lru_cache(maxsize=1024)
def unfit_name(name: str) -> tuple[str, str] | None:
    """Why a name is no manager's: (reason, message), or None."""
    if len(name.encode()) > MAX_NAME_BYTES:
        return ("FieldValueTooLong", f"Too long: may not be more than {MAX_NAME_BYTES} bytes")
    for i, char in enumerate(name):
        if not printable(char):
            at = len(name[:i].encode())
            why = f"invalid character U+{ord(char):04X} (at position {at})"
            return ("FieldValueInvalid", f"Invalid value: {sets.quoted(name)}: {why}")
    return None


def printable(char: str) -> bool:
    """As Go's unicode.IsPrint: of the spaces only the ASCII one."""
    return char.isprintable()


@lru_cache(maxsize=1024)
def name_of(user_agent: str) -> str:
    """The manager of a request that names none: its User-Agent up to the first slash."""
    name, size = "", 0
    for char in user_agent.partition("/")[0]:
        if printable(char):
            size += len(char.encode())
            if size > MAX_NAME_BYTES:
                break
            name += char
    return name or UNKNOWN


# ------------------------------------------------------------------ storing


def same_but_times(one: Entries, two: Entries) -> bool:
    """Whether two lists of sealed entries differ in their times at most."""
    if one is two:
        return True
    if len(one) != len(two):
        return False
    return all(
        a is b or {**a, "time": None} == {**b, "time": None} for a, b in zip(one, two, strict=True)
    )


def sealed(entries: Entries) -> Entries:
    """Entries fit to be stored: every set in its FieldsV1 bytes."""
    return [
        entry
        if entry["fieldsV1"].__class__ is msgspec.Raw
        else {**entry, "fieldsV1": msgspec.Raw(sets.encode(entry["fieldsV1"]))}
        for entry in entries
    ]


class _Entry(TypedDict, total=False):
    manager: str
    operation: str
    apiVersion: str
    time: str
    fieldsType: str
    fieldsV1: msgspec.Raw
    subresource: str


def stored_decoder(kind: Kind[Any]) -> Callable[[bytes], JSON]:
    """Decodes stored objects of a kind, their sets left encoded."""
    return _decode_free if kind.custom is not None else _typed_decoder(kind)


@cache
def _typed_decoder(kind: Kind[Any]) -> Callable[[bytes], JSON]:
    struct = type_of(kind)
    if struct is None:
        return _decode_free
    names = dict.fromkeys(type_named("meta.v1.ObjectMeta").fields, Any)
    metadata = TypedDict("metadata", {**names, "managedFields": list[_Entry]}, total=False)  # type: ignore[misc]  # made of data
    names = dict.fromkeys(struct.fields, Any)
    whole = TypedDict("whole", {**names, "metadata": metadata}, total=False)  # type: ignore[misc]  # made of data
    decode: Callable[[bytes], JSON] = msgspec.json.Decoder(whole).decode  # type: ignore[assignment]  # a TypedDict is a dict
    return decode


def _decode_free(value: bytes) -> JSON:
    """An object whose fields the table does not know."""
    obj: JSON = msgspec.json.decode(value)
    for entry in obj["metadata"].get("managedFields", ()):
        entry["fieldsV1"] = msgspec.Raw(sets.encode(entry["fieldsV1"]))
    return obj
