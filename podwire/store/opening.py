"""``open_store``: the one way to open a store."""

from __future__ import annotations

import os

from structlog.typing import FilteringBoundLogger

from podwire.runtime.ports import Clock, TraceLog
from podwire.store.embedded import EmbeddedStore
from podwire.store.model import Store, StoreOpenError
from podwire.store.options import StoreOptions


async def open_store(
    options: StoreOptions, clock: Clock, trace: TraceLog, log: FilteringBoundLogger
) -> Store:
    """The engine that the options ask for: memory, memory with a data directory, or etcd.

    With both, etcd holds the objects. Raises StoreOpenError: one line, naming what to do.
    """
    if options.etcd_servers:
        # gRPC reads it when imported, and writes to stderr what our errors say in one line.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            from podwire.store.etcd import EtcdStore  # noqa: PLC0415  weighs 0.1 s of imports
        except ImportError as error:
            raise StoreOpenError(
                f"--etcd needs a package that is not installed ({error.name}); "
                "install it with: pip install 'podwire[etcd]'"
            ) from error
        return await EtcdStore.open(options, clock, log)
    if options.data_dir is not None:
        from podwire.store.durable import DurableStore  # noqa: PLC0415  only who keeps files

        return DurableStore.open(options.data_dir, clock, trace, log)
    return EmbeddedStore(clock, trace)
