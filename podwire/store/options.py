"""Where the cluster's state is kept, as it is said on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """In memory unless told otherwise. The etcd fields are named as kube-apiserver's flags."""

    data_dir: Path | None = None
    etcd_servers: tuple[str, ...] = ()
    etcd_prefix: str = ""
    """Put before every key: what lets two clusters share one etcd."""
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""
    encryption_provider_config: Path | None = None
    """An EncryptionConfiguration: which resources are encrypted, with which keys."""

    @property
    def keeps(self) -> bool:
        """Whether the state outlives the process."""
        return self.data_dir is not None or bool(self.etcd_servers)
