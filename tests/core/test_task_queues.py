"""Lines: tasks that take turns on an agent, in a cell and by themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.model.agent import AgentList, AgentTask
from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, VolumeMount
from broker_mesos.core.model.task_queues import MAX_QUEUED_PER_SLOT, QueueKey, TaskQueues, queue_key_of
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem, LaunchTasks, UpdateStatuses
from tests.core.cell.harness import Bench, of, offers_in, shape, updates_in

KEY = QueueKey("f1", "*", "l", Resources.parse("cpus:1"))


def lined(ident: str, resources: str = "cpus:1", line: str = "l", **more: object) -> TaskInfo:
    return TaskInfo(
        task_id=ident,
        resources=Resources.parse(resources),
        command=CommandInfo(arguments=("true",)),
        line=line,
        **more,
    )


def bench_with(cpus: int, demand: Demand | None = None) -> tuple[Bench, object]:
    bench = Bench()
    said = [*bench.framework("f1", *([] if demand is None else [demand])), *bench.agent("a1", f"cpus:{cpus}")]
    [offer] = offers_in(said)
    return bench, offer


def finish(bench: Bench, *task_ids: str) -> list:
    statuses = tuple(bench.status("a1", each, TaskState.FINISHED) for each in task_ids)
    return bench.decide(UpdateStatuses(agent_id="a1", session=bench.session("a1"), statuses=statuses))


@given(
    held=st.integers(1, 4),
    waiting=st.integers(0, 8),
    ends=st.permutations(range(12)),
)
def test_as_many_hold_as_are_left_but_never_more_than_at_first(held: int, waiting: int, ends: list[int]) -> None:
    lines = TaskQueues()
    waits = {str(at): at >= held for at in range(held + waiting)}
    for task_id, each in waits.items():
        lines.enter(KEY, task_id, waits=each)
    for at in ends:
        if str(at) in waits:
            waited = waits.pop(str(at))
            heir = lines.leave(KEY, str(at), waited=waited)
            if heir is not None:
                assert not waited and waits[heir]
                waits[heir] = False
            assert lines.held(KEY) == min(held, len(waits)) == list(waits.values()).count(False)
    assert not lines


def test_what_needs_a_thing_by_its_name_stands_in_no_line() -> None:
    cpus, port = Resources.parse("cpus:1"), Resources.parse("cpus:1;ports:[80-80]")
    assert queue_key_of("f1", "*", "l", cpus, (), False) == KEY
    assert queue_key_of("f1", "*", "", cpus, (), False) is None
    assert queue_key_of("f1", "*", "l", port, (), False) is None
    assert queue_key_of("f1", "*", "l", cpus, (), True) is None
    assert queue_key_of("f1", "*", "l", cpus, (VolumeMount(path="d", volume_id="v"),), False) is None


def test_what_does_not_fit_waits_in_its_line_and_is_launched_with_the_rest() -> None:
    bench, offer = bench_with(2)
    said = bench.accept(offer, *(lined(f"t{at}") for at in range(5)))
    [command] = of(said, LaunchTasks)
    assert [each.waits for each in command.launches] == [False, False, True, True, True]
    assert bench.state.agents["a1"].used == Resources.parse("cpus:2")
    assert not updates_in(said)


def test_a_task_without_a_line_that_does_not_fit_is_an_error_as_before() -> None:
    bench, offer = bench_with(1)
    said = bench.accept(offer, lined("t1"), lined("t2", line=""), lined("t3", line="other"))
    assert {each.task_id: each.state for each in updates_in(said)} == {
        "t2": TaskState.ERROR,
        "t3": TaskState.ERROR,
    }


def test_a_task_of_another_size_cannot_wait_for_what_a_smaller_one_holds() -> None:
    bench, offer = bench_with(1)
    [status] = updates_in(bench.accept(offer, lined("t1"), lined("t2", "cpus:2")))
    assert status.task_id == "t2" and status.state is TaskState.ERROR


def test_no_more_wait_than_a_line_may_hold() -> None:
    bench, offer = bench_with(1)
    said = bench.accept(offer, *(lined(f"t{at}") for at in range(MAX_QUEUED_PER_SLOT + 2)))
    [status] = updates_in(said)
    assert status.task_id == f"t{MAX_QUEUED_PER_SLOT + 1}" and status.state is TaskState.ERROR


def test_the_next_in_line_takes_what_the_one_before_held_and_the_last_gives_it_back() -> None:
    bench, offer = bench_with(1)
    bench.accept(offer, lined("t1"), lined("t2"), lined("t3"))
    one = Resources.parse("cpus:1")
    for task_id in ("t1", "t2"):
        assert not offers_in(finish(bench, task_id))
        assert bench.state.agents["a1"].used == bench.state.frameworks["f1"].used == one
    [again] = offers_in(finish(bench, "t3"))
    assert again.resources == one and not bench.state.agents["a1"].used


def test_a_line_that_ends_in_one_message_frees_all_that_it_held() -> None:
    bench, offer = bench_with(2)
    bench.accept(offer, *(lined(f"t{at}") for at in range(5)))
    [again] = offers_in(finish(bench, "t0", "t1", "t2", "t3", "t4"))
    assert again.resources == Resources.parse("cpus:2")


def test_ends_in_any_order_leave_the_books_right() -> None:
    bench, offer = bench_with(2)
    bench.accept(offer, *(lined(f"t{at}") for at in range(4)))
    finish(bench, "t3")  # the cell thinks that it waits
    assert bench.state.agents["a1"].used == Resources.parse("cpus:2")
    finish(bench, "t0")
    assert bench.state.agents["a1"].used == Resources.parse("cpus:2")
    finish(bench, "t2")
    assert bench.state.agents["a1"].used == Resources.parse("cpus:1")


def test_the_next_owner_knows_who_holds_and_who_waits() -> None:
    bench, offer = bench_with(2)
    bench.accept(offer, *(lined(f"t{at}") for at in range(5)))
    finish(bench, "t0")
    bench.take_over(term=8)
    assert list(bench.state.breaches()) == []
    assert bench.state.agents["a1"].used == Resources.parse("cpus:2")
    assert sum(each.waits for each in bench.state.tasks.values() if not each.state.terminal) == 2


def test_a_line_is_adopted_from_an_agents_list() -> None:
    bench = Bench()
    bench.framework("f1")
    tasks = tuple(
        AgentTask(
            task_id=f"t{at}",
            framework_id="f1",
            resources=Resources.parse("cpus:1"),
            line="l",
            waits=at > 1,
            state=TaskState.STAGING if at > 1 else TaskState.RUNNING,
        )
        for at in range(4)
    )
    bench.agent("a1", "cpus:4", listing=AgentList(tasks=tasks))
    assert bench.state.agents["a1"].used == Resources.parse("cpus:2")
    assert bench.state.tasks["t3"].waits and bench.state.tasks["t3"].state is TaskState.STAGING


def test_who_waits_and_has_nobody_to_wait_for_counts_as_if_it_held_something() -> None:
    bench = Bench()
    bench.framework("f1")
    task = AgentTask(task_id="t1", framework_id="f1", resources=Resources.parse("cpus:1"), line="l", waits=True)
    bench.agent("a1", "cpus:4", listing=AgentList(tasks=(task,)))
    assert bench.state.agents["a1"].used == Resources.parse("cpus:1")


def test_a_demand_is_met_by_those_in_line_too() -> None:
    demand = Demand(version=1, shapes=(shape("cpus:1", 10),))
    bench, offer = bench_with(2, demand)
    bench.accept(offer, *(lined(f"t{at}") for at in range(8)))
    framework = bench.state.frameworks["f1"]
    assert framework.missing(framework.demand.shapes[0]) == 2


def test_a_launch_that_was_sent_again_says_who_waits() -> None:
    bench, offer = bench_with(1)
    bench.accept(offer, lined("t1"), lined("t2"))
    [command] = of(bench.agent("a1", "cpus:1", attempt="2"), LaunchTasks)
    assert [(each.task.task_id, each.waits) for each in command.launches] == [("t1", False), ("t2", True)]


def test_one_in_line_can_be_killed() -> None:
    bench, offer = bench_with(1)
    bench.accept(offer, lined("t1"), lined("t2"))
    bench.report("a1", "t2", TaskState.KILLED)
    assert bench.state.agents["a1"].used == Resources.parse("cpus:1")
    finish(bench, "t1")
    assert not bench.state.agents["a1"].used


def test_an_old_launch_says_nothing_of_waiting() -> None:
    launch = LaunchItem(task=lined("t1", line=""), framework_id="f1")
    assert b"waits" not in launch.encode() and b"line" not in launch.encode()
