"""A message that kills its handler, or the whole master, is parked; its neighbours are handled."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.bus.dead_letters import DEAD_LETTERS
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import AgentRegistered, RegisterAgent
from broker_mesos.core.protocol.registry import decode
from broker_mesos.ports.bus import Bus, Consumer, Delivery, Outgoing, outgoing
from tests.master.places import Place

PATIENCE = 90.0
POISON = "poison"


async def register(bus: Bus, agent_id: str) -> None:
    info = AgentInfo(agent_id=agent_id, resources=Resources.parse("cpus:1"))
    call = RegisterAgent(agent=info, attempt="1", cells=1)
    out = outgoing(addresses.updates(0), call, f"id-{agent_id}", mandatory=True)
    assert await bus.publish(out)


async def listen(bus: Bus, agent_id: str) -> Consumer:
    return await bus.consume(Queue(QueueKind.AGENT_COMMANDS, agent_id))


async def registered(consumer: Consumer) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            for delivery in await consumer.receive():
                consumer.acknowledge([delivery])
                if isinstance(decode(delivery.type, delivery.body), AgentRegistered):
                    return


async def parked(bus: Bus, count: int) -> list[Delivery]:
    consumer = await bus.consume(DEAD_LETTERS)
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += await consumer.receive()
    consumer.acknowledge(found)
    await consumer.close()
    return found


def plant(monkeypatch: pytest.MonkeyPatch, fails: Any) -> list[str]:
    """Let every cell's handler fail at what ``fails`` says; returns the agents it met, as they come."""
    met: list[str] = []
    handle = Cell._handle

    def planted(self: Cell, each: Any, *rest: Any) -> None:
        if isinstance(each, RegisterAgent):
            met.append(each.agent.agent_id)
            if fails(each):
                raise ZeroDivisionError("a planted failure")
        handle(self, each, *rest)

    monkeypatch.setattr(Cell, "_handle", planted)
    return met


@pytest.mark.parametrize("masters", [1, 3])
async def test_a_message_that_kills_its_handler_is_parked_and_its_neighbours_are_handled(
    place: Place, monkeypatch: pytest.MonkeyPatch, masters: int
) -> None:
    met = plant(monkeypatch, lambda each: each.agent.agent_id == POISON)
    bus = await place.bus()
    names = [f"a{number}" for number in range(6)]
    # All are there before anybody looks, so that they come as one batch.
    await bus.declare(Queue(QueueKind.CELL_INBOX, "0"))
    consumers = [await listen(bus, name) for name in names]
    for name in (*names[:3], POISON, *names[3:]):
        await register(bus, name)
    for number in range(masters):
        await place.master(f"m{number}")
    for consumer in consumers:
        await registered(consumer)
    (letter,) = await parked(bus, 1)
    assert letter.message_id == f"id-{POISON}"
    assert letter.headers["from"] == "cell-inbox.0"
    assert letter.headers["tries"] == "3"
    # Whoever parks it may not be the one that saw it fail.
    assert "3 tries failed: ZeroDivisionError" in letter.headers["reason"] or masters > 1
    # As part of the fresh batch, then three times after it had come back: whatever the number of masters.
    assert met.count(POISON) == 4
    store = await place.store()
    async with asyncio.timeout(PATIENCE):
        # But for pings, of which one may have expired before it could be settled.
        while any(name.startswith("id-") for name in await store.tries(0)):
            await asyncio.sleep(0.02)
    # The cell goes on.
    later = await listen(bus, "later")
    await register(bus, "later")
    await registered(later)


async def test_two_poisonous_messages_are_both_parked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda each: each.agent.agent_id.startswith(POISON))
    bus = await place.bus()
    await bus.declare(Queue(QueueKind.CELL_INBOX, "0"))
    between, after = await listen(bus, "between"), await listen(bus, "after")
    for name in (f"{POISON}1", "between", f"{POISON}2", "after"):
        await register(bus, name)
    await place.master("m1")
    await registered(between)
    await registered(after)
    letters = await parked(bus, 2)
    assert [letter.message_id for letter in letters] == [f"id-{POISON}1", f"id-{POISON}2"]


async def test_a_cell_that_fails_without_any_message_blames_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would park one innocent message after the other."""
    broken = asyncio.Event()
    failures = 0
    decide = Cell.decide

    def planted(self: Cell, inputs: Any, now: Any, **more: Any) -> Any:
        nonlocal failures
        if broken.is_set():
            failures += 1
            if failures > 6:
                broken.clear()
            raise ZeroDivisionError("a planted failure")
        return decide(self, inputs, now, **more)

    monkeypatch.setattr(Cell, "decide", planted)
    await place.master("m1")
    bus = await place.bus()
    consumer = await listen(bus, "a1")
    broken.set()
    await register(bus, "a1")
    await registered(consumer)
    assert failures > 6
    await bus.declare(DEAD_LETTERS)
    await bus.publish(Outgoing(addresses.dead(), "MARK", b"{}", "mark"))
    assert [letter.type for letter in await parked(bus, 1)] == ["MARK"]


@pytest.mark.slow
async def test_a_message_that_waited_out_lost_stores_is_not_blamed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broker_mesos.errors import StoreUnavailable
    from broker_mesos.master.term import Term

    failures = 0
    commit = Term._commit_now

    async def planted(self: Term, decision: Any) -> None:
        nonlocal failures
        if any(b"a1" in (write.value or b"") for write in decision.writes) and failures < 6:
            failures += 1
            raise StoreUnavailable("a planted failure")
        await commit(self, decision)

    monkeypatch.setattr(Term, "_commit_now", planted)
    bus = await place.bus()
    consumer = await listen(bus, "a1")
    await place.master("m1")
    await register(bus, "a1")
    await registered(consumer)
    assert failures == 6


MASTER = """
import os, sys
from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.protocol.agent_messages import RegisterAgent
from broker_mesos.runtime.settings import load
from broker_mesos.wiring.master import run_master

handle = Cell._handle

def planted(self, each, *rest):
    if isinstance(each, RegisterAgent) and each.agent.agent_id == "poison":
        os._exit(42)
    handle(self, each, *rest)

Cell._handle = planted
sys.exit(run_master(load(cells=1)))
"""


@pytest.mark.servers
async def test_a_message_that_kills_the_whole_master_is_parked_by_a_later_one(
    rabbitmq_url: str, redis_url: str, cluster_name: str, tmp_path: Path
) -> None:
    request: Any = type("Real", (), {"param": "real"})()
    request.getfixturevalue = {"rabbitmq_url": rabbitmq_url, "redis_url": redis_url}.__getitem__
    place = Place(request, cluster_name)
    bus = await place.bus()
    await bus.declare(Queue(QueueKind.CELL_INBOX, "0"))
    before, after = await listen(bus, "before"), await listen(bus, "after")
    for name in ("before", POISON, "after"):
        await register(bus, name)
    env = {name: value for name, value in os.environ.items() if not name.startswith("BMESOS_")}
    env |= {
        "BMESOS_BROKER_URL": rabbitmq_url,
        "BMESOS_STORE_URL": redis_url,
        "BMESOS_CLUSTER": cluster_name,
        "BMESOS_MASTER_HEARTBEAT": "2",
    }
    handled = asyncio.gather(registered(before), registered(after))
    deaths = 0
    while not handled.done():
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", MASTER], env=env, stdout=log, stderr=log, process_group=0)
        try:
            ended = asyncio.create_task(asyncio.to_thread(process.wait))
            await asyncio.wait([handled, ended], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                deaths += 1
                assert process.returncode == 42, (tmp_path / "log").read_text()
        finally:
            process.terminate()
            await ended
    await handled
    assert deaths == 4
    (letter,) = await parked(bus, 1)
    assert letter.message_id == f"id-{POISON}"
    assert letter.headers["tries"] == "3"
    assert "3 masters ended while they tried it" in letter.headers["reason"]
    await place.close()
