"""The pure steps: work, claims, statuses, exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_isolation import TaskIsolation
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.framework_messages import Accept
from broker_mesos.frameworks.batch.planning.claims import Candidate, ClaimPlan, plan_claim, task_info
from broker_mesos.frameworks.batch.planning.shapes import demand_shapes, job_shape_of, single_task_gang
from broker_mesos.frameworks.batch.planning.statuses import ASK_NOW_SCORE, plan_statuses
from broker_mesos.frameworks.batch.storage.records import (
    ASK_AGAIN,
    ClaimRecord,
    JobRecord,
    ResultRecord,
    Slot,
    TaskName,
    Work,
    parse_task_id,
    text_of,
)
from tests.batch.world import job, offer, status

S = TaskState


def candidate(job_id: str, work: Work | None = None, **fields: object) -> Candidate:
    spec = job(**fields)
    return Candidate(job_id, spec, (work or Work()).text, len(text_of(spec)))


def claimed(found: ClaimPlan) -> dict[str, list[str]]:
    return {offer_id: [launch.name.task_id for launch in launches] for offer_id, launches in found.launches.items()}


# -- work


def test_a_million_tasks_are_kept_as_one_number() -> None:
    _, rest = Work().take(1, 1_000_000, 300)
    assert rest.text == '{"c":300}' and rest.pending(1_000_000) == 999_700


def test_indices_that_came_back_go_first() -> None:
    work = Work(cursor=2).give_back([Slot(0, 2, 2)])
    slots, rest = work.take(0, 5, 2)
    assert slots == [Slot(0, 2, 2), Slot(2, 1, 1)] and rest == Work(cursor=3)


@given(
    total=st.integers(1, 30),
    first=st.integers(0, 5),
    steps=st.lists(st.tuples(st.sampled_from(["take", "drop", "back"]), st.integers(0, 34)), max_size=40),
)
def test_every_index_is_handed_out_once_unless_it_came_back_or_was_dropped(
    total: int, first: int, steps: list[tuple[str, int]]
) -> None:
    work, waiting, out = Work(), set(range(first, first + total)), set[int]()
    for what, number in steps:
        if what == "take":
            slots, work = work.take(first, total, number % 5)
            taken = {slot.index for slot in slots}
            assert len(taken) == len(slots) == min(number % 5, len(waiting)) and taken <= waiting
            waiting -= taken
            out |= taken
        elif what == "drop":
            found = work.without(number, first, total)
            assert (found is not None) == (number in waiting)
            if found is not None:
                waiting.discard(number)
                work = found[1]
        elif number in out:
            out.discard(number)
            waiting.add(number)
            work = work.give_back([Slot(number, 2, 2)])
        assert work.pending(total) == len(waiting)
        assert Work.parse(work.text) == work


@pytest.mark.parametrize("job_id", ["j1", "a.b", "1.2.3", "night-run_7"])
def test_a_task_id_is_read_back_whatever_dots_its_job_has(job_id: str) -> None:
    for launch in (2, 3):
        assert parse_task_id(TaskName(job_id, 12, 2, launch).task_id) == TaskName(job_id, 12, 2, launch)


def test_the_third_part_of_a_task_id_is_the_attempt_and_a_further_launch_of_it_is_marked() -> None:
    assert TaskName("j", 7, 1, 1).task_id == "j.7.1"
    assert TaskName("j", 7, 2, 2).task_id == "j.7.2"
    assert TaskName("j", 7, 1, 2).task_id == "j.7.1-2"
    assert TaskName("j", 7, 2, 3).task_id == "j.7.2-3"


@pytest.mark.parametrize("text", ["", "x", "x.1", "x.a.1", "x.1.-1", "x.1.1-", "x.1.1-a", "x.1.1-2-3", "x.1.²"])
def test_what_is_no_task_id_of_ours_is_not_read_as_one(text: str) -> None:
    assert parse_task_id(text) is None


# -- claims


def test_tasks_fill_an_offer_and_no_more() -> None:
    found = plan_claim([offer()], [candidate("j", array=(0, 9))], all_seen=True, now=1.0, settle_after=10.0)
    assert claimed(found) == {"o1": [f"j.{index}.1" for index in range(4)]}
    assert found.wanted is None


def test_jobs_are_served_in_order_over_several_offers() -> None:
    offers = [offer("o1", "cpus:2;mem:100"), offer("o2", "cpus:2;mem:100", agent_id="a2")]
    jobs = [candidate("a", array=(0, 2)), candidate("b", array=(0, 5))]
    found = plan_claim(offers, jobs, all_seen=True, now=1.0, settle_after=10.0)
    assert claimed(found) == {"o1": ["a.0.1", "a.1.1"], "o2": ["a.2.1", "b.0.1"]}


def test_demand_ends_in_the_claim_that_takes_the_last_work() -> None:
    jobs = [candidate("a"), candidate("b")]
    found = plan_claim([offer()], jobs, all_seen=True, now=1.0, settle_after=10.0)
    assert found.wanted is False
    assert ("zcard", "pending", "", 2) in [tuple(check) for check in found.plan.checks]
    assert not plan_claim([offer()], jobs, all_seen=False, now=1.0, settle_after=10.0).wanted


def test_constraints_choose_among_offers() -> None:
    offers = [offer("o1", attributes={"rack": "r1"}), offer("o2", attributes={"rack": "r2"})]
    jobs = [candidate("j", array=(0, 9), constraints=("rack==r2",))]
    assert list(plan_claim(offers, jobs, all_seen=True, now=1.0, settle_after=10.0).launches) == ["o2"]


def test_a_range_is_given_to_one_task() -> None:
    jobs = [candidate("j", array=(0, 2), resources="cpus:1;ports:[31000-31000]")]
    found = plan_claim([offer(resources="cpus:8;ports:[31000-31005]")], jobs, all_seen=True, now=1.0, settle_after=10.0)
    assert claimed(found) == {"o1": ["j.0.1"]}


def test_an_accept_of_long_commands_stays_within_a_message() -> None:
    spec = job(command={"arguments": ["echo", "é" * 60_000]}, array=(0, 99), resources="cpus:0.01")
    loaded = Candidate("j", spec, Work().text, len(text_of(spec).encode()))
    found = plan_claim([offer()], [loaded], all_seen=True, now=1.0, settle_after=10.0)
    tasks = tuple(task_info(launch) for launch in found.launches["o1"])
    body = Accept(framework_id="batch", offer_ids=("o1",), tasks=tasks).encode()
    assert len(tasks) > 1 and len(body) < 1 << 20


# -- statuses


def applied(
    statuses: list[TaskStatus],
    *,
    state: TaskState | None = None,
    kill: bool = False,
    works: Mapping[str, str | None] | None = None,
    **record: Any,
) -> dict[str, object]:
    """What statuses make of the one claim j.0.1, as {key: {field: value}}."""
    claim = ClaimRecord(
        attempt=1, launch=1, cell=0, offer_id="o", agent_id="a1", claimed_at=0.0, state=state, kill=kill
    )
    made = JobRecord(seq=1, total=1, submitted_at=0.0, **record)
    works = {"j": Work(cursor=1).text} if works is None else works
    found = plan_statuses(statuses, {"j.0": text_of(claim)}, {"j": made}, works, 5.0)
    changes: dict[str, object] = {"kills": found.kills}
    for change in found.plan.changes:
        if change.op == "hset":
            changes[change.key] = change.value
        elif change.op == "hdel":
            changes[change.key] = None
    return changes


def test_signs_of_life_on_another_agent_than_the_claimed_one_settle_nothing():
    assert applied([status("j.0.1", S.RUNNING, agent_id="elsewhere")]) == {"kills": []}
    assert applied([status("j.0.1", S.UNREACHABLE, agent_id="elsewhere")], rerun=True) == {"kills": []}
    dropped_volumes = applied([status("j.0.1", S.RUNNING, agent_id="elsewhere")], kill=True)
    assert dropped_volumes == {"kills": [("j.0.1", "elsewhere")]}
    assert "results:j" in applied([status("j.0.1", S.FINISHED, agent_id="elsewhere")])


@pytest.mark.parametrize(
    ("state", "result"),
    [
        (S.FINISHED, "finished"),
        (S.FAILED, "failed"),
        (S.ERROR, "failed"),
        (S.KILLED, "killed"),
        (S.LOST, "lost"),
        (S.GONE, "lost"),
        (S.GONE_BY_OPERATOR, "lost"),
    ],
)
def test_a_final_status_becomes_the_result(state: TaskState, result: str) -> None:
    changes = applied([status("j.0.1", state)])
    assert ResultRecord.model_validate_json(str(changes["results:j"])).state == result
    assert changes["claims"] is None


def test_a_drop_gives_the_index_back_under_a_new_id_and_the_same_attempt() -> None:
    changes = applied([status("j.0.1", S.DROPPED)], retries=3)
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 1, 2),) and "results:j" not in changes


def test_revocable_jobs_go_onto_slack_and_no_others_do() -> None:
    offers = [offer("slack", revocable=True), offer("plain")]
    jobs = [candidate("a", array=(0, 1)), candidate("b", array=(0, 1), revocable=True)]
    found = plan_claim(offers, jobs, all_seen=True, now=1.0, settle_after=10.0)
    assert claimed(found) == {"plain": ["a.0.1", "a.1.1"], "slack": ["b.0.1", "b.1.1"]}
    only = plan_claim(offers[1:], jobs[1:], all_seen=True, now=1.0, settle_after=10.0)
    assert claimed(only) == {} and only.wanted is None


def test_an_evicted_task_runs_again_without_a_retry() -> None:
    evicted = status("j.0.1", S.KILLED, reason=Reason.CONTAINER_PREEMPTED)
    changes = applied([status("j.0.1", S.RUNNING, started_at=1.0), evicted])
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 1, 2),) and "results:j" not in changes


def test_a_task_that_is_drained_away_runs_again_without_a_retry_even_if_it_had_begun() -> None:
    drained = status("j.0.1", S.KILLED, reason=Reason.AGENT_DRAINING, exit_code=0)
    changes = applied([status("j.0.1", S.RUNNING, started_at=1.0), drained])
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 1, 2),) and "results:j" not in changes
    for dropped_volumes in (applied([drained], killed=True), applied([drained], works={"j": Work(killed=True).text})):
        assert ResultRecord.model_validate_json(str(dropped_volumes["results:j"])).state == "killed"
    asked = applied([drained], kill=True)  # only this index of the job
    assert ResultRecord.model_validate_json(str(asked["results:j"])).state == "killed"


@pytest.mark.parametrize("state", [S.FAILED, S.LOST, S.GONE])
def test_a_retry_is_a_new_attempt(state: TaskState) -> None:
    changes = applied([status("j.0.1", state)], retries=1)
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 2, 2),)


def test_what_has_run_and_is_said_to_be_dropped_is_lost() -> None:
    changes = applied([status("j.0.1", S.DROPPED)], state=S.RUNNING)
    assert ResultRecord.model_validate_json(str(changes["results:j"])).state == "lost"


def test_a_launch_that_never_reached_its_unreachable_agent_is_given_back_without_a_retry() -> None:
    changes = applied([status("j.0.1", S.DROPPED)], state=S.UNREACHABLE)
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 1, 2),) and "results:j" not in changes
    ran = [status("j.0.1", S.RUNNING, started_at=1.0), status("j.0.1", S.UNREACHABLE)]
    changes = applied([*ran, status("j.0.1", S.DROPPED)])
    assert ResultRecord.model_validate_json(str(changes["results:j"])).state == "lost"


@pytest.mark.parametrize("state", [S.DROPPED, S.LOST, S.KILLED])
def test_nothing_of_a_killed_job_comes_back(state: TaskState) -> None:
    changes = applied([status("j.0.1", state)], retries=9, killed=True)
    assert ResultRecord.model_validate_json(str(changes["results:j"])).state == "killed"
    late = applied([status("j.0.1", state)], retries=9, works={"j": Work(killed=True).text})
    assert "results:j" in late


def test_a_status_of_another_launch_or_of_nobody_changes_nothing() -> None:
    assert applied([status("j.0.2", S.FINISHED), status("x", S.LOST)]) == {"kills": []}


def test_a_repeat_and_an_older_status_change_nothing() -> None:
    assert applied([status("j.0.1", S.STAGING), status("j.0.1", S.RUNNING)], state=S.RUNNING) == {"kills": []}


def test_the_first_of_two_ends_counts() -> None:
    changes = applied([status("j.0.1", S.RUNNING), status("j.0.1", S.FINISHED), status("j.0.1", S.LOST)])
    assert ResultRecord.model_validate_json(str(changes["results:j"])).state == "finished"


def test_a_task_of_a_killed_job_that_shows_life_is_killed_again() -> None:
    assert applied([status("j.0.1", S.RUNNING)], killed=True)["kills"] == [("j.0.1", "a1")]
    assert applied([status("j.0.1", S.KILLING)], killed=True)["kills"] == []
    assert applied([status("j.0.1", S.RUNNING), status("j.0.1", S.KILLED)], killed=True)["kills"] == []


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (ResultRecord(state="finished", exit_code=0), 0),
        (ResultRecord(state="failed", exit_code=3), 3),
        (ResultRecord(state="failed", signal=9), 137),
        (ResultRecord(state="failed"), 1),
        (ResultRecord(state="lost"), 1),
        (ResultRecord(state="killed"), 143),
        (ResultRecord(state="killed", signal=9), 137),
    ],
)
def test_the_exit_code_of_a_job_follows_from_its_first_failure(result: ResultRecord, code: int) -> None:
    assert result.job_exit_code == code


def test_attempt_on_an_unreachable_agent_waits_for_it_unless_the_job_may_rerun() -> None:
    unreachable = [status("j.0.1", S.UNREACHABLE)]
    waits = applied(unreachable, state=S.RUNNING)
    assert "work" not in waits
    assert ClaimRecord.model_validate_json(str(waits["claims"])).state is S.UNREACHABLE
    reruns = applied(unreachable, state=S.RUNNING, rerun=True)
    assert reruns["claims"] is None
    assert Work.parse(str(reruns["work"])).returned == (Slot(0, 1, 2),)


@pytest.mark.parametrize("state", [S.LOST, S.GONE_BY_OPERATOR])
def test_lost_attempt_of_a_job_that_may_rerun_uses_no_retry(state: TaskState) -> None:
    changes = applied([status("j.0.1", state)], state=S.RUNNING, rerun=True)
    assert Work.parse(str(changes["work"])).returned == (Slot(0, 1, 2),)


def test_task_that_was_replaced_is_killed_when_it_shows_up_again() -> None:
    assert applied([status("j.0.0", S.RUNNING)], state=S.RUNNING)["kills"] == [("j.0.0", "a1")]


def test_claim_whose_task_id_lives_already_is_asked_about_and_does_not_fail() -> None:
    claim = ClaimRecord(attempt=1, launch=1, cell=0, offer_id="o", agent_id="a1", claimed_at=0.0)
    found = plan_statuses(
        [status("j.0.1", S.ERROR, reason=Reason.TASK_ID_IN_USE)],
        {"j.0": text_of(claim)},
        {"j": JobRecord(seq=1, total=1, submitted_at=0.0)},
        {},
        5.0,
    )
    assert [(each.op, each.field, each.value) for each in found.plan.changes] == [("zadd", "j.0.1", ASK_NOW_SCORE)]


def test_running_task_of_an_unknown_job_is_let_be() -> None:
    found = plan_statuses([status("k.0.1", S.RUNNING)], {"k.0": None}, {"k": None}, {}, 5.0)
    assert found.kills == [] and not found.plan.changes


def test_task_that_runs_is_asked_about_again_when_nothing_is_heard_for_long() -> None:
    found = plan_statuses(
        [status("j.0.1", S.RUNNING)],
        {"j.0": text_of(ClaimRecord(attempt=1, launch=1, cell=0, offer_id="o", agent_id="a1", claimed_at=0.0))},
        {"j": JobRecord(seq=1, total=1, submitted_at=0.0)},
        {},
        5.0,
    )
    assert [(each.field, each.value) for each in found.plan.changes if each.op == "zadd_after"] == [
        ("j.0.1", ASK_AGAIN)
    ]


def test_demand_does_not_end_with_what_another_worker_has_exhausted() -> None:
    """Its job has left the pending ones, and another may have come since: there are as many as before."""
    gone = candidate("j1", Work(cursor=4), array=(0, 3))
    found = plan_claim([offer()], [gone], all_seen=True, now=0.0, settle_after=10.0)
    assert found.wanted is None and not [each for each in found.plan.checks if each.op == "zcard"]
    mine = plan_claim([offer()], [candidate("j1")], all_seen=True, now=0.0, settle_after=10.0)
    assert mine.wanted is False


def test_kill_of_an_earlier_launch_under_the_same_id_gives_the_index_back() -> None:
    """A store that went back in time gave the id out again: nobody wanted the later one killed."""
    stale = applied([status("j.0.1", S.KILLED, offer_id="earlier")])
    assert "results:j" not in stale and Work.parse(str(stale["work"])).pending(1) == 1
    for same in ("o", ""):
        assert "results:j" in applied([status("j.0.1", S.KILLED, offer_id=same)])
    assert "results:j" in applied([status("j.0.1", S.KILLED, offer_id="earlier")], kill=True)


@given(st.text(max_size=20).filter(str.isprintable), st.text(max_size=20))
def test_whatever_a_job_is_called_its_tasks_can_be_sent(name: str, user: str) -> None:
    command = CommandInfo(arguments=("true",), directory="/data", stdin="eA==", stdout="%u/%n-%a", stderr="e/%j")
    found = plan_claim(
        [offer()], [candidate("j", name=name, user=user, command=command)], all_seen=True, now=1.0, settle_after=10.0
    )
    (launch,) = found.launches["o1"]
    sent = TaskInfo.model_validate_json(task_info(launch).model_dump_json()).command
    assert (sent.directory, sent.stdin, sent.stderr) == ("/data", "eA==", "e/j") and sent.stdout.endswith("-0")


def test_a_demand_for_isolation_is_part_of_the_shape_and_of_what_an_offer_must_have() -> None:
    spec = job(isolation=TaskIsolation(level="limits"), limits=Resources.parse("cpus:2"))
    shape = job_shape_of("j", spec, False)
    assert shape.isolation == ("kill", "mem", "pids", "quota")
    assert [each.isolation for each in shape.shapes(1)] == [shape.isolation]
    assert single_task_gang(shape) != single_task_gang(job_shape_of("j", job(), False))
    held = offer(isolation=shape.isolation)
    assert shape.matches(held)
    for words in ((), shape.isolation[1:]):  # the first is what a cell of an earlier release sends
        assert not shape.matches(held.model_copy(update={"isolation": words}))


# -- ports, and tasks beside each other


def test_tasks_of_an_array_get_distinct_ports_and_are_told_them() -> None:
    offers = [offer(resources="cpus:4;mem:100;ports:[10-12,20-22]"), offer("o2", "cpus:4;mem:100", agent_id="a2")]
    job_ = candidate("j", array=(0, 5), ports=2, port_names=("http",))
    found = plan_claim(offers, [job_], all_seen=True, now=1.0, settle_after=10.0)
    (launches,) = found.launches.values()
    infos = [task_info(each) for each in launches]
    assert [str(each.resources) for each in infos] == [
        "cpus:1;mem:10;ports:[10-11]",
        "cpus:1;mem:10;ports:[12-12,20-20]",
        "cpus:1;mem:10;ports:[21-22]",
    ]
    environment = infos[1].command.environment
    assert (environment["PORT0"], environment["PORT1"], environment["PORT_HTTP"]) == ("12", "20", "12")
    assert "PORT2" not in environment and infos[1].shape == "" and not any(each.line for each in infos)


def test_a_gang_with_ports_is_claimed_whole_or_not_at_all() -> None:
    gang = candidate("j", array=(0, 2), gang=True, ports=1)
    few = [offer(resources="cpus:4;mem:100;ports:[1-2]", gang="j")]
    found = plan_claim(few, [gang], all_seen=True, now=1.0, settle_after=10.0)
    assert not found.launches and found.gangs == {"j"}
    found = plan_claim([*few, offer("o2", "cpus:1;mem:50;ports:[7-7]", agent_id="a2", gang="j")], [gang],
                       all_seen=True, now=1.0, settle_after=10.0)  # fmt: skip
    assert {each: len(some) for each, some in claimed(found).items()} == {"o1": 2, "o2": 1}


def test_no_more_tasks_than_may_run_for_a_value_are_claimed_and_their_place_is_given_back_when_they_end() -> None:
    def some(*names: str) -> list[Any]:
        return [offer(f"o-{name}", agent_id=name, attributes={"rack": name[:2]} if name else {}) for name in names]

    spec = job(array=(0, 8), most=2, per="rack")
    wanted = Candidate("j", spec, Work(placed={"r2": 1}).text, 100)
    found = plan_claim([*some("r1-a", "r1-b", "r2-a"), offer("o-none", agent_id="a9")], [wanted],
                       all_seen=True, now=1.0, settle_after=10.0)  # fmt: skip
    assert {each: len(names) for each, names in claimed(found).items()} == {"o-r1-a": 2, "o-r2-a": 1}
    assert found.wanted is True  # the cells do not know of each other's tasks
    stored = {(each.key, each.field): each.value for each in found.plan.changes if each.op == "hset"}
    work = Work.parse(str(stored["work", "j"]))
    assert work.placed == {"r1": 2, "r2": 2}
    claim_text = str(stored["claims", "j.0"])
    assert ClaimRecord.model_validate_json(claim_text).place == "r1"
    record = JobRecord.of(spec, 1, 1.0)
    ended = plan_statuses(
        [status("j.0.1", S.FINISHED, agent_id="r1-a")], {"j.0": claim_text}, {"j": record}, {"j": work.text}, 2.0
    )
    after = {(each.key, each.field): each.value for each in ended.plan.changes if each.op == "hset"}
    assert Work.parse(str(after["work", "j"])).placed == {"r1": 1, "r2": 2}
    assert after["meta", "wanted"] == "1"


def test_the_demand_of_a_limited_array_names_the_job_and_what_runs_already() -> None:
    spec = job(array=(0, 8), most=2, per="rack", ports=1)
    (shape,) = demand_shapes([("j", spec, Work(placed={"r2": 1}))], 1.0).shapes or ()
    assert (shape.name, shape.most, shape.per, shape.placed, shape.ports) == ("j", 2, "rack", {"r2": 1}, 1)
    (shape,) = demand_shapes([("j", job(array=(0, 8), most=2), Work(placed={"a1": 1}))], 1.0).shapes or ()
    assert shape.placed == {}  # each cell knows what runs on its agents
    assert single_task_gang(job_shape_of("j", spec, False)) == ""
    assert single_task_gang(job_shape_of("j", job(ports=2), False)) == "one task of cpus:1;mem:10 with 2 ports"
