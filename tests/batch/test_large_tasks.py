"""Tasks that need more than others that wait: one of them is stated as a gang, for which room is gathered."""

from __future__ import annotations

from broker_mesos.frameworks.batch.planning.claims import ClaimPlan, plan_claim
from broker_mesos.frameworks.batch.planning.shapes import MAX_SHAPES, demand_shapes, job_shape_of, single_task_gang
from broker_mesos.frameworks.batch.storage.records import Work
from tests.batch.test_planning import candidate, claimed
from tests.batch.world import job, offer

LARGE = "cpus:4;mem:10"
SMALL = "cpus:1;mem:10"
NAME = single_task_gang(job_shape_of("large", job(resources=LARGE), False))


def stated(*jobs) -> list[tuple[str, int, str]]:
    shapes = demand_shapes([(f"j{n}", spec, Work()) for n, spec in enumerate(jobs)], 1.0).shapes
    assert shapes is not None
    return [(str(shape.resources), shape.count, shape.gang) for shape in shapes]


def plan(offers, *candidates) -> ClaimPlan:
    return plan_claim(offers, candidates, all_seen=True, now=1.0, settle_after=10.0)


def test_one_of_the_large_tasks_is_stated_as_a_gang_while_smaller_ones_wait() -> None:
    small = job(resources=SMALL, array=(0, 599))
    assert stated(small, job(resources=LARGE)) == [(SMALL, 600, ""), (LARGE, 1, NAME)]
    assert stated(small, job(resources=LARGE, array=(0, 2))) == [(SMALL, 600, ""), (LARGE, 2, ""), (LARGE, 1, NAME)]


def test_tasks_that_nothing_smaller_competes_with_are_stated_as_they_are() -> None:
    assert stated(job(resources=LARGE), job(resources=LARGE)) == [(LARGE, 2, "")]


def test_tasks_of_which_each_needs_more_of_something_are_each_stated_as_a_gang() -> None:
    memory = "cpus:1;mem:100"
    assert [gang != "" for _, _, gang in stated(job(resources=LARGE), job(resources=memory))] == [True, True]


def test_kinds_are_stated_as_they_are_where_gangs_would_be_too_many_shapes() -> None:
    jobs = [job(resources=f"cpus:{n};mem:10", array=(0, 1)) for n in range(1, MAX_SHAPES + 1)]
    assert {(count, gang) for _, count, gang in stated(*jobs)} == {(2, "")}


def test_room_gathered_for_a_large_task_goes_to_no_smaller_one() -> None:
    small = candidate("s", array=(0, 599), resources=SMALL)
    large = candidate("l", resources=LARGE)
    found = plan([offer("o1", "cpus:4;mem:100", gang=NAME)], small, large)
    assert claimed(found) == {"o1": ["l.0.1"]}
    assert claimed(plan([offer("o1", "cpus:4;mem:100", gang=NAME)], small)) == {}


def test_a_large_task_that_was_served_states_the_next_one_anew() -> None:
    large = candidate("l", array=(0, 1), resources=LARGE)
    assert plan([offer("o1", "cpus:4;mem:100", gang=NAME)], large).wanted is True
    assert plan([offer("o1", "cpus:4;mem:100")], large).wanted is None
