"""Between registry and store: encode once, commit with a guard, answer with the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import conversion, kinds
from podwire.api.crd import served
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver.cache.entry import Entry
from podwire.store import Compare, Delete, LeaseNotFoundError, Op, Put, ValueTooLargeError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

ADMISSION_READS = frozenset((
    kinds.NAMESPACE, kinds.SERVICE_ACCOUNT, kinds.INGRESS_CLASS, kinds.named("v1", "LimitRange"),
    kinds.named("v1", "ResourceQuota"), kinds.named("node.k8s.io/v1", "RuntimeClass"),
    kinds.PRIORITY_CLASS,
    kinds.named("storage.k8s.io/v1", "StorageClass"),
    kinds.named("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    kinds.named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    kinds.named("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"),
    kinds.named("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"),
    kinds.named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    kinds.named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
))  # fmt: skip
"""Kinds whose objects decide about others: see ``Caches.decisive``."""

_encode = msgspec.json.Encoder().encode


def encode(kind: Kind[Any], obj: JSON) -> bytes:
    """The stored form: apiVersion, kind, metadata first, no resourceVersion."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
    for key, value in obj.items():
        if key not in body:
            body[key] = value
    return _encode(body)


def converter(kind: Kind[Any]) -> Callable[[bytes], bytes]:
    """From stored values to values in the version of ``kind``."""

    def convert(value: bytes) -> bytes:
        return encode(kind, conversion.from_stored(kind, msgspec.json.decode(value)))

    if kind.custom is not None:
        return _custom_converter(kind)

    return convert


def _custom_converter(kind: Kind[Any]) -> Callable[[bytes], bytes]:
    """From whatever version a value was stored in; the value itself if nothing is to be done."""

    def convert(value: bytes) -> bytes:
        assert kind.custom is not None, f"{kind} is custom"
        known = kind.custom.definition.converted.get(value)
        if known is not None:
            return known
        made = encode(kind, served.shown(kind, msgspec.json.decode(value)))
        return value if made == value else made

    return convert


class Extra:
    """Keys that must change in the same transaction (allocations)."""

    __slots__ = ("compares", "ops")

    def __init__(self) -> None:
        self.compares: list[Compare] = []
        self.ops: list[Op] = []


NO_EXTRA = Extra()


class Lost(Exception):  # noqa: N818  (an outcome, not an error)
    """The guard failed. ``keys`` are those that were not as expected."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__(", ".join(keys))
        self.keys = keys


async def write(
    server: Apiserver,
    kind: Kind[Any],
    obj: JSON,
    old: Entry | None,
    extra: Extra = NO_EXTRA,
    *,
    dry_run: bool = False,
) -> Entry:
    """Create (``old`` None) or replace an object. Raises Lost when the guard failed."""
    if kind.custom is not None and kind is not kind.custom.stored:
        return await server.definitions.write(kind, obj, old, extra, dry_run=dry_run)
    meta = obj["metadata"]
    namespace, name = meta.get("namespace", ""), meta["name"]
    value = encode(kind, obj)
    return await put(server, kind, namespace, name, value, old, extra, dry_run=dry_run)


async def put(
    server: Apiserver,
    kind: Kind[Any],
    namespace: str,
    name: str,
    value: bytes,
    old: Entry | None = None,
    extra: Extra = NO_EXTRA,
    *,
    dry_run: bool = False,
) -> Entry:
    """``write`` of an object in its stored form. Raises Lost."""
    cache = server.caches.of(kind)
    key = cache.key(namespace, name)
    guard = Compare(key, old.revision if old is not None else 0)
    operation = "create" if old is None else "update"
    if dry_run:
        current = cache.get(namespace, name)
        if (current.revision if current is not None else 0) != guard.mod_revision:
            raise Lost((key,))
        return cache.made(key, value, guard.mod_revision)
    if kind is kinds.EVENT:
        revision = await _write_event(server, operation, guard, key, value)
    else:
        compares, ops = [guard, *extra.compares], [Put(key, value), *extra.ops]
        revision = await _txn(server, kind, operation, compares, ops)
    entry = cache.get(namespace, name)
    if entry is not None and entry.revision == revision:
        return entry
    return cache.made(key, value, revision)


async def _write_event(
    server: Apiserver, operation: str, guard: Compare, key: str, value: bytes
) -> int:
    """Under the shared lease; the store may have lost that one, then under a new one."""
    try:
        put = Put(key, value, await server.event_lease())
        return await _txn(server, kinds.EVENT, operation, [guard], [put])
    except LeaseNotFoundError:
        server.forget_event_lease()
    put = Put(key, value, await server.event_lease())
    return await _txn(server, kinds.EVENT, operation, [guard], [put])


async def remove(
    server: Apiserver, entry: Entry, extra: Extra = NO_EXTRA, *, dry_run: bool = False
) -> Entry:
    """Delete an object; its last state under the deletion's revision. Raises Lost."""
    if dry_run:
        return entry
    guard = Compare(entry.key, entry.revision)
    ops = [Delete(entry.key), *extra.ops]
    compares = [guard, *extra.compares]
    revision = await _txn(server, entry.kind, "delete", compares, ops)
    return entry.at(revision)


async def _txn(
    server: Apiserver,
    kind: Kind[Any],
    operation: str,
    compares: Sequence[Compare],
    ops: Sequence[Op],
) -> int:
    began_ns = server.world.clock.monotonic_ns()
    try:
        result = await server.store.txn(compares, ops)
    except ValueTooLargeError as error:
        raise ApiError("RequestEntityTooLarge", str(error)) from None
    finally:
        server.metrics.stored(operation, kind, began_ns)
    if not result.succeeded:
        raise Lost(result.failed)
    if kind in ADMISSION_READS:
        server.caches.acknowledged(result.revision)
    return result.revision
