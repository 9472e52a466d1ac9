"""Accepts: those of one turn travel together, and with what is to be acknowledged."""

from __future__ import annotations

import asyncio

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Accepts,
    Acknowledge,
    AnswerInverseOffers,
    Kill,
)
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.sdk.driver import Driver
from tests.sdk.cluster import a_status, a_task, an_offer, settle
from tests.sdk.conftest import World

CELL_0, CELL_1 = (next(name for name in map("a{}".format, range(99)) if cell_of(name, 2) == cell) for cell in (0, 1))
"""Agents of these cells."""


async def with_offers(world: World, *agents: str) -> Driver:
    """A driver with the offers o0, o1 … of these agents."""
    driver, scheduler = await world.registered()
    offers = [an_offer("fw", f"o{at}", agent) for at, agent in enumerate(agents)]
    await world.master.offer("fw", *offers)
    await scheduler.got("resource_offers")
    return driver


def padded(task_id: str, size: int) -> TaskInfo:
    return a_task(task_id).model_copy(update={"labels": {"padding": "x" * size}})


async def test_accepts_of_one_turn_reach_each_cell_in_one_message(world: World) -> None:
    driver = await with_offers(world, CELL_0, CELL_1, CELL_0)
    done = [driver.accept(f"o{at}", [a_task(f"t{at}")], refuse_seconds=at) for at in range(3)]
    assert await asyncio.gather(*done) == [True, True, True]
    [(cell, several)] = await world.master.got(Accepts)
    [(other, one)] = await world.master.got(Accept)
    assert (cell, other) == (0, 1)
    assert [each.offer_ids for each in several.accepts] == [("o0",), ("o2",)]
    assert [each.tasks[0].task_id for each in several.accepts] == ["t0", "t2"]
    assert [each.refuse_seconds for each in several.accepts] == [0, 2]
    assert (one.offer_ids, one.refuse_seconds) == (("o1",), 1)


async def test_what_is_said_after_an_accept_comes_after_it(world: World) -> None:
    driver = await with_offers(world, CELL_0, CELL_0)
    driver.accept("o0", [a_task("t0")])
    driver.answer_inverse_offers([CELL_0])  # sent at once
    driver.accept("o1", [a_task("t1")])
    driver.kill("t1")
    await world.master.got(Kill)
    said = [call for _, call in world.master.calls if isinstance(call, Accept | AnswerInverseOffers | Kill)]
    assert [type(call) for call in said] == [Accept, AnswerInverseOffers, Accept, Kill]


async def test_accepts_that_are_too_long_for_one_message_are_several(world: World) -> None:
    driver = await with_offers(world, *[CELL_0] * 3)
    for at in range(3):
        driver.accept(f"o{at}", [padded(f"t{at}", MAX_BODY * 2 // 5)])
    [(_, two)] = await world.master.got(Accepts)
    [(_, one)] = await world.master.got(Accept)
    assert [each.tasks[0].task_id for each in two.accepts] == ["t0", "t1"]
    assert one.tasks[0].task_id == "t2"


async def test_accepts_say_the_newest_demand_and_acknowledge_once(world: World) -> None:
    driver = await with_offers(world, CELL_0, CELL_0)
    await world.master.update("fw", a_status("t9", TaskState.FINISHED), cell=0)
    await world.master.seen.until(lambda: driver._calls.ended)
    await settle()
    driver.accept("o0", [a_task("t0")], demand=Demand(version=9))
    driver.accept("o1", [a_task("t1")], demand=Demand(version=8))
    [(_, call)] = await world.master.got(Accepts)
    assert call.demand.version == 9 and call.acknowledged == ("t9",)


async def test_an_accept_takes_along_what_is_to_be_acknowledged_to_its_cell(world: World) -> None:
    driver, scheduler = await world.registered()
    offer = an_offer("fw")
    await world.master.offer("fw", offer)
    await scheduler.got("resource_offers")
    await world.master.update("fw", a_status("t1", TaskState.FINISHED), cell=offer.cell)
    await scheduler.got("status_update")
    await settle()
    driver.accept([offer], [a_task("t2")])
    [(_, call)] = await world.master.got(Accept)
    assert call.acknowledged == ("t1",)


async def test_what_would_make_an_accept_too_long_is_acknowledged_by_itself(world: World) -> None:
    driver, scheduler = await world.registered()
    offer = an_offer("fw")
    await world.master.offer("fw", offer)
    await scheduler.got("resource_offers")
    ended = "t" * 250
    await world.master.update("fw", a_status(ended, TaskState.FINISHED), cell=offer.cell)
    await scheduler.got("status_update")
    await settle()
    bare = Accept(framework_id="fw", offer_ids=(offer.offer_id,), tasks=(a_task("t2"),))
    padding = "x" * (MAX_BODY - len(bare.encode()) - 275)
    task = a_task("t2").model_copy(update={"labels": {"padding": padding}})
    driver.accept([offer], [task])
    [(_, call)] = await world.master.got(Accept)
    assert call.acknowledged == ()
    [(_, alone)] = await world.master.got(Acknowledge)
    assert alone.task_ids == (ended,)


async def test_a_repeat_of_an_earlier_end_does_not_end_the_task_that_has_its_id_now(world: World) -> None:
    driver, scheduler = await world.registered()
    for offer_id in ("o1", "o2"):
        await world.master.offer("fw", an_offer("fw", offer_id))
        await scheduler.seen.until(lambda: (scheduler.named("resource_offers") or [()])[-1][1:] == ([offer_id],))  # noqa: B023
        driver.accept(offer_id, [a_task("t1")])
        if offer_id == "o1":
            ended = a_status("t1", TaskState.FINISHED).model_copy(update={"offer_id": "o1"})
            await world.master.update("fw", ended, cell=0)
            await scheduler.got("status_update")
            await settle()
    before = len(world.master.of(Acknowledge))
    running = a_status("t1", TaskState.RUNNING).model_copy(update={"offer_id": "o2"})
    await world.master.update("fw", ended, cell=0)
    await world.master.update("fw", running, cell=0)
    updates = await scheduler.got("status_update", 2)
    assert [state for _, _, state in updates] == [TaskState.FINISHED, TaskState.RUNNING]
    assert len(world.master.of(Acknowledge)) == before
    # The cell sends it again and again: it has never got the acknowledgement, and would not launch the next task.
    await world.master.update("fw", ended, cell=0)
    await world.master.got(Acknowledge, before + 1)
    assert len(scheduler.named("status_update")) == 2


async def test_a_late_status_of_an_ended_task_does_not_keep_its_id_in_use(world: World) -> None:
    driver = await with_offers(world, CELL_0, CELL_0)
    driver.accept("o0", [a_task("t1")])
    await world.master.update("fw", a_status("t1", TaskState.FINISHED, agent_id=CELL_0), cell=0)
    await world.master.update("fw", a_status("t1", TaskState.RUNNING, agent_id=CELL_0), cell=0)
    await world.master.update("fw", a_status("t2", TaskState.RUNNING, agent_id=CELL_0), cell=0)
    await world.master.seen.until(lambda: "t2" in driver._calls._agents)
    assert await driver.accept("o1", [a_task("t1")])
