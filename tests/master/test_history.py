"""The history of the cluster: points at their times, bounded, and whole over several cells and owners."""

from __future__ import annotations

import random

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.api.history import LENGTHS, GetHistory, HistoryPoint
from broker_mesos.core.cell.views.usage import take_in, usage_of
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.errors import Unavailable
from broker_mesos.master.context import MasterContext
from broker_mesos.master.history import MAX_POINT_BYTES, History, _bounded
from broker_mesos.ports.streams import history_stream
from broker_mesos.runtime.clock import new_id
from broker_mesos.store.memory import MemoryRecords, MemoryStore, MemoryStoreState
from broker_mesos.store.memory_streams import MemoryStreams
from tests.clocks import StillClock
from tests.core.cell.harness import Bench, offers_in, task
from tests.operator.test_overview import agent_in


class Place:
    def __init__(self, cell: Bench | None, *, streams: bool = True) -> None:
        self.clock = StillClock()
        self.state = MemoryStoreState(self.clock)
        self.streams = MemoryStreams(self.state)
        context = MasterContext(
            master_id="m1",
            cluster="default",
            bus=MemoryBus(MemoryBroker(self.clock)),
            store=MemoryStore(self.state, self.clock),
            records=MemoryRecords(self.state, space="cluster"),
            clock=self.clock,
            new_id=new_id,
            rng=random.Random(1),
            limits=Limits(),
            streams=self.streams if streams else None,
        )
        self.history = History(context, lambda: None if cell is None else cell.state)

    async def pass_time(self, steps: int, history: History | None = None) -> None:
        for _ in range(steps):
            self.clock.now += 10.0
            await (history or self.history).append(self.streams)

    async def count(self, series: str) -> int:
        return len(await self.streams.read(history_stream(series), limit=100_000))


def two_cells() -> tuple[Bench, Bench]:
    one, other = Bench(cells=2), Bench(cells=2, cell=1)
    for made in (one, other):
        agent_in(made, "cpus:4;mem:4096;ports:[1-10]")
        (offer,) = offers_in(made.framework("f1", roles=("eng/db",)))
        made.accept(offer, task(f"t{made.number}", "cpus:1;mem:1024"), refuse=1_000.0)
    take_in(one.state, {1: usage_of(other.state)})
    return one, other


async def test_a_point_has_the_sums_of_all_cells_and_the_shares_of_roles() -> None:
    one, _ = two_cells()
    place = Place(one)
    await place.pass_time(1)
    view = await place.history.read(GetHistory())
    (point,) = view.points
    assert (point.agents, point.tasks, point.at) == (2, 2, 1_000_010.0)
    assert point.total == {"cpus": 8, "mem": 8192, "ports": 20} and point.used == {"cpus": 2, "mem": 2048}
    assert point.roles["eng"] == point.roles["eng/db"] == 0.25
    assert view.step == 10.0 and not view.sampled


async def test_what_an_earlier_release_publishes_is_still_taken() -> None:
    one, other = two_cells()
    old = usage_of(other.state).split(b',"counts"')[0] + b"}"
    take_in(one.state, {1: old})
    assert one.state.foreign_counts == {} and one.state.foreign_total.quantities()["cpus"] == 4_000


async def test_longer_series_get_every_so_many_points_whoever_owns_the_cell() -> None:
    one, _ = two_cells()
    place = Place(one)
    await place.pass_time(40)
    heir = Place(one)
    heir.state, heir.streams, heir.clock = place.state, place.streams, place.clock
    await place.pass_time(40, heir.history)
    assert [await place.count(series) for series in ("10s", "1m", "10m")] == [80, 14, 2]
    idle = Place(None)
    await idle.pass_time(5)
    assert await idle.count("10s") == 0, "another master owns the cell"


async def test_every_series_is_bounded_and_so_is_every_answer() -> None:
    one, _ = two_cells()
    place = Place(one)
    await place.pass_time(LENGTHS["10s"] + 50)
    assert await place.count("10s") == LENGTHS["10s"]
    few = await place.history.read(GetHistory(points=7))
    assert few.sampled and len(few.points) <= 7 and few.points[-1].at == place.clock.now
    part = await place.history.read(GetHistory(since=place.clock.now - 20, until=place.clock.now - 10))
    assert [each.at for each in part.points] == [place.clock.now - 20, place.clock.now - 10]


def test_a_point_of_many_roles_keeps_those_with_the_largest_shares() -> None:
    made = HistoryPoint(roles={f"{'r' * 200}{number}": 1.0 - number / 100 for number in range(30)})
    body = _bounded(made)
    kept = HistoryPoint.model_validate_json(body).roles
    assert len(body) <= MAX_POINT_BYTES and list(kept) == list(made.roles)[: len(kept)] and kept


async def test_without_a_stream_there_is_no_history() -> None:
    with pytest.raises(Unavailable, match="keeps no history"):
        await Place(None, streams=False).history.read(GetHistory())
