"""A whole small world of agents and frameworks that want all kinds of things: whatever happens, nothing is
offered that must not be, nothing that explains changes anything, and who can be served is served."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_mesos.core.api.explain import GetPlacement
from broker_mesos.core.api.maintenance import ActivateAgents, DeactivateAgents, DrainAgents
from broker_mesos.core.cell.allocation.allocate import candidates_of
from broker_mesos.core.cell.allocation.feasibility import (
    AGENT_CHECKERS,
    ROOM_CHECKERS,
    AgentChecker,
    RoomChecker,
    worth_offering,
)
from broker_mesos.core.cell.allocation.policies.drf import Drf
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.allocation.slack import SlackRound, candidates
from broker_mesos.core.cell.inputs import Configured, OperatorMaintain, OperatorOperate
from broker_mesos.core.cell.views.explain import placement
from broker_mesos.core.model.agent import AgentInfo, AgentList, AgentTask
from broker_mesos.core.model.framework import DEMAND_ROLES, GPU_RESOURCES, REVOCABLE_RESOURCES, Demand, FrameworkInfo
from broker_mesos.core.model.reservation import Reservation
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, RegisterAgent, UpdateStatuses
from broker_mesos.core.protocol.framework_messages import Accept, Decline, FrameworkHeartbeat, Settle
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.quota.cluster_config import ClusterConfig
from tests.core.cell.harness import Bench, task
from tests.core.cell.oracle import kept_for_others, matches, total, uses_of
from tests.core.cell.strategies import (
    FRAMEWORKS,
    HELD,
    SIZES,
    STATICS,
    R,
    agents,
    demands,
    frameworks,
    infos,
    operations,
    roles,
    settings_of_roles,
    shapes,
)
from tests.examples import examples


class World(RuleBasedStateMachine):
    """Agents and frameworks are honest, but slow and moody; operators have no plan at all."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.infos = {each: FrameworkInfo(framework_id=each, failover_timeout=1e9) for each in FRAMEWORKS}
        self.demands = {each: Demand(version=1, wanted=False) for each in FRAMEWORKS}
        self.slack: dict[str, Resources] = {}
        self.refused: list[tuple[str, str, str, Resources, bool, float]] = []
        """(framework, agent, role, resources, of slack, until)."""
        self.old: list[tuple[str, str]] = []
        self.known: set[str] = set()
        self.count = 0
        self.tell(*(self.beat_of(each) for each in FRAMEWORKS))
        self.register("a1", SIZES[0], "r1", (), ())

    @property
    def state(self):
        return self.bench.state

    def next(self) -> int:
        self.count += 1
        return self.count

    # -- what happens -----------------------------------------------------------------------------------

    def tell(self, *inputs) -> None:
        self.bench.decide(*inputs)
        self.look_at_new_offers()

    def beat_of(self, framework: str) -> FrameworkHeartbeat:
        return FrameworkHeartbeat(
            framework_id=framework, framework=self.infos[framework], demand=self.demands[framework]
        )

    def time_passes(self, seconds: float, step: float = 1.0) -> None:
        end = self.bench.now.mono + seconds
        while self.bench.now.mono < end:
            wall, mono = self.bench.now
            self.bench.now = Instant(wall + step, mono + step)
            beats = [self.beat_of(each) for each in FRAMEWORKS]
            for agent in self.state.agents.values():
                running = sum(not each.state.terminal for each in agent.tasks.values())
                beats.append(
                    AgentHeartbeat(
                        agent_id=agent.ident,
                        session=agent.session,
                        applied=agent.number,
                        running=running,
                        slack=self.slack.get(agent.ident),
                    )
                )
            self.tell(*beats)

    @rule(
        agent=agents,
        resources=st.sampled_from(SIZES),
        rack=st.sampled_from(("r1", "r2")),
        static=st.sampled_from(STATICS),
        held=st.sampled_from(HELD),
    )
    def register(self, agent, resources, rack, static, held):
        info = AgentInfo(
            agent_id=agent,
            hostname=agent,
            resources=R(resources),
            attributes={"rack": rack},
            isolation=held,
            reservations=tuple(Reservation(role=role, resources=R(text)) for role, text in static),
        )
        known = self.state.agents.get(agent)
        tasks = [each for each in known.tasks.values() if not each.state.terminal] if known else []
        self.slack.pop(agent, None)
        listing = AgentList(
            tasks=tuple(
                AgentTask(
                    task_id=each.task_id,
                    framework_id=each.framework_id,
                    role=each.role,
                    resources=each.resources,
                    revocable=each.revocable,
                )
                for each in tasks
            ),
            reserved_resources=known.reserved_resources if known else None,
        )
        self.refused = [each for each in self.refused if each[1] != agent]  # what it has may be other things
        self.tell(RegisterAgent(agent=info, attempt=str(self.next()), cells=1, list=listing))

    @rule(framework=frameworks, info=infos)
    def framework_changes(self, framework, info):
        self.infos[framework] = FrameworkInfo(framework_id=framework, failover_timeout=1e9, **info)
        self.tell(self.beat_of(framework))

    @rule(framework=frameworks, demand=demands)
    def demand_changes(self, framework, demand):
        own = roles_of(self.infos[framework], demand["roles"])
        if demand["shapes"]:  # mostly in roles that it has
            demand = {
                **demand,
                "shapes": tuple(
                    each if each.count == 5 else each.model_copy(update={"role": own[-1]}) for each in demand["shapes"]
                ),
            }
        self.demands[framework] = Demand(version=self.next() + 1, **demand)
        if demand["wanted"]:
            self.refused = [each for each in self.refused if each[0] != framework]
        self.tell(self.beat_of(framework))

    @precondition(lambda self: self.state.offers)
    @rule(data=st.data(), share=st.sampled_from(("all", "cpus:0.5;mem:32", "cpus:9")), refuse=st.booleans())
    def accept(self, data, share, refuse):
        offer = self.state.offers[data.draw(st.sampled_from(list(self.state.offers)))]
        self.take(offer, share, refuse=1.0 if refuse else 0.0)

    @precondition(lambda self: self.state.offers)
    @rule(data=st.data(), operations=st.lists(operations, min_size=1, max_size=2), launch=st.booleans())
    def operate(self, data, operations, launch):
        offer = self.state.offers[data.draw(st.sampled_from(list(self.state.offers)))]
        self.take(offer, "cpus:0.5;mem:32" if launch else "", operations=tuple(operations))
        self.refused.clear()

    @rule(agent=agents, operation=operations)
    def operator_operates(self, agent, operation):
        self.tell(OperatorOperate(agent, operation))
        self.refused.clear()

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def repeat_an_answer(self, data):
        framework, offer = data.draw(st.sampled_from(self.old))
        self.tell(Accept(framework_id=framework, offer_ids=(offer,), tasks=(task(f"t{self.next()}", "cpus:1"),)))

    @precondition(lambda self: self.state.offers)
    @rule(data=st.data())
    def accept_several(self, data):
        one = data.draw(st.sampled_from(list(self.state.offers)))
        framework = self.state.offers[one].framework
        idents = tuple(framework.offers)
        self.tell(
            Accept(
                framework_id=framework.ident,
                offer_ids=idents,
                tasks=(task(f"t{self.next()}", "cpus:0.5;mem:32"),),
                refuse_seconds=0.0,
            )
        )

    @precondition(lambda self: self.state.offers)
    @rule(data=st.data(), seconds=st.sampled_from((0.0, 3.0, 1000.0)))
    def decline(self, data, seconds):
        offer = self.state.offers[data.draw(st.sampled_from(list(self.state.offers)))]
        until = self.bench.now.mono + seconds
        self.refused.append(
            (offer.framework.ident, offer.agent.ident, offer.role, offer.resources, offer.revocable, until)
        )
        self.tell(Decline(framework_id=offer.framework.ident, offer_ids=(offer.offer_id,), refuse_seconds=seconds))

    @precondition(lambda self: self.state.offers)
    @rule(data=st.data())
    def settle(self, data):
        offer = self.state.offers[data.draw(st.sampled_from(list(self.state.offers)))]
        self.tell(Settle(framework_id=offer.framework.ident, claims=((f"t{self.next()}", offer.offer_id),)))

    @precondition(lambda self: self.state.tasks)
    @rule(data=st.data())
    def task_ends(self, data):
        self.end(data.draw(st.sampled_from(list(self.state.tasks))))

    @rule(agent=agents, slack=st.sampled_from((None, "cpus:1;mem:512", "cpus:3;mem:2048")))
    def lends_twice(self, agent, slack):
        if slack is None:
            self.slack.pop(agent, None)
        else:
            self.slack[agent] = R(slack)
        self.time_passes(1.0)

    @rule(agent=agents, request=st.sampled_from((DrainAgents, DeactivateAgents, ActivateAgents, ActivateAgents)))
    def operators_maintain(self, agent, request):
        self.tell(OperatorMaintain(request(agent_ids=(agent,))))

    @rule(
        policy=st.sampled_from(("drf", "priority", "random")),
        of_roles=st.dictionaries(roles, settings_of_roles, max_size=2),
    )
    def operators_configure(self, policy, of_roles):
        version = self.state.config.version + 1
        self.tell(Configured(ClusterConfig(version=version, policy=policy, roles=of_roles)))

    @rule(seconds=st.sampled_from((0.3, 1.0, 4.0, 12.0)))
    def wait(self, seconds):
        self.time_passes(seconds, step=min(seconds, 1.0))

    @rule()
    def owner_changes(self):
        config = self.state.config
        self.bench.options["config"] = config
        self.bench.take_over(self.bench.term + 1)
        self.refused.clear()
        self.tell(*(self.beat_of(each) for each in FRAMEWORKS))

    @rule(framework=frameworks, shape=shapes, ignore_filters=st.booleans())
    def somebody_asks_why(self, framework, shape, ignore_filters):
        before = self.picture()
        request = GetPlacement(framework_id=framework, shape=shape, ignore_filters=ignore_filters)
        found = placement(self.state, self.bench.cell.policy, request, self.bench.now)
        assert not found.would_run or found.fits
        assert self.picture() == before

    # -- helpers ----------------------------------------------------------------------------------------

    def picture(self) -> object:
        state = self.state
        return (
            [
                (
                    a.ident,
                    a.free,
                    a.offered,
                    a.used,
                    a.hidden_until,
                    a.slack_held,
                    list(a.offers),
                    list(a.tasks),
                )
                for a in state.agents.values()
            ],
            [
                (f.ident, dict(f.held), dict(f.promised), dict(f.accepted), f.unanswered_rounds, repr(f.filters))
                for f in state.frameworks.values()
            ],
            (list(state.changed), state.reconsider, state.rounds, state.rotation, list(state.offers)),
            (dict(state.escrow), dict(state.gangs_wait), list(state.gang_offers), state.token),
        )

    def take(self, offer, share: str, refuse: float = 0.0, operations=()) -> None:
        wanted: list[Resources] = [R(share)] if share and share != "all" else []
        if share == "all":
            wanted = [kind[0] for kind, count in offer.shape_counts.items() for _ in range(count)] or [offer.resources]
        tasks = tuple(task(f"t{self.next()}", "cpus:1").model_copy(update={"resources": each}) for each in wanted)
        self.tell(
            Accept(
                framework_id=offer.framework.ident,
                offer_ids=(offer.offer_id,),
                operations=operations,
                tasks=tasks,
                refuse_seconds=refuse,
            )
        )

    def end(self, ident: str) -> None:
        found = self.state.tasks[ident]
        agent = self.state.agents[found.agent_id]
        status = self.bench.status(agent.ident, ident, TaskState.FINISHED, framework_id=found.framework_id)
        self.tell(UpdateStatuses(agent_id=agent.ident, session=agent.session, statuses=(status,)))

    # -- what must hold ---------------------------------------------------------------------------------

    def look_at_new_offers(self) -> None:
        new = [each for ident, each in self.state.offers.items() if ident not in self.known]
        self.known.update(each.offer_id for each in new)
        self.old.extend((each.framework.ident, each.offer_id) for each in new)
        for offer in new:
            self.may_be_offered(offer)

    def may_be_offered(self, offer) -> None:
        framework, agent, role = offer.framework, offer.agent, offer.role
        info, demand = framework.info, framework.demand
        assert role in roles_of(info, demand.roles) and demand.wanted and role not in demand.suppressed
        assert not agent.maintenance.closed and agent.allocatable
        if info.offer_constraints.get(role):
            assert any(all(matches(each, agent) for each in g) for g in info.offer_constraints[role])
        assert all(matches(each, agent) for kind in offer.shape_counts for each in kind[2])
        assert all(set(kind[5]) <= set(agent.info.isolation) for kind in offer.shape_counts)
        assert bool(offer.shape_counts) == (demand.shapes is not None)
        if offer.shape_counts:
            assert sum(offer.shape_counts.values()) and all(kind[1] == role for kind in offer.shape_counts)
            assert offer.resources == total(k[0] for k, count in offer.shape_counts.items() for _ in range(count))
            assert all(kind[4] == offer.revocable for kind in offer.shape_counts)
            for shape in demand.shapes:
                most = max(each.count for each in demand.shapes if each.key == shape.key)
                assert framework.promised[shape.key] + framework.accepted[shape.key] <= most
        elif info.offer_filters.get(role):
            assert any(offer.resources.contains(each) for each in info.offer_filters[role])
        for who, where, of_role, what, revocable, until in self.refused:
            same = (framework.ident, agent.ident, role, offer.revocable) == (who, where, of_role, revocable)
            assert not (same and until > self.bench.now.mono and what.contains(offer.resources)), "refused"
        if offer.revocable:
            assert REVOCABLE_RESOURCES in info.capabilities
            return
        assert GPU_RESOURCES in info.capabilities or not agent.total.get("gpus")
        for limited, each in self.state.config.roles.items():
            for name, most in each.limit.items() if is_within(role, limited) else ():
                if offer.resources.get(name):
                    assert self.held(limited, name) <= most, f"over the limit of {limited}"
        kept = kept_for_others(agent, role, uses_of(agent))
        for name, amount in kept.items():
            if offer.resources.get(name):
                used = sum(of.get(name) for of in uses_of(agent).values())
                assert agent.total.get(name) - used >= amount, f"reserved {name} of {agent.ident} is offered"

    def held(self, role: str, name: str) -> int:
        living = (t for t in self.state.tasks.values() if not t.state.terminal)
        both = (*living, *self.state.offers.values())
        return sum(x.resources.get(name) for x in both if not x.revocable and is_within(x.role, role))

    @invariant()
    def the_books_are_right(self):
        assert list(self.state.breaches()) == []
        for framework in self.state.frameworks.values():
            assert all(count >= 0 for count in framework.promised.values())
            assert sum(framework.promised.values()) == sum(
                sum(offer.shape_counts.values()) for offer in framework.offers.values()
            )

    @invariant()
    def the_checkers_of_a_requirement_refuse_what_the_whole_list_refuses(self):
        claimants = claimants_of(self.state)
        lent = candidates_of(self.state)
        slack = candidates(self.state, everything=True)
        arguments = self.bench.now, claimants
        rounds = (Round(self.state, Drf(), lent, *arguments), SlackRound(self.state, Drf(), slack, *arguments))
        for round_, framework in product(rounds, self.state.frameworks.values()):
            feasibility = round_.feasibility
            for role, shape in product(framework.info.roles, (None, *(framework.demand.shapes or ()))):
                some, every = (feasibility.requirement(framework, role, shape, 2) for _ in range(2))
                applies = [each for each in (*AGENT_CHECKERS, *ROOM_CHECKERS) if each.on_slack or round_ is rounds[0]]
                every.agent_checks = [each.check for each in applies if isinstance(each, AgentChecker)]
                every.room_checks = [each.check for each in applies if isinstance(each, RoomChecker)]
                assert len(some.agent_checks) + len(some.room_checks) < len(applies)
                for agent in round_.books.agents:
                    assert feasibility.check(some, agent) == feasibility.check(every, agent)

    def teardown(self):
        """Nobody makes trouble any more: then everybody gets what can be had."""
        if not self.state.agents:
            return
        for agent in list(self.state.agents):
            self.tell(OperatorMaintain(ActivateAgents(agent_ids=(agent,))))
        for ident, before in self.demands.items():  # to ask anew makes refusals void
            self.demands[ident] = before.model_copy(update={"version": self.next() + 1})
        self.refused.clear()
        self.time_passes(18.0)  # offers of before time out, and what that hides
        for _ in range(60):
            for ident, found in list(self.state.tasks.items()):
                if found.kill_requested and not found.state.terminal:
                    self.end(ident)
            if not self.state.offers and not any(
                t.kill_requested and not t.state.terminal for t in self.state.tasks.values()
            ):
                self.time_passes(7.0)
                if not self.state.offers:
                    break
            for ident in list(self.state.offers):
                if (offer := self.state.offers.get(ident)) is not None:
                    self.take(offer, "all")
        else:
            raise AssertionError("they are served for ever")
        for unserved in self.unserved():
            raise AssertionError(unserved)

    def unserved(self) -> Iterator[str]:
        if any(each.guarantee for each in self.state.config.roles.values()):
            return  # what is kept free for them is nobody's
        for framework in self.state.frameworks.values():
            demand, info = framework.demand, framework.info
            for role in roles_of(info, demand.roles) if demand.wanted else ():
                if role in demand.suppressed:
                    continue
                if demand.shapes is None:
                    wants = [None]
                else:
                    wants = [
                        each
                        for each in demand.shapes
                        if each.role == role and not each.revocable and framework.accepted[each.key] < each.count
                    ]
                for agent in self.state.agents.values():
                    for shape in wants:
                        if self.could_have(framework, role, agent, shape):
                            yield f"{framework.ident} waits for {shape} as {role}; {agent.ident} has room"

    def could_have(self, framework, role, agent, shape) -> bool:
        info = framework.info
        chosen = info.offer_constraints.get(role)
        if chosen and not any(all(matches(each, agent) for each in g) for g in chosen):
            return False
        if shape is not None and not all(matches(each, agent) for each in shape.constraints):
            return False
        if shape is not None and not set(shape.isolation) <= set(agent.info.isolation):
            return False
        if agent.total.get("gpus") and GPU_RESOURCES not in info.capabilities:
            return False
        kept = kept_for_others(agent, role, uses_of(agent))
        free = agent.free.clipped_minus(Resources.scalars_of({n: a for n, a in kept.items() if a > 0}))
        for limited, each in self.state.config.roles.items():
            for name, most in each.limit.items() if is_within(role, limited) else ():
                room = max(0, most - self.held(limited, name))
                if free.get(name) > room:
                    free = free.clipped_minus(Resources.scalars_of({name: free.get(name) - room}))
                    if not room and shape is None:
                        return False
        if shape is not None:
            return bool(shape.resources) and free.contains(shape.resources)
        least = info.offer_filters.get(role)
        if least and not any(free.contains(each) for each in least):
            return False
        return worth_offering(free)


def roles_of(info: FrameworkInfo, stated: tuple[str, ...]) -> tuple[str, ...]:
    """The roles of a framework whose demand states these."""
    return stated if stated and DEMAND_ROLES in info.capabilities else info.roles


World.TestCase.settings = settings(max_examples=examples(30), stateful_step_count=25, deadline=None, print_blob=False)
TestWorld = World.TestCase
