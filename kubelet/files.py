"""A container's files: mounts over a writable layer that lives as long as the instance.

Folders are where files lie; one that was made, or whose files went, is a path with a slash at its
end (as archives name them) with no content: so they pass every counter that files pass.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from podwire.client.counters import ContainerUser
from podwire.kubelet.disk import NodeDisk, check_place, kept
from podwire.runtime.ports import Clock

DIRECTORY_BYTES = 4096
MAX_ENTRIES = 65_536
"""Files and folders of one volume in memory (ENOSPC beyond)."""
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095


class Stat(NamedTuple):
    """What ``lstat`` tells of a file, a folder or a link."""

    mode: int
    """With the type's bits (``stat.S_IFMT``)."""
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    time_ns: int = 0
    """Of the last change of its content, wall time."""
    target: str = ""
    """Where a link leads."""


class Change(NamedTuple):
    """What chmod and chown ask for; None leaves what is there."""

    mode: int | None = None
    """Without the type's bits."""
    uid: int | None = None
    gid: int | None = None

    def over(self, older: Change) -> Change:
        """Both, this one last."""
        both = zip(self, older, strict=True)
        return Change(*(new if new is not None else old for new, old in both))

    def applied(self, found: Stat) -> Stat:
        """A file as it is told after the change."""
        mode, uid, gid = self.over(Change(found.mode & 0o7777, found.uid, found.gid))
        return found._replace(
            mode=stat.S_IFMT(found.mode) | (mode or 0), uid=uid or 0, gid=gid or 0
        )


class Readable(Protocol):
    """What can be read and listed."""

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""

    def list(self) -> Iterable[str]:
        """All files as relative paths, and folders that were made."""


def plain(source: Readable, rel: str) -> Stat:
    """Root's file or folder of the usual mode; folders are where files lie. FileNotFoundError."""
    try:
        return Stat(stat.S_IFREG | 0o644, size_bytes=len(source.read(rel)))
    except FileNotFoundError:
        below = f"{rel}/" if rel else ""
        if rel and not any(path.startswith(below) for path in source.list()):
            raise
    return Stat(stat.S_IFDIR | 0o755, size_bytes=DIRECTORY_BYTES)


class Source(Protocol):
    """What a mount shows. ``rel`` is the path below the mount, "" the mount point itself."""

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""

    def list(self) -> Iterable[str]:
        """All files as relative paths ("" when the mount point itself is a file)."""

    def links(self) -> Mapping[str, str]:
        """All symbolic links with their targets."""

    def lstat(self, rel: str) -> Stat:
        """What lies there, links not followed. Raises FileNotFoundError."""

    async def write(self, rel: str, data: bytes) -> None:
        """Create or replace a file. Raises OSError where that is not allowed."""

    async def remove(self, rel: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError where that is not allowed."""


class _Plain:
    """Files of root's without links."""

    def links(self) -> Mapping[str, str]:
        """None."""
        return {}

    def lstat(self: Source, rel: str) -> Stat:
        """See ``plain``."""
        return plain(self, rel)


class ReadOnly(_Plain):
    """A fixed set of files."""

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
        raise read_only(f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises FileNotFoundError, OSError (EROFS)."""
        self.read(rel)
        raise read_only(rel)


class Writable:
    """Files in memory: an emptyDir, or a container's own layer."""

    def __init__(self, mode: int = 0o755, group: int | None = None) -> None:
        """``mode`` is the root's; a pod's fsGroup (``group``) owns all there is."""
        self.files: dict[str, bytes] = {}
        self._made: dict[str, tuple[int, int, int]] = {}
        self._changed: dict[str, Change] = {}
        self._mode = mode if group is None else mode | stat.S_ISGID | 0o770
        self._group = group

    def made(self, rel: str, uid: int, gid: int, time_ns: int) -> None:
        """Who wrote a file, and when; the owner stays who made it."""
        uid, gid, _ = self._made.get(rel, (uid, gid, 0))
        self._made[rel] = uid, gid if self._group is None else self._group, time_ns

    def change(self, rel: str, change: Change) -> None:
        """Another mode or owner."""
        self._changed[rel] = change.over(self._changed.get(rel, Change()))

    def links(self) -> Mapping[str, str]:
        """None: nobody makes any."""
        return {}

    def lstat(self, rel: str) -> Stat:
        """See ``plain``; with mode and owner as far as they are known."""
        return self._changed.get(rel, Change()).applied(self._lstat(rel))

    def _lstat(self, rel: str) -> Stat:
        found = plain(self, rel)
        made_as = rel if rel in self.files else f"{rel}/"
        if made_as in self.files and made_as in self._made:
            uid, gid, time_ns = self._made[made_as]
            return found._replace(uid=uid, gid=gid, time_ns=time_ns)
        group = self._group or 0
        if not rel:
            return found._replace(mode=stat.S_IFDIR | self._mode, gid=group)
        return found._replace(gid=group)

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
        """Create or replace a file. Raises OSError (EISDIR, ENOTDIR, ENOSPC)."""
        check_place(rel, self.files)
        if rel not in self.files and len(self.files) >= MAX_ENTRIES:
            raise OSError(errno.ENOSPC, "No space left on device", rel)
        self.files[rel] = data

    async def remove(self, rel: str) -> None:
        """Remove a file; its folder stays. Raises FileNotFoundError."""
        self.read(rel)
        del self.files[rel]
        self._made.pop(rel, None)
        self._changed.pop(rel, None)
        if folder := kept(rel):
            self.files.setdefault(folder, b"")


class Layer(Writable):
    """A container's own layer over the files of its image, which all its containers share."""

    def __init__(self, image: Mapping[str, bytes]) -> None:
        super().__init__()
        self._image = image
        self._gone: dict[str, None] = {}

    def read(self, rel: str) -> bytes:
        """One file. Raises FileNotFoundError."""
        if rel in self._image and rel not in self.files and rel not in self._gone:
            return self._image[rel]
        return super().read(rel)

    def list(self) -> Iterable[str]:
        """All files."""
        below = (rel for rel in self._image if rel not in self.files and rel not in self._gone)
        return [*self.files, *below]

    async def remove(self, rel: str) -> None:
        """Remove a file; its folder stays. Raises FileNotFoundError."""
        if rel in self._image:
            self.files.setdefault(rel, self.read(rel))
            self._gone[rel] = None
        await super().remove(rel)


class HostFiles(_Plain):
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
        return [path[cut:] for path in self._disk.list(self._path) if len(path) > cut]

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
        self._real = source.links().get(self._sub, self._sub)
        """A mount shows what a link leads to."""

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
                if p == self._sub or (p.startswith(prefix) and p != prefix)]  # fmt: skip

    def links(self) -> Mapping[str, str]:
        """All links below the sub path."""
        prefix = f"{self._sub}/"
        found = self._source.links()
        return {p[len(prefix) :]: found[p] for p in found if p.startswith(prefix)}

    def lstat(self, rel: str) -> Stat:
        """What lies there; kubelet makes the folder that is missing. Raises FileNotFoundError."""
        try:
            return self._source.lstat(self._inner(rel) if rel else self._real)
        except FileNotFoundError:
            if rel:
                raise
        return Stat(stat.S_IFDIR | 0o755, size_bytes=DIRECTORY_BYTES)

    def made(self, rel: str, uid: int, gid: int, time_ns: int) -> None:
        """See ``Writable``."""
        made(self._source, self._inner(rel), uid, gid, time_ns)

    def change(self, rel: str, change: Change) -> None:
        """See ``Writable``. Raises OSError (EROFS)."""
        changed(self._source, self._inner(rel) if rel else self._sub, change)

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
        self.links = source.links
        self.lstat = source.lstat

    async def write(self, rel: str, data: bytes) -> None:
        """Refused: raises OSError (EROFS)."""
        raise read_only(f"{rel} ({len(data)} bytes)")

    async def remove(self, rel: str) -> None:
        """Refused: raises FileNotFoundError, OSError (EROFS)."""
        self.read(rel)
        raise read_only(rel)


def made(source: Source, rel: str, uid: int, gid: int, time_ns: int) -> None:
    """Note who wrote a file, where the source keeps that."""
    if isinstance(source, Writable | SubPath):
        source.made(rel, uid, gid, time_ns)


def changed(source: Source, rel: str, change: Change) -> None:
    """Change mode or owner where the source keeps that; a node's disk does not.

    Raises OSError (EROFS).
    """
    if isinstance(source, Writable | SubPath):
        source.change(rel, change)
    elif not isinstance(source, HostFiles):
        raise read_only(rel)


class FileView:
    """All files of one container instance."""

    def __init__(
        self, mounts: Iterable[tuple[str, Source]], user: ContainerUser, clock: Clock,
        image: Mapping[str, bytes] = {},
    ) -> None:  # fmt: skip
        self._user = user
        self._clock = clock
        # The longest mount path decides, whatever the order of volumeMounts.
        self._mounts = sorted(mounts, key=lambda mount: -len(mount[0]))
        self._layer = Layer(image)

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
        """Create or replace a file, or make a folder (a slash at the end). Raises OSError."""
        source, rel = self._place(path)
        await source.write(rel, data)
        made(source, rel, self._user.uid, self._user.gid, self._clock.now_ns())

    async def remove(self, path: str) -> None:
        """Remove a file, or the note of a folder. Raises FileNotFoundError, OSError."""
        source, rel = self._place(path)
        await source.remove(rel)

    def _place(self, path: str) -> tuple[Source, str]:
        """Where a change goes. Raises OSError (EBUSY for a mount, EISDIR, ENAMETOOLONG)."""
        where = normal(path)
        if len(where.encode(errors="surrogateescape")) > MAX_PATH_BYTES or any(
            len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES for name in where.split("/")
        ):
            raise OSError(errno.ENAMETOOLONG, "File name too long", path)
        source, rel = self._find(where)
        if not path.endswith("/"):
            if not rel and _is_folder(source):
                raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
            return source, rel
        if where == "/" or not rel:
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        return source, f"{rel}/"

    def lstat(self, path: str) -> Stat:
        """What lies at a path, links not followed. Raises FileNotFoundError."""
        path = normal(path)
        source, rel = self._find(path)
        try:
            return source.lstat(rel)
        except FileNotFoundError:
            below = path if path == "/" else f"{path}/"
            if path != "/" and not any(mount.startswith(below) for mount, _ in self._mounts):
                raise
        return Stat(stat.S_IFDIR | 0o755, size_bytes=DIRECTORY_BYTES)

    def change(self, path: str, change: Change) -> None:
        """Another mode or owner for what lies at a path. Raises OSError (ENOENT, EROFS)."""
        self.lstat(path)
        source, rel = self._find(normal(path))
        changed(source, rel, change)

    def links(self, prefix: str) -> dict[str, str]:
        """Symbolic links below a path, with their targets."""
        wanted = normal(prefix)
        below = wanted if wanted == "/" else f"{wanted}/"
        found = {f"{m}/{r}": to for m, s in self._mounts for r, to in s.links().items()}
        return {path: found[path] for path in sorted(found) if path.startswith(below)}

    def list(self, prefix: str) -> list[str]:
        """Sorted absolute paths of the files below (or at) a path."""
        wanted = normal(prefix)
        below = wanted if wanted == "/" else f"{wanted}/"
        paths = dict.fromkeys(
            path for path in self._layer.list() if self._find(path)[0] is self._layer
        )
        for mount, source in reversed(self._mounts):
            if mount == wanted or mount.startswith(below) or below.startswith(f"{mount}/"):
                shown = [f"{mount}/{r}" if r else mount for r in source.list()]
                paths.update(dict.fromkeys(shown or [f"{mount}/"]))
        return sorted(path for path in paths if path == wanted or path.startswith(below))


def _is_folder(source: Source) -> bool:
    return stat.S_ISDIR(source.lstat("").mode)


def read_only(what: str) -> OSError:
    """The error of a file system that takes nothing."""
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
