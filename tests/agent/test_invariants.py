"""Invariants I1, I2, I4 and I8 on the agent, whatever the order in which messages arrive."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from broker_mesos.core.messages import AcknowledgeStatuses, ListTasks, Message, RegisterAgent, Reregister
from broker_mesos.ports import Recovered, TaskExited
from tests.agent.support import TOTAL, Agent, kill, launch, messages, task

SIZES = ["cpus:1;mem:512", "cpus:2.5", "mem:4096", "ports:[31000-31003]", "ports:[31003-31009]", "cpus:0.001"]


class AnyOrder(RuleBasedStateMachine):
    """A cell that numbers its commands properly, and a network that repeats, delays and reorders them."""

    commands = Bundle("commands")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.agent = Agent()
        self.session = ""
        self.number = 0
        self.tasks = 0
        self.term = 1
        self.ended: dict[str, str] = {}
        self.highest = 0

    @rule(target=attempts)
    def register(self) -> str:
        return self.agent.registration().attempt

    @rule(attempt=attempts)
    def answer(self, attempt: str) -> None:
        before = self.agent.state.session
        session = f"s{self.number}-{attempt}"
        self.agent.registered(attempt, session, self.term)
        if self.agent.state.session != before:
            self.session, self.number = session, 0

    @rule(target=commands, sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=6))
    def launch(self, sizes: list[str]) -> tuple[int, Message]:
        self.number += 1
        infos = []
        for size in sizes:
            self.tasks += 1
            infos.append(task(f"t{self.tasks}", size))
        return self.term, launch(self.session, self.number, *infos)

    @rule(target=commands, which=st.integers(0, 40))
    def kill(self, which: int) -> tuple[int, Message]:
        self.number += 1
        return self.term, kill(self.session, self.number, f"t{which}")

    @rule(target=commands)
    def other(self) -> object:
        return multiple(
            (self.term, Reregister(session=self.session)), (self.term, ListTasks(session=self.session))
        )

    @rule()
    def new_owner(self) -> None:
        self.term += 1

    @rule(command=commands)
    def deliver(self, command: tuple[int, Message]) -> None:
        term, message = command
        highest = self.agent.state.highest_term
        before = (len(self.agent.launched), len(self.agent.killed))
        effects = self.agent.command(message, term)
        if term < highest:
            assert effects == [] and before == (len(self.agent.launched), len(self.agent.killed))
        for registration in messages(effects, RegisterAgent):
            self.agent.registered(registration.attempt, f"s-{registration.attempt}", self.term)
            self.session, self.number = self.agent.state.session, 0

    @rule(command=consumes(commands))
    def lose(self, command: tuple[int, Message]) -> None:
        pass

    @rule(which=st.integers(0, 40), code=st.sampled_from([0, 1]))
    def end(self, which: int, code: int) -> None:
        running = sorted(self.agent.state.tasks)
        if running:
            task_id = running[which % len(running)]
            self.agent.started(task_id)
            self.agent.exited(task_id, code)

    @rule()
    def send(self) -> None:
        for status in self.agent.statuses():
            if status.state.terminal:
                assert self.ended.setdefault(status.task_id, status.uuid) == status.uuid

    @rule(which=st.integers(0, 40))
    def acknowledge(self, which: int) -> None:
        known = sorted(self.ended.values())
        if known:
            self.agent.command(AcknowledgeStatuses(uuids=(known[which % len(known)],)), self.term)

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.agent.after(seconds)

    @rule(survive=st.booleans())
    def restart(self, survive: bool) -> None:
        kept = [
            Recovered(task_id, survive, 1.0, None if survive else TaskExited(task_id, 0, None, 2.0))
            for task_id in self.agent.state.tasks
        ]
        unacknowledged = {s.uuid for s in self.agent.state.outcomes.unacknowledged()}
        self.agent.restart(*kept)
        again = {s.uuid for s in self.agent.state.outcomes.unacknowledged()}
        assert unacknowledged <= again

    @invariant()
    def no_task_is_launched_twice(self) -> None:
        assert len(set(self.agent.launched)) == len(self.agent.launched)

    @invariant()
    def no_more_is_used_than_there_is(self) -> None:
        assert TOTAL.contains(self.agent.used)

    @invariant()
    def terms_only_rise(self) -> None:
        assert self.agent.state.highest_term >= self.highest
        self.highest = self.agent.state.highest_term

    @invariant()
    def every_launched_task_runs_or_has_an_outcome(self) -> None:
        state = self.agent.state
        for task_id in self.agent.launched:
            running, ended = task_id in state.tasks, task_id in state.outcomes
            assert not (running and ended)
            # After a restart the acknowledged ones are forgotten.
            assert running or ended or task_id in self.ended


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
