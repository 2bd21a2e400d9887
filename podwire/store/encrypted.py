"""A store whose values are encrypted below those who read it, key by key.

What lies in the engine, its journal or its etcd is what upstream writes: the provider's prefix with
the name of the key, then nonce and ciphertext. Readers and watchers see plain values.
Source: apiserver pkg/storage/value (transformer.go) and its encrypt/aes and encrypt/identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from podwire.store.model import (
    Compare,
    Deliver,
    Event,
    KeyValue,
    Lost,
    Op,
    Page,
    Progress,
    Put,
    Store,
    StoreError,
    TxnResult,
    Watch,
)

PREFIX = b"k8s:enc:"
"""How every encrypted value begins."""
_NONCE_BYTES = 12
_BLOCK_BYTES = 16

Secret = Callable[[int], bytes]


class DecryptionError(StoreError):
    """A value that no configured key opens; the message names its key in the store."""


class Provider(Protocol):
    """One way to keep a value. ``prefix`` tells which values are its own."""

    prefix: bytes

    def seal(self, value: bytes, about: bytes, secret: Secret, /) -> bytes:
        """The value as it is stored; ``about`` (the path of the key) is authenticated with it."""

    def open(self, stored: bytes, about: bytes, /) -> bytes:
        """The value again. Raises ValueError when this key does not open it."""


class AesGcm:
    """AES-GCM with a random nonce of 12 bytes before the ciphertext, as upstream's ``aesgcm``."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = PREFIX + b"aesgcm:v1:" + name.encode() + b":"
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, about: bytes, secret: Secret) -> bytes:
        """Provider."""
        nonce = secret(_NONCE_BYTES)
        return self.prefix + nonce + self._cipher.encrypt(nonce, value, about)

    def open(self, stored: bytes, about: bytes) -> bytes:
        """Provider."""
        at = len(self.prefix)
        nonce, sealed = stored[at : at + _NONCE_BYTES], stored[at + _NONCE_BYTES :]
        if len(nonce) < _NONCE_BYTES:
            raise ValueError("the stored data was shorter than the required size")
        try:
            return self._cipher.decrypt(nonce, sealed, about)
        except InvalidTag:
            raise ValueError("cipher: message authentication failed") from None


class AesCbc:
    """AES-CBC with PKCS#7 padding after a random vector, as upstream's ``aescbc``: it notices
    neither a changed value nor one that was moved to another key.
    """

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = PREFIX + b"aescbc:v1:" + name.encode() + b":"
        self._key = algorithms.AES(key)

    def seal(self, value: bytes, _about: bytes, secret: Secret) -> bytes:
        """Provider; the path is not authenticated."""
        vector = secret(_BLOCK_BYTES)
        padder = padding.PKCS7(_BLOCK_BYTES * 8).padder()
        encryptor = Cipher(self._key, modes.CBC(vector)).encryptor()
        padded = padder.update(value) + padder.finalize()
        return self.prefix + vector + encryptor.update(padded) + encryptor.finalize()

    def open(self, stored: bytes, _about: bytes) -> bytes:
        """Provider."""
        at = len(self.prefix)
        vector, sealed = stored[at : at + _BLOCK_BYTES], stored[at + _BLOCK_BYTES :]
        if len(vector) < _BLOCK_BYTES or not sealed or len(sealed) % _BLOCK_BYTES:
            raise ValueError("the stored data is not a multiple of the block size")
        decryptor = Cipher(self._key, modes.CBC(vector)).decryptor()
        unpadder = padding.PKCS7(_BLOCK_BYTES * 8).unpadder()
        try:
            return unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + (
                unpadder.finalize()
            )
        except ValueError:
            raise ValueError("invalid padding on input") from None


class Identity:
    """The value as it is; what another provider encrypted is not read as if it were plain."""

    prefix = b""

    def seal(self, value: bytes, _about: bytes, _secret: Secret) -> bytes:
        """Provider."""
        return value

    def open(self, stored: bytes, _about: bytes) -> bytes:
        """Provider."""
        if stored.startswith(PREFIX):
            raise ValueError("identity transformer tried to read encrypted data")
        return stored


Choose = Callable[[str], Sequence[Provider] | None]
"""The providers of a key: the first writes, all read. None: the key's value stays as it is."""


class EncryptedStore:
    """``inner``, with the values of some keys encrypted. ``path`` is what ``inner`` puts before
    keys itself: the path that is authenticated is the whole one.
    """

    def __init__(self, inner: Store, choose: Choose, secret: Secret, path: str = "") -> None:
        self._inner = inner
        self._choose = choose
        self._secret = secret
        self._path = path
        self._stale: dict[str, None] = {}

    def stale(self, key: str) -> bool:
        """Whether the key's value, as last seen, was not written by its first provider: writing
        the same value again is then worth something.
        """
        return key in self._stale

    # ---------------------------------------------------------------- values

    def _sealed(self, op: Op) -> Op:
        if not isinstance(op, Put):
            return op
        providers = self._choose(op.key)
        if providers is None:
            return op
        about = (self._path + op.key).encode()
        return op._replace(value=providers[0].seal(op.value, about, self._secret))

    def _opened(self, kv: KeyValue, *, now: bool = True) -> KeyValue:
        """A pair with its plain value; ``now``: it is what the key holds now."""
        providers = self._choose(kv.key)
        if providers is None:
            return kv
        about, stored, why = (self._path + kv.key).encode(), kv.value, ""
        for provider in providers:
            if not stored.startswith(provider.prefix):
                continue
            try:
                value = provider.open(stored, about)
            except ValueError as error:
                why = why or str(error)
                continue
            if now and provider is not providers[0]:
                self._stale[kv.key] = None
            elif now:
                self._stale.pop(kv.key, None)
            return kv if value is stored else msgspec.structs.replace(kv, value=value)
        raise DecryptionError(
            f"cannot decrypt {self._path}{kv.key}: {why or 'no matching key'}; it was written with "
            "another key: add that to the providers in --encryption-provider-config"
        )

    def _event(self, event: Event) -> Event:
        if self._choose(event.key) is None:
            return event
        kv = previous = None
        if event.previous is not None:
            previous = self._opened(event.previous, now=False)
        if event.kv is not None:
            kv = self._opened(event.kv)
        else:
            self._stale.pop(event.key, None)
        return Event(event.revision, event.key, kv, previous)

    # ---------------------------------------------------------------- the store

    @property
    def known_revision(self) -> int | None:
        """Store."""
        return self._inner.known_revision

    async def revision(self) -> int:
        """Store."""
        return await self._inner.revision()

    async def get(self, key: str, revision: int = 0) -> KeyValue | None:
        """Store. Raises DecryptionError besides."""
        kv = await self._inner.get(key, revision)
        return None if kv is None else self._opened(kv, now=not revision)

    async def range(
        self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0
    ) -> Page:
        """Store. Raises DecryptionError besides."""
        page = await self._inner.range(prefix, revision=revision, after=after, limit=limit)
        kvs = [self._opened(kv, now=not revision) for kv in page.kvs]
        return Page(kvs, page.revision, page.more)

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """Store."""
        return await self._inner.txn(compares, [self._sealed(op) for op in ops])

    async def watch(
        self,
        prefix: str,
        revision: int,
        deliver: Deliver,
        lost: Lost | None = None,
        progress: Progress | None = None,
    ) -> Watch:
        """Store. The watch is lost with a DecryptionError at a value that no key opens."""
        over = False

        def opened(events: Sequence[Event]) -> None:
            nonlocal over
            if over:
                return
            try:
                plain = [self._event(event) for event in events]
            except DecryptionError as error:
                over = True
                if lost is not None:
                    asyncio.get_running_loop().call_soon(lost, error)
                return
            deliver(plain)

        return await self._inner.watch(prefix, revision, opened, lost, progress)

    async def compact(self, revision: int) -> None:
        """Store."""
        await self._inner.compact(revision)

    async def grant(self, ttl_s: float) -> int:
        """Store."""
        return await self._inner.grant(ttl_s)

    async def revoke(self, lease: int) -> None:
        """Store."""
        await self._inner.revoke(lease)

    async def check(self) -> None:
        """Store."""
        await self._inner.check()

    async def close(self) -> None:
        """Store."""
        await self._inner.close()
