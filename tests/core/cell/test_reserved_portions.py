"""Random tasks, offers and operations over a tree of roles: who reserved something gets it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_mesos.core.cell.inputs import OperatorOperate
from broker_mesos.core.cell.state.reserved_portions import common, kept_from, unused, uses_by_role
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask
from broker_mesos.core.model.reservation import Operation, Reservation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within
from broker_mesos.core.model.task import VolumeMount
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, RegisterAgent
from broker_mesos.core.protocol.framework_messages import Accept, FrameworkHeartbeat
from broker_mesos.core.protocol.limits import Instant
from tests.core.cell.harness import Bench, task
from tests.examples import examples

R = Resources.parse
ROLES = ("eng", "eng/db", "eng/db/hot", "eng/web", "ops", "*")
TOTAL = R("cpus:8;mem:800;disk:80;ports:[1-8]")
AMOUNTS = (
    "cpus:1",
    "cpus:3;mem:200",
    "mem:100;disk:10",
    "disk:30",
    "ports:[1-3]",
    "cpus:1;ports:[3-6]",
    "cpus:5;mem:500;disk:50;ports:[2-4]",
)
VOLUMES = ("v1", "v2", "v3")
STATIC = (Reservation(role="eng", resources=R("cpus:2;mem:100;disk:20;ports:[7-7]"), static=True),)

amounts = st.sampled_from(AMOUNTS).map(R)
roles = st.sampled_from(ROLES)


@st.composite
def operations(draw) -> Operation:
    kind = draw(st.sampled_from(("RESERVE", "RESERVE", "UNRESERVE", "CREATE", "DESTROY")))
    role = draw(roles)
    name = draw(st.sampled_from(VOLUMES))
    if kind == "CREATE":
        size = Resources.of(disk=draw(st.sampled_from((5, 10, 20))))
        return Operation(type="CREATE", volume=Volume(volume_id=name, role=role, size=size, shared=draw(st.booleans())))
    if kind == "DESTROY":
        return Operation(type="DESTROY", volume_id=name)
    return Operation(
        type=kind,
        role=role,
        resources=draw(amounts),
        labels=draw(st.sampled_from(({}, {"a": "b"}))),
        refine=draw(st.sampled_from(("", "", "eng", "eng/db"))) if kind == "RESERVE" else "",
    )


class Portions(RuleBasedStateMachine):
    """One framework a role, one agent."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.ids = 0
        self.shrunk = False
        self.register(TOTAL)
        for role in ROLES:
            self.bench.framework(self.framework(role), roles=(role,))

    @staticmethod
    def framework(role: str) -> str:
        return "f-" + role.replace("/", "-").replace("*", "any")

    def register(self, total: Resources, listing: AgentList | None = None) -> None:
        self.ids += 1
        static = tuple(each for each in STATIC if total.contains(each.resources))
        info = AgentInfo(agent_id="a1", resources=total, reservations=static)
        self.bench.decide(RegisterAgent(agent=info, attempt=f"r{self.ids}", cells=1, list=listing or AgentList()))

    @property
    def agent(self):
        return self.bench.state.agents["a1"]

    @precondition(lambda self: self.bench.state.offers)
    @rule(
        data=st.data(),
        changes=st.lists(operations(), max_size=3),
        sizes=st.lists(amounts, max_size=2),
        mounts=st.lists(st.sampled_from(VOLUMES), max_size=2, unique=True),
        refuse=st.sampled_from((0.0, 10.0)),
    )
    def accept(self, data, changes, sizes, mounts, refuse):
        offer = self.bench.state.offers[data.draw(st.sampled_from(list(self.bench.state.offers)))]
        # A framework that knows its offer: what it launches fits, unless the operations take it away.
        tasks = []
        for size in (common(size, offer.resources) for size in sizes):
            if size:
                self.ids += 1
                tasks.append(task(f"t{self.ids}", str(size)))
        if tasks:
            volumes = tuple(VolumeMount(volume_id=name, path=name) for name in mounts)
            tasks[0] = tasks[0].model_copy(update={"volumes": volumes})
        self.bench.decide(
            Accept(
                framework_id=offer.framework.ident,
                offer_ids=(offer.offer_id,),
                operations=tuple(changes),
                tasks=tuple(tasks),
                refuse_seconds=refuse,
            )
        )

    @rule(operation=operations())
    def by_hand(self, operation):
        before = self.agent.reserved_resources
        self.bench.decide(OperatorOperate("a1", operation))
        assert bool(self.bench.decisions[-1].refusals) == (self.agent.reserved_resources is before)

    @precondition(lambda self: self.bench.state.tasks)
    @rule(data=st.data())
    def a_task_ends(self, data):
        ident = data.draw(st.sampled_from(list(self.bench.state.tasks)))
        framework = self.bench.state.tasks[ident].framework_id
        self.bench.report("a1", ident, TaskState.FINISHED, framework_id=framework)

    @rule(seconds=st.sampled_from((1.1, 12.0)))
    def time_passes(self, seconds):
        bench = self.bench
        bench.now = Instant(bench.now.wall + seconds, bench.now.mono + seconds)
        beats = [
            FrameworkHeartbeat(framework_id=each.ident, framework=each.info) for each in bench.state.frameworks.values()
        ]
        session, number = self.agent.session, self.agent.number
        bench.decide(AgentHeartbeat(agent_id="a1", session=session, applied=number), *beats)
        bench.decide()

    @rule(wiped=st.booleans())
    def the_owner_changes(self, wiped):
        held, total = self.agent.reserved_resources, self.agent.info.resources
        running = tuple(
            AgentTask(
                task_id=each.task_id,
                framework_id=each.framework_id,
                role=each.role,
                resources=each.resources,
                volumes=each.details.volumes,
            )
            for each in self.agent.tasks.values()
            if not each.state.terminal
        )
        before = self.agent.reservations, self.agent.total, self.agent.used
        if wiped:
            for records in self.bench.stored.values():
                records.clear()
        self.bench.take_over(term=self.bench.term + 1, recovering=wiped)
        self.register(total, AgentList(tasks=running, reserved_resources=held))
        if wiped:
            for role in ROLES:
                self.bench.framework(self.framework(role), roles=(role,))
        assert (self.agent.reservations, self.agent.total, self.agent.used) == before

    @rule(
        total=st.sampled_from(("cpus:3;mem:800;disk:20;ports:[1-8]", "cpus:8;mem:300;disk:80;ports:[4-6]", str(TOTAL)))
    )
    def the_agent_shrinks_or_grows_back(self, total):
        if self.ids % 5 == 0:
            self.shrunk = True
            running = tuple(
                AgentTask(
                    task_id=each.task_id,
                    framework_id=each.framework_id,
                    role=each.role,
                    resources=each.resources,
                    volumes=each.details.volumes,
                )
                for each in self.agent.tasks.values()
                if not each.state.terminal
            )
            self.register(R(total), AgentList(tasks=running, reserved_resources=self.agent.reserved_resources))

    # I1 and the sums are asserted by the bench after each decision.

    @invariant()
    def reservations_are_parts_of_the_agent_side_by_side(self):
        agent = self.agent
        assert agent.total.contains(Resources.sum(each.resources for each in agent.reservations))

    @invariant()
    def what_is_reserved_and_unused_is_free(self):
        agent = self.agent
        rest = Resources.sum(rest for _, rest in unused(agent.reservations, uses_by_role(agent)))
        assert self.shrunk or agent.free.contains(rest)

    @invariant()
    def a_role_may_use_what_it_has_reserved_and_nobody_else_may(self):
        agent = self.agent
        rests = unused(agent.reservations, uses_by_role(agent))
        for role in ROLES:
            usable = agent.free.clipped_minus(kept_from(agent, role, {}))
            mine = Resources.sum(rest for each, rest in rests if is_within(role, each.role))
            theirs = Resources.sum(rest for each, rest in rests if not is_within(role, each.role))
            assert self.shrunk or usable.contains(mine)
            assert agent.free.contains(usable + common(theirs, agent.free.clipped_minus(usable)))
            assert agent.free.clipped_minus(theirs).contains(usable)

    @invariant()
    def volumes_belong_to_their_role(self):
        agent = self.agent
        for task_ in agent.tasks.values():
            for name in task_.details.volumes if not task_.state.terminal else ():
                volume = next(each for each in agent.reserved_resources.volumes if each.volume_id == name)
                assert is_within(task_.role, volume.role)
        for offer in agent.offers.values():
            for name in offer.resources.sets.get("volumes", ()):
                volume = next(each for each in agent.reserved_resources.volumes if each.volume_id == name)
                assert is_within(offer.role, volume.role)
        users = [
            name
            for task_ in agent.tasks.values()
            if not task_.state.terminal
            for name in task_.details.volumes
            if not next(v for v in agent.reserved_resources.volumes if v.volume_id == name).shared
        ]
        assert len(users) == len(set(users))


Portions.TestCase.settings = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, print_blob=False
)
TestPortions = Portions.TestCase


def test_what_a_role_has_reserved_already_cannot_be_reserved_once_more_at_the_cost_of_the_role_above():
    world = Portions()
    twice = Operation(type="RESERVE", role="eng/db/hot", resources=R("cpus:1"))
    for role in ("eng", "eng/db/hot"):
        offer = next(each for each in world.bench.state.offers.values() if each.role == role)
        world.bench.decide(
            Accept(
                framework_id=offer.framework.ident, offer_ids=(offer.offer_id,), operations=(twice,), refuse_seconds=0.0
            )
        )
    reserved = [str(each.resources) for each in world.agent.reservations if each.role == "eng/db/hot"]
    assert reserved == ["cpus:1"]
    world.what_is_reserved_and_unused_is_free()
