"""``python -m benchmarks.probe``: a framework that always has a next task, and tells when each one runs.

Prints a JSON line for each task that is known to run: its agent, when it was asked for and when its status
arrived (wall clock). A task that was asked for after an owner's death was launched by its successor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections.abc import Sequence

from benchmarks.fillers import BACKLOG, COMMAND
from broker_mesos.bus.open import CLOCK, open_bus
from broker_mesos.core.model.framework import FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import configure
from broker_mesos.runtime.settings import load
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.sdk.settings import DriverSettings


class Probe(Scheduler):
    """One task for each offer."""

    def __init__(self, task: Resources) -> None:
        self.task = task
        self._number = 0
        self._asked: dict[str, float] = {}

    def registered(self, driver: Driver, framework_id: str) -> None:
        driver.want([Shape(resources=self.task, count=BACKLOG)])

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            if not offer.resources.contains(self.task):
                driver.decline([offer])
                continue
            self._number += 1
            info = TaskInfo(task_id=f"probe-{self._number}", resources=self.task, command=COMMAND)
            self._asked[info.task_id] = time.time()
            driver.accept([offer], [info], refuse_seconds=0)

    async def status_updates(self, driver: Driver, statuses: Sequence[TaskStatus]) -> None:
        now = time.time()
        for status in statuses:
            asked = self._asked.get(status.task_id)
            if status.state is TaskState.RUNNING and asked is not None:
                print(json.dumps({"agent": status.agent_id, "asked": asked, "runs": now}), flush=True)
            if status.state.terminal:
                self._asked.pop(status.task_id, None)


async def probe(task: Resources) -> None:
    """Run it until SIGTERM."""
    settings = load()
    configure("warning", "text")
    bus = open_bus(settings.need_broker(), name="bmesos probe", cluster=settings.cluster)
    await bus.open(10)
    driver = Driver(
        Probe(task),
        FrameworkInfo(framework_id="probe", name="probe", failover_timeout=3_600),
        bus,
        clock=CLOCK,
        new_id=new_id,
        settings=DriverSettings(settle=False),
        rng=random.Random(0),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: driver.stop(failover=True))
    await driver.run()
    await bus.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="cpus:0.5;mem:32", help="resources of each task")
    asyncio.run(probe(Resources.parse(parser.parse_args().task)))


if __name__ == "__main__":
    main()
