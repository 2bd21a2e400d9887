"""The revisioned key-value model of etcd: revisions, ranges, transactions, watches, compaction.

Only the API server (and sim, which composes) may call it; it knows no Kubernetes object.
"""

from podwire.store.model import (
    VALUE_LIMIT_BYTES,
    CompactedError,
    Compare,
    Delete,
    Deliver,
    Event,
    FutureRevisionError,
    KeyValue,
    LeaseNotFoundError,
    Op,
    Page,
    Put,
    Store,
    StoreError,
    TxnResult,
    ValueTooLargeError,
    Watch,
)

__all__ = [
    "VALUE_LIMIT_BYTES",
    "CompactedError",
    "Compare",
    "Delete",
    "Deliver",
    "Event",
    "FutureRevisionError",
    "KeyValue",
    "LeaseNotFoundError",
    "Op",
    "Page",
    "Put",
    "Store",
    "StoreError",
    "TxnResult",
    "ValueTooLargeError",
    "Watch",
]
