"""``python -m benchmarks.fillers``: many frameworks in one process, over the real protocol, each of which has
always more work than there is room for. Prints a JSON line each second."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence

from broker_mesos.bus.open import CLOCK, open_bus
from broker_mesos.core.model.framework import FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import configure
from broker_mesos.runtime.settings import load
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.sdk.settings import DriverSettings

COMMAND = CommandInfo(arguments=("true",))
BACKLOG = 1_000_000


class Filler(Scheduler):
    """Takes whatever it is offered, for tasks of one shape, up to ``limit`` of them."""

    def __init__(self, number: int, task: Resources, limit: int) -> None:
        self.number = number
        self.task = task
        self.limit = limit
        self.offers = self.launched = self.running = self.ended = 0
        self.states: dict[str, int] = {}
        self._alive: set[str] = set()
        self.registered_at = 0.0

    def registered(self, driver: Driver, framework_id: str) -> None:
        self.registered_at = time.monotonic()
        self._state_demand(driver)

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        by_agent: dict[str, list[Offer]] = {}
        for offer in offers:
            self.offers += 1
            by_agent.setdefault(offer.agent_id, []).append(offer)
        for several in by_agent.values():
            free = Resources.sum(offer.resources for offer in several)
            tasks = []
            while free.contains(self.task) and len(self._alive) < self.limit:
                free -= self.task
                self.launched += 1
                task = TaskInfo(
                    task_id=f"f{self.number}-{os.getpid()}-{self.launched}",
                    resources=self.task,
                    command=COMMAND,
                )
                self._alive.add(task.task_id)
                tasks.append(task)
            if tasks:
                driver.accept(several, tasks, refuse_seconds=0)
            else:
                driver.decline(several)
        if self._full:
            self._state_demand(driver)

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        lost = False
        for status in statuses:
            self.states[status.state.value] = self.states.get(status.state.value, 0) + 1
            if status.state.terminal:
                self._alive.discard(status.task_id)
                self.ended += 1
                lost = True
        if lost and self.limit < BACKLOG:  # the cells count what they were told of the demand, once
            self._state_demand(driver)

    @property
    def _full(self) -> bool:
        return len(self._alive) >= self.limit

    def _state_demand(self, driver: Driver) -> None:
        count = min(BACKLOG, self.limit - len(self._alive))
        driver.want([Shape(resources=self.task, count=count)] if count > 0 else [])


async def fill(options: argparse.Namespace) -> None:
    """Run the frameworks until SIGTERM."""
    settings = load()
    configure("warning", "text")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bus = open_bus(settings.need_broker(), name="bmesos fillers", cluster=settings.cluster)
    await bus.open(10)
    task = Resources.parse(options.task)
    fillers: list[tuple[Filler, Driver]] = []
    running = []
    for number in range(options.first, options.first + options.frameworks):
        filler = Filler(number, task, options.limit)
        info = FrameworkInfo(framework_id=f"filler-{number}", name="filler", failover_timeout=3_600)
        driver = Driver(
            filler,
            info,
            bus,
            clock=CLOCK,
            new_id=new_id,
            settings=DriverSettings(settle=not options.no_settle),
            rng=random.Random(number),
        )
        fillers.append((filler, driver))
        running.append(asyncio.create_task(driver.run()))
        if number % 20 == 0:
            await asyncio.sleep(0.2)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        said = {
            "registered": sum(1 for filler, _ in fillers if filler.registered_at),
            "offers": sum(filler.offers for filler, _ in fillers),
            "launched": sum(filler.launched for filler, _ in fillers),
            "ended": sum(filler.ended for filler, _ in fillers),
            "cpu": round(time.process_time(), 2),
            "states": _added(filler.states for filler, _ in fillers),
        }
        print(json.dumps(said), flush=True)
        try:
            async with asyncio.timeout(1):
                await stop.wait()
        except TimeoutError:
            pass
    for _, driver in fillers:
        driver.stop(failover=True)
    await asyncio.gather(*running, return_exceptions=True)
    await bus.close()


def _added(counts: object) -> dict[str, int]:
    added: dict[str, int] = {}
    for each in counts:  # type: ignore[attr-defined]
        for name, value in each.items():
            added[name] = added.get(name, 0) + value
    return added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frameworks", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--task", default="cpus:1;mem:128", help="resources of each task")
    parser.add_argument("--limit", type=int, default=BACKLOG, help="tasks of a framework at once")
    parser.add_argument("--no-settle", action="store_true")
    asyncio.run(fill(parser.parse_args()))
    sys.exit(0)


if __name__ == "__main__":
    main()
