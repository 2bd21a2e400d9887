"""What of a cluster outlives its process besides its objects: its name, keys, token, port.

In a data directory they are files for their owner only (``pki/{ca,front-proxy-ca}.{crt,key}``,
``pki/sa.key``, ``token``, ``cluster.json``); without one, in etcd, a key beside the objects. Who
reads that etcd reads the cluster's Secrets as well, so the key adds nobody to those who can rule
the cluster.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from podwire.apiserver import frontproxy
from podwire.apiserver.certs import Authority, Pair
from podwire.apiserver.encryption import open_encrypted
from podwire.apiserver.tokens import new_signing_key
from podwire.runtime.env import Env
from podwire.runtime.files import write_private
from podwire.sim.settings import ClusterSettings
from podwire.store import (
    Compare,
    Put,
    Store,
    StoreError,
    StoreOpenError,
    StoreOptions,
)

__all__ = ["Identity", "Kept", "StoreError", "StoreOptions", "open_kept"]

_KEY = "/podwire/cluster"
_FRONT_PROXY = "pki/front-proxy-ca"

T = TypeVar("T")


class Identity(msgspec.Struct):
    """Who the cluster is."""

    name: str
    cni: str
    certificate: bytes
    key: bytes
    token: str
    port: int = 0
    """Where the API server listened last."""
    accounts_key: bytes = b""
    """The key that signs service accounts' tokens."""
    front_proxy_certificate: bytes = b""
    front_proxy_key: bytes = b""
    """The authority that vouches for front proxies."""

    @property
    def front_proxy(self) -> Pair:
        """That authority."""
        return Pair(self.front_proxy_certificate, self.front_proxy_key)

    def machine_id(self, node: str) -> str:
        """The machine-id of a node, which survives reboots as on a real disk."""
        return hashlib.blake2b(self.certificate + node.encode(), digest_size=16).hexdigest()


class _Card(msgspec.Struct):
    """``cluster.json``."""

    name: str
    cni: str
    port: int = 0


class Kept:
    """An opened store and the identity that belongs to it."""

    def __init__(
        self,
        env: Env,
        store: Store,
        authority: Authority,
        identity: Identity,
        options: StoreOptions,
    ) -> None:
        self.env = env
        """The environment of this life: a seed given again does not repeat the last one's ids."""
        self.store = store
        self.authority = authority
        self.identity = identity
        self.options = options

    async def keep_port(self, port: int) -> None:
        """Remember where the API server listens: kubeconfigs stay true. Raises StoreError."""
        if port != self.identity.port:
            self.identity.port = port
            await _save(self.options, self.store, self.identity)


async def open_kept(env: Env, settings: ClusterSettings, options: StoreOptions) -> Kept:
    """Open the store and the identity beside it, new ones if there are none.

    Raises StoreOpenError.
    """
    store = await open_encrypted(options, env.clock, env.trace, env.log, env.secret)
    try:
        if not options.keeps:
            authority = Authority(env.secret, env.clock.now_ns())
            return Kept(env, store, authority, _new(env, settings, authority), options)
        revision = await store.revision()
        if revision > 1:
            env = env.child(f"revision {revision}")
        found = await _load(options, store)
        if found is None:
            authority = Authority(env.secret, env.clock.now_ns())
            found = _new(env, settings, authority)
            await _save(options, store, found, new=True)
        elif not found.accounts_key or not found.front_proxy_key:  # an older podwire's
            found.accounts_key = found.accounts_key or new_signing_key(env.secret)
            pair = new_front_proxy(env)
            found.front_proxy_certificate, found.front_proxy_key = pair.certificate, pair.key
            await _save(options, store, found)
        _fit(found, settings, options)
        try:
            pair = Pair(found.certificate, found.key)
            authority = Authority(env.secret, env.clock.now_ns(), pair)
        except ValueError as error:
            raise StoreOpenError(
                f"the CA kept in {_place(options)} is damaged ({error}); restore it from a copy"
            ) from error
        return Kept(env, store, authority, found, options)
    except BaseException:
        await store.close()
        raise


def _new(env: Env, settings: ClusterSettings, authority: Authority) -> Identity:
    pair = authority.pair
    token = env.secret(32).hex()
    accounts_key, front_proxy = new_signing_key(env.secret), new_front_proxy(env)
    return Identity(
        settings.name, settings.cni, pair.certificate, pair.key, token, accounts_key=accounts_key,
        front_proxy_certificate=front_proxy.certificate, front_proxy_key=front_proxy.key,
    )  # fmt: skip


def new_front_proxy(env: Env) -> Pair:
    """A new authority for front proxies."""
    return Authority(env.secret, env.clock.now_ns(), name=frontproxy.AUTHORITY).pair


def _place(options: StoreOptions) -> str:
    return str(options.data_dir) if options.data_dir else f"etcd at {options.etcd_servers[0]}"


def _fit(found: Identity, settings: ClusterSettings, options: StoreOptions) -> None:
    """Refuse to be another cluster than the one that is kept. Raises StoreOpenError."""
    if found.name != settings.name:
        other = "--data-dir" if options.data_dir else "--etcd-prefix"
        raise StoreOpenError(
            f'{_place(options)} holds the cluster "{found.name}"; use --name {found.name}, '
            f"or another {other}"
        )
    if found.cni != settings.cni:
        raise StoreOpenError(
            f"the cluster in {_place(options)} was made with --cni {found.cni}; use that"
        )


# ---------------------------------------------------------------- where it lies


async def _load(options: StoreOptions, store: Store) -> Identity | None:
    if options.data_dir is None:
        kv = await store.get(_KEY)
        return None if kv is None else _decoded(kv.value, Identity, _place(options))
    try:
        return _load_files(options.data_dir)
    except OSError as error:
        raise StoreOpenError(
            f"{error.filename}: {error.strerror}; make it readable for this user"
        ) from error


def _load_files(root: Path) -> Identity | None:
    files = {name: root / name for name in ("pki/ca.crt", "pki/ca.key", "token", "cluster.json")}
    there = [name for name, path in files.items() if path.exists()]
    if not there:
        return None
    missing = [name for name in files if name not in there]
    if missing:
        raise StoreOpenError(
            f"{root / missing[0]} is missing; restore it from a copy, or remove "
            f"{', '.join(there)} to have new ones made (kubeconfigs then change)"
        )
    added = ("pki/sa.key", f"{_FRONT_PROXY}.crt", f"{_FRONT_PROXY}.key")
    later = [(root / name).read_bytes() if (root / name).exists() else b"" for name in added]
    card = _decoded(files["cluster.json"].read_bytes(), _Card, str(files["cluster.json"]))
    return Identity(
        card.name,
        card.cni,
        files["pki/ca.crt"].read_bytes(),
        files["pki/ca.key"].read_bytes(),
        files["token"].read_text().strip(),
        card.port,
        *later,
    )


def _decoded(data: bytes, type_: type[T], place: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.DecodeError as error:
        raise StoreOpenError(f"{place} is damaged ({error}); restore it from a copy") from error


async def _save(
    options: StoreOptions, store: Store, identity: Identity, *, new: bool = False
) -> None:
    if options.data_dir is None:
        compares = [Compare(_KEY, 0)] if new else []
        result = await store.txn(compares, [Put(_KEY, msgspec.json.encode(identity))])
        if not result.succeeded:
            raise StoreOpenError(
                f"somebody else began a cluster in {_place(options)} at this moment; try again"
            )
        return
    try:
        _save_files(options.data_dir, identity, new=new)
    except OSError as error:
        raise StoreOpenError(
            f"{_place(options)}: {error.strerror}; mend that and start again"
        ) from error


def _save_files(root: Path, identity: Identity, *, new: bool) -> None:
    card = msgspec.json.encode(_Card(identity.name, identity.cni, identity.port)) + b"\n"
    if new:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "pki").mkdir(mode=0o700, exist_ok=True)
        write_private(root / "pki/ca.crt", identity.certificate, durable=True)
        write_private(root / "pki/ca.key", identity.key, durable=True)
        write_private(root / "token", f"{identity.token}\n".encode(), durable=True)
    for name, data in (
        ("pki/sa.key", identity.accounts_key),
        (f"{_FRONT_PROXY}.key", identity.front_proxy_key),  # before what would be kept without it
        (f"{_FRONT_PROXY}.crt", identity.front_proxy_certificate),
    ):
        if new or not (root / name).exists():
            write_private(root / name, data, durable=True)
    write_private(root / "cluster.json", card, durable=True)
