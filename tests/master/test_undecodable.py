"""Messages of a type that this release does not know, while masters are being replaced by newer ones."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.master import undecodable
from broker_mesos.master.undecodable import version
from broker_mesos.ports.bus import Consumer, Delivery, Outgoing
from broker_mesos.ports.store import MasterInfo
from tests.master.places import Place
from tests.master.test_poison import PATIENCE, listen, parked, register, registered

INBOX = Queue(QueueKind.CELL_INBOX, "0")
NEWER = MasterInfo("m9", "there", 1, "1.2", 0.0)


async def next_unknown(consumer: Consumer) -> Delivery:
    """The next one that is no ping of a master."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for delivery in await consumer.receive(1):
                if delivery.type == "NEWS":
                    return delivery
                consumer.acknowledge([delivery])


async def say(place: Place, ident: str) -> None:
    """A message of an unknown type, and one behind it that is understood, whose answer is waited for."""
    bus = await place.bus(ident)
    consumer = await listen(bus, ident)
    assert await bus.publish(Outgoing(addresses.updates(0), "NEWS", b"{}", ident, mandatory=True))
    await register(bus, ident)
    await registered(consumer)


async def test_an_unknown_type_is_kept_for_the_next_owner_while_a_newer_master_lives(place: Place) -> None:
    master = await place.master("m1")
    store = await place.store()
    await store.beat(NEWER, 600)
    await say(place, "news")
    bus = await place.bus()
    consumer = await bus.consume(INBOX)
    await master.owners[0].step_down()
    kept = await next_unknown(consumer)
    assert (kept.message_id, kept.redelivered) == ("news", True)
    # Without a newer master it is among the dead letters, and nothing else is.
    await store.retire(NEWER.master_id)
    await consumer.close()
    (letter,) = await parked(bus, 1)
    assert letter.message_id == "news" and "unknown message type" in letter.headers["reason"]


async def test_what_no_newer_owner_has_taken_in_time_is_parked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecodable, "KEPT_MESSAGE_SECONDS", 0.0)
    await place.master("m1")
    await (await place.store()).beat(NEWER, 600)
    await say(place, "one")
    await say(place, "two")
    assert [each.message_id for each in await parked(await place.bus(), 2)] == ["one", "two"]


async def test_no_more_is_kept_than_the_cell_can_do_without(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecodable, "MAX_KEPT_MESSAGES", 1)
    await place.master("m1")
    await (await place.store()).beat(NEWER, 600)
    await say(place, "one")
    await say(place, "two")
    assert [each.message_id for each in await parked(await place.bus(), 1)] == ["two"]


@pytest.mark.parametrize(
    ("older", "newer"), [("0.1.0", "0.2"), ("0.9", "0.10"), ("", "0.1"), ("1", "1.0.1"), ("x", "1")]
)
def test_versions_compare_as_numbers(older: str, newer: str) -> None:
    assert version(older) < version(newer)
