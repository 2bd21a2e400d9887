"""Volumes that kubelet writes: configMap, secret, downwardAPI and projected ones.

Layout of pkg/volume/util (AtomicWriter): the files lie in a folder named after the time of writing,
``..data`` is a link to it, and what programs read are links through ``..data``; an update writes a
new folder and changes that one link.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from typing import NamedTuple

from podwire.kubelet.files import DIRECTORY_BYTES, Stat, read_only

DATA = "..data"
MEMORY_MODE = 0o1777
"""Of the root of a volume in memory: secrets, tokens, downward files."""
DISK_MODE = 0o777
"""Of the root of a configMap volume."""
_GROUP_FILE, _GROUP_FOLDER = 0o440, 0o550 | stat.S_ISGID
"""What a pod's fsGroup adds to the modes of a read-only volume (SetVolumeOwnership)."""


class Item(NamedTuple):
    """One file of the payload."""

    data: bytes
    mode: int
    uid: int = 0


Payload = Mapping[str, Item]
"""By path below the volume's root."""


class AtomicFiles:
    """A volume of this kind (a mount: ``files.Source``)."""

    def __init__(
        self,
        payload: Payload,
        root_mode: int,
        group: int | None,
        stamp: Callable[[], tuple[str, int]],
    ) -> None:
        """``group`` is the pod's fsGroup; ``stamp`` gives a new folder's name and wall time."""
        self._root_mode = root_mode
        self._group = group
        self._stamp = stamp
        self._put(payload)

    def _put(self, payload: Payload) -> None:
        self._payload = payload
        self._folder, self._time_ns = self._stamp()

    def update(self, payload: Payload) -> None:
        """Swap the content; nothing happens when it is the same."""
        if payload != self._payload:
            self._put(payload)

    def frozen(self) -> AtomicFiles:
        """What a subPath mount shows: the present files for ever."""
        folder, time_ns = self._folder, self._time_ns
        return AtomicFiles(self._payload, self._root_mode, self._group, lambda: (folder, time_ns))

    def _inner(self, rel: str) -> str:
        head, _, rest = rel.partition("/")
        return rest if head in {DATA, self._folder} else rel

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        try:
            return self._payload[self._inner(rel)].data
        except KeyError:
            raise FileNotFoundError(rel) from None

    def list(self) -> list[str]:
        """All files, by their links and in their folder."""
        return [*self._payload, *(f"{self._folder}/{path}" for path in self._payload)]

    def links(self) -> dict[str, str]:
        """The links of the root."""
        tops = dict.fromkeys(path.partition("/")[0] for path in self._payload)
        return {DATA: self._folder, **{top: f"{DATA}/{top}" for top in tops}}

    def lstat(self, rel: str) -> Stat:
        """What lies there, links not followed. Raises FileNotFoundError."""
        group, plus_file, plus_folder = 0, 0, 0
        if self._group is not None:
            group, plus_file, plus_folder = self._group, _GROUP_FILE, _GROUP_FOLDER
        target = self.links().get(rel)
        if target is not None:
            return Stat(stat.S_IFLNK | 0o777, 0, 0, len(target), self._time_ns, target)
        item = self._payload.get(self._inner(rel))
        if item is not None:
            mode = stat.S_IFREG | item.mode | plus_file
            return Stat(mode, item.uid, group, len(item.data), self._time_ns)
        mode = self._root_mode if not rel else 0o755
        if rel not in {"", self._folder}:
            below = f"{self._inner(rel)}/"
            if not any(path.startswith(below) for path in self._payload):
                raise FileNotFoundError(rel)
        mode |= stat.S_IFDIR | plus_folder
        return Stat(mode, 0, group, DIRECTORY_BYTES, self._time_ns)

    async def write(self, rel: str, data: bytes) -> None:
        """Refused: raises OSError (EROFS)."""
        raise read_only(f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises FileNotFoundError, OSError (EROFS)."""
        self.read(rel)
        raise read_only(rel)
