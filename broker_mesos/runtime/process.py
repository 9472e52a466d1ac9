"""The process of a daemon: its event loop, its signals and its end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from broker_mesos.runtime.health_file import HealthFile
from broker_mesos.runtime.logs import configure, get_logger
from broker_mesos.runtime.service_manager import ServiceManager
from broker_mesos.runtime.settings import Settings

log = get_logger(__name__)


class Stop(asyncio.Event):
    """An event that SIGTERM and Ctrl-C set. Until a task waits for it, the daemon is still starting: it connects to
    its servers, has nothing to end in order, and is cancelled."""

    def __init__(self, manager: ServiceManager, health: HealthFile | None = None) -> None:
        super().__init__()
        self.manager = manager
        """The service manager that wants to know how the daemon is."""
        self.health = health
        """The file for probes, if there is one."""
        self.signal = 0
        """The number of the signal; 0 before there is one."""
        self.awaited = False
        self.on_forced_end: Callable[[], None] = lambda: None
        """Called before a second signal ends the process at once: it must not block."""

    async def wait(self) -> Literal[True]:
        self.awaited = True
        return await super().wait()


def run_process(
    settings: Settings, main: Callable[[Stop], Awaitable[None]], *, ends_with_terminal: bool = False
) -> int:
    """Run ``main`` with logs and an event that SIGTERM and Ctrl-C set. Returns the exit code: 0, or 130 if Ctrl-C
    came before ``main`` waited for the event. SIGTERM is how a supervisor stops a daemon, which is no failure.

    SIGHUP does nothing until ``main`` sets a handler that reads files again. With ``ends_with_terminal`` it is the
    end of the terminal that the process was started in, and does what SIGTERM does, unless it is ignored (``nohup``).
    """
    configure(settings.log_level, settings.log_format, daemon=True)
    # A watchdog ends a stuck daemon with SIGABRT: the functions in which it is stuck are then printed.
    faulthandler.enable(2)
    manager = ServiceManager(os.environ)
    health = None if settings.health_file is None else HealthFile(settings.health_file)

    async def shell() -> int:
        stop = Stop(manager, health)
        loop = asyncio.get_running_loop()
        reporting = [asyncio.create_task(manager.report(), name="reports to the service manager")]
        if health is not None:
            touching = health.touch(manager.working, lambda: manager.status())
            reporting.append(asyncio.create_task(touching, name="touches the health file"))
        work = asyncio.ensure_future(main(stop))
        ends = [signal.SIGTERM, signal.SIGINT]
        if not ends_with_terminal:
            loop.add_signal_handler(signal.SIGHUP, _no_reload)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            ends.append(signal.SIGHUP)
        for number in ends:
            loop.add_signal_handler(number, _on_signal, number, stop, work)
        try:
            await work
        except (asyncio.CancelledError, Exception):
            # Errors about a server that the daemon was connecting to are of no interest any more.
            if not stop.signal or stop.awaited:
                raise
            return _starting_exit_code(stop.signal)
        finally:
            for each in reporting:
                each.cancel()
            manager.close()
            if health is not None:
                health.close()
        return 0

    # Imported objects stay; and a daemon makes few cycles, so that searching for them often would only be a pause.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return asyncio.run(shell())


def _no_reload() -> None:
    log.info("SIGHUP: this daemon has read no file that it could read again")


def _starting_exit_code(number: int) -> int:
    """The exit code of a daemon that a signal ended while it connected to its servers."""
    return 128 + number if number == signal.SIGINT else 0


def _on_signal(number: int, stop: Stop, work: asyncio.Future[None]) -> None:
    if stop.is_set():  # the second signal: its sender does not want to wait
        stop.on_forced_end()
        os._exit(1 if stop.awaited else _starting_exit_code(number))
    stop.signal = number
    stop.manager.stopping()
    if stop.health is not None:
        stop.health.close()
    stop.set()
    if not stop.awaited:
        work.cancel()


async def serve(
    work: Coroutine[Any, Any, None],
    stop: Stop,
    end: Callable[[], object],
    *,
    ready: Callable[[], Awaitable[object]] | None = None,
    status: Callable[[], str] = lambda: "working",
) -> None:
    """Run a daemon until it ends, or until ``stop`` is set: then call ``end`` and wait for the daemon. For the service
    manager, ``ready`` returns once the daemon works (without it that is at once), and ``status`` is one line about what
    it does now."""
    stop.manager.status = status
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(_announce(ready, stop.manager))
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            end()
        await task
    finally:
        stopping.cancel()
        announcing.cancel()


async def _announce(ready: Callable[[], Awaitable[object]] | None, manager: ServiceManager) -> None:
    if ready is not None:
        await ready()
    manager.ready()


async def outcome(task: asyncio.Task[None]) -> None:
    """Wait for a task; its cancellation is no error. If the waiting caller is cancelled, the task goes on."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def first(*works: Coroutine[Any, Any, object]) -> None:
    """Wait until the first of these ends. Raises its error."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
