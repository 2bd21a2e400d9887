"""Connections to an etcd: URLs, TLS, deadlines, and what each failure means.

The stubs and messages are ``aetcd``'s; its client has neither TLS nor ranges with a limit or a
revision, and takes watch responses apart, so the calls are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from aetcd import rpc

from podwire.store.model import (
    CompactedError,
    FutureRevisionError,
    LeaseNotFoundError,
    OutcomeUnknownError,
    StoreError,
    StoreOpenError,
    UnavailableError,
    ValueTooLargeError,
)
from podwire.store.options import StoreOptions

CALL_TIMEOUT_S = 5.0
CHECK_TIMEOUT_S = 2.0
"""Source: kube-apiserver's etcd health check."""

OLDEST = (3, 4)

_OPTIONS = (
    (
        "grpc.max_receive_message_length",
        -1,
    ),  # a range of a page of large values is larger than 4 MiB
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # a transaction is never sent twice
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses more than one in 5 s
    ("grpc.keepalive_timeout_ms", 5_000),
)

_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Name resolution")
_NOT_APPLIED = ("etcdserver: too many requests", "etcdserver: mvcc: database space exceeded",
                "etcdserver: not capable")  # fmt: skip


class _Endpoint:
    """One URL's channel and stubs."""

    def __init__(self, url: str, credentials: Any) -> None:
        parts = urlsplit(url)
        self.url = url
        target = f"{parts.hostname}:{parts.port or 2379}"
        if ":" in (parts.hostname or ""):
            target = f"[{parts.hostname}]:{parts.port or 2379}"
        self.channel = (
            grpc.aio.insecure_channel(target, options=_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
        )
        self.kv = rpc.KVStub(self.channel)
        self.lease = rpc.LeaseStub(self.channel)
        self.watch = rpc.WatchStub(self.channel)
        self.maintenance = rpc.MaintenanceStub(self.channel)


class Link:
    """The connection in use, out of one or several URLs. Raises StoreOpenError for bad ones."""

    def __init__(self, options: StoreOptions) -> None:
        credentials = _credentials(options)
        self._endpoints = [_Endpoint(_checked(url, options), credentials)
                           for url in options.etcd_servers]  # fmt: skip
        self._current = 0

    @property
    def at(self) -> _Endpoint:
        """The endpoint in use."""
        return self._endpoints[self._current]

    def turn(self, lost: _Endpoint) -> None:
        """Use the next URL, unless somebody turned away from ``lost`` already."""
        if lost is self.at:
            self._current = (self._current + 1) % len(self._endpoints)

    async def call(
        self,
        method: Callable[[_Endpoint], Any],
        request: Any,
        *,
        revision: int = 0,
        writes: bool = False,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Any:
        """One unary call. Raises what ``meaning`` says."""
        endpoint = self.at
        try:
            return await method(endpoint)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self.turn(endpoint)
            raise meaning(error, revision, writes=writes) from None

    async def open(self) -> None:
        """Find a URL behind which an etcd works. Raises StoreOpenError."""
        refusals = []
        for index, endpoint in enumerate(self._endpoints):
            self._current = index
            try:
                await _probe(endpoint)
            except grpc.aio.AioRpcError as error:
                refusals.append(f"{endpoint.url}: {_advice(endpoint.url, error)}")
            except StoreOpenError as error:
                refusals.append(f"{endpoint.url}: {error}")
            else:
                return
        raise StoreOpenError("etcd at " + "; ".join(refusals))

    async def close(self) -> None:
        """Close every channel."""
        for endpoint in self._endpoints:
            await endpoint.channel.close()


def meaning(error: grpc.aio.AioRpcError, revision: int, *, writes: bool) -> StoreError:
    """The failure of a call in the words of ``Store``."""
    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.OUT_OF_RANGE:
        if "compacted" in text:
            return CompactedError(revision, revision)
        return FutureRevisionError(revision, 0)
    if "requested lease not found" in text:
        return LeaseNotFoundError(0)
    if "request is too large" in text or (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text
    ):
        return ValueTooLargeError()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = "context deadline exceeded"
    elif text.startswith(_NEVER_SENT):
        return UnavailableError("etcdserver: request timed out: no connection to etcd")
    elif not text.startswith("etcdserver"):
        text = f"etcdserver: connection lost ({text or code.name})"
    if not writes or text.startswith(_NOT_APPLIED):
        return UnavailableError(text)
    return OutcomeUnknownError(text)


async def _probe(endpoint: _Endpoint) -> None:
    await endpoint.kv.Range(
        rpc.RangeRequest(key=b"\0", keys_only=True, limit=1), timeout=CALL_TIMEOUT_S
    )
    status = await endpoint.maintenance.Status(rpc.StatusRequest(), timeout=CALL_TIMEOUT_S)
    version = tuple(int(part) for part in status.version.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise StoreOpenError(f"it is etcd {status.version}; {wanted} or newer is needed")


def _advice(url: str, error: grpc.aio.AioRpcError) -> str:
    """What is wrong there, and what to do."""
    code, text = error.code(), (error.details() or "").rpartition("last error: ")[2]
    secure = url.startswith("https:")
    if "Connection refused" in text:
        return "nothing listens there; start etcd, or name another --etcd URL"
    if "Domain name not found" in text or "DNS" in text:
        return "the name is unknown; correct the --etcd URL"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {CALL_TIMEOUT_S:g}s; is etcd healthy and reachable?"
    if "http1.x" in text or "HTTP/2" in text or code is grpc.StatusCode.UNIMPLEMENTED:
        return "it does not speak the etcd v3 API; name an etcd 3.4 or newer"
    if "WRONG_VERSION_NUMBER" in text:
        return "it does not speak TLS; use http://"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not from the given authority; set --etcd-cafile to etcd's CA"
    if secure and code is grpc.StatusCode.UNAVAILABLE:
        return f"TLS failed; check --etcd-cafile, --etcd-certfile and --etcd-keyfile ({text})"
    if code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED} or (
        "user name is empty" in text
    ):
        return f"it refuses us ({text}); give a client certificate that it trusts (--etcd-certfile)"
    if not secure and code is grpc.StatusCode.UNAVAILABLE:
        return f"it closed the connection; does it want https:// ? ({text})"
    return f"{text or code.name}"


def _checked(url: str, options: StoreOptions) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise StoreOpenError(f"--etcd {url!r}: use http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.path.strip("/"):
        raise StoreOpenError(f"--etcd {url!r}: a URL of etcd has neither user nor path")
    tls = options.etcd_cafile or options.etcd_certfile or options.etcd_keyfile
    if parts.scheme == "http" and tls:
        raise StoreOpenError(f"--etcd {url!r}: certificates are given, so use https://")
    return url.rstrip("/")


def _credentials(options: StoreOptions) -> Any:
    secure = [urlsplit(url).scheme == "https" for url in options.etcd_servers]
    if not any(secure):
        return None
    if not all(secure):
        raise StoreOpenError("--etcd: use either http:// or https:// for all URLs")
    if bool(options.etcd_certfile) != bool(options.etcd_keyfile):
        raise StoreOpenError("--etcd-certfile and --etcd-keyfile belong together")
    names: Sequence[str] = (options.etcd_cafile, options.etcd_keyfile, options.etcd_certfile)
    contents = []
    for name in names:
        try:
            contents.append(Path(name).read_bytes() if name else None)
        except OSError as error:
            raise StoreOpenError(f"{name}: {error.strerror}; name a readable PEM file") from error
    return grpc.ssl_channel_credentials(*contents)
