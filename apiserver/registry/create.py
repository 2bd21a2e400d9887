"""POST on a collection. Source: apiserver pkg/endpoints/handlers/create.go, rest.BeforeCreate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.api import conversion, kinds
from podwire.api.kinds import Kind
from podwire.api.managed.managers import Entries, sealed
from podwire.api.objects import check_create, default
from podwire.api.status import ApiError
from podwire.api.validation.warnings import warnings_of
from podwire.api.view import JSON
from podwire.apiserver import allocation, answers, calls, objects, storage
from podwire.apiserver.admission.review import Review
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import (
    apiservices,
    attempts,
    certificates,
    escalation,
    meta,
    ownership,
    strategy,
)
from podwire.apiserver.storage import Lost
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.moulds.memory import Cast
    from podwire.apiserver.server import Apiserver

_NAME_ATTEMPTS = 8
_PREPARERS = {
    apiservices.KIND: apiservices.on_create,
    certificates.CSR: certificates.on_create,
}
"""What a kind's strategy needs the call for, or the metadata."""


async def handle(server: Apiserver, call: Call) -> Response:
    """Create an object: 201 with it."""
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    dry_run = call.dry_run
    if dry_run:
        await server.caches.fresh()  # nothing but the cache can say whether it exists

    async def decide() -> Entry:
        call.warnings.clear()
        return await create(server, call, objects.decode(call, call.kind), dry_run=dry_run)

    if dry_run:
        entry = await attempts.judged(server, decide)
        return answers.raw(entry.value, 201)
    cast = server.moulds.cast(call)
    made = None if cast is None else await _cast(server, call, cast)
    if made is None:
        made = await attempts.judged(server, decide)
        if server.moulds.repeated(call):
            await server.moulds.learn(call)
    return server.one(made, shape, 201)


async def _cast(server: Apiserver, call: Call, cast: Cast) -> Entry | None:
    """Store what a mould made; None if a made-up name is taken. Raises ApiError."""
    try:
        return await storage.put(server, call.kind, call.namespace, cast.name, cast.value)
    except Lost:
        if cast.generated:
            return None
        raise calls.already_exists(call.kind, cast.name) from None


async def create(
    server: Apiserver, call: Call, obj: JSON, *, dry_run: bool, entries: Entries | None = None
) -> Entry:
    """Default, admit, validate and store a new object.

    ``entries`` are its managedFields if they are known already (apply). Raises ApiError.
    """
    await server.caches.decisive()
    if call.kind.custom is not None and call.kind.custom.definition.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise calls.forbidden(call.kind, obj["metadata"].get("name", ""), why)
    review, identity, generated = await prepare(
        server, call, obj, server.source, dry_run=dry_run, entries=entries
    )
    kind, obj = review.kind, review.obj
    metadata = obj["metadata"]
    for _ in range(_NAME_ATTEMPTS):
        try:
            entry = await _stored(server, kind, obj, dry_run=dry_run)
            return server.caches.shown(call.kind, entry)
        except Lost:
            if not generated:
                raise calls.already_exists(call.kind, metadata["name"]) from None
        identity.rename(metadata)
    raise ApiError(
        "AlreadyExists",
        f'{kind.resource} "{metadata["name"]}" already exists, '
        "the server was not able to generate a unique name for the object",
        details={**calls.details(kind, metadata["name"]), "retryAfterSeconds": 1},
    )


class Prepared(NamedTuple):
    """A new object, fit to be stored."""

    review: Review
    identity: meta.Identity
    generated: bool
    """Whether the server made its name up."""


async def prepare(
    server: Apiserver, call: Call, obj: JSON, source: meta.Source, *, dry_run: bool,
    entries: Entries | None = None,
) -> Prepared:  # fmt: skip
    """Default, admit and validate a new object; ``source`` is where its uid comes from.

    ``entries`` as for ``create``. Raises ApiError.
    """
    given = obj["metadata"].pop("managedFields", None)
    meta.before_create(call, obj)
    identity = meta.Identity(source, call.kind, obj["metadata"])
    left_open = ownership.silent(call.kind, obj)
    default(call.kind, obj)
    if entries is None:
        entries = ownership.on_create(call, obj, given, left_open, source.now())
    kind = kinds.judged(call.kind)
    if kind is not call.kind:
        obj = conversion.to_stored(call.kind, obj)
        default(kind, obj)
    entries = sealed(entries)
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
    review = Review(
        server, call, kind, "CREATE", call.namespace, name, obj, dry_run=dry_run, managed=entries,
        source=source,
    )  # fmt: skip
    await server.admission.mutate(review)
    obj = review.obj
    escalation.check(server, call, kind, obj, None)
    metadata = obj["metadata"]
    generated = identity.give(metadata)
    review.name = metadata.get("name", "")
    strategy.on_create(kind, obj)
    if (prepare := _PREPARERS.get(kind)) is not None:
        prepare(call, obj)
    check_create(kind, obj, call.kind)
    call.warnings += warnings_of(kind, obj, None)
    if given:
        ownership.check(kind, metadata.get("name", ""), entries)
    strategy.after_defaults(kind, obj)
    await server.admission.validate(review)
    ownership.store(metadata, entries)
    return Prepared(review, identity, generated)


async def _stored(server: Apiserver, kind: Kind[Any], obj: JSON, *, dry_run: bool) -> Entry:
    """Written; without managedFields when the object is too large with them."""
    try:
        return await allocation.create(server, kind, obj, dry_run=dry_run)
    except ApiError as error:
        if error.reason != "RequestEntityTooLarge" or "managedFields" not in obj["metadata"]:
            raise
    del obj["metadata"]["managedFields"]
    return await allocation.create(server, kind, obj, dry_run=dry_run)
