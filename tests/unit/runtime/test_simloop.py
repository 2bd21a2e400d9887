"""The virtual loop: time jumps, the seed decides, bounds hold."""

import asyncio
import subprocess
import sys

import pytest

from podwire.runtime import sim
from podwire.runtime.fence import FenceError, fence
from podwire.runtime.simloop import (
    DeadlockError,
    HorizonExceededError,
    SimLoop,
    StepBudgetExceededError,
)
from podwire.runtime.tasks import Nursery, first


def order_of(seed, n=6):
    """The order in which n tasks that become runnable together take their steps."""

    async def main(env):
        seen = []

        async def worker(i):
            await env.clock.sleep(1)
            seen.append(i)

        await asyncio.gather(*(worker(i) for i in range(n)))
        return seen

    return sim.run(main, seed)


def test_time_jumps_to_the_next_timer():
    """An hour of sleep costs no wall time and lands on the exact nanosecond."""

    async def main(env):
        before = env.clock.monotonic_ns()
        await env.clock.sleep(3600.000000001)
        return env.clock.monotonic_ns() - before

    assert sim.run(main) == 3600 * 10**9 + 1


def test_the_seed_decides_the_interleaving():
    """Equal seeds give equal orders; among some seeds there are different orders."""
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(10)}) > 5


def test_call_soon_stays_first_in_first_out():
    """Plain callbacks keep asyncio's documented order under every seed."""

    async def main(env):
        seen = []
        for i in range(20):
            asyncio.get_running_loop().call_soon(seen.append, i)
        await env.clock.sleep(0.1)
        return seen

    for seed in range(5):
        assert sim.run(main, seed) == list(range(20))


def test_timers_due_together_are_shuffled_by_the_seed():
    """Two deliveries due at the same nanosecond may arrive in either order."""

    async def main(env):
        seen = []
        for i in range(8):
            env.clock.call_later(0.5, seen.append, i)
        await env.clock.sleep(1)
        return tuple(seen)

    orders = {sim.run(main, seed) for seed in range(10)}
    assert len(orders) > 5
    assert all(sorted(order) == list(range(8)) for order in orders)


def test_a_cancelled_timer_never_fires():
    """Cancelling many timers leaves the rest in place (the heap is compacted)."""

    async def main(env):
        seen = []
        timers = [env.clock.call_later(1 + i / 1000, seen.append, i) for i in range(2000)]
        for timer in timers[:1990]:
            timer.cancel()
        await env.clock.sleep(10)
        return seen

    assert sim.run(main) == list(range(1990, 2000))


def test_nothing_to_do_is_a_deadlock_that_names_its_waiters():
    """A future nobody will set ends the run with the task and the line it waits at."""

    async def main(env):
        async def stuck():
            await asyncio.get_running_loop().create_future()

        await asyncio.get_running_loop().create_task(stuck(), name="the-stuck-one")

    with pytest.raises(DeadlockError, match=r"the-stuck-one: .*stuck"):
        sim.run(main)


def test_the_horizon_ends_a_run():
    """Virtual time beyond the horizon is refused."""

    async def main(env):
        while True:
            await env.clock.sleep(60)

    with pytest.raises(HorizonExceededError, match="virtual horizon of 600 s"):
        sim.run(main, horizon_s=600)


def test_the_step_budget_ends_a_busy_loop():
    """A task that never lets time pass is caught by the step budget."""

    async def main(env):
        while True:  # noqa: ASYNC110  the spinning is what is tested
            await asyncio.sleep(0)

    with pytest.raises(StepBudgetExceededError):
        sim.run(main, max_steps=1000)


def test_timeouts_are_virtual():
    """asyncio.timeout fires on the virtual clock."""

    async def main(env):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await env.clock.sleep(60)
        return env.clock.monotonic_ns()

    assert sim.run(main) == 30 * 10**9


def test_the_fence_stops_podwire_modules_only():
    """A podwire module that asks the real world raises; others do not."""
    code = "import time\ndef now():\n    return time.time()\n"
    inside, outside = {"__name__": "podwire.kubelet.x"}, {"__name__": "somelib"}
    exec(code, inside)  # noqa: S102
    exec(code, outside)  # noqa: S102

    async def main(env):
        assert outside["now"]() > 0
        with pytest.raises(FenceError, match=r"podwire.kubelet.x called time.time"):
            inside["now"]()

    sim.run(main)
    assert inside["now"]() > 0


def test_the_fence_lets_no_podwire_module_make_a_socket():
    """Sockets are made by counters only."""
    inside = {"__name__": "podwire.kubelet.x"}
    exec("import socket\ndef make():\n    return socket.socket()\n", inside)  # noqa: S102
    with fence, pytest.raises(FenceError, match="socket"):
        inside["make"]()


def test_a_nursery_cancels_the_rest_when_one_fails():
    """The first failure is raised as it is, after every sibling has ended."""

    async def main(env):
        ended = []

        async def sleeper(i):
            try:
                await env.clock.sleep(100)
            finally:
                ended.append(i)

        async def failing():
            await env.clock.sleep(1)
            raise ValueError("broken")

        async def block():
            async with Nursery() as nursery:
                for i in range(3):
                    nursery.start(sleeper(i), name=f"s{i}")
                nursery.start(failing(), name="f")
                await env.clock.sleep(1000)

        with pytest.raises(ValueError, match="broken"):
            await block()
        return ended, env.clock.monotonic_ns()

    ended, now = sim.run(main)
    assert sorted(ended) == [0, 1, 2]
    assert now == 10**9


def test_cancelling_a_nursery_from_outside_ends_its_children():
    """Cancellation of the block is passed on and still counts as cancellation."""

    async def main(env):
        ended = []

        async def sleeper():
            try:
                await env.clock.sleep(100)
            finally:
                ended.append(True)

        async def block():
            async with Nursery() as nursery:
                nursery.start(sleeper(), name="s")

        task = asyncio.get_running_loop().create_task(block())
        await env.clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended

    assert sim.run(main) == [True]


def test_what_children_start_while_their_nursery_ends_ends_too():
    """Nobody else would: whoever left the block waits for it."""

    async def main(env):
        async def late():
            await env.clock.sleep(100)

        async def child(nursery):
            try:
                await env.clock.sleep(100)
            finally:
                nursery.start(late(), name="late")

        async def block():
            async with Nursery() as nursery:
                nursery.start(child(nursery), name="child")

        task = asyncio.get_running_loop().create_task(block())
        await env.clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return env.clock.monotonic_ns()

    assert sim.run(main) == 10**9


def test_first_returns_the_earliest_and_cancels_the_others():
    """The winner's index and value; losers are gone before it returns."""

    async def main(env):
        async def after(delay, value):
            await env.clock.sleep(delay)
            return value

        return await first(after(2, "slow"), after(1, "quick"))

    assert sim.run(main) == (1, "quick")


HASHES = """
import asyncio
from podwire.runtime.simloop import SimLoop
from podwire.runtime import sim
loop = SimLoop(7, hash_schedule=True)
env = sim.env(loop, 7)
async def main():
    queue = asyncio.Queue()
    async def worker(i):
        for _ in range(20):
            await env.clock.sleep(env.rng.child(str(i)).uniform(0, 1))
            queue.put_nowait((i, env.ids.uid()))
    async def reader():
        for _ in range(200):
            i, uid = await queue.get()
            env.trace.record("got", i, uid)
    await asyncio.gather(reader(), *(worker(i) for i in range(10)))
loop.run_until_complete(main())
print(env.trace.hash, loop.schedule_hash)
sim.close(loop)
"""


def test_hashes_are_equal_across_processes_and_hash_seeds():
    """One trace-hash and one schedule-hash, whatever PYTHONHASHSEED says."""
    outputs = set()
    for hash_seed in ("0", "1", "random"):
        run = subprocess.run(
            [sys.executable, "-c", HASHES],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_default_task_names_count_within_the_loop():
    """Names do not depend on what the process did before."""

    async def main(env):
        return asyncio.get_running_loop().create_task(env.clock.sleep(0)).get_name()

    assert sim.run(main) == sim.run(main)
    loop = SimLoop()
    loop.close()
