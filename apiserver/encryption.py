"""``--encryption-provider-config``: which resources are encrypted in the store, with which keys.

Source: apiserver pkg/apis/apiserver/v1 (EncryptionConfiguration), its validation, and
pkg/server/options/encryptionconfig.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from structlog.typing import FilteringBoundLogger

from podwire.api import kinds
from podwire.apiserver import configfile
from podwire.apiserver.configfile import ConfigFileError
from podwire.runtime.entropy import Secret
from podwire.runtime.ports import Clock, TraceLog
from podwire.store import Store, StoreOpenError, StoreOptions, open_store
from podwire.store.encrypted import AesCbc, AesGcm, EncryptedStore, Identity, Provider

_KEY_BYTES = (16, 24, 32)
_NOT_MODELLED = ("kms", "secretbox")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Key(_Model):
    """A named AES key, base64."""

    name: str = Field(min_length=1, max_length=253, pattern=r"^[^:\s]+$")
    secret: str = Field(repr=False)

    @field_validator("secret")
    @classmethod
    def of_right_length(cls, value: str) -> str:
        """16, 24 or 32 bytes."""
        try:
            size = len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("secret must be base64 encoded") from None
        if size not in _KEY_BYTES:
            raise ValueError(
                f"secret is not of the expected length, got {size}, expected one of [16 24 32]"
            )
        return value

    @property
    def data(self) -> bytes:
        """The key."""
        return base64.b64decode(self.secret)


class Keys(_Model):
    """The keys of one provider, tried in order."""

    keys: list[Key] = Field(min_length=1, max_length=100)


class Nothing(_Model):
    """``identity: {}``."""


class ProviderConfiguration(_Model):
    """One provider: exactly one of the fields."""

    aesgcm: Keys | None = None
    aescbc: Keys | None = None
    identity: Nothing | None = None

    @model_validator(mode="before")
    @classmethod
    def exactly_one(cls, value: Any) -> Any:
        """Refuse none, several, and those that are not modelled."""
        if not isinstance(value, dict):
            return value
        for name in _NOT_MODELLED:
            if name in value:
                raise ValueError(f"provider {name} is not modelled; use aesgcm, aescbc or identity")
        if len(value) != 1:
            raise ValueError("provider must contain exactly one of aesgcm, aescbc, identity")
        return {name: {} if name == "identity" and found is None else found
                for name, found in value.items()}  # fmt: skip

    def providers(self) -> list[Provider]:
        """One for each key."""
        if self.aesgcm is not None:
            return [AesGcm(key.name, key.data) for key in self.aesgcm.keys]
        if self.aescbc is not None:
            return [AesCbc(key.name, key.data) for key in self.aescbc.keys]
        return [Identity()]


class ResourceConfiguration(_Model):
    """Resources (``secrets``, ``widgets.example.com``, ``*.apps``, ``*.*``) and their providers."""

    resources: list[str] = Field(min_length=1)
    providers: list[ProviderConfiguration] = Field(min_length=1)

    def covers(self, plural: str, group: str) -> bool:
        """Whether a resource is meant."""
        own = f"{plural}.{group}" if group else plural
        return any(
            name in {own, f"{plural}.{group}", f"*.{group}", "*.*"} for name in self.resources
        )


class EncryptionConfiguration(_Model):
    """The file. The first entry that names a resource counts for it."""

    api_version: Literal["apiserver.config.k8s.io/v1"] = Field(alias="apiVersion")
    kind: Literal["EncryptionConfiguration"]
    resources: list[ResourceConfiguration] = Field(min_length=1)


class Chooser:
    """``Choose`` by the resource that a key's path names."""

    def __init__(self, config: EncryptionConfiguration) -> None:
        self._entries = [
            (entry, [p for one in entry.providers for p in one.providers()])
            for entry in config.resources
        ]
        self._groups = {kind.plural: kind.group for kind in kinds.STORED}
        self._known: dict[tuple[str, str], Sequence[Provider] | None] = {}

    def __call__(self, key: str) -> Sequence[Provider] | None:
        """The providers of a key such as ``/registry/secrets/default/a``."""
        parts = key.split("/", 4)
        if len(parts) < 4 or parts[1] != "registry":
            return None
        custom = "." in parts[2]
        name = (parts[3], parts[2]) if custom else (parts[2], self._groups.get(parts[2], "?"))
        if name not in self._known:
            self._known[name] = self._find(*name)
        return self._known[name]

    def _find(self, plural: str, group: str) -> Sequence[Provider] | None:
        if group == "?":
            return None  # no object: an allocation
        return next((made for entry, made in self._entries if entry.covers(plural, group)), None)


def load(file: Path) -> Chooser:
    """The configuration in a file. Raises StoreOpenError: one line for each wrong field."""
    try:
        found = configfile.read(file, secret=True)  # its text may be a key
    except OSError as error:
        raise StoreOpenError(
            f"--encryption-provider-config {file}: {error.strerror}; name a readable file"
        ) from error
    except ConfigFileError as error:
        raise StoreOpenError(str(error)) from None
    try:
        return Chooser(EncryptionConfiguration.model_validate(found))
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(map(str, one['loc'])) or 'configuration'}: {one['msg']}"
            for one in error.errors(include_input=False)
        ]
        raise StoreOpenError("; ".join(lines)) from None


async def open_encrypted(
    options: StoreOptions, clock: Clock, trace: TraceLog, log: FilteringBoundLogger, secret: Secret
) -> Store:
    """``open_store``, with the encryption that the options ask for. Raises StoreOpenError."""
    file = options.encryption_provider_config
    chooser = load(file) if file is not None else None
    store = await open_store(options, clock, trace, log)
    if chooser is None:
        return store
    path = options.etcd_prefix if options.etcd_servers else ""
    return EncryptedStore(store, chooser, secret, path)
