"""The worker thread exists in real time only."""

from __future__ import annotations

import asyncio
import threading

import pytest

from podwire.runtime import sim
from podwire.runtime.fence import FenceError
from podwire.runtime.threads import Worker


def test_a_worker_does_jobs_in_order_on_one_thread():
    """Off the loop."""

    async def main():
        worker, names = Worker("scribe"), []
        loop = asyncio.get_running_loop()
        jobs = [
            loop.run_in_executor(
                worker, lambda n=n: names.append((n, threading.current_thread().name))
            )
            for n in range(20)
        ]
        await asyncio.gather(*jobs)
        worker.shutdown()
        assert [n for n, _ in names] == list(range(20))
        assert {name for _, name in names} == {"scribe_0"}

    asyncio.run(main())


def test_a_virtual_loop_does_the_job_at_once_and_starts_no_thread():
    """Whoever asks the worker itself is fenced off."""

    async def main(_env):
        worker = Worker("scribe")
        loop = asyncio.get_running_loop()
        name = await loop.run_in_executor(worker, lambda: threading.current_thread().name)
        assert name == threading.current_thread().name
        with pytest.raises(FenceError):
            worker.submit(print)

    sim.run(main)
