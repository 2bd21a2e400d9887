"""The disks of the nodes: files by absolute path, and watchers that hear of every change."""

from __future__ import annotations

from collections.abc import AsyncIterator

from podwire.runtime.tasks import Event


class _Watcher:
    """Paths that changed since the reader last looked, in order, each once."""

    def __init__(self, prefix: str, existing: list[str]) -> None:
        self.prefix = prefix
        self.changed = dict.fromkeys(existing)
        self.wake = Event()

    def notify(self, path: str) -> None:
        self.changed[path] = None
        self.wake.set()


class Disk:
    """One node's files. Folders are where files lie; one that was made is a file without content
    whose path ends with a slash.
    """

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._watchers: dict[_Watcher, None] = {}

    def read(self, path: str) -> bytes:
        """A file's content. Raises FileNotFoundError."""
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file; watchers hear of it even when the content is the same."""
        self._files[path] = data
        self.tell(path)

    def remove(self, path: str) -> None:
        """Remove a file; harmless when absent."""
        if self._files.pop(path, None) is not None:
            self.tell(path)

    def paths(self, prefix: str) -> list[str]:
        """Sorted paths that begin with ``prefix``."""
        return sorted(path for path in self._files if path.startswith(prefix))

    def entries(self, directory: str) -> list[str]:
        """Sorted names directly inside a directory (what ``ls`` shows)."""
        root = directory.rstrip("/") + "/"
        inside = [path[len(root) :] for path in self.paths(root) if path != root]
        return sorted({path.partition("/")[0]: None for path in inside})

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        return bool(self.paths(path.rstrip("/") + "/"))

    async def watch(self, prefix: str) -> AsyncIterator[str]:
        """Existing paths first, then each path that is written, removed or told to have changed.

        Changes between two looks of the reader coalesce: a path is told once, and what the
        reader then finds on the disk is the newest.
        """
        watcher = _Watcher(prefix, self.paths(prefix))
        self._watchers[watcher] = None
        try:
            while True:
                while watcher.changed:
                    path = next(iter(watcher.changed))
                    del watcher.changed[path]
                    yield path
                watcher.wake.clear()
                await watcher.wake.wait()
        finally:
            del self._watchers[watcher]

    def tell(self, path: str) -> None:
        """Let watchers know that a path changed; also one that is no file (a device's in /sys)."""
        for watcher in self._watchers:
            if path.startswith(watcher.prefix):
                watcher.notify(path)
