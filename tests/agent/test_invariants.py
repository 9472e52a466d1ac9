"""Invariants I1, I2, I4 and I8 on the agent, whatever the order in which messages arrive."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from broker_mesos.agent.effects import Effect
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    ListTasks,
    RegisterAgent,
    Reregister,
)
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.containerizer import Recovered, TaskExited
from tests.agent.support import TOTAL, Agent, kill, launch, messages, task
from tests.examples import examples

SIZES = ["cpus:1;mem:512", "cpus:2.5", "mem:4096", "ports:[31000-31003]", "ports:[31003-31009]", "cpus:0.001"]
Sent = tuple[int, Message]


class AnyOrder(RuleBasedStateMachine):
    """A cell that numbers its commands, and a network that delays, repeats, reorders and loses them."""

    sent = Bundle("sent")
    attempts = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        self.agent = Agent()
        self.term = 1
        self.highest = 0
        self.sessions = 0
        self.number = 0
        self.names = 0
        self.session = ""
        self.infos: list[TaskInfo] = []
        self.acknowledged: set[str] = set()
        self.uuids: dict[str, str] = {}
        self.open(self.agent.registration().attempt)

    def open(self, attempt: str) -> None:
        """The cell answers a registration: only a new attempt makes a new session."""
        self.sessions += 1
        self.agent.registered(attempt, f"s{self.sessions}", self.term)
        if self.agent.state.session == f"s{self.sessions}":
            self.session, self.number = f"s{self.sessions}", 0

    def deliver(self, sent: Sent) -> None:
        """What arrives under a lower term changes nothing."""
        term, message = sent
        state = self.agent.state
        before = (state.highest_term, state.session, state.applied, len(self.agent.launched))
        effects = self.agent.command(message, term)
        if term < before[0]:
            assert effects == []
            assert before == (state.highest_term, state.session, state.applied, len(self.agent.launched))
        self.answer(effects)

    def answer(self, effects: list[Effect]) -> None:
        for registration in messages(effects, RegisterAgent):
            self.open(registration.attempt)

    @rule(
        target=sent,
        sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=6),
        again=st.booleans(),
        copies=st.integers(0, 2),
    )
    def launch(self, sizes: list[str], again: bool, copies: int) -> Sent:
        """New tasks and, as after a repair, old ones; delivered later, at once, or twice."""
        infos = []
        for size in sizes:
            self.names += 1
            infos.append(task(f"t{self.names}", size))
        self.infos += infos
        if again:
            infos += [info for info in self.infos if info.task_id not in self.acknowledged]
        self.number += 1
        sent = (self.term, launch(self.session, self.number, *infos))
        for _ in range(copies):
            self.deliver(sent)
        return sent

    @rule(target=sent, which=st.integers(1, 20), copies=st.integers(0, 2))
    def kill(self, which: int, copies: int) -> Sent:
        self.number += 1
        sent = (self.term, kill(self.session, self.number, f"t{which}"))
        for _ in range(copies):
            self.deliver(sent)
        return sent

    @rule(sent=sent)
    def arrive(self, sent: Sent) -> None:
        self.deliver(sent)

    @rule(wanted=st.sampled_from(["list", "register"]))
    def repair(self, wanted: str) -> None:
        if wanted == "list":
            self.deliver((self.term, ListTasks(session=self.session)))
        else:
            self.deliver((self.term, Reregister(session=self.session)))

    @rule(announced=st.booleans())
    def new_owner(self, announced: bool) -> None:
        self.term += 1
        if announced:
            self.deliver((self.term, ListTasks(session=self.session)))

    @rule(which=st.integers(0, 40), code=st.sampled_from([0, 1, None]))
    def end(self, which: int, code: int | None) -> None:
        running = sorted(self.agent.state.tasks)
        if running:
            task_id = running[which % len(running)]
            self.agent.started(task_id)
            self.agent.exited(task_id, code)

    @rule()
    def send(self) -> None:
        for status in self.agent.statuses():
            if status.state.terminal:
                assert self.uuids.setdefault(status.task_id, status.uuid) == status.uuid

    @rule(which=st.integers(0, 40))
    def acknowledge(self, which: int) -> None:
        known = sorted(self.uuids)
        if known and self.term >= self.agent.state.highest_term:
            task_id = known[which % len(known)]
            self.acknowledged.add(task_id)
            self.deliver((self.term, AcknowledgeStatuses(uuids=(self.uuids[task_id],))))

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        effects = self.agent.after(seconds)
        self.answer(effects)

    @rule(survive=st.booleans(), late=st.booleans())
    def restart(self, survive: bool, late: bool) -> None:
        kept = [
            Recovered(task_id, survive, 1.0, None if survive else TaskExited(task_id, 0, None, 2.0))
            for task_id in self.agent.state.tasks
        ]
        before = {s.uuid for s in self.agent.state.outcomes.unacknowledged()}
        self.agent.restart(*kept)
        assert before <= {s.uuid for s in self.agent.state.outcomes.unacknowledged()}
        attempt = self.agent.registration().attempt
        if not late:
            self.open(attempt)

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
    def what_was_launched_runs_or_has_an_outcome_until_that_is_acknowledged(self) -> None:
        state = self.agent.state
        unacknowledged = {status.task_id for status in state.outcomes.unacknowledged()}
        for task_id in self.agent.launched:
            assert (task_id in state.tasks) + (task_id in unacknowledged) == (task_id not in self.acknowledged)


AnyOrder.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
