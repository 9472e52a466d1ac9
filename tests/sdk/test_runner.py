"""SchedulerDriver: an event loop in a thread, verbs from any thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.protocol.framework_messages import Accept, Decline, Kill, Teardown
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BusUnavailable, InvalidInput
from broker_mesos.ports.bus import Bus
from broker_mesos.sdk import DriverSettings, Scheduler, SchedulerDriver
from tests.sdk.cluster import LIMIT, FakeMaster, RealClock, a_task, an_offer, new_id

FRAMEWORK = FrameworkInfo(framework_id="fw")


class InThread:
    """A memory broker with a fake master, made in the driver's own loop when it connects."""

    def __init__(self) -> None:
        self.master: FakeMaster
        self.loop: asyncio.AbstractEventLoop
        self._tasks: list[asyncio.Task[None]] = []

    def connect(self) -> Bus:
        self.loop = asyncio.get_running_loop()
        broker = MemoryBroker(RealClock())
        self.master = FakeMaster(MemoryBus(broker))
        self._tasks.append(self.loop.create_task(self._start()))
        return MemoryBus(broker)

    async def _start(self) -> None:
        await self.master.bus.open(1.0)
        await self.master.start()

    def got(self, kind: type[Message]) -> list[tuple[int, Message]]:
        return asyncio.run_coroutine_threadsafe(self.master.got(kind), self.loop).result(LIMIT)

    def offer(self, *offers) -> None:
        asyncio.run_coroutine_threadsafe(self.master.offer("fw", *offers), self.loop).result(LIMIT)


class Signals(Scheduler):
    def __init__(self) -> None:
        self.up = threading.Event()
        self.offered = threading.Event()
        self.threads: set[int] = set()

    def registered(self, driver, framework_id):
        self.threads.add(threading.get_ident())
        self.up.set()

    def resource_offers(self, driver, offers):
        self.threads.add(threading.get_ident())
        self.offered.set()


def make(scheduler: Scheduler, world: InThread, **options) -> SchedulerDriver:
    return SchedulerDriver(scheduler, FRAMEWORK, world.connect, clock=RealClock(), new_id=new_id, **options)


def test_verbs_work_from_another_thread() -> None:
    world, scheduler = InThread(), Signals()
    driver = make(scheduler, world)
    with pytest.raises(InvalidInput, match="does not run"):
        driver.revive()
    driver.start()
    assert scheduler.up.wait(LIMIT)
    world.offer(an_offer("fw", "o1"), an_offer("fw", "o2"), an_offer("fw", "o3"))
    assert scheduler.offered.wait(LIMIT)
    assert driver.accept("o1", [a_task()]).result(LIMIT) is True
    assert driver.decline(["o2"]).result(LIMIT) is True
    with pytest.raises(InvalidInput):
        driver.accept("o3", [a_task(), a_task()]).result(LIMIT)
    driver.suppress()
    driver.kill("t1")
    assert world.got(Accept) and world.got(Decline) and world.got(Kill)
    driver.stop()
    assert driver.join(LIMIT)
    assert world.master.of(Teardown) and driver.failure is None
    assert threading.get_ident() not in scheduler.threads and len(scheduler.threads) == 1


def test_run_blocks_until_a_callback_stops_it() -> None:
    class Once(Signals):
        def registered(self, driver, framework_id):
            super().registered(driver, framework_id)
            driver.stop()

    world, scheduler = InThread(), Once()
    driver = make(scheduler, world)
    driver.run()
    assert scheduler.threads == {threading.get_ident()}
    with pytest.raises(RuntimeError, match="runs once"):
        driver.run()


def test_stop_before_the_start_and_after_the_end_is_harmless() -> None:
    driver = make(Signals(), InThread())
    driver.stop()
    driver.start()
    assert driver.join(LIMIT)
    driver.stop()


def test_many_stops_from_many_threads_end_it_once() -> None:
    world, scheduler = InThread(), Signals()
    driver = make(scheduler, world)
    driver.start()
    assert scheduler.up.wait(LIMIT)
    threads = [threading.Thread(target=driver.stop, args=(True,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert driver.join(LIMIT)
    assert not world.master.of(Teardown)


def test_unreachable_broker_is_raised_by_join() -> None:
    def connect() -> Bus:
        broker = MemoryBroker(RealClock())
        broker.stop()
        return MemoryBus(broker)

    driver = SchedulerDriver(Signals(), FRAMEWORK, connect, clock=RealClock(), new_id=new_id, open_timeout=0.05)
    driver.start()
    with pytest.raises(BusUnavailable):
        driver.join(LIMIT)


def test_missing_master_is_raised_by_run_within_the_registration_timeout() -> None:
    def connect() -> Bus:
        return MemoryBus(MemoryBroker(RealClock()))

    driver = SchedulerDriver(
        Signals(),
        FRAMEWORK,
        connect,
        clock=RealClock(),
        new_id=new_id,
        settings=DriverSettings(registration_timeout=0.05),
    )
    with pytest.raises(Exception, match="could not register"):
        driver.run()
