"""The vocabulary of every engine and the ``Store`` Protocol that all of them satisfy.

Source of the semantics: etcd v3 (api/etcdserverpb, server/storage/mvcc).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

REQUEST_LIMIT_BYTES = 1536 * 1024
"""The largest transaction any engine accepts: etcd's default ``--max-request-bytes``."""

_AROUND_BYTES = 1024  # what etcd's own framing of a request may take of that
VALUE_LIMIT_BYTES = REQUEST_LIMIT_BYTES - 2 * _AROUND_BYTES
"""The largest value: it fits with its key and a few small ones beside it."""


class StoreError(Exception):
    """Base of what an engine refuses."""


class CompactedError(StoreError):
    """The wanted revision is older than what history still holds."""

    def __init__(self, wanted: int, compacted: int) -> None:
        super().__init__(f"required revision {wanted} has been compacted (up to {compacted})")
        self.wanted = wanted
        self.compacted = compacted


class FutureRevisionError(StoreError):
    """The wanted revision has not happened yet."""

    def __init__(self, wanted: int, current: int) -> None:
        super().__init__(f"required revision {wanted} is a future revision (now {current})")
        self.wanted = wanted
        self.current = current


class ValueTooLargeError(StoreError):
    """A transaction exceeds REQUEST_LIMIT_BYTES. The text is etcd's own."""

    def __init__(self) -> None:
        super().__init__("etcdserver: request is too large")


class UnavailableError(StoreError):
    """The engine cannot answer now; nothing was changed by this call."""


class OutcomeUnknownError(UnavailableError):
    """The engine went away while it worked: the transaction happened, or it did not.

    Whoever gets this must neither report success nor repeat the transaction unseen.
    """


class StoreOpenError(StoreError):
    """A store that cannot be opened: one line that names the place and what to do."""


class LeaseNotFoundError(StoreError):
    """A put named a lease that expired or never existed."""

    def __init__(self, lease: int) -> None:
        super().__init__("etcdserver: requested lease not found")
        self.lease = lease


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key as of some revision. ``version`` counts its puts since it was created.

    Holds nothing that could form a cycle, so collections of garbage need not walk the state.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One key changed in one revision: ``kv`` after it (None: deleted), ``previous`` before it.

    As of pairs: collections of garbage need not walk the history.
    """

    revision: int
    key: str
    kv: KeyValue | None
    previous: KeyValue | None


class Page(NamedTuple):
    """A range answer: pairs in key order, the store's revision, and whether more follow."""

    kvs: list[KeyValue]
    revision: int
    more: bool


class Compare(NamedTuple):
    """A transaction's guard: the key's mod_revision is this one (0: the key does not exist)."""

    key: str
    mod_revision: int


class Put(NamedTuple):
    """Write a key; ``lease`` (0: none) replaces the key's lease."""

    key: str
    value: bytes
    lease: int = 0


class Delete(NamedTuple):
    """Remove a key; harmless when absent."""

    key: str


Op = Put | Delete


def check_size(ops: Sequence[Op]) -> None:
    """Raise ValueTooLargeError for what etcd's request limit would refuse."""
    size = _AROUND_BYTES
    for op in ops:
        size += len(op.key)
        if isinstance(op, Put):
            if len(op.value) > VALUE_LIMIT_BYTES:
                raise ValueTooLargeError
            size += len(op.value)
    if size > REQUEST_LIMIT_BYTES:
        raise ValueTooLargeError


class TxnResult(NamedTuple):
    """``revision`` is that of the commit, or the store's current one when a guard failed.

    ``failed`` holds the keys whose guard did not hold, in order.
    """

    succeeded: bool
    revision: int
    failed: tuple[str, ...] = ()


Deliver = Callable[[Sequence[Event]], None]
"""Receives events in revision order; one call never ends in the middle of a revision."""


Lost = Callable[[StoreError], None]
"""Told once, when a watch cannot go on: what lies between is no longer in history."""


Progress = Callable[[int], None]
"""Told a revision up to which nothing else will be delivered."""


class Watch(Protocol):
    """A running watch."""

    def cancel(self) -> None:
        """Deliver nothing more."""


class Store(Protocol):
    """One engine. Every committed transaction that changes something is one revision.

    What an engine shows, to readers and watchers alike, it does not lose.
    Every call may raise UnavailableError.
    """

    @property
    def known_revision(self) -> int | None:
        """What ``revision`` would return, None where the store has to be asked."""

    async def revision(self) -> int:
        """The revision of the last commit (1 for a store never written, as in etcd)."""

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """A key now, or as of ``revision``. Raises CompactedError, FutureRevisionError."""

    async def range(
        self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0
    ) -> Page:
        """Keys that start with ``prefix`` and sort behind ``after``, in key order.

        Raises CompactedError, FutureRevisionError.
        """

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """Apply all ``ops`` in one revision if every guard holds; nothing otherwise.

        A key may appear in one op only. Raises ValueTooLargeError, LeaseNotFoundError,
        OutcomeUnknownError.
        """

    async def watch(
        self,
        prefix: str,
        revision: int,
        deliver: Deliver,
        lost: Lost | None = None,
        progress: Progress | None = None,
    ) -> Watch:
        """Deliver every event of ``revision`` and later, history first.

        ``deliver`` is called from the loop, before ``txn`` returns for an engine in the same
        process. A watch outlives the engine's absence and goes on where it was; when that is
        impossible ``lost`` is called and the watch is over. An engine that is shared calls
        ``progress`` for revisions without events of this prefix. Raises CompactedError.
        """

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``. Raises CompactedError, FutureRevisionError."""

    async def grant(self, ttl_s: float) -> int:
        """A lease whose keys are deleted when ``ttl_s`` has passed.

        An engine may round up (etcd: to whole seconds, and to its own minimum).
        """

    async def revoke(self, lease: int) -> None:
        """End a lease now: its keys are deleted in one revision. Raises LeaseNotFoundError."""

    async def check(self) -> None:
        """Return if the engine can serve reads and writes. Raises UnavailableError."""

    async def close(self) -> None:
        """Finish what was begun, then let go of files, threads, connections and timers."""
