"""Random orders of grants, declines, rescinds, absences, failovers and recoveries: no port is given to two tasks, and
no more tasks of a shape than its limit stand on agents with the same value of its attribute."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_mesos.core.api.maintenance import ActivateAgents, DrainAgents
from broker_mesos.core.cell.inputs import OperatorMaintain, OperatorMarkGone
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask
from broker_mesos.core.model.attributes import attribute_of
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.port_numbers import numbers_of, pick_ports
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks, RegisterAgent, UnregisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, Acknowledge, Decline, Subscribe
from broker_mesos.core.protocol.records import AgentStatus
from tests.core.cell.harness import Bench, task
from tests.examples import examples

RACKS = {"a1": "r1", "a2": "r1", "a3": "r2", "a4": ""}
PORTS = {"a1": "[1-6]", "a2": "[1-3]", "a3": "[1-2,7-9]", "a4": "[1-9]"}
FRAMEWORKS = ("f1", "f2")
NEED = Resources.parse("cpus:1;mem:64")
TASK_STATES = (TaskState.FINISHED, TaskState.FAILED)


class PlacementUnderRandomMessages(RuleBasedStateMachine):
    """The frameworks are honest: each states what it has placed, and launches no more on an offer than it is for."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.attempts = self.tasks = self.version = 0
        self.read = 0
        """Number of messages of the cell that the agents have received."""
        self.running: dict[str, dict[str, AgentTask]] = {agent: {} for agent in RACKS}
        self.shapes: dict[str, tuple[Shape, ...]] = {}
        self.demands: dict[str, Demand] = {}
        for agent in RACKS:
            self.register(agent)

    # -- agents

    @rule(agent=st.sampled_from(sorted(RACKS)))
    def register(self, agent: str) -> None:
        self.attempts += 1
        rack = {"rack": RACKS[agent]} if RACKS[agent] else {}
        resources = Resources.parse(f"cpus:6;mem:4096;ports:{PORTS[agent]}")
        info = AgentInfo(agent_id=agent, hostname="one", resources=resources, attributes=rack)
        listing = AgentList(tasks=tuple(self.running[agent].values()))
        self.tell(RegisterAgent(agent=info, attempt=str(self.attempts), cells=1, list=listing))

    @rule(agent=st.sampled_from(sorted(RACKS)), state=st.sampled_from(TASK_STATES))
    def a_task_ends(self, agent: str, state: TaskState) -> None:
        known = self.bench.state.agents.get(agent)
        for ident in list(self.running[agent])[:1]:
            gone = self.running[agent].pop(ident)
            if known is not None and known.session:
                self.take(self.bench.report(agent, ident, state, framework_id=gone.framework_id))
                self.tell(Acknowledge(framework_id=gone.framework_id, task_ids=(ident,)))

    @rule(agent=st.sampled_from(sorted(RACKS)))
    def an_agent_leaves(self, agent: str) -> None:
        known = self.bench.state.agents.get(agent)
        if known is not None and known.session:
            listing = AgentList(tasks=tuple(self.running[agent].values()))
            self.tell(UnregisterAgent(agent_id=agent, session=known.session, list=listing))

    @rule(agent=st.sampled_from(sorted(RACKS)), request=st.sampled_from((DrainAgents, ActivateAgents, ActivateAgents)))
    def operators_plan(self, agent: str, request) -> None:
        self.tell(OperatorMaintain(request(agent_ids=(agent,))))

    @precondition(lambda self: any(each.state is AgentStatus.UNREACHABLE for each in self.bench.state.agents.values()))
    @rule(agent=st.sampled_from(sorted(RACKS)))
    def an_agent_is_marked_gone(self, agent: str) -> None:
        known = self.bench.state.agents.get(agent)
        if known is not None and known.state is AgentStatus.UNREACHABLE:
            self.running[agent].clear()  # it never comes back
            self.tell(OperatorMarkGone(agent))

    # -- frameworks

    @rule(
        framework=st.sampled_from(FRAMEWORKS),
        kinds=st.lists(
            st.tuples(
                st.integers(1, 4), st.integers(0, 3), st.sampled_from((0, 1, 1, 2)), st.booleans(), st.booleans()
            ),
            min_size=1,
            max_size=3,
        ),
        accepted=st.integers(0, 4),
    )
    def a_demand(self, framework: str, kinds, accepted: int) -> None:
        self.shapes[framework] = tuple(
            Shape(
                resources=NEED,
                count=count,
                ports=ports,
                name=f"s{at}",
                most=most,
                per="rack" if by_rack else "agent",
                gang=f"g{at}" if gang else "",
            )
            for at, (count, ports, most, by_rack, gang) in enumerate(kinds)
        )
        self.state_demand(framework)
        for at in range(accepted):
            self.accept(at, 1.0, named=True)

    def state_demand(self, framework: str) -> None:
        """State the demand under a new version, with what the framework has placed by now."""
        self.version += 1
        shapes = tuple(
            each.model_copy(update={"placed": dict(self.placed(framework, each.name, each.per))})
            for each in self.shapes[framework]
        )
        self.demands[framework] = Demand(version=self.version, shapes=shapes)
        self.subscribe(framework)

    def subscribe(self, framework: str) -> None:
        info = FrameworkInfo(framework_id=framework, failover_timeout=None)
        self.tell(Subscribe(framework_id=framework, framework=info, demand=self.demands[framework]))

    @rule(framework=st.sampled_from(FRAMEWORKS))
    def the_same_demand_again(self, framework: str) -> None:
        if framework in self.demands:
            self.subscribe(framework)

    @rule(which=st.integers(0, 7), share=st.sampled_from((0.5, 1.0, 1.0)), named=st.booleans())
    def accept(self, which: int, share: float, named: bool) -> None:
        offers = list(self.bench.state.offers.values())
        if not offers:
            return
        offer = offers[which % len(offers)]
        tasks, left = [], offer.resources
        for kind, count in offer.shape_counts.items():
            rules = kind[6]
            for _ in range(max(1, int(count * share))):
                self.tasks += 1
                wanted = NEED + pick_ports(left, 0 if rules is None else rules.ports)
                left -= wanted
                made = task(f"t{self.tasks}", str(wanted))
                # A task that does not name its shape is taken for one of a shape with the same needs.
                names = rules is not None and (named or len(offer.shape_counts) > 1)
                tasks.append(made.model_copy(update={"shape": rules.name}) if names else made)
        self.tell(
            Accept(framework_id=offer.framework_id, offer_ids=(offer.offer_id,), tasks=tuple(tasks), refuse_seconds=0)
        )

    @rule(which=st.integers(0, 7), refuse=st.sampled_from((0, 0, 3)))
    def decline(self, which: int, refuse: float) -> None:
        offers = list(self.bench.state.offers.values())
        if not offers:
            return
        offer = offers[which % len(offers)]
        self.tell(Decline(framework_id=offer.framework_id, offer_ids=(offer.offer_id,), refuse_seconds=refuse))

    # -- time and owners

    @rule(seconds=st.sampled_from((0.5, 4.0, 12.0, 30.0)), agents=st.booleans())
    def time_passes(self, seconds: float, agents: bool) -> None:
        self.take(self.bench.wait(seconds, agents=agents))

    @precondition(lambda self: any(self.running.values()))
    @rule(restated=st.booleans())
    def the_owner_changes(self, restated: bool) -> None:
        self.bench.take_over(term=self.bench.term + 1)
        self.take([])
        for framework in self.demands:
            self.state_demand(framework) if restated else self.subscribe(framework)

    @precondition(lambda self: any(self.running.values()))
    @rule(back=st.lists(st.sampled_from(sorted(RACKS)), unique=True))
    def the_store_is_lost(self, back: list[str]) -> None:
        """Only agents and frameworks know now what runs. Some of the agents are back at once."""
        for records in self.bench.stored.values():
            records.clear()
        self.bench.take_over(term=self.bench.term + 1, recovering=True)
        self.take([])
        for agent in back:
            self.register(agent)
        for framework in self.demands:
            self.state_demand(framework)

    # -- what has happened

    def tell(self, *messages) -> None:
        self.take(self.bench.decide(*messages))

    def take(self, said) -> None:
        """The agents launch what they are sent, as long as they have a session."""
        for to, message in self.bench.said[self.read :]:
            if isinstance(message, LaunchTasks):
                agent = to.rpartition(".")[2]
                if message.session == self.bench.session(agent):
                    for each in message.launches:
                        self.running[agent][each.task.task_id] = AgentTask(
                            task_id=each.task.task_id,
                            framework_id=each.framework_id,
                            resources=each.task.resources,
                            offer_id=each.offer_id,
                            shape=each.task.shape,
                        )
        self.read = len(self.bench.said)

    def placed(self, framework: str, name: str, per: str) -> Counter[str]:
        """Tasks of a shape that run, by value."""
        found: Counter[str] = Counter()
        for agent, tasks in self.running.items():
            value = attribute_of(per, {"rack": RACKS[agent]} if RACKS[agent] else {}, "one", agent)
            for each in tasks.values():
                if each.framework_id == framework and each.shape == name and value is not None:
                    found[value] += 1
        return found

    @invariant()
    def no_port_is_given_twice(self) -> None:
        assert list(self.bench.state.breaches()) == []
        for ident, agent in self.bench.state.agents.items():
            ports = [n for each in self.running[ident].values() for n in numbers_of(each.resources)]
            offered = [n for each in agent.offers.values() for n in numbers_of(each.resources)]
            assert len(set(ports)) == len(ports), f"{ident} runs tasks on {ports}"
            assert not agent.allocatable or not set(ports) & set(offered), f"{ident}: {offered} offered, {ports} used"

    @invariant()
    def no_more_stand_together_than_may(self) -> None:
        for framework, shapes in self.shapes.items():
            for shape in shapes:
                if not shape.most:
                    continue
                found = self.placed(framework, shape.name, shape.per)
                before = found.copy()
                for offer in self.bench.state.offers.values():
                    for kind, count in offer.shape_counts.items():
                        if offer.framework_id == framework and kind == shape.key:
                            rack = {"rack": RACKS[offer.agent.ident]} if RACKS[offer.agent.ident] else {}
                            value = attribute_of(shape.per, rack, "one", offer.agent.ident)
                            assert value is not None, "offered without the attribute"
                            found[value] += count
                for value, count in found.items():
                    # A demand may set a limit below what runs already; nothing may be offered beside that then.
                    assert count <= max(shape.most, before[value]), f"{shape.name} at {value}: {found}, {before} run"


PlacementUnderRandomMessages.TestCase.settings = settings(
    max_examples=examples(120), stateful_step_count=50, deadline=None, print_blob=False
)
TestPlacementUnderRandomMessages = PlacementUnderRandomMessages.TestCase
