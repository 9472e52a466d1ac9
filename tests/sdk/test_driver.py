"""The driver against a scripted cluster, on both kinds of bus."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker_mesos.core.model.agent import Unavailability
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.offer import InverseOffer
from broker_mesos.core.model.reservation import Operation, OperationStatus
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind, cell_of
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.events import (
    Error,
    Failure,
    InverseOffers,
    OperationsUpdated,
    Rescind,
    Subscribed,
)
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acknowledge,
    AnswerInverseOffers,
    Decline,
    Kill,
    Subscribe,
    Teardown,
)
from broker_mesos.errors import FrameworkRefused, InvalidInput, StoreUnavailable
from broker_mesos.sdk import Scheduler
from tests.sdk.cluster import LIMIT, Recorder, Seen, a_status, a_task, an_offer
from tests.sdk.conftest import FRAMEWORK, World


async def dead_letter(world: World):
    """The next dead letter."""
    consumer = await (await world.bus()).consume(Queue(QueueKind.DEAD_LETTERS))
    async with asyncio.timeout(LIMIT):
        return (await consumer.receive())[0]


async def test_driver_subscribes_to_every_cell_and_tells_its_scheduler(world: World) -> None:
    driver, scheduler = await world.registered()
    assert scheduler.events[0] == ("registered", "fw")
    assert driver.cells == 2
    assert {cell for cell, _ in await world.master.got(Subscribe, 2)} == {0, 1}
    beat = await world.master.seen.until(lambda: world.master.beats and world.master.beats[-1])
    assert beat.framework == FRAMEWORK and beat.process_id == driver.process_id and beat.demand.wanted


async def test_subscribe_is_repeated_until_a_cell_answers(world: World) -> None:
    world.master.answers_subscribe = False
    scheduler = Recorder()
    await world.driver(scheduler)
    await world.master.got(Subscribe, 4)
    assert not scheduler.events
    world.master.answers_subscribe = True
    await scheduler.got("registered")


async def test_offers_are_accepted_and_declined_at_the_cell_they_came_from(world: World) -> None:
    driver, scheduler = await world.registered()
    offers = [an_offer("fw", f"o{n}", f"agent{n}") for n in range(4)]
    await world.master.offer("fw", *offers)
    assert await scheduler.got("resource_offers") == [("resource_offers", ["o0", "o1", "o2", "o3"])]

    assert await driver.accept("o0", [a_task("t1"), a_task("t2")], refuse_seconds=7)
    [(cell, accept)] = await world.master.got(Accept)
    assert cell == cell_of("agent0", 2)
    assert accept.offer_ids == ("o0",) and [task.task_id for task in accept.tasks] == ["t1", "t2"]
    assert accept.refuse_seconds == 7 and accept.framework_id == "fw"

    assert await driver.decline([offers[1], "o2", "o3", "nobody's"], refuse_seconds=3)
    wanted = {cell_of(f"agent{n}", 2) for n in (1, 2, 3)}
    declines = await world.master.got(Decline, len(wanted))
    assert {cell for cell, _ in declines} == wanted, "one message a cell"
    assert sorted(i for _, call in declines for i in call.offer_ids) == ["o1", "o2", "o3"]
    assert all(call.refuse_seconds == 3 for _, call in declines)


async def test_callbacks_may_be_coroutines(world: World) -> None:
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    class Asynchronous(Scheduler):
        async def resource_offers(self, driver, offers):
            await asyncio.sleep(0)
            answered.set_result(await driver.accept(offers, [a_task()]))

    await world.driver(Asynchronous())
    await world.master.got(Subscribe, 2)
    await world.master.offer("fw", an_offer("fw"))
    async with asyncio.timeout(LIMIT):
        assert await answered
    await world.master.got(Accept)


async def test_terminal_status_is_acknowledged_only_after_its_callback_returned(world: World) -> None:
    _driver, scheduler = await world.registered()
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(driver, status):
        entered.set()
        await leave.wait()

    scheduler.on["status_update"] = slow
    await world.master.update("fw", a_status("t1", TaskState.FINISHED), cell=1)
    async with asyncio.timeout(LIMIT):
        await entered.wait()
    # A kill sent meanwhile overtakes an acknowledgement only if there is none on its way.
    _driver.kill("other", "agent0")
    await world.master.got(Kill)
    assert not world.master.of(Acknowledge)
    leave.set()
    [(cell, call)] = await world.master.got(Acknowledge)
    assert cell == 1 and call.task_ids == ("t1",)


async def test_an_answer_to_a_reconciliation_that_comes_late_revives_no_ended_task(world: World) -> None:
    """A cell's next owner says again what the last one may not have said."""
    _, scheduler = await world.registered()
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await scheduler.got("status_update")
    late = a_status("t1", TaskState.STAGING, reason=Reason.RECONCILIATION)
    again = a_status("t1", TaskState.FINISHED, reason=Reason.RECONCILIATION)
    await world.master.update("fw", late, again, a_status("t2"))
    assert await scheduler.got("status_update", 3) == [
        ("status_update", "t1", TaskState.FINISHED),
        ("status_update", "t1", TaskState.FINISHED),
        ("status_update", "t2", TaskState.RUNNING),
    ]


@pytest.mark.slow
async def test_status_after_the_end_is_acknowledged_again_and_not_passed_on(world: World) -> None:
    _, scheduler = await world.registered()
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await world.master.got(Acknowledge, 1)
    await world.master.update("fw", a_status("t1", TaskState.RUNNING))
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await world.master.got(Acknowledge, 2)
    await world.master.update("fw", a_status("t2"))
    await scheduler.seen.until(lambda: ("status_update", "t2", TaskState.RUNNING) in scheduler.events)
    assert [event[1:] for event in scheduler.named("status_update")] == [
        ("t1", TaskState.FINISHED),
        ("t2", TaskState.RUNNING),
    ]


async def test_task_id_is_taken_while_its_task_lives_and_free_again_afterwards(world: World) -> None:
    driver, scheduler = await world.registered()
    await world.master.offer("fw", an_offer("fw", "o1"), an_offer("fw", "o2"))
    await scheduler.got("resource_offers")
    assert await driver.accept("o1", [a_task("t1")])
    with pytest.raises(InvalidInput, match="task t1 has not ended"):
        driver.accept("o2", [a_task("t1")])
    await world.master.update("fw", a_status("t1", TaskState.FAILED))
    await scheduler.got("status_update")
    assert await driver.accept("o2", [a_task("t1")])
    await world.master.update("fw", a_status("t1", TaskState.RUNNING))
    assert (await scheduler.got("status_update", 2))[1] == ("status_update", "t1", TaskState.RUNNING)


async def test_exception_in_a_callback_brings_the_message_again_then_parks_it(world: World) -> None:
    _, scheduler = await world.registered()

    def fail(driver, status):
        if status.task_id == "bad":
            raise ValueError("the callback's own fault")

    scheduler.on["status_update"] = fail
    message_id = await world.master.update(
        "fw", a_status("bad", TaskState.FAILED), a_status("good", TaskState.FINISHED)
    )
    letter = await dead_letter(world)
    assert letter.message_id == message_id and letter.type == "UPDATE"
    assert letter.headers["reason"] == "3 tries failed: ValueError: the callback's own fault"
    tries = [event[1] for event in scheduler.named("status_update")]
    assert tries == ["bad", "good", "bad", "bad"], "what was handled is not handled again"
    await world.master.update("fw", a_status("next", TaskState.FINISHED))
    await world.master.seen.until(
        lambda: {each for _, call in world.master.of(Acknowledge) for each in call.task_ids} == {"good", "next"}
    )


async def test_callback_that_fails_once_is_given_the_message_again(world: World) -> None:
    _, scheduler = await world.registered()
    faults = [RuntimeError("once")]

    def fail_once(driver, what):
        if faults:
            raise faults.pop()

    scheduler.on["resource_offers"] = fail_once
    await world.master.offer("fw", an_offer("fw"))
    assert await scheduler.got("resource_offers", 2) == [("resource_offers", ["o1"])] * 2
    scheduler.on["status_update"] = fail_once
    faults.append(RuntimeError("once"))
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await world.master.got(Acknowledge)
    assert len(scheduler.named("status_update")) == 2


async def test_unavailable_server_is_waited_out_however_long_it_takes(world: World) -> None:
    _, scheduler = await world.registered()

    def fail(driver, status):
        if len(scheduler.named("status_update")) < 6:
            raise StoreUnavailable("Redis is away")

    scheduler.on["status_update"] = fail
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    [(_, call)] = await world.master.got(Acknowledge)
    assert call.task_ids == ("t1",) and len(scheduler.named("status_update")) == 6


async def test_many_updates_reach_an_overridden_status_updates_at_once(world: World) -> None:
    class Batch(Scheduler):
        def __init__(self):
            self.lists = []
            self.failures = 1
            self.seen = Seen()

        async def status_updates(self, driver, statuses):
            self.lists.append([status.task_id for status in statuses])
            self.seen.changed()
            if self.failures:
                self.failures -= 1
                raise RuntimeError("once")

    scheduler = Batch()
    await world.driver(scheduler, FRAMEWORK.model_copy(update={"competing": True}))
    await world.master.got(Subscribe, 2)
    statuses = [a_status(f"t{n}", TaskState.FINISHED) for n in range(3)]
    await world.master.update("fw", *statuses)
    await scheduler.seen.until(lambda: len(scheduler.lists) >= 2)
    assert scheduler.lists == [["t0", "t1", "t2"]] * 2
    [(_, call)] = await world.master.got(Acknowledge)
    assert call.task_ids == ("t0", "t1", "t2")


async def test_foreign_messages_are_parked_with_the_reason_and_the_driver_goes_on(world: World) -> None:
    _, scheduler = await world.registered()
    await world.master.say(addresses.events("fw"), Ping())
    letter = await dead_letter(world)
    assert letter.type == "PING" and "not for a framework" in letter.headers["reason"]
    await world.master.update("fw", a_status("t1"))
    await scheduler.got("status_update")


def inverse(*agent_ids: str) -> InverseOffers:
    window = Unavailability(start=1_600_003_600.0, duration=60)
    offers = [InverseOffer(agent_id=each, framework_id="fw", unavailability=window) for each in agent_ids]
    return InverseOffers(cell=0, inverse_offers=tuple(offers))


async def test_inverse_offers_are_accepted_by_default_at_the_cells_of_their_agents(world: World) -> None:
    await world.registered()
    await world.master.say(addresses.events("fw"), inverse("a1", "a2", "a3"))
    asked = {cell_of(each, 2) for each in ("a1", "a2", "a3")}
    answers = await world.master.got(AnswerInverseOffers, len(asked))
    assert all(call.accept and {cell_of(each, 2) for each in call.agent_ids} == {cell} for cell, call in answers)
    assert {each for _, call in answers for each in call.agent_ids} == {"a1", "a2", "a3"}


async def test_a_scheduler_may_decline_inverse_offers(world: World) -> None:
    class Stays(Recorder):
        async def inverse_offers(self, driver, inverse_offers):
            driver.answer_inverse_offers([each.agent_id for each in inverse_offers], accept=False)

    scheduler = Stays()
    await world.driver(scheduler)
    await scheduler.got("registered")
    await world.master.say(addresses.events("fw"), inverse("a1"))
    [(_, call)] = await world.master.got(AnswerInverseOffers)
    assert call.agent_ids == ("a1",) and not call.accept


async def test_an_answer_about_no_agent_id_is_refused(world: World) -> None:
    driver, _ = await world.registered()
    with pytest.raises(InvalidInput):
        driver.answer_inverse_offers(["no id"])


async def test_rescinds_lost_agents_and_errors_reach_the_scheduler(world: World) -> None:
    driver, scheduler = await world.registered()
    await world.master.offer("fw", an_offer("fw"))
    await world.master.say(addresses.offers("fw"), Rescind(offer_ids=("o1",)))
    assert await scheduler.got("offer_rescinded") == [("offer_rescinded", "o1")]
    await world.master.say(addresses.events("fw"), Failure(agent_id="a1"))
    assert await scheduler.got("agent_lost") == [("agent_lost", "a1")]
    await world.master.say(addresses.events("fw"), Error(message="it was torn down"))
    with pytest.raises(FrameworkRefused, match="it was torn down"):
        await world.ended(driver)
    assert scheduler.events[-1] == ("error", "it was torn down")
    assert driver.failure == "it was torn down" and not world.master.of(Teardown)


async def test_stop_tears_the_framework_down_and_failover_only_leaves(world: World) -> None:
    leaving, scheduler = await world.registered()
    await world.master.offer("fw", an_offer("fw", "unanswered"))
    await scheduler.got("resource_offers")
    leaving.stop(failover=True)
    await world.ended(leaving)
    [(_, decline)] = await world.master.got(Decline)
    assert decline.offer_ids == ("unanswered",) and decline.refuse_seconds == 0.0
    assert not world.master.of(Teardown)

    ending, _ = await world.registered()
    ending.stop()
    await world.ended(ending)
    assert {cell for cell, _ in await world.master.got(Teardown, 2)} == {0, 1}


async def test_stop_within_a_callback_settles_what_was_handled(world: World) -> None:
    driver, scheduler = await world.registered()
    scheduler.on["status_update"] = lambda driver, status: driver.stop(failover=True)
    await world.master.update("fw", a_status("t1", TaskState.FINISHED))
    await world.ended(driver)
    await world.master.got(Acknowledge)
    _, successor = await world.registered()
    await world.master.update("fw", a_status("t2"))
    assert await successor.got("status_update") == [("status_update", "t2", TaskState.RUNNING)]


async def test_callback_that_never_returns_does_not_hold_the_end_up(still_world: World) -> None:
    from broker_mesos.sdk import DriverSettings

    driver, scheduler = await still_world.registered(settings=DriverSettings(stop_timeout=0.05))
    entered = asyncio.Event()

    async def hang(driver, status):
        entered.set()
        await asyncio.Event().wait()

    scheduler.on["status_update"] = hang
    await still_world.master.update("fw", a_status("t1"))
    await entered.wait()
    driver.stop(failover=True)
    await still_world.ended(driver)


async def test_competing_processes_share_the_updates(world: World) -> None:
    competing = FrameworkInfo(framework_id="fw", competing=True)
    one, two = Recorder(), Recorder()
    await world.driver(one, competing)
    await world.driver(two, competing)
    await one.got("registered")
    await two.got("registered")
    for number in range(40):
        await world.master.update("fw", a_status(f"t{number}", TaskState.FINISHED))
    calls = await world.master.seen.until(
        lambda: len({i for _, call in world.master.of(Acknowledge) for i in call.task_ids}) == 40
    )
    assert calls
    assert one.named("status_update") and two.named("status_update")
    assert len(one.named("status_update")) + len(two.named("status_update")) == 40


async def test_second_process_takes_over_when_the_first_one_dies(world: World) -> None:
    first, scheduler = await world.registered()
    standby = Recorder()
    await world.driver(standby)
    await world.master.seen.until(lambda: len({call.process_id for _, call in world.master.of(Subscribe)}) == 2)
    await world.master.offer("fw", an_offer("fw", "o1"))
    await world.master.update("fw", a_status("t1"))
    await scheduler.got("resource_offers")
    await scheduler.got("status_update")
    assert not standby.events, "one process is active at a time"

    world.runs[first].cancel()
    await standby.got("registered")
    await world.master.offer("fw", an_offer("fw", "o2"))
    await world.master.update("fw", a_status("t2"))
    await standby.got("status_update")
    assert await standby.got("resource_offers")
    assert ("status_update", "t2", TaskState.RUNNING) in standby.events


async def test_takeover_makes_the_new_process_demand_offers(world: World) -> None:
    first, _ = await world.registered()
    first.suppress()
    quiet = await world.master.seen.until(
        lambda: world.master.beats and not world.master.beats[-1].demand.wanted and world.master.beats[-1]
    )
    first.stop(failover=True)
    await world.ended(first)
    second, _ = await world.registered()
    await world.master.seen.until(
        lambda: any(
            beat.process_id == second.process_id and beat.demand.wanted and beat.demand.version > quiet.demand.version
            for beat in world.master.beats
        )
    )


async def test_demand_outbids_an_earlier_process_whose_clock_was_ahead(world: World) -> None:
    first, _ = await world.registered()
    ahead = int(time.time() * 1000) + 3_600_000
    first.set_demand(Demand(version=ahead, wanted=False))
    await world.master.seen.until(lambda: any(beat.demand.version == ahead for beat in world.master.beats))
    first.stop(failover=True)
    await world.ended(first)
    # An answer to the first one that comes late must not keep the second from asking for itself.
    await world.master.say(addresses.events("fw"), Subscribed(framework_id="fw", cell=0, cells=2))
    second, _ = await world.registered()
    await world.master.seen.until(
        lambda: any(
            beat.process_id == second.process_id and beat.demand.wanted and beat.demand.version > ahead
            for beat in world.master.beats
        )
    )


async def test_competing_process_outbids_a_version_that_no_clock_explains(world: World) -> None:
    driver, _ = await world.registered(FRAMEWORK.model_copy(update={"competing": True}))
    ahead = int(time.time() * 1000) + 3_600_000
    await world.master.say(addresses.events("fw"), Subscribed(framework_id="fw", cell=0, cells=2, demand=ahead))
    await world.master.seen.until(
        lambda: any(beat.process_id == driver.process_id and beat.demand.version > ahead for beat in world.master.beats)
    )


async def test_wrong_arguments_are_refused_at_once(world: World) -> None:
    driver, scheduler = await world.registered()
    await world.master.offer("fw", an_offer("fw", "o1", "a1"), an_offer("fw", "o2", "a2"))
    await scheduler.got("resource_offers")
    with pytest.raises(InvalidInput, match="several agents"):
        driver.accept(["o1", "o2"], [a_task()])
    with pytest.raises(InvalidInput, match="same id"):
        driver.accept("o1", [a_task(), a_task()])
    with pytest.raises(InvalidInput, match="no task id"):
        driver.kill("a task")
    with pytest.raises(InvalidInput, match="no task id"):
        driver.reconcile(["t1", ""])
    with pytest.raises(InvalidInput, match="offer_ids"):
        driver.accept(["o1", "not an id"], [a_task()])
    with pytest.raises(InvalidInput, match="refuse_seconds"):
        driver.decline("o1", refuse_seconds=-1)
    big = a_task().model_copy(update={"labels": {"x": "y" * (1 << 20)}})
    with pytest.raises(InvalidInput, match="bytes"):
        driver.accept("o1", [big])
    assert await driver.accept("o1", [a_task()]), "nothing of that used the offer up"


async def test_operations_are_sent_without_tasks_and_their_outcome_is_told(world: World) -> None:
    class Listens(Recorder):
        def operation_updates(self, driver, statuses):
            heard.set_result([(each.operation_id, each.state, each.message) for each in statuses])

    heard: asyncio.Future[list] = asyncio.get_running_loop().create_future()
    scheduler = Listens()
    driver = await world.driver(scheduler)
    await scheduler.got("registered")
    await world.master.offer("fw", an_offer("o1"))
    await scheduler.got("resource_offers")
    reserve = Operation(type="RESERVE", role="eng", resources=Resources.parse("cpus:1"), operation_id="r")
    assert await driver.accept("o1", operations=[reserve])
    [(_, call)] = await world.master.got(Accept)
    assert (call.tasks, call.operations, call.refuse_seconds) == ((), (reserve,), None)
    status = OperationStatus(operation_id="r", state="OPERATION_ERROR", message="no room")
    await world.master.say(addresses.events("fw"), OperationsUpdated(cell=0, statuses=(status,)))
    async with asyncio.timeout(LIMIT):
        assert await heard == [("r", "OPERATION_ERROR", "no room")]
