"""What the store of a newborn cluster in virtual time holds, made once per process.

The first 240 objects of a cluster (namespaces, the bootstrap policy, flow schemas, addons) are the
same for each seed but for their uids, and virtual time begins at one moment. So they are created
once, by the ordinary road, in a cluster of their own, and a cluster begins with a copy of what
that wrote: every transaction at a revision of its own, uids from the cluster's own ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from podwire.apiserver.server import Apiserver, DirectApi
from podwire.client.api import Client
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.history import NoHistory
from podwire.runtime.ports import Ids
from podwire.sim import serving
from podwire.sim.settings import APISERVER, ROOMY, ClusterSettings
from podwire.store import Op, Put, Store
from podwire.store.embedded import EmbeddedStore

_UID = re.compile(rb'"uid":"([-0-9a-f]{36})"')
_KEPT = 16
"""Kinds of clusters that are remembered: 300 KB each."""

Piece = bytes | int
"""Bytes as they are, or which of the uids stands here."""


class _Write:
    """One transaction, its uids left open."""

    def __init__(self, ops: Sequence[Op], uids: dict[bytes, int]) -> None:
        self._puts = [_opened(op, uids) for op in ops]

    def ops(self, uids: Sequence[bytes]) -> list[Op]:
        """The transaction with these uids."""
        return [
            Put(key, b"".join(p if isinstance(p, bytes) else uids[p] for p in pieces))
            for key, pieces in self._puts
        ]


def _opened(op: Op, uids: dict[bytes, int]) -> tuple[str, list[Piece]]:
    assert isinstance(op, Put), "a newborn cluster deletes nothing"
    assert not op.lease, "what expires is nobody's first object"
    pieces: list[Piece] = []
    at = 0
    for found in _UID.finditer(op.value):
        pieces += (op.value[at : found.start(1)], uids.setdefault(found[1], len(uids)))
        at = found.end(1)
    return op.key, [*pieces, op.value[at:]]


class Snapshot:
    """The transactions of a newborn cluster, in order."""

    def __init__(self, written: Sequence[Sequence[Op]]) -> None:
        uids: dict[bytes, int] = {}
        self._writes = [_Write(ops, uids) for ops in written]
        self._uids = len(uids)

    async def restore(self, store: Store, ids: Ids) -> None:
        """Write them into an empty store."""
        uids = [ids.uid().encode() for _ in range(self._uids)]
        for write in self._writes:
            await store.txn((), write.ops(uids))


def newborn(settings: ClusterSettings) -> Snapshot | None:
    """What a cluster in virtual time begins with; None where requests that are made for it must be
    seen, or where a file decides what becomes of them.
    """
    if settings.audit_policy_file or settings.admission_control_config_file:
        return None
    nodes = ROOMY + 1 if settings.wide else 1
    return _made(replace(settings, name="podwire", nodes=nodes, zones=(), ingress="none"))


class _Recorder(EmbeddedStore):
    """Remembers its transactions."""

    def __init__(self, env: Env) -> None:
        super().__init__(env.clock, NoHistory())
        self.written: list[Sequence[Op]] = []

    def _commit(self, ops: Sequence[Op], ended_lease: int = 0) -> None:
        self.written.append(ops)
        super()._commit(ops, ended_lease)


@lru_cache(maxsize=_KEPT)
def _made(settings: ClusterSettings) -> Snapshot:
    async def main(env: Env) -> Snapshot:
        store = _Recorder(env)
        server = Apiserver(env, store, config=serving.config(settings))
        await server.start()
        try:
            client = Client(DirectApi(server, APISERVER))
            await serving.create_first(server, client, settings)
        finally:
            server.stop()
        return Snapshot(store.written)

    return sim.run(main)
