"""A driver passes what it can decode to its scheduler, parks the rest, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing
from hypothesis import given, note
from hypothesis import strategies as st

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.wire import REGISTRY
from broker_mesos.ports.bus import Outgoing
from broker_mesos.sdk import Driver
from broker_mesos.sdk.inbound import EVENT_TYPES, OFFER_TYPES
from tests.fuzz.effort import count, fuzz
from tests.fuzz.values import bodies, encoded, resolved
from tests.sdk.cluster import FakeMaster, FastClock, Recorder, a_status, new_id

TYPES = sorted(kind.TYPE for kind in (*EVENT_TYPES, *OFFER_TYPES))


class Answering(Recorder):
    """Answers as a careless scheduler does: it uses everything that it is given."""

    def resource_offers(self, driver: Any, offers: Any) -> None:
        super().resource_offers(driver, offers)
        for offer in offers:
            assert offer.term >= 0 and offer.resources.as_numbers() is not None
        driver.decline(offers)

    def gang_offers(self, driver: Any, gang: str, placement: Any) -> None:
        driver.decline([offer.offer_id for offer in placement.offers])

    def inverse_offers(self, driver: Any, offers: Any) -> None:
        pass


class Target:
    """A driver on a bus in memory, and a master."""

    def __init__(self, competing: bool) -> None:
        self.runner = asyncio.Runner()
        self.competing = competing
        self.framework = FrameworkInfo(framework_id="f1", competing=competing)
        self.runner.run(self._start())

    async def _start(self) -> None:
        broker = MemoryBroker(FastClock())
        self.bus = MemoryBus(broker)
        await self.bus.open(5)
        self.master = FakeMaster(self.bus, cells=1)
        await self.master.start()
        self.scheduler = Answering()
        bus = MemoryBus(broker)
        await bus.open(5)
        self.driver = Driver(self.scheduler, self.framework, bus, clock=FastClock(), new_id=new_id)
        self.running = asyncio.create_task(self.driver.run())
        await self.scheduler.got("registered")

    def close(self) -> None:
        self.running.cancel()
        self.runner.close()

    async def send(self, type_name: str, body: bytes) -> None:
        for to in (addresses.offers("f1"), addresses.events("f1")):
            await self.bus.publish(Outgoing(to=to, type=type_name, body=body, message_id=new_id()))

    async def alive(self) -> None:
        """It still gets statuses to its scheduler."""
        task_id = new_id()
        self.master.bus = self.bus
        await self.master.update("f1", a_status(task_id))
        async with asyncio.timeout(90):
            await self.scheduler.seen.until(
                lambda: self.running.done() or any(event[1:2] == (task_id,) for event in self.scheduler.events)
            )
        self.scheduler.events.clear()
        assert not self.running.done(), self.running


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "competing"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(request.param)
    yield made
    made.close()


def lookup(name: str) -> Any:
    return {"number": 1}.get(name.partition("/")[0], name.replace("/", "-"))


@pytest.mark.parametrize("type_name", [each for each in TYPES if each != "ERROR"])
def test_a_driver_survives_each_message(target: Target, type_name: str) -> None:
    @fuzz(6)
    @given(st.lists(bodies(REGISTRY[type_name], 1), min_size=1, max_size=3))
    def sent(many: list[Any]) -> None:
        async def act() -> None:
            for body in many:
                count()
                raw = encoded(resolved(body, lookup))
                note(f"{type_name} {raw[:2_000]!r}")
                await target.send(type_name, raw)
            await target.alive()

        with structlog.testing.capture_logs() as logs:
            target.runner.run(act())
        assert [line for line in logs if line.get("exc_info")] == []

    sent()
