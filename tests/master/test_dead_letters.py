"""Dead letters over the operator API: listed, shown, sent again, dropped; whichever master is asked."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.bus.dead_letters import DEAD_LETTERS, letter, park
from broker_mesos.core.api.dead_letters import (
    DeadLetterList,
    DropDeadLetters,
    GetDeadLetter,
    ListDeadLetters,
    RetryDeadLetters,
)
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import Conflict, NotFound, Unavailable
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Bus, Delivery, Outgoing
from tests.master.places import Place

PATIENCE = 90.0
EVENTS = Queue(QueueKind.FRAMEWORK_EVENTS, "f2")


class Letters:
    """A gateway and a bus to put letters with."""

    def __init__(self, gateway: Gateway, bus: Bus) -> None:
        self.gateway = gateway
        self.bus = bus

    async def put(self, ident: str, source: Queue = EVENTS, body: bytes = b'{"a":1}', message_id: str = "") -> None:
        delivery = Delivery("KILL_TASKS", body, message_id or f"m-{ident}", 1, term=7, headers={"own": "kept"})
        await park(self.bus, letter(delivery, source, "it\nfailed", tries=3, letter_id=ident, now=1000.5))

    async def ids(self, limit: int = 100) -> list[str]:
        found = await self.gateway.handle(ListDeadLetters(limit=limit), 10)
        assert isinstance(found, DeadLetterList)
        return [each.letter_id for each in found.letters]

    async def came(self, queue: Queue, count: int) -> list[Delivery]:
        consumer = await self.bus.consume(queue)
        found: list[Delivery] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += (new := await consumer.receive())
                consumer.acknowledge(new)
        await consumer.close()
        return found


@pytest.fixture
async def letters(place: Place) -> Letters:
    for number in range(2):
        await place.master(f"m{number}")
    bus = await place.bus()
    await bus.declare(EVENTS)
    return Letters(Gateway(await place.requester()), bus)


async def test_letters_are_listed_in_order_and_stay_where_they_are(letters: Letters) -> None:
    assert await letters.ids() == []
    names = [f"l{number}" for number in range(20)]
    for name in names:
        await letters.put(name)
    # Asked again and again, by both masters, and at once.
    for found in await asyncio.gather(*(letters.ids() for _ in range(4))):
        assert found == names
    assert await letters.ids(limit=3) == names[:3]
    found = await letters.gateway.handle(ListDeadLetters(limit=3), 10)
    assert found.total == 20
    first = found.letters[0]
    assert (first.type, first.reason, first.source) == ("KILL_TASKS", "it failed", "framework-events.f2")
    assert (first.tries, first.at, first.size, first.message_id) == (3, 1000.5, 7, "m-l0")


async def test_letters_that_do_not_fit_on_a_page_are_on_the_next(letters: Letters) -> None:
    names = [f"l{number}" for number in range(7)]
    for name in names:
        await letters.put(name)
    first = await letters.gateway.handle(ListDeadLetters(limit=3), 10)
    assert (first.truncated, first.after) == (True, "l2")
    await letters.put("l7")
    second = await letters.gateway.handle(ListDeadLetters(limit=4, after=first.after), 10)
    assert [each.letter_id for each in second.letters] == names[3:]
    assert (second.truncated, second.after) == (True, "l6")
    last = await letters.gateway.handle(ListDeadLetters(after=second.after), 10)
    assert ([each.letter_id for each in last.letters], last.truncated, last.after) == (["l7"], False, "")
    with pytest.raises(NotFound, match="from the first"):
        await letters.gateway.handle(ListDeadLetters(after="l99"), 10)


async def test_a_letter_is_shown_with_its_body(letters: Letters) -> None:
    await letters.put("l1")
    found = await letters.gateway.handle(GetDeadLetter(letter_id="l1"), 10)
    assert found.body == '{"a":1}' and not found.cut
    assert found.headers["own"] == "kept"
    assert (await letters.gateway.handle(GetDeadLetter(letter_id="m-l1"), 10)).letter.letter_id == "l1"
    for request in (
        GetDeadLetter(letter_id="no"),
        RetryDeadLetters(letter_id="no"),
        DropDeadLetters(letter_id="no"),
    ):
        with pytest.raises(NotFound, match="no dead letter no"):
            await letters.gateway.handle(request, 10)


async def test_a_message_that_was_parked_twice_must_be_named_by_letter(letters: Letters) -> None:
    for ident in ("l1", "l2"):
        await letters.put(ident, message_id="same")
    with pytest.raises(Conflict, match="name one of l1, l2"):
        await letters.gateway.handle(DropDeadLetters(letter_id="same"), 10)
    await letters.gateway.handle(DropDeadLetters(letter_id="l1"), 10)
    assert await letters.ids() == ["l2"]


async def test_a_retried_letter_is_the_message_it_was_in_the_queue_it_came_from(letters: Letters) -> None:
    for ident in ("l1", "l2", "l3"):
        await letters.put(ident)
    answer = await letters.gateway.handle(RetryDeadLetters(letter_id="l2"), 10)
    assert (answer.settled, answer.left) == (1, 2)
    (again,) = await letters.came(EVENTS, 1)
    assert (again.type, again.body, again.message_id, again.term) == ("KILL_TASKS", b'{"a":1}', "m-l2", 7)
    assert again.headers["own"] == "kept" and not {"reason", "from", "letter"} & set(again.headers)
    assert await letters.ids() == ["l1", "l3"]


@pytest.mark.parametrize(
    "source",
    [
        Queue(QueueKind.CELL_INBOX, "3"),
        Queue(QueueKind.FRAMEWORK_EVENTS, "f1"),
        Queue(QueueKind.FRAMEWORK_OFFERS, "f1"),
    ],
)
async def test_every_queue_that_parks_gets_its_messages_back(letters: Letters, source: Queue) -> None:
    await letters.bus.declare(source)
    await letters.put("l1", source)
    await letters.gateway.handle(RetryDeadLetters(letter_id="l1"), 10)
    (again,) = await letters.came(source, 1)
    assert again.message_id == "m-l1"
    await letters.bus.delete(source)


async def test_what_cannot_go_back_stays_and_says_why(letters: Letters) -> None:
    await letters.put("gone", Queue(QueueKind.AGENT_COMMANDS, "nobody"))
    await letters.put("cut", body=b"x" * (MAX_BODY + 1))
    await letters.bus.publish(Outgoing(addresses.dead(), "?", b"\xff", "foreign"))
    for ident, why in (("gone", "is gone"), ("cut", "too large"), ("foreign", "no header with its queue")):
        with pytest.raises(Conflict, match=why):
            await letters.gateway.handle(RetryDeadLetters(letter_id=ident), 10)
    await letters.put("good")
    answer = await letters.gateway.handle(RetryDeadLetters(), 10)
    assert (answer.settled, len(answer.failed), answer.left) == (1, 3, 3)
    assert await letters.ids() == ["gone", "cut", "foreign"]
    assert (await letters.gateway.handle(GetDeadLetter(letter_id="cut"), 10)).cut
    answer = await letters.gateway.handle(DropDeadLetters(), 10)
    assert (answer.settled, answer.left) == (3, 0)
    assert await letters.ids() == []


async def test_all_are_sent_again_in_order_however_many(letters: Letters) -> None:
    names = [f"l{number:04}" for number in range(1_200)]
    await asyncio.gather(*(letters.put(name) for name in names))
    answer = await letters.gateway.handle(RetryDeadLetters(), 30)
    assert (answer.settled, answer.left) == (1_200, 0)
    assert [each.message_id for each in await letters.came(EVENTS, 1_200)] == [f"m-{name}" for name in names]


@pytest.mark.slow
async def test_letters_that_somebody_else_holds_are_waited_for_in_bounded_time(letters: Letters) -> None:
    await letters.put("l1")
    consumer = await letters.bus.consume(DEAD_LETTERS)
    await consumer.receive()
    with pytest.raises(Unavailable, match="another process is reading"):
        await letters.gateway.handle(ListDeadLetters(), 10)
    asking = asyncio.create_task(letters.ids())
    await consumer.close()
    assert await asking == ["l1"]
