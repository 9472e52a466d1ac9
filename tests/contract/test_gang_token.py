"""The gang token on every kind of store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from broker_mesos.core.quota.gang_token import TokenRequest, WaitingGang
from broker_mesos.master.config_store import SPACE
from broker_mesos.master.shared_quota import SharedQuota
from broker_mesos.ports.store import Records
from broker_mesos.runtime.clock import SystemClock
from tests.contract.stores import KINDS, make_kind

CELLS = 4


@pytest.fixture(params=KINDS)
async def records(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Records]:
    async with make_kind(request, cluster_name) as kind:
        made = kind.records(SPACE)
        await made.open(10)
        yield made
        await made.close()


async def test_of_all_cells_that_ask_at_once_each_hears_of_the_same_gang(records: Records) -> None:
    cells = [SharedQuota(records, SystemClock(), random.Random(n), cell=n, cells=CELLS, term=1) for n in range(CELLS)]
    wishes = [WaitingGang((f"f{n}", "g"), 1) for n in range(CELLS)]
    found = await asyncio.gather(
        *(cell.token(TokenRequest((wish,), None)) for cell, wish in zip(cells, wishes, strict=True))
    )
    assert len(set(found)) == 1 and found[0] is not None
    after = await cells[0].token(TokenRequest(tuple(wishes), found[0]))
    assert after is not None and after.key != found[0].key
    assert await cells[1].token(TokenRequest((), after)) is None
