"""Slack: how it is estimated, what runs on it, and who goes first when the machine gets tight."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.agent.checkpoint import FileCheckpoint, KillRequested
from broker_mesos.agent.effects import Effect, KillProcess
from broker_mesos.agent.slack import (
    BUSY_SAMPLES,
    CALM_SAMPLES,
    INTERVAL_SECONDS,
    MB,
    WARM_SAMPLES,
    Machine,
    Slack,
    TaskUse,
)
from broker_mesos.agent.state import AgentMachine
from broker_mesos.core.model.agent import AgentInfo, Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, LaunchItem, LaunchTasks
from broker_mesos.ports.containerizer import Recovered
from tests.agent.support import Agent, all_statuses, kill, launch, messages, task

LENT = Resources.parse("cpus:4;mem:4096")
MACHINE = Machine(4.0, 5_000.0)
IDLE = Usage(cpu_percent=5.0, mem_mb=500.0)


# -- the estimate ---------------------------------------------------------------------------------------


class Watched:
    """An estimate, looked at every five seconds."""

    def __init__(self, *, counted: bool = False, machine: Machine = MACHINE) -> None:
        self.slack = Slack(machine, LENT, counted=counted)
        self.now = 0.0

    def sees(self, usage: Usage, *tasks: TaskUse, times: int = 1) -> Resources | None:
        for _ in range(times):
            self.slack.sample(usage, tasks, self.now)
            self.now += INTERVAL_SECONDS
        return self.slack.resources


def holds(resources: str, ident: str = "t1", *, revocable: bool = False, use=None) -> TaskUse:
    return TaskUse(ident, Resources.parse(resources), revocable, use)


def test_slack_is_what_is_held_and_not_used_less_a_margin() -> None:
    found = Watched().sees(Usage(cpu_percent=25.0, mem_mb=1_000.0), holds("cpus:4;mem:4096"), times=WARM_SAMPLES)
    assert found == Resources.parse("cpus:2.6;mem:2656")  # 4 - 1 - 0.4; 4096 - 1000 - 409.6


def test_nothing_is_said_before_there_are_some_samples() -> None:
    watched = Watched()
    assert watched.sees(IDLE, holds("cpus:4;mem:4096"), times=WARM_SAMPLES - 1) is None
    assert watched.sees(IDLE, holds("cpus:4;mem:4096")) is not None


def test_what_nobody_holds_is_no_slack() -> None:
    assert Watched().sees(IDLE, times=WARM_SAMPLES) == Resources.EMPTY  # it is free, and offered as such


def test_more_use_counts_at_once_and_less_use_slowly() -> None:
    watched = Watched()
    idle = watched.sees(IDLE, holds("cpus:4;mem:4096"), times=20)
    busy = watched.sees(Usage(cpu_percent=90.0, mem_mb=3_000.0), holds("cpus:4;mem:4096"), times=2)
    assert busy.get("cpus") <= 1_000 and busy.get("mem") < idle.get("mem") / 2
    soon = watched.sees(IDLE, holds("cpus:4;mem:4096"), times=2)
    assert soon.get("cpus") < 2_000
    later = watched.sees(IDLE, holds("cpus:4;mem:4096"), times=40)
    assert idle.get("cpus") - 400 < later.get("cpus") <= idle.get("cpus")  # within what is not told


def test_small_changes_are_not_told() -> None:
    watched = Watched()
    before = watched.sees(Usage(cpu_percent=25.0, mem_mb=1_000.0), holds("cpus:4;mem:4096"), times=20)
    assert watched.sees(Usage(cpu_percent=30.0, mem_mb=1_200.0), holds("cpus:4;mem:4096"), times=20) == before


def test_what_revocable_tasks_use_does_not_eat_up_the_slack_that_they_run_on() -> None:
    watched = Watched()
    plain = holds("cpus:4;mem:4096")
    before = watched.sees(IDLE, plain, times=WARM_SAMPLES)
    for turn in range(20):
        running = holds("cpus:2;mem:1000", "r1", revocable=True, use=(2.0 * INTERVAL_SECONDS * (turn + 1), 900 * MB))
        after = watched.sees(Usage(cpu_percent=55.0, mem_mb=1_400.0), plain, running)
    assert after == before


def using(cpus: float, memory: int, turn: int, ident: str = "t1", resources: str = "cpus:4;mem:4096") -> TaskUse:
    """A task that has used so many CPUs since the first turn."""
    return holds(resources, ident, use=(cpus * INTERVAL_SECONDS * turn, memory * MB))


BESIDE = Machine(16.0, 64_000.0)
"""A machine of which the agent lends a part; others use the rest."""
LOADED = Usage(cpu_percent=50.0, mem_mb=30_000.0)


def is_near(found: Resources | None, wanted: str) -> bool:
    """Whether slack is as wanted, up to a change that is not reported."""
    assert found is not None
    expected = Resources.parse(wanted)
    return all(abs(found.get(name) - expected.get(name)) < LENT.get(name) / 10 for name in ("cpus", "mem"))


@pytest.mark.parametrize(("counted", "slack"), [(True, "cpus:2.6;mem:2656"), (False, "")])
def test_where_the_use_of_tasks_is_counted_other_loads_of_the_machine_leave_the_slack(
    counted: bool, slack: str
) -> None:
    watched = Watched(counted=counted, machine=BESIDE)
    for turn in range(WARM_SAMPLES):
        found = watched.sees(LOADED, using(1.0, 1_000, turn))
    assert is_near(found, slack)


@pytest.mark.parametrize(
    ("usage", "slack"),
    [
        (Usage(cpu_percent=90.0, mem_mb=30_000.0), "cpus:1.2;mem:3584"),  # 16 - 14.4 - 0.4
        (Usage(cpu_percent=50.0, mem_mb=60_500.0), "cpus:2.6;mem:3072"),  # 64000 - 60500 - 409.6
        (Usage(cpu_percent=90.0, mem_mb=60_700.0), "cpus:1.2;mem:2880"),
    ],
)
def test_no_more_slack_is_lent_than_the_machine_has_left(usage: Usage, slack: str) -> None:
    watched = Watched(counted=True, machine=BESIDE)
    for turn in range(20):
        found = watched.sees(usage, using(1.0, 10, turn))
    assert is_near(found, slack)


def test_a_task_whose_use_is_not_known_yet_leaves_no_slack() -> None:
    watched = Watched(counted=True, machine=BESIDE)
    assert watched.sees(LOADED, holds("cpus:4;mem:4096"), times=WARM_SAMPLES) == Resources.EMPTY
    for turn in range(WARM_SAMPLES):
        later = watched.sees(LOADED, using(1.0, 1_000, turn), holds("cpus:2;mem:512", "new"))
    assert later is not None and later.get("cpus") <= 2_600


def test_the_machine_is_tight_when_its_cpus_are_busy_for_a_while_or_its_memory_is_full() -> None:
    watched = Watched()
    watched.sees(IDLE, times=WARM_SAMPLES)
    busy = Usage(cpu_percent=99.0, mem_mb=500.0)
    watched.sees(busy, times=BUSY_SAMPLES - 1)
    assert not watched.slack.tight
    watched.sees(busy)
    assert watched.slack.tight
    watched.slack.eased()
    assert not watched.slack.tight
    watched.sees(IDLE)
    watched.sees(Usage(cpu_percent=5.0, mem_mb=4_900.0))
    assert watched.slack.tight


def test_a_busy_machine_lends_nothing_and_one_that_had_to_take_back_waits_for_calm() -> None:
    watched = Watched()
    plain = holds("cpus:4;mem:4096")
    found = watched.sees(IDLE, plain, times=WARM_SAMPLES)
    assert watched.slack.offered == found
    watched.sees(Usage(cpu_percent=99.0, mem_mb=500.0), plain)
    assert watched.slack.offered == Resources.EMPTY and watched.slack.resources
    watched.sees(IDLE, plain)
    assert watched.slack.offered == watched.slack.resources
    watched.slack.eased()
    watched.sees(IDLE, plain, times=CALM_SAMPLES - 1)
    assert watched.slack.offered == Resources.EMPTY
    watched.sees(IDLE, plain)
    assert watched.slack.offered == watched.slack.resources


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 6_000), st.integers(0, 4_000), st.integers(0, 4_096_000)),
        min_size=WARM_SAMPLES,
        max_size=30,
    )
)
def test_slack_is_never_more_than_what_the_others_hold(samples) -> None:
    """Up to the margin, within which a change is not told."""
    watched = Watched()
    for percent, mem, cpus, held in samples:
        resources = Resources.scalars_of({"cpus": cpus, "mem": held})
        found = watched.sees(Usage(cpu_percent=percent, mem_mb=mem), TaskUse("t", resources, False))
    assert found is not None
    assert found.get("cpus") <= cpus and found.get("mem") <= held


# -- the agent ------------------------------------------------------------------------------------------


class Lender(Agent):
    """An agent that lends slack."""

    def _start(self) -> None:
        ids = itertools.count(1_000)
        self.state = AgentMachine(
            AgentInfo(agent_id="a1", hostname="h1", resources=self.total),
            boot_id=self.boot_id,
            new_id=lambda: f"id{next(ids)}",
            rng=random.Random(1),
            highest_term=self.journal.saved.highest_term,
            slack=Slack(MACHINE, self.total),
        )

    used: dict[str, tuple[float, int]] = {}

    def measures(self, usage: Usage = IDLE, times: int = 1) -> list[Effect]:
        effects: list[Effect] = []
        for _ in range(times):
            self.now += INTERVAL_SECONDS
            assert self.state.measure_due(self.instant)
            effects += self.carry(self.state.measured(usage, self.used, self.instant))
        return effects


@pytest.fixture
def agent() -> Lender:
    """All of it is held by t0, which does nothing."""
    agent = Lender(LENT)
    session = agent.register()
    agent.command(launch(session, 1, task("t0", "cpus:4;mem:4096")))
    agent.started("t0")
    agent.measures(times=WARM_SAMPLES)
    agent.statuses()
    return agent


def revocable(agent: Agent, number: int, *tasks) -> list[Effect]:
    launches = tuple(LaunchItem(task=each, framework_id="f2", offer_id="o2", revocable=True) for each in tasks)
    return agent.command(LaunchTasks(session=agent.state.session, number=number, launches=launches))


def test_heartbeats_say_the_slack(agent: Lender) -> None:
    (beat, *_) = messages(agent.due(), AgentHeartbeat)
    assert beat.slack == Resources.parse("cpus:3.4;mem:3168") and beat.usage == IDLE
    plain = Agent(LENT)
    plain.register()
    (beat,) = messages(plain.due(), AgentHeartbeat)
    assert beat.slack is None


def test_revocable_tasks_run_beside_the_total_up_to_the_slack(agent: Lender) -> None:
    revocable(agent, 2, task("r1", "cpus:3;mem:1000"), task("r2", "cpus:1;mem:1000"))
    assert agent.launched == ["t0", "r1"]
    [status] = agent.statuses()
    assert (status.task_id, status.state, status.reason) == ("r2", TaskState.DROPPED, Reason.LAUNCH_REFUSED)
    assert "into the slack" in status.message
    assert [each.revocable for each in agent.state.task_list().tasks] == [False, True]
    agent.command(launch(agent.state.session, 3, task("t9", "cpus:1;mem:100")))  # the total is full
    assert agent.launched == ["t0", "r1"]


def test_an_agent_without_slack_launches_nothing_revocable() -> None:
    plain = Agent(LENT)
    plain.register()
    revocable(plain, 1, task("r1", "cpus:1;mem:100"))
    assert plain.launched == []


def test_the_youngest_go_first_and_no_more_than_needed_when_slack_shrinks(agent: Lender) -> None:
    revocable(agent, 2, *(task(f"r{number}", "cpus:1;mem:100", kill_grace=7.0) for number in (1, 2, 3)))
    agent.started("r1", "r2", "r3")
    effects = agent.measures(Usage(cpu_percent=60.0, mem_mb=600.0), times=3)  # 4 - 2.4 - 0.4 = 1.2
    assert agent.killed == ["r3", "r2"] and KillProcess("r3", 7.0) in effects
    assert agent.measures(Usage(cpu_percent=60.0, mem_mb=600.0)) == []  # they are ending
    agent.statuses()
    agent.exited("r3", None, 15)
    agent.exited("r2", 0)
    for status in agent.statuses():
        assert (status.state, status.reason) == (TaskState.KILLED, Reason.CONTAINER_PREEMPTED)
    revocable(agent, 3, task("r4", "cpus:1;mem:100"))
    assert "r4" not in agent.launched  # r1 has what there is


def test_a_tight_machine_evicts_one_after_the_other_and_never_a_plain_task(agent: Lender) -> None:
    revocable(agent, 2, task("r1", "cpus:0.1;mem:10"), task("r2", "cpus:0.1;mem:10"))
    agent.started("r1", "r2")
    full = Usage(cpu_percent=5.0, mem_mb=4_900.0)
    agent.state._slack._reported = {"cpus": 4_000, "mem": 4_096_000}  # not for want of slack
    agent.state._slack._own = {}
    agent.measures(full)
    assert agent.killed[0] == "r2"
    for ident in ("r2", "r1"):
        agent.exited(ident, None, 15)
    agent.killed.clear()
    assert agent.measures(full, times=3) == [] and agent.killed == []


@pytest.mark.parametrize(
    ("usage", "times", "evicted"),
    [
        (Usage(cpu_percent=5.0, mem_mb=4_900.0), 1, "r2"),
        (Usage(cpu_percent=99.0, mem_mb=100.0), BUSY_SAMPLES, "r1"),
    ],
)
def test_a_tight_machine_evicts_the_one_that_uses_the_most_of_what_is_short(
    agent: Lender, usage: Usage, times: int, evicted: str
) -> None:
    revocable(agent, 2, *(task(f"r{number}", "cpus:0.1;mem:10") for number in (1, 2, 3)))
    agent.started("r1", "r2", "r3")
    mb = 1 << 20
    agent.state._slack._reported = {"cpus": 4_000, "mem": 4_096_000}  # not for want of slack
    for seconds in range(times):
        agent.used = {"r1": (4.0 * seconds, 5 * mb), "r2": (0.5 * seconds, 400 * mb), "r3": (0.0, mb)}
        agent.measures(usage)
        agent.state._slack._reported = {"cpus": 4_000, "mem": 4_096_000}
    assert agent.killed == [evicted]


def test_a_kill_of_a_task_that_is_being_evicted_has_the_last_word(agent: Lender) -> None:
    revocable(agent, 2, task("r1", "cpus:3;mem:1000"))
    agent.started("r1")
    agent.measures(Usage(cpu_percent=90.0, mem_mb=600.0), times=2)
    agent.command(kill(agent.state.session, 3, "r1"))
    agent.statuses()
    agent.exited("r1", None, 15)
    [status] = agent.statuses()
    assert (status.state, status.reason) == (TaskState.KILLED, None)
    assert agent.journal.saved.outcomes["r1"].reason is None


def test_an_eviction_is_remembered_over_a_restart(agent: Lender) -> None:
    revocable(agent, 2, task("r1", "cpus:3;mem:1000"))
    agent.started("r1")
    agent.measures(Usage(cpu_percent=90.0, mem_mb=600.0), times=2)
    agent.killed.clear()
    agent.restart(Recovered("t0", True, 4.0, None), Recovered("r1", True, 4.0, None))
    assert agent.killed == ["r1"]
    agent.exited("r1", None, 9)
    assert agent.journal.saved.outcomes["r1"].reason is Reason.CONTAINER_PREEMPTED


def test_after_a_restart_nothing_is_evicted_before_the_slack_is_known(agent: Lender) -> None:
    revocable(agent, 2, task("r1", "cpus:3;mem:1000"))
    agent.started("r1")
    agent.restart(Recovered("t0", True, 4.0, None), Recovered("r1", True, 4.0, None))
    agent.measures(times=WARM_SAMPLES + 2)
    assert agent.killed == []
    assert not all_statuses(agent.carry(agent.state.statuses()))


def test_a_journal_of_evictions_is_read_back(tmp_path) -> None:
    journal = FileCheckpoint(tmp_path)
    journal.open()
    journal.append([KillRequested("r1", evicted=True), KillRequested("r2"), KillRequested("r3", evicted=True)])
    journal.append([KillRequested("r3")])
    journal.close()
    saved = FileCheckpoint(tmp_path).open()
    assert (saved.kills, saved.evicted) == ({"r1", "r2", "r3"}, {"r1"})
