"""How an owner learns that it is behind with its inbox."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, cast

import pytest

from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.registry import decode
from broker_mesos.master.lag import PING_AFTER_MESSAGES, PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS, Lag
from broker_mesos.ports.bus import Bus, Outgoing


class Line:
    """Takes what is published, and says what becomes of it."""

    def __init__(self) -> None:
        self.sent: list[Ping] = []
        self.futures: list[asyncio.Future[bool]] = []

    def publish(self, message: Outgoing) -> asyncio.Future[bool]:
        self.sent.append(cast(Ping, decode(message.type, message.body)))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def lag(line: Line) -> Lag:
    ids = count(1)
    lag = Lag(0, cast(Bus, line), lambda: f"id{next(ids)}")
    lag.record([], PING_AFTER_MESSAGES)
    return lag


async def test_lag_is_the_age_of_what_has_not_come_back(line: Line, lag: Lag) -> None:
    assert lag.at(100.0) == 0
    lag.ping(100.0)
    assert lag.at(103.0) == 3
    lag.record([Ping(), Ping(token="another owner's"), *line.sent], 3)
    assert lag.at(103.0) == 0


async def test_one_is_under_way_at_a_time_and_one_a_second_at_most(line: Line, lag: Lag) -> None:
    lag.ping(100.0)
    lag.ping(100.0 + 2 * PING_INTERVAL_SECONDS)
    assert len(line.sent) == 1
    lag.record(line.sent, PING_AFTER_MESSAGES)
    lag.ping(100.0 + PING_INTERVAL_SECONDS / 2)
    assert len(line.sent) == 1
    lag.ping(100.0 + PING_INTERVAL_SECONDS)
    assert len(line.sent) == 2


async def test_an_owner_that_has_read_little_cannot_be_far_behind_and_asks_nothing(line: Line, lag: Lag) -> None:
    lag.ping(100.0)
    lag.record(line.sent, 1)
    lag.record([], PING_AFTER_MESSAGES - 2)
    lag.ping(100.0 + 60)
    assert len(line.sent) == 1
    lag.record([], 1)
    lag.ping(100.0 + 60)
    assert len(line.sent) == 2


@pytest.mark.parametrize("result", [False, RuntimeError("the connection was lost")])
async def test_what_was_not_taken_says_nothing(line: Line, lag: Lag, result: Any) -> None:
    lag.ping(100.0)
    (future,) = line.futures
    if result is False:
        future.set_result(False)
    else:
        future.set_exception(result)
    await asyncio.sleep(0)
    assert lag.at(103.0) == 0


async def test_one_that_never_comes_back_is_sent_again(line: Line, lag: Lag) -> None:
    lag.ping(100.0)
    lag.ping(100.0 + PING_TIMEOUT_SECONDS)
    assert len(line.sent) == 2 and lag.at(100.0 + PING_TIMEOUT_SECONDS) == 0
