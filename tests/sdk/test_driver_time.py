"""What a driver does as time passes and connections break; in memory, where a test moves the clock."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.events import Subscribed
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acknowledge,
    Kill,
    Reconcile,
    Settle,
    Subscribe,
    Teardown,
)
from broker_mesos.errors import BusUnavailable, TimedOut
from broker_mesos.sdk import Driver, DriverSettings
from tests.sdk.cluster import LIMIT, FakeMaster, Recorder, a_status, a_task, an_offer, new_id, settle
from tests.sdk.conftest import FRAMEWORK, World

CELL = cell_of("a1", 2)


async def launched(world: World, **options) -> tuple[Driver, Recorder]:
    """A driver that has launched t1 on o1 and heard nothing of it."""
    driver, scheduler = await world.registered(**options)
    await world.master.offer("fw", an_offer("fw"))
    await scheduler.got("resource_offers")
    assert await driver.accept("o1", [a_task()])
    await world.master.got(Accept)
    return driver, scheduler


async def test_launch_without_news_is_settled_until_a_status_comes(still_world: World) -> None:
    world = still_world
    await launched(world)
    await world.clock.advance(14)
    assert not world.master.of(Settle)
    await world.clock.advance(3)
    [(cell, call)] = world.master.of(Settle)
    assert cell == CELL and call.claims == (("t1", "o1"),)
    await world.clock.advance(10)
    assert len(world.master.of(Settle)) == 2
    await world.master.update("fw", a_status("t1", TaskState.STAGING))
    await world.clock.advance(60)
    assert len(world.master.of(Settle)) == 2


async def test_launch_that_another_process_may_have_seen_end_is_unknown_and_not_dropped(
    still_world: World,
) -> None:
    world = still_world
    bus = await world.bus()
    driver, scheduler = await world.registered(bus=bus)
    await world.master.offer("fw", an_offer("fw"))
    await scheduler.got("resource_offers")
    assert await driver.accept("o1", [a_task()])
    bus.disconnect()
    other, _ = await world.registered()  # it becomes the active one
    bus.reconnect()
    await world.clock.advance(30)
    assert not world.master.of(Settle), "one that stands by does not ask"
    other.stop(failover=True)
    await world.clock.advance(30)
    assert world.master.of(Settle)
    dropped = a_status("t1", TaskState.DROPPED, reason=Reason.INVALID_OFFERS)
    await world.master.update("fw", dropped)
    await scheduler.got("status_update")
    assert scheduler.named("status_update") == [("status_update", "t1", TaskState.UNKNOWN)]


async def test_framework_with_its_own_claims_does_not_settle(still_world: World) -> None:
    await launched(still_world, settings=DriverSettings(settle=False))
    await still_world.clock.advance(60)
    assert not still_world.master.of(Settle)


async def test_accept_that_the_broker_did_not_take_is_settled_as_soon_as_it_is_back(
    still_world: World,
) -> None:
    world = still_world
    bus = await world.bus()
    driver, scheduler = await world.registered(bus=bus)
    await world.master.offer("fw", an_offer("fw"))
    await scheduler.got("resource_offers")
    bus.disconnect()
    with pytest.raises(BusUnavailable):
        await driver.accept("o1", [a_task()])
    await world.clock.advance(5)
    bus.reconnect()
    await world.clock.advance(2)
    [(_, call)] = world.master.of(Settle)
    assert call.claims == (("t1", "o1"),)


async def test_accept_of_an_offer_that_has_ended_drops_its_tasks(still_world: World) -> None:
    world = still_world
    driver, scheduler = await world.registered()
    await world.master.offer("fw", an_offer("fw"))
    await scheduler.got("resource_offers")
    await world.clock.advance(30)
    assert not await driver.accept("o1", [a_task()])
    assert await scheduler.got("status_update") == [("status_update", "t1", TaskState.DROPPED)]
    assert not world.master.of(Accept) and not world.master.of(Acknowledge)


async def test_driver_beats_every_two_seconds(still_world: World) -> None:
    await still_world.registered()
    await still_world.clock.advance(1)
    before = len(still_world.master.beats)
    await still_world.clock.advance(20)
    assert len(still_world.master.beats) - before == 2 * 10, "ten beats, to each of two cells"


async def test_driver_says_at_once_what_it_wants_to_a_cell_that_has_not_heard_it(still_world: World) -> None:
    world = still_world
    await world.registered(demand=Demand(version=7, wanted=True))
    await settle()
    before = len(world.master.beats)
    for cell, heard in ((0, 7), (1, 0)):
        subscribed = Subscribed(framework_id="fw", cell=cell, cells=2, demand=heard)
        await world.master.say(addresses.events("fw"), subscribed)
    await settle()
    assert [beat.demand.version for beat in world.master.beats[before:]] == [7]


async def test_demand_versions_only_rise_even_when_the_clock_goes_back(still_world: World) -> None:
    world = still_world
    driver, _ = await world.registered()
    await settle()
    seen = [world.master.beats[-1].demand]
    for verb in (driver.suppress, driver.revive, driver.revive, driver.suppress):
        world.clock.now -= 100
        verb()
        await settle()
        seen.append(world.master.beats[-1].demand)
    assert [demand.wanted for demand in seen] == [True, False, True, True, False]
    assert sorted({demand.version for demand in seen}) == [demand.version for demand in seen]


async def test_suppressed_driver_says_so_again_when_offers_come(still_world: World) -> None:
    world = still_world
    driver, scheduler = await world.registered()
    driver.suppress()
    await settle()
    before = world.master.beats[-1].demand
    await world.master.offer("fw", an_offer("fw"))
    await scheduler.got("resource_offers")
    await settle()
    after = world.master.beats[-1].demand
    assert not after.wanted and after.version > before.version


async def test_framework_that_mints_its_demand_is_not_meddled_with(still_world: World) -> None:
    world = still_world
    driver, _ = await world.registered(demand=Demand(version=7, wanted=False))
    await world.clock.advance(4)
    driver.set_demand(Demand(version=9, wanted=True))
    driver.set_demand(Demand(version=8, wanted=False))
    await world.clock.advance(4)
    said = {(beat.demand.version, beat.demand.wanted) for beat in world.master.beats}
    assert said == {(7, False), (9, True)}


@pytest.mark.slow
async def test_registration_waits_for_a_master_and_gives_up_when_told_to(still_world: World) -> None:
    world = still_world
    await world.master.close()
    patient, hasty = Recorder(), Recorder()
    driver = await world.driver(patient)
    impatient = await world.driver(hasty, settings=DriverSettings(registration_timeout=3.0))
    await world.clock.advance(5)
    with pytest.raises(TimedOut, match="could not register within 3 s"):
        await world.ended(impatient)
    assert not world.runs[driver].done()
    world.master = FakeMaster(await world.bus())
    await world.master.start()
    await world.clock.advance(2)
    await patient.got("registered")


async def test_stop_ends_a_driver_that_has_not_registered(still_world: World) -> None:
    world = still_world
    await world.master.close()
    driver = await world.driver(Recorder())
    await settle()
    driver.stop()
    await world.ended(driver)
    assert not world.master.of(Teardown)


async def test_teardown_without_a_broker_gives_up_in_time(still_world: World) -> None:
    world = still_world
    bus = await world.bus()
    driver, _ = await world.registered(bus=bus, settings=DriverSettings(stop_timeout=0.05))
    bus.disconnect()
    driver.stop()
    await world.ended(driver)


async def test_driver_comes_back_after_a_lost_connection(still_world: World) -> None:
    world = still_world
    bus = await world.bus()
    driver, scheduler = await world.registered(bus=bus)
    driver.suppress()
    subscribed = len(world.master.of(Subscribe))
    bus.disconnect()
    await scheduler.got("disconnected")
    bus.reconnect()
    await world.clock.advance(1)
    await scheduler.got("reregistered")
    assert len(world.master.of(Subscribe)) == subscribed + 2
    await settle()
    assert not world.master.beats[-1].demand.wanted, "its level of demand is kept"
    await world.master.update("fw", a_status("t1"))
    await scheduler.got("status_update")


async def test_kill_goes_to_the_cell_of_the_task_and_again_until_the_broker_has_it(
    still_world: World,
) -> None:
    world = still_world
    bus = await world.bus()
    driver, _ = await launched(world, bus=bus)
    driver.kill("t1")
    [(cell, call)] = await world.master.got(Kill)
    assert cell == CELL and call.task_ids == ("t1",) and call.answer_unknown
    bus.disconnect()
    driver.kill("t1")
    await world.clock.advance(3)
    assert len(world.master.of(Kill)) == 1
    bus.reconnect()
    await world.clock.advance(3)
    assert len(world.master.of(Kill)) == 2


async def test_task_is_unknown_when_every_cell_has_said_so(still_world: World) -> None:
    world = still_world
    driver, scheduler = await world.registered()
    driver.kill("nobodys")
    kills = await world.master.got(Kill, 2)
    assert {cell for cell, _ in kills} == {0, 1} and not kills[0][1].answer_unknown
    await world.master.got(Reconcile, 2)
    unknown = a_status("nobodys", TaskState.UNKNOWN, reason=Reason.RECONCILIATION)
    await world.master.update("fw", unknown, cell=1)
    await world.master.update("fw", unknown, cell=1)
    await world.clock.advance(12)
    assert [cell for cell, _ in world.master.of(Reconcile)[2:]] == [0], "the other cell is asked again"
    assert not scheduler.named("status_update")
    await world.master.update("fw", unknown, cell=0)
    assert await scheduler.got("status_update") == [("status_update", "nobodys", TaskState.UNKNOWN)]
    await world.clock.advance(30)
    assert len(world.master.of(Reconcile)) == 3


async def test_reconcile_asks_the_cells_that_may_know(still_world: World) -> None:
    world = still_world
    driver, scheduler = await launched(world)
    driver.reconcile()
    everything = await world.master.got(Reconcile, 2)
    assert {cell for cell, _ in everything} == {0, 1} and everything[0][1].task_ids == ()
    driver.reconcile(["t1", a_status("t2", agent_id="a1")])
    [(cell, call)] = (await world.master.got(Reconcile, 3))[2:]
    assert cell == CELL and sorted(call.task_ids) == ["t1", "t2"]
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await world.master.got(Acknowledge)
    answer = a_status("t1", TaskState.FINISHED, reason=Reason.RECONCILIATION)
    await world.master.update("fw", answer)
    assert len(await scheduler.got("status_update", 2)) == 2, "who asks is answered, ended or not"


async def test_competing_processes_do_not_count_answers_that_others_may_get(still_world: World) -> None:
    world = still_world
    driver, _ = await world.registered(FrameworkInfo(framework_id="fw", competing=True))
    driver.reconcile(["t1"])
    asked = await world.master.got(Reconcile, 2)
    assert all(not call.answer_unknown for _, call in asked)
    await world.clock.advance(60)
    assert len(world.master.of(Reconcile)) == 2


async def test_offers_are_left_to_the_process_that_gets_the_events(world: World) -> None:
    other = await (await world.bus()).consume(addresses.Queue(addresses.QueueKind.FRAMEWORK_EVENTS, "fw", False))
    scheduler = Recorder()
    driver = await world.driver(scheduler, settings=DriverSettings(subscribe_interval=0.3))
    await world.master.got(Subscribe, 2)
    await world.master.offer("fw", an_offer("fw"))
    # It asks to be spoken to, hears nothing, and steps aside: its consumer goes.
    queue = addresses.Queue(addresses.QueueKind.FRAMEWORK_OFFERS, "fw", False)
    async with asyncio.timeout(LIMIT):
        while await world.buses[0].consumers(queue) != 0:
            await asyncio.sleep(0.005)
    assert not scheduler.events
    await other.close()
    await scheduler.got("resource_offers")
    assert scheduler.events[0] == ("registered", "fw")
    assert not driver.stopping()


async def test_driver_runs_once(still_world: World) -> None:
    driver, _ = await still_world.registered()
    with pytest.raises(RuntimeError, match="runs once"):
        await driver.run()
    other = Driver(Recorder(), FRAMEWORK, await still_world.bus(), clock=still_world.clock, new_id=new_id)
    other.stop()
    await other.run()
