"""Which tasks may stand in line: those of jobs whose tasks are short."""

from __future__ import annotations

from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.frameworks.batch.planning.claims import Candidate, plan_claim, task_info
from broker_mesos.frameworks.batch.planning.runtime_estimates import (
    MAX_QUEUED_PER_SLOT,
    MIN_ENDED_TASKS,
    QUEUED_WORK_SECONDS,
    RuntimeEstimates,
)
from broker_mesos.frameworks.batch.storage.records import Work, text_of
from tests.batch.world import job, offer


def ended(index: int, seconds: float, state: TaskState = TaskState.FINISHED, **more: object) -> TaskStatus:
    return TaskStatus(task_id=f"j.{index}.1", state=state, started_at=100.0, timestamp=100.0 + seconds, **more)


def test_nothing_is_known_of_a_new_job() -> None:
    pace = RuntimeEstimates()
    pace.learn([ended(at, 0.001) for at in range(MIN_ENDED_TASKS - 1)])
    assert pace.depth("j") == 0 == pace.depth("other")


def test_short_tasks_stand_in_line_and_long_ones_do_not() -> None:
    short, long = RuntimeEstimates(), RuntimeEstimates()
    short.learn([ended(at, 0.001) for at in range(10)])
    long.learn([ended(at, 1.0) for at in range(10)])
    assert short.depth("j") == MAX_QUEUED_PER_SLOT and long.depth("j") == 0


def test_one_long_task_counts_at_once_and_is_forgotten_slowly() -> None:
    pace = RuntimeEstimates()
    pace.learn([ended(at, 0.001) for at in range(10)])
    pace.learn([ended(11, 10.0)])
    assert pace.depth("j") == 0
    pace.learn([ended(at, 0.001) for at in range(12, 14)])
    assert pace.depth("j") == 0
    pace.learn([ended(at, 0.001) for at in range(14, 60)])
    assert pace.depth("j") > 0


def test_who_was_dropped_out_of_a_line_says_that_the_tasks_are_not_short() -> None:
    pace = RuntimeEstimates()
    pace.learn([ended(at, 0.02) for at in range(10)])
    before = pace.depth("j")
    dropped = TaskStatus(task_id="j.10.1", state=TaskState.DROPPED, reason=Reason.LAUNCH_REFUSED)
    pace.learn([dropped])
    assert pace.depth("j") == 1 < before == int(QUEUED_WORK_SECONDS / 0.02)


def test_a_clock_that_went_back_makes_no_task_shorter_than_nothing() -> None:
    pace = RuntimeEstimates()
    pace.learn([ended(at, -5.0) for at in range(10)])
    assert pace.depth("j") == MAX_QUEUED_PER_SLOT


def plan(depth: int, cpus: int, **fields: object):
    spec = job(**fields)
    candidate = Candidate("j", spec, Work().text, len(text_of(spec)))
    return plan_claim(
        [offer("o1", f"cpus:{cpus};mem:10240")],
        [candidate],
        all_seen=True,
        now=1.0,
        settle_after=1.0,
        depth=lambda job_id: depth,
    )


def test_for_each_task_that_fits_that_many_come_along() -> None:
    launches = plan(3, 2, array=(0, 99)).launches["o1"]
    assert len(launches) == 2 + 2 * 3
    infos = [task_info(each) for each in launches]
    assert {each.line for each in infos} == {"j"}


def test_no_more_come_along_than_there_are() -> None:
    assert len(plan(64, 2, array=(0, 4)).launches["o1"]) == 5


def test_gangs_and_picky_and_revocable_tasks_stand_in_no_line() -> None:
    for fields in ({"gang": True}, {"prefer": ("rack==r1",)}):
        infos = [task_info(each) for each in plan(3, 2, array=(0, 1), **fields).launches["o1"]]
        assert {each.line for each in infos} == {""}


def test_tasks_that_need_a_thing_by_its_name_stand_in_no_line() -> None:
    spec = job(array=(0, 9), resources="cpus:1;mem:32;ports:[31000-31000]")
    candidate = Candidate("j", spec, Work().text, len(text_of(spec)))
    offers = [offer("o1", "cpus:8;mem:10240;ports:[31000-31009]")]
    found = plan_claim(offers, [candidate], all_seen=True, now=1.0, settle_after=1.0, depth=lambda job_id: 9)
    assert [task_info(each).line for each in found.launches["o1"]] == [""]


def test_without_a_line_the_task_names_none() -> None:
    infos = [task_info(each) for each in plan(0, 2, array=(0, 9)).launches["o1"]]
    assert len(infos) == 2 and {each.line for each in infos} == {""}
