"""Events: what a master records, whatever its store does, and how it is read again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.api.events import GetEvents
from broker_mesos.core.api.maintenance import DeactivateAgents, DrainAgents
from broker_mesos.core.cell.inputs import OperatorMaintain, OperatorMarkGone
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.feed_messages import Happened
from broker_mesos.core.protocol.framework_messages import Teardown
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import StoreUnavailable, Unavailable
from broker_mesos.master import event_log
from broker_mesos.master.context import MasterContext
from broker_mesos.master.event_log import EventLog
from broker_mesos.master.event_reader import EventReader
from broker_mesos.ports.streams import Streams
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.memory_streams import MemoryStreams
from tests.core.cell.harness import Bench, offers_in, task


class Place:
    """A log of events on a stream in memory, and what is published of it."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.state = MemoryStoreState()
        self.broker = MemoryBroker(self.clock)
        self.bus = MemoryBus(self.broker)
        self.streams: Streams = MemoryStreams(self.state)

    async def log(self, streams: Streams | None = None) -> EventLog:
        await self.bus.open(1)
        return EventLog(
            MasterContext(
                master_id="m1",
                cluster="default",
                bus=self.bus,
                store=MemoryStore(self.state, self.clock),
                records=MemoryRecords(self.state, space="cluster"),
                clock=self.clock,
                new_id=new_id,
                rng=random.Random(1),
                limits=Limits(),
                streams=streams or self.streams,
            )
        )

    async def read(self, **fields: object) -> list[str]:
        found = await EventReader(self.streams).read(GetEvents.model_validate(fields))
        return [each.kind for each in found.events]


def changes(made: Bench) -> list[tuple[str, str]]:
    """What operators are informed of by the latest decision."""
    return [(each.kind, each.ident) for each in made.decisions[-1].changes]


def test_each_state_that_an_agent_enters_is_announced_once() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    assert changes(made) == [("agent.registered", "a1")]
    made.agent("a1", "cpus:4;mem:4096", attempt="2")
    assert changes(made) == [("agent.registered", "a1")], "a new session"
    made.decide(OperatorMaintain(DeactivateAgents(agent_ids=("a1",))))
    assert changes(made) == [("agent.deactivated", "a1")]
    made.decide(OperatorMaintain(DrainAgents(agent_ids=("a1",))))
    assert changes(made) in ([("agent.drained", "a1")], [("agent.draining", "a1")])
    made.take_over(term=made.term + 1)
    assert changes(made) == [], "a new owner announces nothing again"
    made.wait(120.0)
    assert [each for each in made.decisions if each.changes][-1].changes == [("agent.unreachable", "a1")]
    made.decide(OperatorMarkGone("a1"))
    assert changes(made) == [("agent.gone", "a1")]


def test_frameworks_and_tasks_are_announced() -> None:
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    (offer,) = offers_in(made.framework("f1"))
    assert changes(made) == [("framework.subscribed", "f1")]
    made.accept(offer, task("t1", "cpus:1;mem:64"), task("t2", "cpus:1;mem:64"))
    assert made.decisions[-1].launched == ["t1", "t2"]
    made.report("a1", "t1", TaskState.RUNNING)
    made.report("a1", "t1", TaskState.RUNNING)
    assert [len(each.statuses) for each in made.decisions[-2:]] == [1, 0], "a repeat is no change"
    made.decide(Teardown(framework_id="f1"))
    assert ("framework.torn-down", "f1") in changes(made)


async def test_events_are_stored_and_published_under_the_same_id() -> None:
    place = Place()
    log = await place.log()
    listener = await place.bus.consume(Queue(QueueKind.FEED, "#"))
    made = Bench()
    made.agent("a1", "cpus:4;mem:4096")
    log.record(0, 7, made.decisions[-1])
    await log.flush()
    (delivery,) = await asyncio.wait_for(listener.receive(1), 60)
    message = decode(delivery.type, delivery.body)
    assert isinstance(message, Happened)
    (stored,) = (await EventReader(place.streams).read(GetEvents())).events
    assert message.event == stored and stored.kind == "agent.registered" and stored.ids == ("a1",)
    assert (stored.cell, stored.term, stored.text) == (0, 7, "agent a1 is registered")


def status(number: int, state: TaskState) -> TaskStatus:
    return TaskStatus(task_id=f"t{number}", state=state, uuid=f"u{number}")


async def test_many_tasks_make_one_event_for_each_state_with_the_whole_number() -> None:
    place = Place()
    log = await place.log()
    made = Bench()
    made.agent("a1", "cpus:4")
    decision = made.decisions[-1]
    decision.changes.clear()
    for number in range(3_000):
        decision.statuses.append(status(number, TaskState.FINISHED if number % 3 else TaskState.FAILED))
    log.record(0, 7, decision)
    await log.flush()
    found = (await EventReader(place.streams).read(GetEvents())).events
    assert {each.kind: each.count for each in found} == {"task.finished": 2_000, "task.failed": 1_000}
    assert all(len(each.ids) == 50 for each in found)
    assert found[0].text == "1000 tasks: failed"


class Dead(MemoryStreams):
    """A store that answers nobody until it is told to fail."""

    def __init__(self) -> None:
        super().__init__(MemoryStoreState())
        self.end = asyncio.Event()

    async def append(self, stream: str, bodies: Sequence[bytes], limit: int) -> list[str]:
        await self.end.wait()
        raise StoreUnavailable("no answer")


async def test_a_store_that_does_not_answer_delays_nothing_and_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "MAX_WAITING", 10)
    place = Place()
    dead = Dead()
    log = await place.log(dead)
    writing = asyncio.create_task(log.run())
    made = Bench()
    made.agent("a1", "cpus:4")
    log.record(0, 7, made.decisions[-1])
    while log._waiting:
        await asyncio.sleep(0)
        await place.clock.sleep(0.01)
    for _ in range(100):
        log.record(0, 7, made.decisions[-1])  # returns at once, though a write is under way
    assert len(log._waiting) == 10 and log.dropped == 90
    dead.end.set()
    while log._waiting:
        await place.clock.sleep(0.01)
    assert log.dropped == 101 and not writing.done()
    writing.cancel()


async def test_without_a_stream_nothing_is_kept_and_the_reader_is_told() -> None:
    with pytest.raises(Unavailable, match="keeps no events"):
        await EventReader(None).read(GetEvents())


async def test_events_are_read_by_kind_in_pages_forwards_and_backwards() -> None:
    place = Place()
    log = await place.log()
    for number in range(30):
        log.add(f"agent.{'ready' if number % 2 else 'gone'}", (f"a{number}",), "")
        log.add("framework.subscribed", (f"f{number}",), "")
    await log.flush()
    assert len(await place.read(limit=1_000)) == 60
    assert await place.read(kinds=["agent.gone"], limit=100) == ["agent.gone"] * 15
    assert await place.read(kinds=["agent", "x"], limit=3) == ["agent.ready", "agent.gone", "agent.ready"]

    reader = EventReader(place.streams)
    seen: list[str] = []
    after = "0"
    while True:
        found = await reader.read(GetEvents(after=after, kinds=("agent",), limit=7))
        seen += [each.ids[0] for each in found.events]
        assert not found.lost and found.last
        after = found.last
        if not found.more:
            break
    assert seen == [f"a{number}" for number in range(30)]
    assert (await reader.read(GetEvents(after=after))).events == ()

    backwards: list[str] = []
    before = ""
    while True:
        found = await reader.read(GetEvents(before=before, kinds=("agent",), limit=7))
        if not found.events:
            break
        backwards = [each.ids[0] for each in found.events] + backwards
        before = found.events[0].id
    assert backwards == seen


async def test_a_reader_learns_that_it_has_missed_events() -> None:
    place = Place()
    log = await place.log()
    log.add("agent.gone", ("a1",), "")
    await log.flush()
    reader = EventReader(place.streams)
    (first,) = (await reader.read(GetEvents())).events
    log.add("agent.gone", ("a2",), "")
    await log.flush()
    assert not (await reader.read(GetEvents(after=first.id))).lost
    place.state.facts.streams["events"].pop(0)
    late = await reader.read(GetEvents(after=first.id))
    assert late.lost and [each.ids for each in late.events] == [("a2",)], "it begins anew"
    assert (await reader.read(GetEvents(after="999999999999999-0"))).lost, "the store has lost that event"
    place.state.facts.streams.clear()
    assert (await reader.read(GetEvents(after=first.id))).lost
