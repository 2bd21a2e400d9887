"""A container's files: mounts over a writable layer that lives as long as the instance."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Protocol

from podwire.kubelet.disk import NodeDisk


class Source(Protocol):
    """What a mount shows. ``rel`` is the path below the mount, "" the mount point itself."""

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""

    def list(self) -> Iterable[str]:
        """All files as relative paths ("" when the mount point itself is a file)."""

    async def write(self, rel: str, data: bytes) -> None:
        """Create or replace a file. Raises OSError where that is not allowed."""

    async def remove(self, rel: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError where that is not allowed."""


class ReadOnly:
    """A fixed or replaceable set of files: ConfigMap, Secret, projected and downward volumes."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        try:
            return self.files[rel]
        except KeyError:
            raise FileNotFoundError(rel) from None

    def list(self) -> Iterable[str]:
        """All files."""
        return self.files

    async def write(self, rel: str, data: bytes) -> None:
        """Refused: raises OSError (EROFS)."""
        raise _read_only(f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises FileNotFoundError, OSError (EROFS)."""
        self.read(rel)
        raise _read_only(rel)


class Writable:
    """Files in memory: an emptyDir, or a container's own layer."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        try:
            return self.files[rel]
        except KeyError:
            raise FileNotFoundError(rel) from None

    def list(self) -> Iterable[str]:
        """All files."""
        return self.files

    async def write(self, rel: str, data: bytes) -> None:
        """Create or replace a file."""
        self.files[rel] = data

    async def remove(self, rel: str) -> None:
        """Remove a file. Raises FileNotFoundError."""
        self.read(rel)
        del self.files[rel]


class HostFiles:
    """A path of the node's disk (hostPath); what is written lands on that disk."""

    def __init__(self, disk: NodeDisk, path: str) -> None:
        self._disk = disk
        self._path = path.rstrip("/")

    def _full(self, rel: str) -> str:
        return f"{self._path}/{rel}" if rel else self._path

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        return self._disk.read(self._full(rel))

    def list(self) -> Iterable[str]:
        """All files below the path."""
        cut = len(self._path) + 1
        return [path[cut:] for path in self._disk.list(self._path)]

    async def write(self, rel: str, data: bytes) -> None:
        """Write through to the node's disk."""
        await self._disk.write(self._full(rel), data)

    async def remove(self, rel: str) -> None:
        """Remove it from the node's disk. Raises FileNotFoundError."""
        await self._disk.remove(self._full(rel))


class SubPath:
    """A volumeMount with subPath: one file or folder of a volume."""

    def __init__(self, source: Source, sub_path: str) -> None:
        self._source = source
        self._sub = sub_path.strip("/")

    def _inner(self, rel: str) -> str:
        return f"{self._sub}/{rel}" if rel else self._sub

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        return self._source.read(self._inner(rel))

    def list(self) -> Iterable[str]:
        """All files below the sub path."""
        prefix = f"{self._sub}/"
        found = self._source.list()
        return ["" if p == self._sub else p[len(prefix) :] for p in found
                if p == self._sub or p.startswith(prefix)]  # fmt: skip

    async def write(self, rel: str, data: bytes) -> None:
        """Write to the volume below the sub path."""
        await self._source.write(self._inner(rel), data)

    async def remove(self, rel: str) -> None:
        """Remove from the volume. Raises FileNotFoundError."""
        await self._source.remove(self._inner(rel))


class Guarded:
    """A volumeMount with readOnly: the volume's live content, without writing."""

    def __init__(self, source: Source) -> None:
        self.read = source.read
        self.list = source.list

    async def write(self, rel: str, data: bytes) -> None:
        """Refused: raises OSError (EROFS)."""
        raise _read_only(f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises FileNotFoundError, OSError (EROFS)."""
        self.read(rel)
        raise _read_only(rel)


class FileView:
    """All files of one container instance."""

    def __init__(self, mounts: Iterable[tuple[str, Source]]) -> None:
        # The longest mount path decides, whatever the order of volumeMounts.
        self._mounts = sorted(mounts, key=lambda mount: -len(mount[0]))
        self._layer = Writable()

    def _find(self, path: str) -> tuple[Source, str]:
        for mount, source in self._mounts:
            if path == mount:
                return source, ""
            if path.startswith(mount if mount == "/" else f"{mount}/"):
                return source, path[len(mount) :].lstrip("/")
        return self._layer, path

    def read(self, path: str) -> bytes:
        """A file by absolute path. Raises FileNotFoundError."""
        source, rel = self._find(normal(path))
        try:
            return source.read(rel)
        except FileNotFoundError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    async def write(self, path: str, data: bytes) -> None:
        """Create or replace a file. Raises OSError on a read-only mount."""
        source, rel = self._find(normal(path))
        await source.write(rel, data)

    async def remove(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError on a read-only mount."""
        source, rel = self._find(normal(path))
        await source.remove(rel)

    def list(self, prefix: str) -> list[str]:
        """Sorted absolute paths of the files below (or at) a path."""
        wanted = normal(prefix)
        below = wanted if wanted == "/" else f"{wanted}/"
        paths = dict.fromkeys(self._layer.list())
        for mount, source in reversed(self._mounts):
            if mount == wanted or mount.startswith(below) or below.startswith(f"{mount}/"):
                paths.update(dict.fromkeys(f"{mount}/{r}" if r else mount for r in source.list()))
        return sorted(path for path in paths if path == wanted or path.startswith(below))


def _read_only(what: str) -> OSError:
    return OSError(errno.EROFS, "Read-only file system", what)


def normal(path: str) -> str:
    """An absolute path without double slashes, ``.`` and ``..``."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)
