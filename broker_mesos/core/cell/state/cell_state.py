"""What a cell knows: agents, frameworks, tasks and offers, with the sums that keep invariant I1.

Agents, frameworks and tasks mirror records in the store; offers, liveness, demand and filters live only in
the owner's memory and end with its term.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.offer_details import ShapeKey as ShapeKind
from broker_mesos.core.cell.state.reserved_portions import EMPTY, VOLUMES, overlaid, reserved_in
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus, RecordKind
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.core.quota.gang_token import GangKey, GangToken, TokenRecord
from broker_mesos.core.quota.ledger import EscrowAsk

MAX_TICK_SECONDS = 10.0
"""Seconds of cell time that pass between two decisions, at most."""


MAX_TERM_DIGITS = 16


class Grant(NamedTuple):
    """What a round of allocation gives away: it becomes an offer. ``shape_counts``: see OpenOffer."""

    framework: Framework
    agent: Agent
    role: str
    resources: Resources
    shape_counts: Mapping[ShapeKind, int] = MappingProxyType({})
    revocable: bool = False
    gang: str = ""
    until: float | None = None
    """See OpenOffer."""


class CellState:
    """All of it, and the only place where resources change hands."""

    def __init__(self, cell: int, cells: int, term: int, limits: Limits) -> None:
        self.cell = cell
        self.cells = cells
        self.term = term
        self.limits = limits
        self.default_weights: dict[str, float] = {}
        """Those that this master was started with; ``config`` comes before them."""
        self.config = ClusterConfig()
        self.weights: dict[str, float] = {}
        self.exclude: frozenset[str] = frozenset({VOLUMES})
        self.escrow: dict[str, dict[str, int]] = {}
        """Of each role's limit the part that this cell may give away, in thousandths by name. With one cell
        it is the limit."""
        self.escrow_asked: dict[str, EscrowAsk] = {}
        """What the ledger was asked, and has not answered yet."""
        self.escrow_refused: set[str] = set()
        """Roles for which it had less than was asked for, since the last batch."""
        self.escrow_still: set[str] = set()
        """Roles for which nothing more is asked until it is this cell's turn."""
        self.token: GangToken | None = None
        """The gang that gathers room, as this cell knows it."""
        self.token_until = 0.0
        """Monotonic time until which that gang has the token, as far as this cell is concerned: it counts from
        the moment at which the cell came to know of it."""
        self.token_ended: GangToken | None = None
        """The gang whose turn is over, until the store knows that, too."""
        self.token_record = TokenRecord()
        """The token itself, where there is one cell."""
        self.gangs_wait: dict[GangKey, float] = {}
        """Since which monotonic time gangs were seen waiting."""
        self.gang_offers: dict[str, OpenOffer] = {}
        """Open offers to a gang that gathers, or did."""
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        self.spare: set[str] = set()
        """Frameworks whose demand is for what may come, or was, and an offer for it may be open."""
        self.wanting: dict[str, Framework] = {}
        """Those that may be sent offers: of many frameworks few, mostly, and a round is about these alone."""
        self.tasks: dict[str, Task] = {}
        self.offers: dict[str, OpenOffer] = {}
        self.expired_offers: dict[str, None] = {}
        """Offers that timed out, the latest of them: an answer to one came too late."""
        self.blind_until = 0.0
        """Monotonic time before which this owner was blind: silence counts from here at the earliest."""
        self.seconds = 0.0
        """Cell time: for how many seconds the cell has had an owner, under all of its owners together. It
        measures what outlasts an owner. The calendar would not do, since it steps when a clock is set right,
        and since those of two masters need not agree. Time without an owner does not count: nobody could be
        heard in it."""
        self.ticked_at = 0.0
        """Monotonic time up to which ``seconds`` counts."""
        self.time_stored = float("-inf")
        """Cell time that the store surely knows of."""
        self.time_carrier: tuple[RecordKind, str] | None = None
        """The record that carries it."""
        self.total = EMPTY
        """Of all registered agents of this cell."""
        self.foreign_total = EMPTY
        """Of the other cells, as they published it."""
        self._foreign_held: dict[tuple[str, str], Resources] = {}
        self.foreign_roles: dict[str, Resources] = {}
        """Per role, without those below it: used and offered in the other cells."""
        self.held_by_role: dict[str, dict[str, int]] = {}
        """Per role, without those below it, in thousandths by name: used and offered in this cell."""
        self.oversubscribed: dict[str, None] = {}
        """Agents with slack."""
        self.maintained: dict[str, None] = {}
        """Agents that are drained, or planned to be away."""
        self.changed: dict[str, None] = {}
        """Agents with something free that no allocation has looked at, in the order of the changes."""
        self.reconsider = True
        """Look at all agents in the next allocation."""
        self.overloaded = False
        """Whether nothing new is offered: too much has come that its owner has not read."""
        self.rotation = 0
        self.rounds = 0
        self.unlisted = False
        """Whether an agent's list may be missing."""
        self.unsure_until = 0.0
        """Monotonic time until which a task that this cell does not know may all the same exist: in a
        recovery, while agents may still be silent."""
        self.recovery_term: int | None = None
        """The term since which the store has lost nothing; None if that is not known."""
        self.lost_at: deque[float] = deque()
        """When agents were declared unreachable, of late."""
        self.hinted: dict[str, float] = {}
        """When agents without a session were last asked to register."""
        self.acknowledged: dict[str, dict[str, None]] = {}
        """Terminal statuses that are committed, by agent; it does not know that yet."""
        self.acknowledged_before: list[str] = []
        """The agents that had some when it was last time to tell."""
        self._minted = 0

    def tick(self, mono: float) -> None:
        """Let cell time pass until a monotonic time. An owner decides every second: in a longer gap it was
        stopped, and heard nobody."""
        self.seconds += min(max(0.0, mono - self.ticked_at), MAX_TICK_SECONDS)
        self.ticked_at = max(mono, self.ticked_at)

    def configure(self, config: ClusterConfig) -> None:
        """Heed what the operators have set."""
        if config.version >= self.config.version:
            since = {role: each.since for role, each in self.config.roles.items() if each.limit}
            for role in list(self.escrow):
                now = config.roles.get(role)
                if now is None or not now.limit or now.since != since.get(role):
                    del self.escrow[role]  # of another limit; the ledger will say what it is of this one
            self.config = config
            self.weights = config.weights(self.default_weights)
            self.exclude = frozenset({VOLUMES, *config.exclude})
            self.reconsider = True

    @property
    def foreign_held(self) -> dict[tuple[str, str], Resources]:
        """Per (role, framework): used and offered in the other cells."""
        return self._foreign_held

    @foreign_held.setter
    def foreign_held(self, held: dict[tuple[str, str], Resources]) -> None:
        self._foreign_held = held
        roles: dict[str, list[Resources]] = {}
        for (role, _), amount in held.items():
            roles.setdefault(role, []).append(amount)
        self.foreign_roles = {role: Resources.sum(amounts) for role, amounts in roles.items()}

    # -- where things are -------------------------------------------------------------------------------

    def is_home_of(self, framework_id: str) -> bool:
        """Whether this cell alone decides the framework's disconnection and teardown."""
        return cell_of(framework_id, self.cells) == self.cell

    def mint(self, prefix: str) -> str:
        """An id that carries the term: unique, and known to have ended when another term has begun."""
        self._minted += 1
        return f"{prefix}{self.cell}-{self.term}-{self._minted}"

    def add_agent(self, agent: Agent) -> None:
        """A new agent, without tasks or offers."""
        self.agents[agent.ident] = agent
        if agent.state is AgentStatus.REGISTERED:
            self.total += agent.info.resources.counted()

    def set_agent(self, agent: Agent, info: AgentInfo, state: AgentStatus) -> None:
        """Change what an agent has, or whether it counts."""
        if agent.state is AgentStatus.REGISTERED:
            self.total -= agent.info.resources.counted()
        agent.info = info
        agent.state = state
        agent.set_reserved(agent.reserved_resources)
        if state is AgentStatus.REGISTERED:
            self.total += info.resources.counted()
        self.changed[agent.ident] = None

    def remove_agent(self, agent: Agent) -> None:
        """An agent without offers and running tasks leaves the cell."""
        assert not agent.offers and not agent.used
        if agent.state is AgentStatus.REGISTERED:
            self.total -= agent.info.resources.counted()
        del self.agents[agent.ident]
        self.oversubscribed.pop(agent.ident, None)
        for framework in self.frameworks.values():
            framework.filters.pop(agent.ident, None)

    def offers_last(self, framework: Framework) -> float:
        """Seconds for which offers to it stay open, and for which what is said of them waits in its queue."""
        return self.limits.offer_timeout * framework.offer_timeouts

    def is_sure(self, now: float) -> bool:
        """Whether a task that this cell does not know surely does not exist."""
        if self.unlisted:  # only in a recovery: this is asked for every claim
            self.unlisted = not all(
                agent.listed for agent in self.agents.values() if agent.state is AgentStatus.REGISTERED
            )
        return now >= self.unsure_until and not self.unlisted

    def is_certain(self, offer_ids: Iterable[str], now: float) -> bool:
        """Whether a task that this cell does not know was surely not launched on these offers: the store has
        every launch on an offer of a term since the recovery, even while agents' lists are missing."""
        return self.is_sure(now) or all(map(self._is_since_recovery, offer_ids))

    def _is_since_recovery(self, offer_id: str) -> bool:
        cell, _, rest = offer_id.removeprefix("o").partition("-")
        term = rest.partition("-")[0]
        if self.recovery_term is None or cell != str(self.cell) or not (term.isascii() and term.isdecimal()):
            return False
        return len(term) <= MAX_TERM_DIGITS and self.recovery_term <= int(term) <= self.term

    def add_framework(self, info: FrameworkInfo) -> Framework:
        """A new framework."""
        framework = Framework(info, len(self.frameworks), self.limits.completed)
        framework.wanting = self.wanting
        framework.update_wanting()
        self.frameworks[framework.ident] = framework
        for task in self.tasks.values():
            if task.framework_id == framework.ident:  # adopted before their framework was known
                self._join(framework, task)
        return framework

    # -- resources change hands -------------------------------------------------------------------------

    def add_task(self, task: Task) -> None:
        """A task begins to use its resources (unless it has ended already)."""
        self.tasks[task.task_id] = task
        framework = self.frameworks.get(task.framework_id)
        if framework is not None:
            framework.tasks[task.task_id] = task
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks[task.task_id] = task
        if not task.state.terminal:
            key = task.queue_key
            if agent is not None and key is not None:
                agent.queues.enter(key, task.task_id, waits=task.waits)
            if task.waits:
                return
            if agent is not None:
                agent.use(task)
            if framework is not None:
                framework.used += task.resources.counted()
                self._charge(framework, task)

    def _join(self, framework: Framework, task: Task) -> None:
        framework.tasks[task.task_id] = task
        if task.waits and not task.state.terminal:
            return
        if not task.state.terminal:
            framework.used += task.resources.counted()
            self._charge(framework, task)
        else:
            framework.unacknowledged[task.task_id] = Resend(0.0, self.limits.resend_first)

    def end_task(self, task: Task, state: TaskState) -> Task | None:
        """A task enters a terminal state: its resources are free again, exactly once (I5); or they are now
        those of another one of its line, which is returned."""
        assert state.terminal and not task.state.terminal
        task.state = state
        agent = self.agents.get(task.agent_id)
        key = task.queue_key
        heir = None
        if agent is not None and key is not None:
            heir = agent.queues.leave(key, task.task_id, waited=task.waits)
        if heir is not None:
            self.tasks[heir].waits = False
            return self.tasks[heir]
        if task.waits:
            return None
        if agent is not None:
            agent.release(task)
            self.changed[agent.ident] = None
        framework = self.frameworks.get(task.framework_id)
        if framework is not None:
            framework.used -= task.resources.counted()
            self._credit(framework, task)
        return None

    def forget_task(self, task: Task) -> None:
        """A task that has ended leaves the cell; its framework's history keeps it for a while."""
        assert task.state.terminal
        del self.tasks[task.task_id]
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks.pop(task.task_id, None)
        framework = self.frameworks.get(task.framework_id)
        if framework is not None:
            framework.tasks.pop(task.task_id, None)
            framework.unacknowledged.pop(task.task_id, None)
            framework.completed.append(task)

    def add_offer(self, grant: Grant, now: float) -> OpenOffer:
        """Promise what a round of allocation has granted."""
        framework, agent, role = grant.framework, grant.agent, grant.role
        offer = OpenOffer(
            self.mint("o"),
            framework,
            agent,
            role,
            grant.resources,
            now,
            shape_counts=grant.shape_counts,
            reservations=() if grant.revocable else reserved_in(agent, role, grant.resources),
            revocable=grant.revocable,
            gang=grant.gang,
            until=grant.until,
        )
        if offer.until is not None:
            self.gang_offers[offer.offer_id] = offer
        self.offers[offer.offer_id] = offer
        agent.offers[offer.offer_id] = offer
        framework.offers[offer.offer_id] = offer
        if offer.revocable:
            agent.slack_held += offer.resources
        else:
            agent.promise(offer.resources)
        if offer.shape_counts:
            framework.promised.update(offer.shape_counts)
        framework.offered += offer.resources.counted()
        self._charge(framework, offer)
        return offer

    def end_offer(self, offer: OpenOffer) -> None:
        """An offer is answered, rescinded or timed out: what it promised is free again."""
        del self.offers[offer.offer_id]
        self.gang_offers.pop(offer.offer_id, None)
        agent, framework = offer.agent, offer.framework
        del agent.offers[offer.offer_id]
        del framework.offers[offer.offer_id]
        if offer.revocable:
            agent.slack_held -= offer.resources
        else:
            agent.offered -= offer.resources
            agent.recompute_free()
        if offer.shape_counts:
            framework.promised.subtract(offer.shape_counts)
        framework.offered -= offer.resources.counted()
        self._credit(framework, offer)
        self.changed[agent.ident] = None

    def _charge(self, framework: Framework, what: Task | OpenOffer) -> None:
        if not what.revocable:  # slack is in nobody's share
            self.charge_amount(framework, what.role, what.resources.counted())

    def charge_amount(self, framework: Framework, role: str, amount: Resources) -> None:
        """That much more, ranges and sets counted, is in a framework's share."""
        framework.held[role] = framework.held.get(role, EMPTY) + amount
        sums = self.held_by_role.setdefault(role, {})
        for name, some in amount.scalars.items():
            sums[name] = sums.get(name, 0) + some

    def _credit(self, framework: Framework, what: Task | OpenOffer) -> None:
        if not what.revocable:
            amount = what.resources.counted()
            framework.held[what.role] = framework.held[what.role] - amount
            sums = self.held_by_role[what.role]
            for name, some in amount.scalars.items():
                left = sums[name] - some
                if left:
                    sums[name] = left
                else:
                    del sums[name]
            if not sums:
                del self.held_by_role[what.role]

    # -- for tests and assertions -----------------------------------------------------------------------

    def breaches(self) -> Iterator[str]:
        """What contradicts the invariants, in words; nothing, one hopes."""
        for agent in self.agents.values():
            running = [t.resources for t in agent.tasks.values() if t.holds]
            used = overlaid(running) if agent.has_conflict else Resources.sum(running)
            offered = Resources.sum(o.resources for o in agent.offers.values() if not o.revocable)
            if used != agent.used:
                yield f"{agent.ident}: used {agent.used}, its tasks sum up to {used}"
            if offered != agent.offered:
                yield f"{agent.ident}: offered {agent.offered}, its offers sum up to {offered}"
            # An agent that shrank may use more than it has; nothing that is short may be promised then.
            if not agent.total.clipped_minus(used).contains(offered):
                yield f"I1: {agent.ident} has {agent.total}, promised {offered}, used {used}"
            slack = [t.resources for t in agent.tasks.values() if not t.state.terminal and t.revocable]
            slack += [o.resources for o in agent.offers.values() if o.revocable]
            if Resources.sum(slack) != agent.slack_held:
                yield f"{agent.ident}: slack held {agent.slack_held}, it sums up to {Resources.sum(slack)}"
            if any(o.revocable for o in agent.offers.values()) and not agent.slack.contains(agent.slack_held):
                yield f"{agent.ident} has slack {agent.slack}, promised and used {agent.slack_held}"
            for key in agent.queues:
                mine = [t for t in agent.tasks.values() if t.queue_key == key and not t.state.terminal]
                waiting = {t.task_id for t in mine if t.waits}
                holding = agent.queues.held(key)
                if waiting != set(agent.queues.waiting(key)) or holding != len(mine) - len(waiting):
                    yield f"{agent.ident}: line {key} holds {holding} of {len(mine)}, {len(waiting)} wait"
                if waiting and not holding:
                    yield f"{agent.ident}: {len(waiting)} wait in line {key} for nothing"
            if agent.offers and not agent.allocatable:
                yield f"I6: {agent.ident} is {agent.state} and has open offers"
        for framework in self.frameworks.values():
            held = Resources.sum(o.resources.counted() for o in framework.offers.values() if not o.revocable)
            held += Resources.sum(t.resources.counted() for t in framework.tasks.values() if t.holds)
            if held != Resources.sum(framework.held.values()):
                yield f"{framework.ident}: holds {held}, accounted {framework.held}"
            if framework.offers and framework.state is FrameworkStatus.TORN_DOWN:
                yield f"I6: {framework.ident} is torn down and has open offers"
            if framework.wants is not (framework.ident in self.wanting):
                yield f"{framework.ident} wants something: {framework.wants}, listed otherwise"
        roles: dict[str, list[Resources]] = {}
        for framework in self.frameworks.values():
            for role, amount in framework.held.items():
                roles.setdefault(role, []).append(amount)
        for role, amounts in roles.items():
            if Resources.sum(amounts) != Resources.scalars_of(self.held_by_role.get(role, {})):
                yield f"role {role} holds {Resources.sum(amounts)}, accounted {self.held_by_role.get(role)}"
