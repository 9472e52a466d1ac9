"""Jobs in roles: their tasks are claimed on offers of their role only, and the demand names the roles of what waits."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from broker_mesos.core.model.framework import MAX_DEMAND_ROLES, Demand
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.batch.planning.claims import plan_claim
from broker_mesos.frameworks.batch.planning.shapes import (
    MAX_JOBS,
    demand_roles,
    demand_shapes,
    job_shape_of,
    single_task_gang,
)
from broker_mesos.frameworks.batch.spare import spare_demand
from broker_mesos.frameworks.batch.storage import pending, store
from broker_mesos.frameworks.batch.storage.records import ROLES, Work
from broker_mesos.ports.store import Change
from tests.batch.test_demand import Told
from tests.batch.test_planning import candidate, claimed
from tests.batch.world import World, job, offer, status


def test_tasks_are_claimed_on_offers_of_their_own_role_only() -> None:
    found = plan_claim(
        [offer("o1"), offer("o2", role="eng"), offer("o3", role="eng/db")],
        [candidate("e", role="eng"), candidate("n")],
        all_seen=True,
        now=1.0,
        settle_after=10.0,
    )
    assert claimed(found) == {"o1": ["n.0.1"], "o2": ["e.0.1"]}


def test_tasks_of_each_role_are_a_shape_of_their_own() -> None:
    jobs = [("a", job(role="eng"), Work()), ("b", job(), Work()), ("c", job(role="eng"), Work())]
    found = demand_shapes(jobs, 1.0)
    assert [(each.role, each.count) for each in found.shapes or ()] == [("eng", 2), ("*", 1)]
    assert found.roles == ("eng", "*")


def test_a_demand_in_the_default_role_alone_names_no_roles() -> None:
    assert demand_shapes([("a", job(), Work())], 1.0).roles == ()


def test_a_demand_names_no_more_roles_than_a_message_may_have() -> None:
    roles = demand_roles(f"r{number}" for number in range(MAX_DEMAND_ROLES + 5))
    demand = Demand(version=1, roles=roles)
    assert len(roles) == MAX_DEMAND_ROLES and Demand.model_validate_json(demand.model_dump_json()) == demand


def test_large_tasks_of_two_roles_are_two_gangs() -> None:
    mine, yours = (single_task_gang(job_shape_of("j", job(role=role), False)) for role in ("eng", "ops"))
    assert mine != yours


def test_a_job_in_a_role_with_a_bad_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="'a b' is not a role"):
        job(role="a b")


async def test_a_demand_for_anything_names_the_roles_in_which_jobs_wait() -> None:
    world = World()
    for number in range(MAX_JOBS + 1):
        demand = await world.store.submit(f"j{number}", job(role="eng" if number % 2 else "ops"))
    assert demand is not None
    stated = await Told(world).demand_publisher.stated(demand)
    assert (stated.shapes, sorted(stated.roles)) == (None, ["eng", "ops"])


async def test_a_job_waits_behind_jobs_of_its_own_role_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = (5, 10)
    for module in (pending, store):
        monkeypatch.setattr(module, "PAGES", pages)
    world = World()
    for number in range(20):
        await world.store.submit(f"j{number}", job(role="eng"))
    await world.store.submit("mine", job(role="ops"))
    await world.store.submit("another", job())
    assert await world.claim(offer(role="ops")) == ["mine.0.1"]
    assert await world.claim(offer()) == ["another.0.1"]
    assert await world.claim(offer(role="eng", resources="cpus:2;mem:100")) == ["j0.0.1", "j1.0.1"]


async def test_an_offer_for_a_role_without_work_has_the_demand_stated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pending, store):
        monkeypatch.setattr(module, "PAGES", (5, 10))
    world = World()
    for number in range(20):
        before = await world.store.submit(f"j{number}", job(role="eng"))
    found = await world.store.claim([offer(role="ops")])
    assert before is not None and found.demand is not None and not found.launches
    assert (found.demand.version, found.demand.wanted) == (before.version + 1, True)


async def test_a_role_is_forgotten_when_none_of_its_jobs_waits() -> None:
    world = World()
    await world.store.submit("j", job(role="eng"))
    assert await world.store.pending_jobs.roles() == ("eng",)
    assert await world.claim(offer(role="eng")) == ["j.0.1"]
    assert await world.store.pending_jobs.roles() == ()
    assert await world.records.size(ROLES) == 0
    await world.store.apply([status("j.0.1", TaskState.FINISHED)])
    assert await world.leftovers() == {}


async def test_a_job_that_comes_back_or_is_killed_is_pending_in_its_role_as_well() -> None:
    world = World()
    await world.store.submit("j", job(role="eng", array=(0, 1), retries=1))
    assert len(await world.claim(offer(role="eng"))) == 2
    await world.store.apply([status("j.0.1", TaskState.FAILED, exit_code=1)])
    assert await world.store.pending_jobs.roles() == ("eng",)
    await world.store.kill("j")
    assert await world.store.pending_jobs.roles() == ()


async def test_a_job_that_an_earlier_release_has_stored_is_in_the_default_role() -> None:
    world = World()
    await world.store.submit("j", job())
    await world.records.transact([], [Change("zrem", "pending:*", "j")])
    assert await world.store.pending_jobs.roles() == ("*",)
    assert await world.claim() == ["j.0.1"]


async def test_too_many_roles_at_once_are_refused_and_roles_without_work_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "MAX_ROLES", 2)
    world = World()
    for number, role in enumerate(("a", "b", "*", "a")):
        await world.store.submit(f"j{number}", job(role=role))
    with pytest.raises(Conflict, match="jobs of 2 roles wait already"):
        await world.store.submit("c", job(role="c"))
    assert await world.claim(offer(role="a"))
    await world.store.submit("c", job(role="c"))


def test_a_spare_offer_is_asked_for_in_the_role_of_the_last_task() -> None:
    found = plan_claim(
        [offer(role="eng")], [candidate("e", role="eng")], all_seen=True, now=1.0, settle_after=10.0
    ).launches["o1"]
    spare = spare_demand(Demand(version=3, wanted=False), found)
    assert spare is not None and spare.roles == ("eng",) and [each.role for each in spare.shapes or ()] == ["eng"]
