"""An event loop under virtual time, whose callbacks belong to processes.

A process is what a contextvar says: tasks inherit it, and a future wakes its waiter in the waiter's context.
The callbacks of one process run in the order of their scheduling, as asyncio promises; between processes any
order may happen, and one random number generator chooses it. When nobody is ready, time jumps to the next
timer.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH = 1_700_000_000.0
"""Wall clock time at which every simulation begins."""
STEP = 2e-5
"""Virtual seconds that a callback takes, so that work costs time."""

PROC: contextvars.ContextVar[Proc] = contextvars.ContextVar("proc")


class Proc:
    """One process from its start to its end; also a machine, a server, or the world itself.

    ``effect`` is asked before everything that others can see. A doomed process dies at such a point: what
    its current callback does after that, nobody sees, and no other callback of it runs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.ready: deque[asyncio.Handle] = deque()
        self.queued = False
        self.doom: int | None = None
        self.dies_with_claim = False
        """It is killed as soon as the store has applied its next claim."""
        self.on_death: Callable[[], None] = lambda: None
        self.stall: int | None = None
        self.on_stall: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(PROC.set, self)

    def effect(self) -> bool:
        """Whether the process lives to do it."""
        if self.stall is not None and self.alive:
            self.stall -= 1
            if self.stall < 0:
                self.stall = None
                self.on_stall()
        if self.doom is not None and self.alive:
            self.doom -= 1
            if self.doom < 0:
                self.die()
        return self.alive

    def die(self) -> None:
        """As after kill -9."""
        if self.alive:
            self.alive = False
            self.ready.clear()
            self.on_death()

    def spawn(self, loop: SimLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this process."""
        return loop.create_task(work, context=self.context)


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """Its hash is its number, so that sets of tasks have the same order in every run."""

    def __init__(self, coro, *, loop, **more):  # type: ignore[no-untyped-def]
        self.number = loop.number()
        super().__init__(coro, loop=loop, **more)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future):  # type: ignore[type-arg]
    """Likewise."""

    def __init__(self, *, loop):  # type: ignore[no-untyped-def]
        self.number = loop.number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class Stuck(Exception):
    """Nothing will ever happen any more."""


class SimLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._active: list[Proc] = []
        self._count = 0
        self.steps = 0
        self.done = False
        self.world = Proc("world")
        self.tasks: list[SimTask] = []
        self.on_error: Callable[[dict[str, Any]], None] = lambda context: None

    # -- what asyncio asks for ----------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def,override]
        if context is None:
            context = contextvars.copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(context[PROC], handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None):  # type: ignore[no-untyped-def,override]
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):  # type: ignore[no-untyped-def,override]
        if context is None:
            context = contextvars.copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def number(self) -> int:
        """The next number of a task or future."""
        self._count += 1
        return self._count

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    def create_task(self, coro, *, name=None, context=None):  # type: ignore[no-untyped-def]
        task = SimTask(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.on_error(context)

    # -- running ------------------------------------------------------------------------------------------

    def at(self, when: float, callback: Callable[..., object], *args: object) -> None:
        """The world does something at a time."""
        self.call_at(when, callback, *args, context=self.world.context)

    def after(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        """The world does something after a time."""
        self.call_at(self._now + delay, callback, *args, context=self.world.context)

    def _enqueue(self, proc: Proc, handle: asyncio.Handle) -> None:
        if proc.alive:
            proc.ready.append(handle)
            if not proc.queued and not proc.paused:
                proc.queued = True
                self._active.append(proc)

    def pause(self, proc: Proc) -> None:
        """As SIGSTOP."""
        proc.paused = True

    def resume(self, proc: Proc) -> None:
        """As SIGCONT."""
        proc.paused = False
        if proc.ready and not proc.queued:
            proc.queued = True
            self._active.append(proc)

    def run(self, until: float) -> None:
        """Run until ``done`` is set or virtual time passes ``until``. Raises Stuck."""
        events._set_running_loop(self)
        token = PROC.set(self.world)
        active, timers, chance = self._active, self._timers, self._rng.random
        try:
            while not self.done:
                while timers and timers[0][0] <= self._now:
                    handle = heapq.heappop(timers)[2]
                    if not handle._cancelled:
                        self._enqueue(handle._context[PROC], handle)
                if not active:
                    if not timers:
                        raise Stuck("no callback is ready, and no timer is set")
                    if timers[0][0] > until:
                        self._now = until
                        return
                    self._now = max(self._now, timers[0][0])
                    continue
                index = int(chance() * len(active))
                proc = active[index]
                if proc.paused or not proc.alive or not proc.ready:
                    proc.queued = False
                    active[index] = active[-1]
                    active.pop()
                    continue
                handle = proc.ready.popleft()
                if handle._cancelled:
                    continue
                self.steps += 1
                handle._run()
                self._now += STEP
                if self._now > until:
                    return
        finally:
            PROC.reset(token)
            events._set_running_loop(None)

    def abandon(self) -> None:
        """Close every coroutine quietly, so that nothing of this run speaks up in the next one."""
        self.on_error = lambda context: None
        events._set_running_loop(self)
        token = PROC.set(Proc("nobody"))
        PROC.get().alive = False
        try:
            for task in self.tasks:
                if not task.done():
                    try:
                        task.get_coro().close()
                    except BaseException:
                        pass
                task._log_traceback = False if task.done() and not task.cancelled() else task._log_traceback
        finally:
            PROC.reset(token)
            events._set_running_loop(None)
            self._timers.clear()
            self._active.clear()
            self.tasks.clear()


class SimClock:
    """A node's clocks: the monotonic one is the loop's, the wall clock may be wrong, and jump."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.offset = 0.0

    def time(self) -> float:
        return EPOCH + self._loop.time() + self.offset

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
