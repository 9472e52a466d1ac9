"""A driver for programs without an event loop: it blocks the caller, or works in a thread."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import cast

from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.offer import InverseOffer, Offer
from broker_mesos.core.model.reservation import Operation
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.errors import BrokerMesosError, InvalidInput
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.sdk.settings import DriverSettings


class SchedulerDriver:
    """Runs a Scheduler: ``run()`` blocks the caller; ``start()``, ``stop()`` and ``join()`` use a thread.

    ``connect`` makes a bus; it is called in the event loop, and the bus is opened and closed here. Callbacks get the
    ``Driver``. The calls of this class may be made from any thread, between ``registered`` and the end.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework: FrameworkInfo,
        connect: Callable[[], Bus],
        *,
        clock: Clock,
        new_id: NewId,
        settings: DriverSettings | None = None,
        open_timeout: float = 10.0,
    ) -> None:
        self._scheduler = scheduler
        self._framework = framework
        self._connect = connect
        self._clock = clock
        self._new_id = new_id
        self._settings = settings
        self._open_timeout = open_timeout
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._stop: bool | None = None
        """The argument of a ``stop`` that was called before there was a driver; else None."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._started = False

    def run(self) -> None:
        """Run the framework in the calling thread until ``stop``.

        Raises FrameworkRefused when the cluster refuses the framework, for example because its id was torn
        down; Unavailable when the broker, or with a registration timeout a master, does not answer. Ctrl-C
        ends it as ``stop(failover=True)`` does, with KeyboardInterrupt.
        """
        self._begin()
        asyncio.run(self._main())

    def main(self) -> int:
        """``run`` as a whole program: returns its exit code, for ``sys.exit``. An error of this package is
        one line on stderr and the error's exit code; Ctrl-C is 130. No traceback is printed for these."""
        try:
            self.run()
        except BrokerMesosError as error:
            print(f"{self._framework.name or self._framework.framework_id}: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            return 130
        return 0

    def start(self) -> None:
        """Run the framework in a new thread."""
        self._begin()
        self._thread = threading.Thread(target=self._in_thread, name="broker_mesos driver", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread of ``start`` to end; False if it still works after ``timeout`` seconds. Raises the
        errors of ``run``."""
        if self._thread is None:
            raise RuntimeError("start() comes before join()")
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self, failover: bool = False) -> None:
        """End the run; see ``Driver.stop``. Returns at once; ``join`` waits for the end."""
        with self._lock:
            if self._driver is None:
                self._stop = failover if self._stop is None else self._stop
                return
        try:
            self._driver.stop(failover)
        except RuntimeError:  # its loop is closed: it has ended
            pass

    @property
    def failure(self) -> str | None:
        """The cluster's reason, once it has refused the framework; else None."""
        return self._driver.failure if self._driver is not None else None

    def accept(
        self,
        offers: Offer | str | Iterable[Offer | str],
        tasks: Iterable[TaskInfo] = (),
        refuse_seconds: float | None = None,
        operations: Iterable[Operation] = (),
    ) -> Future[bool]:
        """Launch tasks on offers; see ``Driver.accept``."""
        return cast("Future[bool]", self._running().accept(offers, tasks, refuse_seconds, operations))

    def decline(
        self, offers: Offer | str | Iterable[Offer | str], refuse_seconds: float | None = None, reason: str = ""
    ) -> Future[bool]:
        """Decline offers; see ``Driver.decline``."""
        return cast("Future[bool]", self._running().decline(offers, refuse_seconds, reason))

    def revive(self) -> None:
        """Ask for all offers; see ``Driver.revive``."""
        self._running().revive()

    def suppress(self) -> None:
        """Ask for no offers; see ``Driver.suppress``."""
        self._running().suppress()

    def want(self, shapes: Iterable[Shape] | None) -> None:
        """Ask for offers for tasks of some shapes; see ``Driver.want``."""
        self._running().want(shapes)

    def set_demand(self, demand: Demand) -> None:
        """Set the demand with its version; see ``Driver.set_demand``."""
        self._running().set_demand(demand)

    def kill(self, task_id: str, agent_id: str | None = None) -> None:
        """Kill a task; see ``Driver.kill``."""
        self._running().kill(task_id, agent_id)

    def reconcile(self, tasks: Iterable[TaskStatus | str] = ()) -> None:
        """Ask for the states of tasks; see ``Driver.reconcile``."""
        self._running().reconcile(tasks)

    def answer_inverse_offers(self, inverse_offers: Iterable[InverseOffer | str], accept: bool = True) -> None:
        """Accept or decline planned absences; see ``Driver.answer_inverse_offers``."""
        self._running().answer_inverse_offers(inverse_offers, accept)

    def _begin(self) -> None:
        with self._lock:
            if self._started:
                raise RuntimeError("a driver runs once; make a new one")
            self._started = True

    def _running(self) -> Driver:
        driver = self._driver
        if driver is None or driver.stopping():
            raise InvalidInput("the driver does not run; call it between registered() and the end")
        return driver

    def _in_thread(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error

    async def _main(self) -> None:
        bus = self._connect()
        driver = Driver(
            self._scheduler,
            self._framework,
            bus,
            clock=self._clock,
            new_id=self._new_id,
            settings=self._settings,
        )
        driver.bind()
        running = asyncio.create_task(self._open_and_run(bus, driver))
        with self._lock:
            self._driver = driver
            early = self._stop
        if early is not None:
            driver.stop(early)
        await running

    async def _open_and_run(self, bus: Bus, driver: Driver) -> None:
        await bus.open(self._open_timeout)
        try:
            await driver.run()
        finally:
            await bus.close()
