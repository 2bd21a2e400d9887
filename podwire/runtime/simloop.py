"""The virtual-time event loop.

Time is an integer of nanoseconds that jumps to the next timer when nothing is left to run. Plain
callbacks (``call_soon``) run first-in-first-out, as asyncio documents. Everything whose order real
life leaves open is *runnable*: task steps, and timers (link deliveries among them) that are due at
this very nanosecond; the seed picks among those. No sockets, no threads: asking for one raises.
"""

from __future__ import annotations

import asyncio
import hashlib
from asyncio import base_events, events
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, TypeVarTuple, Unpack

from podwire.runtime.fence import fence
from podwire.runtime.memory import fewer_collections
from podwire.runtime.rng import SeededRng

_COMPACT_AT = 512
Ts = TypeVarTuple("Ts")


class _Step(events.Handle):
    """A handle that does not ask whether the loop is debugged: each turn of each task makes one."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: Any,
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None


class _Timer(events.TimerHandle):
    """The same for timers."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Any,
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None
        self._when = when
        self._scheduled = True


class SimulationError(Exception):
    """A run that cannot go on; the message lists each pending task and what it awaits."""


class DeadlockError(SimulationError):
    """Nothing is runnable and no timer is set."""


class HorizonExceededError(SimulationError):
    """The run outlived its virtual horizon."""


class StepBudgetExceededError(SimulationError):
    """The run took more loop steps than it was given: something spins."""


class SimLoop(base_events.BaseEventLoop):
    """See the module's text. ``horizon_s`` and ``max_steps`` bound every run."""

    def __init__(
        self,
        seed: int = 0,
        *,
        horizon_s: float = 24 * 3600.0,
        max_steps: int = 200_000_000,
        hash_schedule: bool = False,
    ) -> None:
        super().__init__()
        self.now_ns = 0
        self.steps = 0
        self._horizon_ns = round(horizon_s * 1e9)
        self._max_steps = max_steps
        self._pick = SeededRng(seed, f"{seed}/schedule").below
        self._runnable: list[events.Handle] = []
        self._timers: list[tuple[int, int, events.TimerHandle]] = []
        self._cancelled_timers = 0
        self._timer_seq = 0
        self._task_seq = 0
        self._schedule = hashlib.blake2b(digest_size=16) if hash_schedule else None

    # -- what asyncio asks of a loop

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self.now_ns / 1e9

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.Handle:
        """First-in-first-out for callbacks; a task's step joins the runnable ones."""
        handle = _Step(callback, args, self, context)
        if isinstance(getattr(callback, "__self__", None), asyncio.Task):
            self._runnable.append(handle)
        else:
            self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.Handle:
        """There is one thread: the same as call_soon."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.TimerHandle:
        """Run a callback ``delay`` virtual seconds from now."""
        return self._call_at_ns(self.now_ns + round(delay * 1e9), callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.TimerHandle:
        """Run a callback at a virtual second."""
        return self._call_at_ns(round(when * 1e9), callback, args, context)

    def _call_at_ns(
        self, when_ns: int, callback: Callable[..., object], args: Any, context: Context | None
    ) -> events.TimerHandle:
        timer = _Timer(when_ns / 1e9, callback, args, self, context)
        seq = self._timer_seq = self._timer_seq + 1
        now_ns = self.now_ns
        heappush(self._timers, (max(now_ns, when_ns), seq, timer))
        return timer

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]  # noqa: SLF001  as BaseEventLoop does
            return
        self._cancelled_timers += 1
        if self._cancelled_timers > _COMPACT_AT and (
            self._cancelled_timers * 2 > len(self._timers)
        ):
            self._timers = [t for t in self._timers if not t[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 0

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """A task whose default name counts within this loop, not within the process."""
        self._task_seq += 1
        name = kwargs.pop("name", None) or f"task-{self._task_seq}"
        return asyncio.Task(coro, loop=self, name=name, context=kwargs.get("context"))

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Any,  # noqa: ARG002
        func: Any,
        *args: Any,
    ) -> asyncio.Future[Any]:
        """There are no threads: the function runs at once."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """There is no selector to wake."""

    # -- the scheduler

    def _run_once(self) -> None:
        ready, runnable = self._ready, self._runnable  # type: ignore[attr-defined]
        pick, schedule = self._pick, self._schedule
        with fence, fewer_collections():
            while not self._stopping:  # type: ignore[attr-defined]
                if self.steps >= self._max_steps:
                    self._give_up(StepBudgetExceededError, f"{self._max_steps} loop steps")
                if ready:
                    handle = ready.popleft()
                elif runnable:
                    count = len(runnable)
                    if count > 1:
                        i = pick(count)
                        runnable[i], runnable[-1] = runnable[-1], runnable[i]
                    handle = runnable.pop()
                else:
                    self._advance()
                    continue
                if handle._cancelled:  # noqa: SLF001  as BaseEventLoop does
                    continue
                self.steps += 1
                if schedule is not None:
                    self._note(handle)
                try:
                    handle._context.run(handle._callback, *handle._args)  # noqa: SLF001  see above
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  as BaseEventLoop does
                    told = {"message": f"Exception in {handle}", "exception": error}
                    self.call_exception_handler({**told, "handle": handle})

    def _advance(self) -> None:
        """Jump to the next timer; everything due at that nanosecond becomes runnable."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            self._give_up(DeadlockError, "nothing is runnable and no timer is set")
        now = timers[0][0]
        if now > self._horizon_ns:
            self._give_up(HorizonExceededError, f"virtual horizon of {self._horizon_ns / 1e9:g} s")
        self.now_ns = now
        while timers and timers[0][0] == now:
            timer = heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001
            if timer.cancelled():
                self._cancelled_timers -= 1
            else:
                self._runnable.append(timer)

    def _note(self, handle: events.Handle) -> None:
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # noqa: SLF001
        name = owner.get_name() if isinstance(owner, asyncio.Task) else "-"
        assert self._schedule is not None
        self._schedule.update(b"%d %s\n" % (self.now_ns, name.encode()))

    def _give_up(self, error: type[SimulationError], why: str) -> None:
        raise error(f"{why} (t+{self.time():.6f}s, step {self.steps})\n{self.pending()}")

    # -- what people ask of it

    def lift_bounds(self) -> None:
        """Give the clean-up of a run that hit a bound room to end."""
        self._max_steps = self.steps + 1_000_000
        self._horizon_ns = self.now_ns + 3600 * 10**9

    @property
    def schedule_hash(self) -> str:
        """The digest of the order of steps ("" unless asked for)."""
        return self._schedule.hexdigest() if self._schedule else ""

    def pending(self) -> str:
        """Each pending task and where it waits, one per line."""
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        return "\n".join(f"  {task.get_name()}: {_waits_at(task)}" for task in tasks)


def _waits_at(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return "not started"
    code = frames[-1].f_code
    return f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frames[-1].f_lineno})"
