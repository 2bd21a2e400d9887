"""Any damage to a log: a prefix of history comes back, or a clear refusal; never another state."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.store import StoreOpenError, records
from podwire.store.journal import Journal
from podwire.store.records import Granted, Txn
from tests.rotation import examples

KEYS = st.sampled_from(["a", "b", "c"])
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=40), min_size=1, max_size=3)
BATCHES = st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=6)
LOG = "log-00000000000000000001"


def view(state):
    return state.revision, {key: (kv.value, kv.mod_revision) for key, kv in state.kvs.items()}


def written(root, batches):
    """A directory with these batches; (state, size of the log) after each record."""
    journal = Journal(root)
    state = journal.open()
    steps = [(view(state), journal.log_bytes)]
    revision, kvs = 1, {}
    for batch in batches:
        size, payloads = journal.log_bytes, []
        for changes in batch:
            revision += 1
            for key, value in changes.items():
                if value is None:
                    kvs.pop(key, None)
                else:
                    kvs[key] = (value, revision)
            listed = [(key, value, 0) for key, value in changes.items()]
            payloads.append(records.encode(Txn(revision, listed)))
            size += records.RECORD_HEAD_BYTES + len(payloads[-1])
            steps.append(((revision, dict(kvs)), size))
        journal.append(payloads)
        assert journal.log_bytes == size
    journal.close()
    return steps


def reopened(root):
    journal = Journal(root)
    try:
        return view(journal.open())
    finally:
        journal.close()


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(BATCHES, st.data())
def test_a_log_cut_anywhere_gives_the_longest_whole_prefix(batches, data):
    """A crash in the middle of a write; and the log can be written again from there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        steps = written(root, batches)
        log = root / "store" / LOG
        cut = data.draw(st.integers(steps[0][1], steps[-1][1]))
        with log.open("r+b") as file:
            file.truncate(cut)
        wanted = max((step for step in steps if step[1] <= cut), key=lambda step: step[1])
        assert reopened(root) == wanted[0]
        journal = Journal(root)
        state = journal.open()
        journal.append([records.encode(Txn(state.revision + 1, [("z", b"after", 0)]))])
        journal.close()
        revision, kvs = reopened(root)
        assert revision == wanted[0][0] + 1
        assert kvs == {**wanted[0][1], "z": (b"after", revision)}


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(BATCHES, st.data())
def test_a_damaged_byte_is_refused_or_costs_a_torn_tail_only(batches, data):
    """Damage in the last batch is a torn tail; before it, whole later batches tell."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        steps = written(root, batches)
        log = root / "store" / LOG
        raw = bytearray(log.read_bytes())
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] ^= data.draw(st.integers(1, 255))
        log.write_bytes(raw)
        last_batch = steps[-1 - len(batches[-1])][1]
        if place < last_batch:
            with pytest.raises(StoreOpenError, match="nothing was changed"):
                reopened(root)
            assert log.read_bytes() == raw
        else:
            sound = max((s for s in steps if s[1] <= place), key=lambda step: step[1])
            assert reopened(root) == sound[0]


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
@given(BATCHES, st.binary(max_size=200), st.booleans())
def test_bytes_behind_the_end_are_cut_off(batches, rest, zeros):
    """Zeros that a file system left, or noise."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        steps = written(root, batches)
        log = root / "store" / LOG
        with log.open("ab") as file:
            file.write(bytes(len(rest)) if zeros else rest)
        assert reopened(root) == steps[-1][0]
        assert log.stat().st_size == steps[-1][1]


def test_a_snapshot_with_a_damaged_byte_is_refused(tmp_path):
    """It was synced before it got its name: nothing excuses damage."""
    journal = Journal(tmp_path)
    state = journal.open()
    journal.append([records.encode(Txn(2, [("a", b"1", 0)])), records.encode(Granted(1, 5))])
    journal.rotate(2)
    kvs = [*state.kvs.values()]
    journal.snapshot(2, kvs, [(1, 5)], 2)
    journal.append([records.encode(Txn(3, [("b", b"1", 0)]))])
    journal.close()
    good = tmp_path / "good"
    shutil.copytree(tmp_path / "store", good)
    assert reopened(tmp_path)[0] == 3
    path = tmp_path / "store" / "snapshot-00000000000000000002"
    for place in range(path.stat().st_size):
        raw = bytearray((good / path.name).read_bytes())
        raw[place] ^= 0x41
        path.write_bytes(raw)
        with pytest.raises(StoreOpenError, match="restore the data directory from a copy"):
            reopened(tmp_path)
    path.write_bytes((good / path.name).read_bytes()[:-1])
    with pytest.raises(StoreOpenError, match="damaged"):
        reopened(tmp_path)


def test_a_missing_segment_is_noticed(tmp_path):
    """Revisions do not skip."""
    journal = Journal(tmp_path)
    journal.open()
    for revision in range(2, 6):
        journal.append([records.encode(Txn(revision, [("a", b"1", 0)]))])
        journal.rotate(revision)
    journal.close()
    (tmp_path / "store" / "log-00000000000000000003").unlink()
    with pytest.raises(StoreOpenError, match="log-00000000000000000003: it is missing"):
        reopened(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is not a file of a podwire store"),
        (b"something else entirely, long enough to be a head", "it is not a file of a podwire"),
        (records.head(records.SNAPSHOT, 1), "it is of another kind"),
        (records.head(records.LOG, 1)[:-1], "its head is damaged"),
    ],
)
def test_a_foreign_file_is_left_alone(tmp_path, content, told):
    """And named."""
    (tmp_path / "store").mkdir()
    log = tmp_path / "store" / LOG
    log.write_bytes(content)
    with pytest.raises(StoreOpenError, match=f"{log}: {told}"):
        reopened(tmp_path)
    assert log.read_bytes() == content


def test_a_newer_format_says_what_to_use(tmp_path, monkeypatch):
    """A directory of a later podwire."""
    monkeypatch.setattr(records, "FORMAT", 2)
    newer = Journal(tmp_path)
    newer.open()
    newer.close()
    monkeypatch.undo()
    with pytest.raises(
        StoreOpenError, match="format 2, this podwire reads format 1; use the newer"
    ):
        reopened(tmp_path)


def test_a_directory_that_cannot_be_written_says_what_to_do(tmp_path):
    """One line with the place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreOpenError, match=r"make it writable .* or choose another --data-dir"):
        reopened(tmp_path / "file" / "below")


@pytest.mark.parametrize("fails", ["sync_directory", "open"])
def test_a_segment_that_could_not_be_begun_leaves_the_old_one_whole(tmp_path, monkeypatch, fails):
    """Writing goes on in the old one; an empty newer one would end it at the next start."""
    written(tmp_path, [[{"a": b"1"}], [{"b": b"2"}]])
    journal = Journal(tmp_path)
    journal.open()

    def refuse(path, *_):
        raise OSError(24, "Too many open files")

    def open_no_log(path, flags, *more):
        return real_open(path, flags, *more) if flags & os.O_TRUNC else refuse(path)

    real_open = os.open
    with monkeypatch.context() as broken:
        if fails == "open":
            broken.setattr("podwire.store.journal.os.open", open_no_log)
        else:
            broken.setattr("podwire.store.journal.sync_directory", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            journal.rotate(3)
    journal.append([records.encode(Txn(4, [("c", b"3", 0)]))])
    journal.close()
    assert reopened(tmp_path) == (4, {"a": (b"1", 2), "b": (b"2", 3), "c": (b"3", 4)})
