"""Random orders of messages, repeats and failures; after each, the invariants (I1, I2, I5, I6)."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_mesos.core.api.maintenance import (
    ActivateAgents,
    DeactivateAgents,
    DrainAgents,
    ScheduleMaintenance,
)
from broker_mesos.core.cell.inputs import OperatorMaintain
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask
from broker_mesos.core.model.framework import REVOCABLE_RESOURCES, Demand, FrameworkInfo
from broker_mesos.core.model.maintenance import DrainState
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    KillTasks,
    LaunchTasks,
    RegisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.framework_messages import (
    Accept,
    Acknowledge,
    Decline,
    Kill,
    Revive,
    Settle,
    Subscribe,
    Suppress,
    Teardown,
)
from broker_mesos.core.protocol.records import AgentRecord
from tests.core.cell.harness import Bench, task, updates_in
from tests.examples import examples

AGENTS = ("a1", "a2", "a3")
FRAMEWORKS = ("f1", "f2", "f3")
CAPABILITIES = {"f1": (), "f2": (REVOCABLE_RESOURCES,), "f3": (REVOCABLE_RESOURCES,)}
SIZES = ("cpus:1;mem:256", "cpus:2;mem:1024", "cpus:0.5;mem:64", "cpus:5;mem:10")


class CellUnderRandomMessages(RuleBasedStateMachine):
    """Agents are simulated honestly (each runs what it was launched); everything else is arbitrary."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.attempts = 0
        self.tasks = 0
        self.demand = 0
        self.said: list = []
        self.seen_offers: list[tuple[str, str]] = []
        self.running: dict[str, dict[str, AgentTask]] = {agent: {} for agent in AGENTS}
        self.outcomes: dict[str, dict[str, object]] = {agent: {} for agent in AGENTS}
        self.applied: dict[str, tuple[str, int]] = dict.fromkeys(AGENTS, ("", 0))
        self.mailbox: dict[str, list] = {agent: [] for agent in AGENTS}
        self.started: set[str] = set()
        self.ended: dict[str, TaskState] = {}
        self.log: list = []
        for framework in FRAMEWORKS:
            self.bench.framework(framework, failover_timeout=30, capabilities=CAPABILITIES[framework])

    def tell(self, *messages) -> None:
        self.log.extend(messages)
        said = self.bench.decide(*messages)
        self.take(said)

    def take(self, said) -> None:
        for to, message in said:
            kind, _, name = to.partition(":")
            if kind == "commands":
                self.mailbox[name.removeprefix("agent.")].append(message)
        for status in updates_in(said):
            if status.state.terminal and status.state not in (TaskState.ERROR,):
                before = self.ended.setdefault(status.task_id, status.state)
                assert before is status.state, f"I5: {status.task_id} was {before}, is {status.state}"
        for offer in self.bench.state.offers.values():
            pair = (offer.framework.ident, offer.offer_id)
            if pair not in self.seen_offers:
                self.seen_offers.append(pair)

    @rule(agent=st.sampled_from(AGENTS), resources=st.sampled_from(("cpus:4;mem:4096", "cpus:2;mem:1024")))
    def register(self, agent, resources):
        self.attempts += 1
        self.applied[agent] = ("", 0)  # it applies nothing until its new session begins
        info = AgentInfo(agent_id=agent, resources=Resources.parse(resources))
        listing = AgentList(tasks=tuple(self.running[agent].values()), outcomes=tuple(self.outcomes[agent].values()))
        self.tell(RegisterAgent(agent=info, attempt=str(self.attempts), cells=1, list=listing))

    @rule(agent=st.sampled_from(AGENTS), count=st.integers(1, 3))
    def agent_reads_its_commands(self, agent, count):
        for message in self.mailbox[agent][:count]:
            session, number = self.applied[agent]
            if type(message).TYPE == "AGENT_REGISTERED":
                if message.session == self.bench.session(agent):
                    self.applied[agent] = (
                        message.session,
                        max(number, 0) if message.session == session else 0,
                    )
                continue
            if not isinstance(message, LaunchTasks | KillTasks):
                continue
            if message.session != session or message.number != number + 1:
                continue
            self.applied[agent] = (session, message.number)
            if isinstance(message, LaunchTasks):
                for launch in message.launches:
                    ident = launch.task.task_id
                    assert ident not in self.started, f"I2: {ident} was launched twice"
                    self.started.add(ident)
                    self.running[agent][ident] = AgentTask(
                        task_id=ident,
                        framework_id=launch.framework_id,
                        resources=launch.task.resources,
                        revocable=launch.revocable,
                    )
            else:
                for ident in message.task_ids:
                    self.finish(agent, ident, TaskState.KILLED)
        del self.mailbox[agent][:count]

    def finish(self, agent, ident, state):
        gone = self.running[agent].pop(ident, None)
        if gone is not None:
            self.outcomes[agent][ident] = self.bench.status(agent, ident, state, framework_id=gone.framework_id)

    @rule(agent=st.sampled_from(AGENTS), state=st.sampled_from((TaskState.FINISHED, TaskState.FAILED)))
    def oldest_task_ends(self, agent, state):
        for ident in list(self.running[agent])[:1]:
            self.finish(agent, ident, state)

    @rule(agent=st.sampled_from(AGENTS), repeat=st.booleans())
    def agent_reports(self, agent, repeat):
        statuses = [
            self.bench.status(agent, each.task_id, TaskState.RUNNING, framework_id=each.framework_id)
            for each in self.running[agent].values()
        ]
        message = UpdateStatuses(
            agent_id=agent,
            session=self.applied[agent][0],
            statuses=(*self.outcomes[agent].values(), *statuses),
        )
        self.tell(*([message, message] if repeat else [message]))

    @rule(agent=st.sampled_from(AGENTS), slack=st.sampled_from((None, "cpus:1;mem:512", "cpus:3;mem:2048")))
    def agent_beats(self, agent, slack):
        session, applied = self.applied[agent]
        self.tell(
            AgentHeartbeat(
                agent_id=agent,
                session=session,
                applied=applied,
                running=len(self.running[agent]),
                slack=None if slack is None else Resources.parse(slack),
            )
        )

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def subscribe(self, framework):
        info = FrameworkInfo(framework_id=framework, failover_timeout=30, capabilities=CAPABILITIES[framework])
        self.tell(Subscribe(framework_id=framework, framework=info))

    @precondition(lambda self: self.bench.state.offers)
    @rule(data=st.data(), sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=3))
    def accept_an_open_offer(self, data, sizes):
        offer = self.bench.state.offers[data.draw(st.sampled_from(list(self.bench.state.offers)))]
        tasks = []
        for size in sizes:
            self.tasks += 1
            tasks.append(task(f"t{self.tasks}", size))
        self.tell(Accept(framework_id=offer.framework.ident, offer_ids=(offer.offer_id,), tasks=tuple(tasks)))

    @precondition(lambda self: self.seen_offers)
    @rule(data=st.data(), sizes=st.lists(st.sampled_from(SIZES), max_size=4), repeat=st.booleans())
    def accept(self, data, sizes, repeat):
        framework, offer = data.draw(st.sampled_from(self.seen_offers))
        tasks = []
        for size in sizes:
            self.tasks += 1
            tasks.append(task(f"t{self.tasks}", size))
        message = Accept(framework_id=framework, offer_ids=(offer,), tasks=tuple(tasks))
        self.tell(*([message, message] if repeat else [message]))

    @precondition(lambda self: self.seen_offers)
    @rule(data=st.data(), refuse=st.sampled_from((None, 0, 100)))
    def decline(self, data, refuse):
        framework, offer = data.draw(st.sampled_from(self.seen_offers))
        self.tell(Decline(framework_id=framework, offer_ids=(offer,), refuse_seconds=refuse))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), framework=st.sampled_from(FRAMEWORKS))
    def kill_settle_acknowledge(self, data, framework):
        ident = f"t{data.draw(st.integers(1, self.tasks))}"
        calls = [
            Kill(framework_id=framework, task_ids=(ident,)),
            Acknowledge(framework_id=framework, task_ids=(ident,)),
        ]
        if self.seen_offers:
            owner, offer = data.draw(st.sampled_from(self.seen_offers))
            calls.append(Settle(framework_id=owner, claims=((ident, offer),)))
        self.log.extend(calls)
        said = self.bench.decide(data.draw(st.sampled_from(calls)))
        for to, message in said:  # answers to a stranger's question are not the task's state
            if to.startswith("commands:"):
                self.mailbox[to.removeprefix("commands:agent.")].append(message)

    @rule(framework=st.sampled_from(FRAMEWORKS), wanted=st.booleans())
    def demand_changes(self, framework, wanted):
        self.demand += 1
        call = Revive if wanted else Suppress
        self.tell(call(framework_id=framework, demand=Demand(version=self.demand, wanted=wanted)))

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def framework_ends(self, framework):
        if self.demand % 7 == 3:
            self.tell(Teardown(framework_id=framework))

    @rule(
        agent=st.sampled_from(AGENTS),
        request=st.sampled_from((DrainAgents, ActivateAgents, DeactivateAgents, ScheduleMaintenance)),
        gone=st.booleans(),
    )
    def operators_plan(self, agent, request, gone):
        more = {DrainAgents: {"gone": gone}, ScheduleMaintenance: {"start": self.bench.now.wall + 5.0}}
        if request is ScheduleMaintenance and gone:
            more[request]["duration"] = 10.0
        self.tell(OperatorMaintain(request(agent_ids=(agent,), **more.get(request, {}))))

    @rule(seconds=st.sampled_from((0.5, 4.0, 12.0, 30.0)), beating=st.booleans())
    def time_passes(self, seconds, beating):
        self.take(self.bench.wait(seconds, beating=beating))

    @rule()
    def owner_changes(self):
        before = self.bench.stored
        self.bench.take_over(term=self.bench.term + 1)
        assert self.bench.stored == before

    @invariant()
    def nothing_is_over_allocated(self):
        assert list(self.bench.state.breaches()) == []
        for agent in self.bench.state.agents.values():
            running = Resources.sum(each.resources for each in self.running[agent.ident].values())
            assert not agent.allocatable or agent.used.contains(running) or self.mailbox[agent.ident] is not None

    @invariant()
    def a_drained_agent_has_no_task(self):
        for agent in self.bench.state.agents.values():
            if agent.maintenance.drain is DrainState.DRAINED:
                assert all(task.state.terminal for task in agent.tasks.values())
            stored = AgentRecord.model_validate_json(self.bench.stored["agents"][agent.ident])
            assert stored.maintenance == agent.maintenance

    @invariant()
    def stored_state_is_the_state_in_memory(self):
        assert set(self.bench.state.tasks) == set(self.bench.stored["tasks"])


CellUnderRandomMessages.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=60, deadline=None, print_blob=False
)
TestCellUnderRandomMessages = CellUnderRandomMessages.TestCase
