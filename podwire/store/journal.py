"""The files of a data directory: ``LOCK``, log segments, snapshots. Blocking: call it off the loop.

``log-N`` holds what came after revision N; ``snapshot-N`` is the state at N. Opening reads the
newest snapshot and every segment from there on. A segment is synced before the next one is made, so
only the newest may have a torn tail. After a failed write or sync nothing is written any more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

from msgspec.structs import astuple

from podwire.runtime.files import sync_directory
from podwire.store import records
from podwire.store.model import KeyValue, StoreOpenError
from podwire.store.records import End, FormatError, Granted, Held, Torn, Txn

_IOV_MAX = 1024
_SNAPSHOT_BATCH = 256
_DIGITS = 20


@dataclass(slots=True)
class Recovered:
    """What a data directory holds."""

    revision: int = 1
    kvs: dict[str, KeyValue] = field(default_factory=dict)
    leases: dict[int, int] = field(default_factory=dict)  # id -> due, ns since the Unix epoch
    next_lease: int = 1


class Journal:
    """An opened data directory. Raises OSError from everything that writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "store"
        self.log_bytes = 0
        """Size of the newest segment."""
        self._lock = -1
        self._log = -1
        self._failed = False

    # ------------------------------------------------------------ opening

    def open(self) -> Recovered:
        """Lock the directory, read it, and make ready to append. Raises StoreOpenError."""
        try:
            self._take_lock()
            try:
                return self._recover()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            what = error.strerror or str(error)
            raise StoreOpenError(
                f"data directory {self.root}: {what} ({error.filename or self.folder}); "
                "make it writable for this user, or choose another --data-dir"
            ) from error

    def _take_lock(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        self._lock = os.open(self.root / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "another"
            os.close(self._lock)
            self._lock = -1
            raise StoreOpenError(
                f"data directory {self.root} is in use by process {owner}; stop that one, "
                "or choose another --data-dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def _recover(self) -> Recovered:
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        state = Recovered()
        snapshots, logs = self._numbered("snapshot-"), self._numbered("log-")
        if snapshots:
            self._read_snapshot(snapshots[-1], state)
        wanted = [number for number in logs if number >= state.revision or number == logs[-1]]
        for number in wanted:
            if number != state.revision:
                raise self._unreadable(self._path("log-", state.revision), "it is missing")
            self._read_log(number, state, last=number == logs[-1])
        if logs:
            path = self._path("log-", logs[-1])
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self.log_bytes = os.fstat(self._log).st_size
            os.fsync(self._log)  # what a killed process had only handed over counts from now on
        else:
            self._begin(state.revision)
        self._prune(snapshots[-1] if snapshots else 0)
        return state

    def _numbered(self, prefix: str) -> list[int]:
        names = (path.name.removeprefix(prefix) for path in self.folder.glob(f"{prefix}*"))
        return sorted(int(name) for name in names if name.isdigit())

    def _path(self, prefix: str, number: int) -> Path:
        return self.folder / f"{prefix}{number:0{_DIGITS}}"

    def _unreadable(self, path: Path, why: object) -> StoreOpenError:
        return StoreOpenError(
            f"{path}: {why}; nothing was changed: restore the data directory from a copy, "
            "or choose another --data-dir"
        )

    def _read_snapshot(self, number: int, state: Recovered) -> None:
        path = self._path("snapshot-", number)
        with memoryview(path.read_bytes()) as data:
            try:
                _load_snapshot(data, number, state)
            except FormatError as error:
                raise self._unreadable(path, error) from None

    def _read_log(self, number: int, state: Recovered, *, last: bool) -> None:
        path = self._path("log-", number)
        with memoryview(path.read_bytes()) as data:
            try:
                torn = _load_log(data, number, state, last=last)
            except FormatError as error:
                raise self._unreadable(path, error) from None
        if torn is not None:
            os.truncate(path, torn.offset)

    # ------------------------------------------------------------ writing

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write a batch and make it durable. Raises OSError; nothing can be written after that."""
        if self._failed:
            raise OSError(f"{self.folder} failed before")
        begun = self.log_bytes
        try:
            written = _write(self._log, records.framed(payloads, begun))
            os.fdatasync(self._log)
        except BaseException:
            # Never a second fdatasync: the kernel may have dropped the pages it could not write.
            self._failed = True
            self._take_back(begun)
            raise
        self.log_bytes = begun + written

    def _take_back(self, size: int) -> None:
        """What was refused should not return at the next start; if even that fails, it may."""
        try:
            os.ftruncate(self._log, size)
        except OSError:
            return

    def rotate(self, revision: int) -> None:
        """Go on in a new segment: everything up to ``revision`` is in older ones."""
        if self._failed:
            raise OSError(f"{self.folder} failed before")
        self._begin(revision)

    def _begin(self, revision: int) -> None:
        path = self._path("log-", revision)
        if self._log >= 0 and path.exists():  # nothing was written since
            return
        head = records.head(records.LOG, revision)
        try:
            self._whole(path, [[head]])
            log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            # The log goes on in the old segment: a new one would end that one at the next start.
            path.unlink(missing_ok=True)
            raise
        if self._log >= 0:
            os.close(self._log)
        self._log, self.log_bytes = log, len(head)

    def snapshot(
        self,
        revision: int,
        kvs: Iterable[KeyValue],
        leases: Iterable[tuple[int, int]],
        next_lease: int,
    ) -> int:
        """Write the state at ``revision``; drop what it replaces. Its size in bytes."""
        path = self._path("snapshot-", revision)
        size = self._whole(path, _snapshot(revision, kvs, leases, next_lease))
        self._prune(revision)
        return size

    def _whole(self, path: Path, chunks: Iterable[Sequence[bytes]]) -> int:
        """A file that exists with all its bytes, durably, or not at all."""
        temporary = path.with_name(f"{path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            try:
                size = sum(_write(descriptor, chunk) for chunk in chunks)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self.folder)
        return size

    def _prune(self, revision: int) -> None:
        """Delete segments and snapshots that the snapshot at ``revision`` replaces."""
        old = [self._path("snapshot-", n) for n in self._numbered("snapshot-") if n < revision]
        logs = self._numbered("log-")
        # A segment ends where the next one begins.
        old += [self._path("log-", number) for number, after in pairwise(logs) if after <= revision]
        for path in old:
            path.unlink(missing_ok=True)
        if old:
            sync_directory(self.folder)

    def close(self) -> None:
        """Let go of the files and of the lock."""
        for descriptor in (self._log, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._lock = -1


def _write(descriptor: int, parts: Sequence[bytes]) -> int:
    """Every part, whatever the kernel takes at once; the number of bytes."""
    total = 0
    for start in range(0, len(parts), _IOV_MAX):
        some = parts[start : start + _IOV_MAX]
        size = sum(map(len, some))
        written = os.writev(descriptor, some)
        if written < size:
            rest = memoryview(b"".join(some))
            while written < size:
                written += os.write(descriptor, rest[written:])
        total += size
    return total


def _snapshot(
    revision: int,
    kvs: Iterable[KeyValue],
    leases: Iterable[tuple[int, int]],
    next_lease: int,
) -> Iterable[list[bytes]]:
    """The file's bytes in pieces of bounded size."""
    head = records.head(records.SNAPSHOT, revision)
    yield [head]
    yield records.framed([records.encode(Granted(*lease)) for lease in leases], 0)
    rest, count = iter(kvs), 0
    while some := list(islice(rest, _SNAPSHOT_BATCH)):
        count += len(some)
        yield records.framed([records.encode(Held(*astuple(kv))) for kv in some], 0)
    yield records.framed([records.encode(End(count, next_lease))], 0)


def _load_snapshot(data: memoryview, number: int, state: Recovered) -> None:
    state.revision = records.read_head(data, records.SNAPSHOT)
    ended = False
    for payload in records.read(data):
        if isinstance(payload, Torn) or ended:
            raise FormatError("it is damaged")
        ended = _take(records.decode(payload), state)
    if not ended or state.revision != number:
        raise FormatError("it is incomplete")


def _load_log(data: memoryview, number: int, state: Recovered, *, last: bool) -> Torn | None:
    if records.read_head(data, records.LOG) != number:
        raise FormatError("its name and its head disagree")
    for payload in records.read(data):
        if isinstance(payload, Torn):
            if not last:
                raise FormatError(f"it is damaged at byte {payload.offset}")
            return payload
        if _take(records.decode(payload), state):
            raise FormatError("a record does not belong into a log")
    return None


def _take(record: records.Payload, state: Recovered) -> bool:
    """Apply a record; whether it was a snapshot's end. Raises FormatError."""
    match record:
        case Txn():
            _apply(record, state)
        case Granted(lease, due_ns):
            state.leases[lease] = due_ns
            state.next_lease = max(state.next_lease, lease + 1)
        case Held():
            kv = KeyValue(
                record.key, record.value, record.create_revision, record.mod_revision,
                record.version, record.lease,
            )  # fmt: skip
            state.kvs[record.key] = kv
        case End(keys, next_lease):
            if keys != len(state.kvs):
                raise FormatError(f"it holds {len(state.kvs)} keys of {keys}")
            state.next_lease = max(state.next_lease, next_lease)
            return True
    return False


def _apply(txn: Txn, state: Recovered) -> None:
    revision = txn.revision
    if txn.changes:
        if revision != state.revision + 1:
            raise FormatError(f"revision {revision} follows {state.revision}")
        state.revision = revision
    for key, value, lease in txn.changes:
        if value is None:
            state.kvs.pop(key, None)
            continue
        before = state.kvs.get(key)
        created, version = revision, 1
        if before is not None:
            created, version = before.create_revision, before.version + 1
        state.kvs[key] = KeyValue(key, value, created, revision, version, lease)
    if txn.ended_lease:
        state.leases.pop(txn.ended_lease, None)
