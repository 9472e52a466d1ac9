"""The cluster's settings and the ledger of limits on every kind of store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import structlog

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.core.quota.ledger import EscrowRequest, ledger_key, read
from broker_mesos.master.config_store import CLUSTER_CONFIG, CONFIG, SPACE, VERSION, ConfigStore
from broker_mesos.master.shared_quota import SharedQuota
from broker_mesos.ports.store import Change, Check, Records
from broker_mesos.runtime.clock import SystemClock
from tests.contract.stores import KINDS, make_kind

LIMIT = {"cpus": 8000}
CELLS = 3


def limited(config: ClusterConfig, most: int = 8000) -> ClusterConfig:
    return config.model_copy(update={"roles": {"eng/db": RoleSettings(limit={"cpus": most}, since=1)}})


@pytest.fixture(params=KINDS)
async def records(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Records]:
    async with make_kind(request, cluster_name) as kind:
        made = kind.records(SPACE)
        await made.open(10)
        yield made
        await made.close()


def ledger(records: Records, cell: int, term: int = 1) -> SharedQuota:
    return SharedQuota(records, SystemClock(), random.Random(cell), cell=cell, cells=CELLS, term=term)


def ask(held: int, wanted: int, version: int = 1) -> EscrowRequest:
    return EscrowRequest("eng/db", {"cpus": held}, {"cpus": wanted}, LIMIT, 1, version)


async def test_a_change_is_seen_by_others_and_counts_the_version(records: Records) -> None:
    one, other = ConfigStore(records, BUILT_IN), ConfigStore(records, BUILT_IN)
    assert (await one.refresh()).version == 0
    await one.change(limited)
    assert (await other.refresh()).roles["eng/db"].limit == LIMIT
    assert (await other.change(limited)).version == 1  # it is so already
    await other.change(lambda config: limited(config, 5000))
    assert (await one.refresh()).version == 2


async def test_changes_at_the_same_time_are_all_kept(records: Records) -> None:
    def adding(role: str):
        return lambda config: config.model_copy(update={"roles": {**config.roles, role: RoleSettings(weight=2.0)}})

    names = [f"r{number}" for number in range(6)]
    await asyncio.gather(*(ConfigStore(records, BUILT_IN).change(adding(name)) for name in names))
    found = await ConfigStore(records, BUILT_IN).refresh()
    assert sorted(found.roles) == names and found.version == 6


async def test_what_the_store_has_lost_is_put_back_by_who_knows_it(records: Records) -> None:
    one, other = ConfigStore(records, BUILT_IN), ConfigStore(records, BUILT_IN)
    await one.change(limited)
    await records.transact([], [Change("del", CONFIG)])
    await one.refresh()
    assert (await other.refresh()).roles["eng/db"].limit == LIMIT


async def test_what_cannot_be_read_changes_nothing_and_can_be_set_anew(records: Records) -> None:
    one = ConfigStore(records, BUILT_IN)
    await one.change(limited)
    await records.transact([], [Change("hset", CONFIG, CLUSTER_CONFIG, "{"), Change("hset", CONFIG, VERSION, "9")])
    assert (await one.refresh()).version == 1
    assert (await one.change(lambda config: limited(config, 1000))).version == 2
    assert (await ConfigStore(records, BUILT_IN).refresh()).roles["eng/db"].limit == {"cpus": 1000}


async def test_a_policy_that_is_not_installed_is_told_once(records: Records) -> None:
    one = ConfigStore(records, BUILT_IN)
    await ConfigStore(records, BUILT_IN).change(lambda config: config.model_copy(update={"policy": "lots"}))
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await one.refresh()
        await one.change(limited)
    assert [each["policy"] for each in logs if each["log_level"] == "error"] == ["lots"]


async def test_cells_that_raise_at_once_stay_within_the_limit(records: Records) -> None:
    await ConfigStore(records, BUILT_IN).change(limited)
    ledgers = [ledger(records, cell) for cell in range(CELLS)]
    for each in ledgers:
        assert await each.settle(ask(0, 0)) == {"cpus": 0}
    for wanted in (4000, 5000, 6000):
        granted = await asyncio.gather(*(each.settle(ask(0, wanted)) for each in ledgers))
        stored = await records.get_all(ledger_key("eng/db"))
        amounts = [read(stored[str(cell)]).amounts["cpus"] for cell in range(CELLS)]
        assert [each["cpus"] for each in granted if each] == amounts
        assert sum(amounts) == 8000
    assert await ledgers[0].settle(ask(1000, 1000)) == {"cpus": 1000}


async def test_nothing_is_raised_under_settings_that_have_changed(records: Records) -> None:
    config_store = ConfigStore(records, BUILT_IN)
    await config_store.change(limited)
    ledgers = [ledger(records, cell) for cell in range(CELLS)]
    for each in ledgers:
        await each.settle(ask(0, 0))
    await config_store.change(lambda config: limited(config, 1000))
    assert await ledgers[0].settle(ask(0, 4000, version=1)) == {"cpus": 0}


async def test_a_stale_owner_is_refused(records: Records) -> None:
    await ConfigStore(records, BUILT_IN).change(limited)
    assert await ledger(records, 0, term=2).settle(ask(500, 500)) == {"cpus": 500}
    assert await ledger(records, 0, term=1).settle(ask(0, 0)) is None


async def test_a_cleared_limit_leaves_nothing_in_the_ledger(records: Records) -> None:
    config_store = ConfigStore(records, BUILT_IN)
    await config_store.change(limited)
    await ledger(records, 0).settle(ask(0, 0))
    await config_store.change(lambda config: config.model_copy(update={"roles": {}}))
    assert await records.get_all(ledger_key("eng/db")) == {}
    assert await records.transact([Check("zcard", ledger_key("eng/db"), value=0)], []) == []
