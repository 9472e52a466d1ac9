"""The driver with ``security=on``: whom it obeys, and under which name."""

from __future__ import annotations

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import (
    Update,
)
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.bus import outgoing
from broker_mesos.sdk import Driver
from tests.master.test_poison import parked
from tests.sdk.cluster import LIMIT, RealClock, Recorder, a_status, new_id
from tests.sdk.conftest import FRAMEWORK, make_world


async def test_with_security_a_framework_obeys_masters_only() -> None:
    """An update that another framework has sent ends no task of this one, and is among the dead letters."""
    clock = RealClock()
    broker = MemoryBroker(clock)
    world = await make_world(lambda: MemoryBus(broker, user="master"), clock)
    try:
        bus = MemoryBus(broker, user="fw", verifies=True)
        await bus.open(LIMIT)
        world.buses.append(bus)
        _, scheduler = await world.registered(bus=bus)
        forger = MemoryBus(broker, user="f2")
        await forger.open(LIMIT)
        world.buses.append(forger)
        to = addresses.events("fw")
        await forger.publish(outgoing(to, Update(cell=0, statuses=(a_status("t1", TaskState.LOST),)), "forged"))
        await world.buses[0].publish(outgoing(to, Update(cell=0, statuses=(a_status("t2"),)), "right"))
        assert [event[1] for event in await scheduler.got("status_update")] == ["t2"]
        (letter,) = await parked(forger, 1)
        assert letter.message_id == "forged" and letter.headers["user"] == "f2"
    finally:
        await world.close()


async def test_with_security_a_framework_has_the_name_of_its_user() -> None:
    bus = MemoryBus(MemoryBroker(RealClock()), user="other", verifies=True)
    driver = Driver(Recorder(), FRAMEWORK, bus, clock=RealClock(), new_id=new_id)
    with pytest.raises(InvalidInput, match="framework fw has the broker's user 'other'"):
        await driver.run()
