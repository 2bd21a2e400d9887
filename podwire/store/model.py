"""The vocabulary of every engine and the ``Store`` Protocol that all of them satisfy.

Source of the semantics: etcd v3 (api/etcdserverpb, server/storage/mvcc).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

VALUE_LIMIT_BYTES = 1536 * 1024
"""The largest value any engine accepts: etcd's default request limit of 1.5 MiB."""


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
    """A value exceeds VALUE_LIMIT_BYTES. The text is etcd's own."""

    def __init__(self) -> None:
        super().__init__("etcdserver: request is too large")


class LeaseNotFoundError(StoreError):
    """A put named a lease that expired or never existed."""

    def __init__(self, lease: int) -> None:
        super().__init__("etcdserver: requested lease not found")
        self.lease = lease


class KeyValue(NamedTuple):
    """A key as of some revision. ``version`` counts its puts since it was created."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Event(NamedTuple):
    """One key changed in one revision: ``kv`` after it (None: deleted), ``previous`` before it."""

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


class TxnResult(NamedTuple):
    """``revision`` is that of the commit, or the store's current one when a guard failed.

    ``failed`` holds the keys whose guard did not hold, in order.
    """

    succeeded: bool
    revision: int
    failed: tuple[str, ...] = ()


Deliver = Callable[[Sequence[Event]], None]
"""Receives events in revision order; one call never ends in the middle of a revision."""


class Watch(Protocol):
    """A running watch."""

    def cancel(self) -> None:
        """Deliver nothing more."""


class Store(Protocol):
    """One engine. Every committed transaction that changes something is one revision."""

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

        A key may appear in one op only. Raises ValueTooLargeError, LeaseNotFoundError.
        """

    async def watch(self, prefix: str, revision: int, deliver: Deliver) -> Watch:
        """Deliver every event of ``revision`` and later, history first.

        ``deliver`` is called from the loop, at commit for an engine in the same process.
        Raises CompactedError.
        """

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``. Raises CompactedError, FutureRevisionError."""

    async def grant(self, ttl_s: float) -> int:
        """A lease whose keys are deleted when ``ttl_s`` has passed."""

    async def revoke(self, lease: int) -> None:
        """End a lease now: its keys are deleted in one revision. Raises LeaseNotFoundError."""
