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
    Lost,
    Op,
    OutcomeUnknownError,
    Page,
    Progress,
    Put,
    Store,
    StoreError,
    StoreOpenError,
    TxnResult,
    UnavailableError,
    ValueTooLargeError,
    Watch,
)
from podwire.store.opening import open_store
from podwire.store.options import StoreOptions

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
    "Lost",
    "Op",
    "OutcomeUnknownError",
    "Page",
    "Progress",
    "Put",
    "Store",
    "StoreError",
    "StoreOpenError",
    "StoreOptions",
    "TxnResult",
    "UnavailableError",
    "ValueTooLargeError",
    "Watch",
    "open_store",
]
