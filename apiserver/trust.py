"""Keeps the ConfigMap kube-system/extension-apiserver-authentication: it tells extension servers
whom to believe. What others added to it stays, certificates that expired go.

Source: kubernetes pkg/controlplane/controller/clusterauthenticationtrust.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import loopback
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.frontproxy import CONFIG_MAP, NAMESPACE
from podwire.store import StoreError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_BUNDLES = ("client-ca-file", "requestheader-client-ca-file")
_RETRY_S = 1.0
_SLACK = dt.timedelta(minutes=5)


def combined(held: Mapping[str, str], required: Mapping[str, str], now_ns: int) -> dict[str, str]:
    """What the ConfigMap has to say: lists and bundles joined, ``held`` first."""
    now = dt.datetime.fromtimestamp(now_ns // 10**9, tz=dt.UTC)
    found: dict[str, str] = {}
    for key, value in required.items():
        if key in _BUNDLES:
            found[key] = _bundle(held.get(key, ""), value, now - _SLACK)
        else:
            listed = [*_listed(held.get(key, "")), *json.loads(value)]
            found[key] = json.dumps(list(dict.fromkeys(listed)))
    return found


def _listed(text: str) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _bundle(held: str, required: str, since: dt.datetime) -> str:
    try:
        certificates = x509.load_pem_x509_certificates(held.encode()) if held else []
    except ValueError:
        certificates = []
    certificates += x509.load_pem_x509_certificates(required.encode())
    kept = [c for c in certificates if c.not_valid_after_utc > since]
    return "".join(
        dict.fromkeys(certificate.public_bytes(Encoding.PEM).decode() for certificate in kept)
    )


class Trust:
    """Looks after the ConfigMap of one server, once there is a front proxy to tell of."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self._dirty = self._begun = self._stopped = False
        server.caches.of(kinds.CONFIG_MAP).listeners.append(self._changed)

    async def begin(self) -> None:
        """Make the ConfigMap what it has to be, and keep it so. Raises ApiError."""
        self._begun = True
        await self._ensure()

    def stop(self) -> None:
        """Write nothing any more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def _changed(self, old: Entry | None, new: Entry | None) -> None:
        about = new or old
        assert about is not None, "a change has a before or an after"
        if self._begun and (about.name, about.namespace) == (CONFIG_MAP, NAMESPACE):
            self._soon()

    def _soon(self) -> None:
        self._dirty = True
        if self._task is None and not self._stopped:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="trust")

    async def _work(self) -> None:
        try:
            while self._dirty:
                self._dirty = False
                try:
                    await self._ensure()
                except (ApiError, StoreError) as error:
                    self._server.world.log.info("trust is not published", error=str(error))
                    self._server.world.clock.call_later(_RETRY_S, self._soon)
        finally:
            self._task = None

    async def _ensure(self) -> None:
        server, proxy = self._server, self._server.authenticator.front_proxy
        if proxy is None:
            return
        entry = server.caches.of(kinds.CONFIG_MAP).get(NAMESPACE, CONFIG_MAP)
        held = entry.json() if entry is not None else proxy.config_map()
        data = combined(held.get("data") or {}, proxy.data(), server.world.clock.now_ns())
        if entry is None:
            body = {**held, "data": data}
            await loopback.send(server, "POST", kinds.CONFIG_MAP.path(NAMESPACE), body)
        elif held.get("data") != data:
            gone = dict.fromkeys(key for key in held.get("data") or {} if key not in data)
            path = kinds.CONFIG_MAP.path(NAMESPACE, CONFIG_MAP)
            await loopback.send(server, "PATCH", path, {"data": {**gone, **data}})
