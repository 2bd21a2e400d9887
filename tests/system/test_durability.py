"""Power is pulled, again and again, under load: what was acknowledged is there.

Small counts by default; ``PODWIRE_SWEEP=1`` runs fifty rounds and 100,000 acknowledged writes.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from podwire.runtime.env import real
from podwire.store import (
    Compare,
    Delete,
    Put,
    StoreOptions,
    UnavailableError,
    open_store,
)
from podwire.store.journal import Journal
from tests.conftest import SWEEP
from tests.etcds import Etcd
from tests.system.writer import value

CALLERS = 16
ROUNDS, WRITES = (50, 100_000) if SWEEP else (5, 5_000)
ETCD_ROUNDS, ETCD_WRITES = (10, 10_000) if SWEEP else (3, 1_000)


@dataclass
class Book:
    """What the writers said: the last acknowledged operation of each key, and one still open."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    revision: int = 1
    last: dict[str, int] = field(default_factory=dict)

    def begin(self, key, op):
        self.begun[key] = op

    def acknowledge(self, key, op, revision):
        self.writes += 1
        self.acknowledged[key] = op
        if self.begun.get(key) == op:
            del self.begun[key]
        self.last[key] = revision
        self.revision = max(self.revision, revision)

    def read(self, line):
        kind, *words = line.split()
        if kind == "i":
            self.begin(*words)
        elif kind == "a":
            self.acknowledge(words[0], words[1], int(words[2]))
        else:
            assert int(words[0]) >= self.revision, "the revision went back"

    def compare(self, revision, kvs):
        """Every acknowledged operation stands, unless one that was under way came after it."""
        assert revision >= self.revision, "the revision went back"
        lost, returned, invented = [], [], []
        for key, op in self.acknowledged.items():
            allowed = {op, self.begun.get(key, op)}
            found = kvs[key].value if key in kvs else None
            if found is None and "-" not in allowed:
                lost.append(key)
            elif found is not None and found not in {value(a) for a in allowed if a != "-"}:
                (returned if op == "-" else lost).append(key)
            elif found is not None and kvs[key].mod_revision < self.last[key]:
                lost.append(key)
        for key, kv in kvs.items():
            if key not in self.acknowledged and kv.value != value(self.begun.get(key, "")):
                invented.append(key)
        assert (lost, returned, invented) == ([], [], [])

    def settle(self, kvs):
        """Take what was under way as it turned out."""
        for key, op in self.begun.items():
            found = kvs[key].value if key in kvs else None
            if found == (None if op == "-" else value(op)) and (found or key in self.acknowledged):
                self.acknowledged[key] = op
                self.last[key] = kvs[key].mod_revision if found else 0
        self.begun.clear()


def run_until_killed(folder, turn, writes, book):
    """One life of a writer: kill -9 once it acknowledged so many."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.system.writer", folder, str(turn), str(CALLERS)],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        wanted = book.writes + writes
        for line in process.stdout:
            if line.endswith("\n"):
                book.read(line)
            if book.writes >= wanted:
                process.kill()
                wanted = 10**9
        process.wait()
    assert process.returncode == -9


def test_no_acknowledged_write_is_lost_by_kill_9(tmp_path, capsys):
    """Nor does a revision go back, nor a deleted object return."""
    rng, book, torn = random.Random(7), Book(), 0  # noqa: S311  moments to kill at
    began = time.monotonic()
    left = WRITES
    for turn in range(ROUNDS):
        rest = ROUNDS - turn
        writes = left if rest == 1 else max(1, int(left / rest * rng.uniform(0.5, 1.5)))
        before = book.writes
        run_until_killed(tmp_path, turn, writes, book)
        left -= book.writes - before
        (newest,) = sorted((tmp_path / "store").glob("log-*[0-9]"))[-1:]
        size = newest.stat().st_size
        journal = Journal(tmp_path)
        state = journal.open()
        torn += newest.stat().st_size < size
        journal.close()
        book.compare(state.revision, state.kvs)
        book.settle(state.kvs)
    assert book.writes >= WRITES
    with capsys.disabled():
        print(  # noqa: T201  a figure
            f"\nkill -9 of a writer, {CALLERS} callers: {ROUNDS} rounds, {book.writes} "
            f"acknowledged writes, {torn} torn tails, revision {state.revision}, "
            f"{len(state.kvs)} keys, 0 lost, {time.monotonic() - began:.0f} s"
        )


async def etcd_writer(store, name, book, stop):
    """As ``writer.write``, against an etcd that comes and goes."""
    number = 0
    while not stop.is_set():
        number += 1
        key, revision = f"/registry/{name}-{number}", 0
        try:
            for step in ("1", "2", "-") if number % 3 == 0 else ("1",):
                op = "-" if step == "-" else f"{name}.{number}.{step}"
                book.begin(key, op)
                change = Delete(key) if step == "-" else Put(key, value(op))
                result = await store.txn([Compare(key, revision)], [change])
                assert result.succeeded
                revision = result.revision
                book.acknowledge(key, op, revision)
        except UnavailableError:
            await asyncio.sleep(0.05)  # a new key: what came of this one is not known


async def last_told(told, revision):
    while not told or told[-1].revision < revision:  # noqa: ASYNC110  a list has no event
        await asyncio.sleep(0.01)


@pytest.mark.skipif(
    shutil.which("etcd") is None, reason="apt-get install etcd-server (the wheel's 3.5.1 may crash)"
)
def test_no_acknowledged_write_is_lost_by_kill_9_of_etcd(tmp_path, capsys):
    """And the watch, through every reconnect, tells each revision once and in order."""
    book, told = Book(), []
    member = Etcd(tmp_path, sync=True).start()

    async def main():
        env = real(log_level="off")
        options = StoreOptions(etcd_servers=(member.url,))
        store = await open_store(options, env.clock, env.trace, env.log)
        await store.watch("/registry/", 2, told.extend)
        stop = asyncio.Event()
        writers = [
            asyncio.create_task(etcd_writer(store, str(i), book, stop)) for i in range(CALLERS)
        ]
        for turn in range(1, ETCD_ROUNDS + 1):
            while book.writes < ETCD_WRITES * turn // ETCD_ROUNDS:
                assert not any(task.done() for task in writers)
                await asyncio.sleep(0.01)
            member.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(member.start)
        stop.set()
        await asyncio.gather(*writers)
        async with asyncio.timeout(30):
            page = None
            while page is None:
                try:
                    page = await store.range("/registry/")
                except UnavailableError:
                    await asyncio.sleep(0.1)
            await last_told(told, page.revision)
        await store.close()
        return page

    try:
        page = asyncio.run(main())
    finally:
        member.kill()
    book.compare(page.revision, {kv.key: kv for kv in page.kvs})
    assert [event.revision for event in told] == list(range(2, page.revision + 1))
    with capsys.disabled():
        print(  # noqa: T201  a figure
            f"\nkill -9 of etcd, {CALLERS} callers: {ETCD_ROUNDS} rounds, {book.writes} "
            f"acknowledged writes, {len(book.begun)} of unknown outcome, 0 lost; "
            f"{len(told)} events, each revision once"
        )
