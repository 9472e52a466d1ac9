"""Changes of quota are judged by what the cells hold now, which is also what `bmesos roles` shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.roles import (
    ApplyConfig,
    CellUsage,
    ConfigApplied,
    ConfigView,
    GetCellUsage,
    RoleChange,
    SetRoles,
)
from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.errors import Conflict
from broker_mesos.master import config_api
from broker_mesos.master.config_api import ConfigApi
from broker_mesos.master.config_store import SPACE, ConfigStore
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState

EMPTY = CellUsage(total={"cpus": 4_000})
HELD = CellUsage(total={"cpus": 4_000}, held=[("eng", "f1", {"cpus": 3_000})])


class World:
    """A master's desk for quota that owns no cell itself; another master owns the one there is."""

    async def start(self) -> None:
        clock, broker, state = SystemClock(), MemoryBroker(SystemClock()), MemoryStoreState()
        self.bus, self.cell_bus = MemoryBus(broker), MemoryBus(broker)
        for bus in (self.bus, self.cell_bus):
            await bus.open(1)
        self.store = MemoryStore(state, clock)
        await self.store.cell_count(1)
        self.requester = Requester(self.bus, clock, new_id)
        self.config_store = config_store = ConfigStore(MemoryRecords(state, space=SPACE), BUILT_IN)
        self.api = ConfigApi(
            config_store, self.store, self.requester, clock, lambda: [], lambda: None, lambda *event: None
        )
        self.handlers = Handlers("a master")
        self.api.add_to(self.handlers)
        self.now = EMPTY
        self.usages = 0
        self.applies = 1
        """The version that the cell finds in the store."""
        self.applied = 0
        handlers = Handlers("a cell")
        handlers.add(GetCellUsage, self._usage)
        handlers.add(ApplyConfig, self._apply)
        queue = Queue(QueueKind.OPERATOR_CELL, "0")
        self.responder = Responder(self.cell_bus, queue, handlers.answer, clock, new_id)
        self._serving: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        self._serving = asyncio.create_task(self.responder.run())
        await self.responder.consuming.wait()

    async def _usage(self, request: GetCellUsage) -> CellUsage:
        self.usages += 1
        return self.now

    async def _apply(self, request: ApplyConfig) -> ConfigApplied:
        self.applied = self.applies
        return ConfigApplied(version=self.applied)

    async def publish(self, usage: CellUsage) -> None:
        await self.store.publish_usage(0, usage.model_dump_json().encode())

    async def set(self, **change: object) -> ConfigView:
        request = SetRoles(roles={"eng": RoleChange.model_validate(change)})
        answer = await self.handlers.answer(request)
        assert isinstance(answer, ConfigView)
        return answer

    async def store_has_a_change(self) -> None:
        while not self.config_store.config.version:
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.requester.close()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        for bus in (self.bus, self.cell_bus):
            await bus.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.close()


async def test_a_role_that_was_just_emptied_may_be_limited_to_nothing(world: World) -> None:
    await world.publish(HELD)  # as of the last beat
    await world.serve()
    assert (await world.set(limit="cpus:0")).roles["eng"].limit == "cpus:0"


async def test_a_role_that_has_just_begun_to_hold_something_is_seen(world: World) -> None:
    await world.publish(EMPTY)
    world.now = HELD
    await world.serve()
    with pytest.raises(Conflict, match="holds cpus:3 now"):
        await world.set(limit="cpus:0")


async def test_of_a_cell_that_does_not_answer_what_it_has_published_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_api, "USAGE_TIMEOUT_SECONDS", 0.05)
    await world.publish(HELD)
    with pytest.raises(Conflict, match="holds cpus:3 now"):
        await world.set(limit="cpus:0")


async def test_a_weight_is_set_without_asking_any_cell(world: World) -> None:
    await world.serve()
    assert (await world.set(weight=2)).roles["eng"].weight == 2
    assert world.usages == 0


async def test_a_change_is_answered_once_it_is_in_effect_in_the_cells_of_other_masters(world: World) -> None:
    await world.serve()
    answer = await world.set(limit="cpus:2")
    assert world.applied == answer.version
    assert answer.unconfirmed == ()


async def test_a_cell_that_is_without_an_owner_at_the_moment_of_a_change_confirms_it_with_its_next_owner(
    world: World,
) -> None:
    change = asyncio.create_task(world.set(weight=2))
    await world.store_has_a_change()
    await world.serve()
    assert (await change).unconfirmed == ()


async def test_a_cell_that_does_not_confirm_a_change_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_api, "CONFIRM_TIMEOUT_SECONDS", 0.05)
    answer = await world.set(weight=2)
    assert (answer.roles["eng"].weight, answer.unconfirmed) == (2, (0,))


async def test_a_cell_that_still_decides_by_an_older_config_has_not_confirmed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_api, "CONFIRM_TIMEOUT_SECONDS", 0.05)
    world.applies = 0
    await world.serve()
    assert (await world.set(weight=2)).unconfirmed == (0,)
