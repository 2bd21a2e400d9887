"""Kubelet's view of its node's disk, kept true by watching the fabric."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from podwire.client.counters import Fabric
from podwire.runtime.tasks import Nursery


def kept(rel: str) -> str:
    """The folder that stays when a file or folder is removed; "" for none."""
    parent = rel.rstrip("/").rpartition("/")[0]
    return f"{parent}/" if parent else ""


def check_place(rel: str, files: Mapping[str, bytes]) -> None:
    """Whether a file or a folder may lie there. Raises OSError (EISDIR, EEXIST, ENOTDIR)."""
    bare = rel.rstrip("/")
    if bare != rel and bare in files:
        raise FileExistsError(errno.EEXIST, "File exists", rel)
    if bare == rel and f"{rel}/" in files:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", rel)
    while (bare := bare.rpartition("/")[0]) != "":
        if bare in files:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", rel)


class NodeDisk:
    """The paths that some hostPath mounts show, mirrored so that programs can read at once."""

    def __init__(self, fabric: Fabric, node: str, nursery: Nursery) -> None:
        self._fabric = fabric
        self._node = node
        self._nursery = nursery
        self._files: dict[str, bytes] = {}
        self._watched: dict[str, None] = {}

    async def mirror(self, path: str) -> None:
        """Make a path readable: returns when its present content is here."""
        path = path.rstrip("/") or "/"
        if path in self._watched:
            return
        await self._refresh(path)
        for found in await self._fabric.list_files(self._node, path):
            await self._refresh(found)
        if path not in self._watched:
            self._watched[path] = None
            self._nursery.start(self._follow(path), name=f"disk {self._node}:{path}")

    async def _follow(self, path: str) -> None:
        async for changed in self._fabric.watch_files(self._node, path):
            await self._refresh(changed)

    async def _refresh(self, path: str) -> None:
        try:
            self._files[path] = await self._fabric.read_file(self._node, path)
        except (FileNotFoundError, IsADirectoryError):
            self._files.pop(path, None)

    def read(self, path: str) -> bytes:
        """A mirrored file. Raises FileNotFoundError."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    def list(self, path: str) -> list[str]:
        """Sorted mirrored files below a path."""
        below = f"{path.rstrip('/')}/"
        return sorted(p for p in self._files if p.startswith(below))

    async def write(self, path: str, data: bytes) -> None:
        """Write a file; the writer sees it at once, others through their own watches. Raises
        OSError (EISDIR, EEXIST, ENOTDIR).
        """
        check_place(path, self._files)
        self._files[path] = data
        await self._fabric.write_file(self._node, path, data)

    async def remove(self, path: str) -> None:
        """Remove a file; its folder stays. Raises FileNotFoundError."""
        self.read(path)
        del self._files[path]
        await self._fabric.remove_file(self._node, path)
        folder = kept(path)
        if folder and not any(known.startswith(folder) for known in self._files):
            await self.write(folder, b"")
