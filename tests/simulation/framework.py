"""A framework of somebody's own, written with the SDK: several processes, one disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count, islice
from typing import TYPE_CHECKING

from broker_mesos.core.model.framework import FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.port_numbers import pick_ports, with_count
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import FrameworkRefused
from broker_mesos.sdk import Driver, DriverSettings, Scheduler
from tests.simulation.loop import Proc
from tests.simulation.network import SimBus
from tests.simulation.nodes import FAILOVER_TIMEOUT, OFFER_TIMEOUT, Node

if TYPE_CHECKING:
    from tests.simulation.world import World

REUSED_IDS = 3
"""Number of task ids that a framework uses again and again in the profile ``reuse``."""
NEED = Resources.parse("cpus:1;mem:64")
OWN_PORTS, OWN_MOST, OWN_NAME = 1, 1, "own"
"""In the profile ``placement``: ports of each task, tasks on each agent, and the name of their shape. The framework
relies on the cells for the number, and states none of its tasks as placed."""


class Book:
    """What a framework keeps on its disk: items to run, launches, ends."""

    def __init__(self, items: int) -> None:
        self.todo = list(range(items))
        self.items = items
        self.launched: dict[str, int] = {}
        self.ended: dict[str, TaskState] = {}
        self.done: set[int] = set()
        self.unreachable: dict[str, float] = {}
        self.numbers = 0
        self.unknown: set[str] = set()
        """Ids of tasks that the cluster did not know: such a task has not ended, so that its id is not used again."""


class _Scheduler(Scheduler):
    def __init__(self, node: FrameworkNode, proc: Proc) -> None:
        self._node, self._proc, self._book = node, proc, node.book

    def registered(self, driver: Driver, framework_id: str) -> None:
        self._level(driver)
        if self._book.launched:
            driver.reconcile(list(self._book.launched))

    def reregistered(self, driver: Driver) -> None:
        self._level(driver)  # another process may have done the rest meanwhile

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            tasks: list[TaskInfo] = []
            left = offer.resources
            if self._is_placed and left.counted() != with_count(NEED, OWN_PORTS):
                driver.decline(offer, 0.0)  # it was made before the shape was stated, and is for anything
                continue
            while self._book.todo and left.contains(NEED):
                if not self._proc.effect():
                    return
                task_id = self._next_id()
                if task_id is None:
                    break
                self._book.launched[task_id] = self._book.todo.pop(0)
                need = NEED + (pick_ports(left, OWN_PORTS) if self._is_placed else Resources.EMPTY)
                left -= need
                command = CommandInfo(arguments=("work",))
                name = OWN_NAME if self._is_placed else ""
                tasks.append(TaskInfo(task_id=task_id, resources=need, command=command, shape=name))
            driver.accept(offer, tasks, 1.0)
        self._level(driver)

    def status_update(self, driver: Driver, status: TaskStatus) -> None:
        book = self._book
        if not self._proc.effect():
            return
        self._node.world.monitor.framework_heard(self._node, status)
        if status.state is TaskState.UNREACHABLE:
            book.unreachable[status.task_id] = self._node.world.loop.time()
        elif status.state is not TaskState.UNKNOWN:
            book.unreachable.pop(status.task_id, None)
        if status.state is TaskState.UNKNOWN:
            book.unknown.add(status.task_id)
        if status.state.terminal:
            book.ended[status.task_id] = status.state
        item = book.launched.get(status.task_id)
        if item is None or not (status.state.terminal or status.state is TaskState.UNKNOWN):
            return
        del book.launched[status.task_id]
        if status.state is TaskState.FINISHED:
            book.done.add(item)
        elif item not in book.done and item not in book.todo:
            book.todo.append(item)
        self._level(driver)

    def _next_id(self) -> str | None:
        """A new task id; in the profile ``reuse`` the id of a task that has ended, if all of them are in use None."""
        book, world = self._book, self._node.world
        if world.profile != "reuse":
            book.numbers += 1
            return f"{self._node.framework_id}-{book.numbers}"
        every = (f"{self._node.framework_id}-{number}" for number in count())
        ids = list(islice((each for each in every if each not in book.unknown), REUSED_IDS))
        task_id = next((each for each in ids if each not in book.launched), None)
        if task_id is not None:
            world.monitor.used_again(task_id)
        return task_id

    @property
    def _is_placed(self) -> bool:
        return self._node.world.profile == "placement"

    def _level(self, driver: Driver) -> None:
        """Want offers while there is something to run. Once all is done, leave for good."""
        if len(self._book.done) == self._book.items:
            driver.stop()
        elif self._book.todo and self._is_placed:
            count = len(self._book.todo)
            driver.want([Shape(resources=NEED, count=count, ports=OWN_PORTS, most=OWN_MOST, name=OWN_NAME)])
        elif self._book.todo:
            driver.revive()
        else:
            driver.suppress()


class FrameworkNode(Node):
    """A process of a framework that is written with the SDK. Several may share a book."""

    def __init__(self, world: World, name: str, framework_id: str, book: Book) -> None:
        super().__init__(world, name)
        self.framework_id = framework_id
        self.book = book
        self.driver: Driver | None = None

    async def body(self, proc: Proc, bus: SimBus) -> None:
        info = FrameworkInfo(framework_id=self.framework_id, failover_timeout=FAILOVER_TIMEOUT)
        self.driver = driver = Driver(
            _Scheduler(self, proc),
            info,
            bus,
            clock=self.clock,
            new_id=self.world.new_id,
            settings=DriverSettings(offer_timeout=OFFER_TIMEOUT),
            rng=self.rng(),
        )
        asking = asyncio.create_task(self._ask_now_and_then(driver))
        try:
            await driver.run()
        except FrameworkRefused:
            pass  # looked at below
        asking.cancel()
        if len(self.book.done) == self.book.items or driver.failure:
            self.finished = True

    async def _ask_now_and_then(self, driver: Driver) -> None:
        while True:
            await asyncio.sleep(15.0)
            if self.book.launched:
                driver.reconcile(list(self.book.launched))

    def ask_to_stop(self) -> None:
        if self.driver is not None:
            self.driver.stop(failover=True)

    def on_died(self) -> None:
        self.driver = None
