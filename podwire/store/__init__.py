"""The revisioned key-value model of etcd: revisions, ranges, transactions, watches, compaction.

Only the API server (and sim, which composes) may call it; it knows no Kubernetes object.
"""

from podwire.store.model import (
    VALUE_LIMIT_BYTES,
    Compacted,
    Compare,
    Delete,
    Deliver,
    Event,
    FutureRevision,
    KeyValue,
    LeaseNotFound,
    Op,
    Page,
    Put,
    Store,
    StoreError,
    TxnResult,
    ValueTooLarge,
    Watch,
)

__all__ = [
    "VALUE_LIMIT_BYTES",
    "Compacted",
    "Compare",
    "Delete",
    "Deliver",
    "Event",
    "FutureRevision",
    "KeyValue",
    "LeaseNotFound",
    "Op",
    "Page",
    "Put",
    "Store",
    "StoreError",
    "TxnResult",
    "ValueTooLarge",
    "Watch",
]
