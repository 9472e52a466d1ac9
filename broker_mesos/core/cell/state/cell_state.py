"""The whole state of a cell: agents, frameworks, tasks and offers, with the sums that maintain invariant I1.

Agents, frameworks and tasks mirror records in the store; offers, liveness, demand and filters live only in
the owner's memory and end with its term.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.core.api.access import AccessPolicy
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.decision_log import DecisionLog
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.offer_details import ShapeKey as ShapeKind
from broker_mesos.core.cell.state.reserved_portions import EMPTY, VOLUMES, on_slack, overlaid, reserved_in
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import FrameworkInfo, Shape
from broker_mesos.core.model.port_numbers import following
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus, RecordKind
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.core.quota.gang_token import GangKey, GangToken, TokenRecord
from broker_mesos.core.quota.ledger import EscrowRequest

MAX_TICK_SECONDS = 10.0
"""The longest time between two decisions that counts as cell time, in seconds."""


MAX_TERM_DIGITS = 16
"""The largest number of digits of a term in an offer id."""


class Grant(NamedTuple):
    """Resources that a round of allocation gives to a framework; they become an offer. For ``shape_counts`` see
    OfferDetails."""

    framework: Framework
    agent: Agent
    role: str
    resources: Resources
    shape_counts: Mapping[ShapeKind, int] = MappingProxyType({})
    revocable: bool = False
    gang: str = ""
    until: float | None = None
    """Monotonic time at which the offer ends, in seconds; see OfferDetails."""


class CellState:
    """The state of a cell. Only its methods allocate and release resources."""

    def __init__(self, cell: int, cells: int, term: int, limits: Limits) -> None:
        self.cell = cell
        self.cells = cells
        self.term = term
        self.limits = limits
        self.default_weights: dict[str, float] = {}
        """Weights by role that this master was started with; weights in ``config`` take precedence."""
        self.access: AccessPolicy | None = None
        """The access policy by which frameworks may use roles; None if they may use all."""
        self.built_in: Collection[str] = ()
        """Ids of the built-in frameworks, which use the roles of those who submit to them."""
        self.refused_frameworks: dict[str, str] = {}
        """The reason why a framework may not use its roles, by framework id, while it is refused."""
        self.config = ClusterConfig()
        self.weights: dict[str, float] = {}
        self.exclude: frozenset[str] = frozenset({VOLUMES})
        self.escrow: dict[str, dict[str, int]] = {}
        """The part of each role's limit that this cell may allocate, in thousandths by name. With one cell it is the
        limit."""
        self.escrow_requests: dict[str, EscrowRequest] = {}
        """Requests to the ledger that it has not answered yet, by role."""
        self.escrow_refused: set[str] = set()
        """Roles for which the ledger has granted less than was requested, since the last batch interval."""
        self.escrow_still: set[str] = set()
        """Roles for which no raise is requested until it is this cell's turn."""
        self.token: GangToken | None = None
        """The gang that has the gang token, as far as this cell knows."""
        self.token_until = 0.0
        """Monotonic time until which that gang has the token in this cell. It is counted from the moment at which
        the cell learned of it."""
        self.token_ended: GangToken | None = None
        """The gang whose time with the token is over, until the store has recorded that, too."""
        self.token_record = TokenRecord()
        """The record of the token itself, if there is one cell only."""
        self.gangs_wait: dict[GangKey, float] = {}
        """Monotonic time since which each gang has been waiting."""
        self.token_agents: dict[str, tuple[tuple[Shape, int], ...]] = {}
        """Agents of which whatever becomes free is kept for the gang with the token, and for how many tasks
        of which of its shapes."""
        self.gang_offers: dict[str, OpenOffer] = {}
        """Open offers to gangs that have the token, or had it."""
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        self.spare: set[str] = set()
        """Ids of frameworks with a spare demand, or with an offer that may still be open for one."""
        self.wanting: dict[str, Framework] = {}
        """The frameworks that may be sent offers. They are mostly few of many, and a round considers only these."""
        self.tasks: dict[str, Task] = {}
        self.offers: dict[str, OpenOffer] = {}
        self.expired_offers: dict[str, None] = {}
        """Ids of the latest offers that timed out: an answer to one of them came too late."""
        self.blind_until = 0.0
        """Monotonic time until which this owner received no messages: silence is counted from here at the
        earliest."""
        self.seconds = 0.0
        """Cell time in seconds: the time for which the cell has had an owner, under all of its owners together. It
        measures durations that outlast an owner. Calendar time is not suitable, since it steps when a clock is set,
        and since the clocks of two masters need not agree. Time without an owner does not count, since no message
        could be received in it."""
        self.ticked_at = 0.0
        """Monotonic time up to which ``seconds`` counts."""
        self.time_stored = float("-inf")
        """The latest cell time that is certainly in the store, in seconds."""
        self.time_carrier: tuple[RecordKind, str] | None = None
        """Kind and id of the record that contains it."""
        self.total = EMPTY
        """Resources of all registered agents of this cell."""
        self.foreign_total = EMPTY
        """Resources of the other cells, as these have published them."""
        self.foreign_counts: dict[str, int] = {}
        """Number of agents and of tasks of the other cells, as these have published them."""
        self._foreign_held: dict[tuple[str, str], Resources] = {}
        self.foreign_roles: dict[str, Resources] = {}
        """Used and offered resources in the other cells by role, each without the roles below it."""
        self.held_by_role: dict[str, dict[str, int]] = {}
        """Used and offered resources in this cell by role, each without the roles below it, in thousandths by
        name."""
        self.oversubscribed: dict[str, None] = {}
        """Ids of agents with slack."""
        self.maintained: dict[str, None] = {}
        """Ids of agents that are drained or have a planned absence."""
        self.changed: dict[str, None] = {}
        """Ids of agents with free resources that no round has considered, in the order of the changes."""
        self.reconsider = True
        """Whether the next round of allocation considers all agents."""
        self.overloaded = False
        """Whether no new offers are made, since too many messages in the inbox have not been read."""
        self.rotation = 0
        self.rounds = 0
        self.unlisted = False
        """Whether the list of an agent may be missing."""
        self.unsure_until = 0.0
        """Monotonic time until which a task that this cell does not know may exist in spite of that: in a recovery,
        while agents may not have sent their lists."""
        self.recovery_term: int | None = None
        """The term since which the store has lost nothing; None if that is not known."""
        self.lost_at: deque[float] = deque()
        """Monotonic times at which agents were declared unreachable, within the last ``agent_beat``."""
        self.hinted: dict[str, float] = {}
        """Monotonic time at which each agent without a session was last requested to register."""
        self.acknowledged: dict[str, dict[str, None]] = {}
        """Ids of committed terminal statuses by agent id, of which the agent has not been informed."""
        self.acknowledged_before: list[str] = []
        """Ids of agents that were in ``acknowledged`` at the last call of ``Outlet.tell_acknowledged``."""
        self._minted = 0
        self.log = DecisionLog()

    def tick(self, mono: float) -> None:
        """Advance cell time to a monotonic time. An owner decides every second: in a longer gap its process was
        stopped and received no messages."""
        self.seconds += min(max(0.0, mono - self.ticked_at), MAX_TICK_SECONDS)
        self.ticked_at = max(mono, self.ticked_at)

    def configure(self, config: ClusterConfig) -> None:
        """Apply the cluster config if it is not older than the current one."""
        if config.version >= self.config.version:
            since = {role: each.since for role, each in self.config.roles.items() if each.limit}
            for role in list(self.escrow):
                now = config.roles.get(role)
                if now is None or not now.limit or now.since != since.get(role):
                    del self.escrow[role]  # it was part of another limit; the ledger answers the part of this one
            self.config = config
            self.weights = config.weights(self.default_weights)
            self.exclude = frozenset({VOLUMES, *config.exclude})
            self.reconsider = True

    @property
    def foreign_held(self) -> dict[tuple[str, str], Resources]:
        """Used and offered resources in the other cells by role and framework id."""
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
        """Whether this cell alone decides that the framework is torn down."""
        return cell_of(framework_id, self.cells) == self.cell

    def mint(self, prefix: str) -> str:
        """A new unique id that contains the term, so that it is known to be outdated under another term."""
        self._minted += 1
        return f"{prefix}{self.cell}-{self.term}-{self._minted}"

    def add_agent(self, agent: Agent) -> None:
        """Add a new agent without tasks and offers."""
        self.agents[agent.ident] = agent
        if agent.state is AgentStatus.REGISTERED:
            self.total += agent.info.resources.counted()

    def set_agent(self, agent: Agent, info: AgentInfo, state: AgentStatus) -> None:
        """Change the description of an agent, and its state, which decides whether its resources count."""
        if agent.state is AgentStatus.REGISTERED:
            self.total -= agent.info.resources.counted()
        agent.info = info
        agent.state = state
        agent.set_reserved(agent.reserved_resources)
        if state is AgentStatus.REGISTERED:
            self.total += info.resources.counted()
        self.changed[agent.ident] = None

    def remove_agent(self, agent: Agent) -> None:
        """Remove an agent without offers and running tasks from the cell."""
        assert not agent.offers and not agent.used
        if agent.state is AgentStatus.REGISTERED:
            self.total -= agent.info.resources.counted()
        del self.agents[agent.ident]
        self.oversubscribed.pop(agent.ident, None)
        for framework in self.frameworks.values():
            framework.filters.pop(agent.ident, None)

    def has_token(self, framework: Framework, gang: str) -> bool:
        """Whether a gang has the gang token."""
        return self.token is not None and self.token.key == (framework.ident, gang)

    def offers_last(self, framework: Framework) -> float:
        """Time for which offers to a framework stay open, and for which messages about them stay in its queue, in
        seconds."""
        return self.limits.offer_timeout * framework.offer_timeouts

    def is_sure(self, now: float) -> bool:
        """Whether a task that this cell does not know certainly does not exist."""
        if self.unlisted:  # only in a recovery, since this is called for every claim
            self.unlisted = not all(
                agent.listed for agent in self.agents.values() if agent.state is AgentStatus.REGISTERED
            )
        return now >= self.unsure_until and not self.unlisted

    def is_certain(self, offer_ids: Iterable[str], now: float) -> bool:
        """Whether a task that this cell does not know was certainly not launched on these offers. The store has
        every launch on an offer of a term since the recovery, even while lists of agents are missing."""
        return self.is_sure(now) or all(map(self._is_since_recovery, offer_ids))

    def _is_since_recovery(self, offer_id: str) -> bool:
        cell, _, rest = offer_id.removeprefix("o").partition("-")
        term = rest.partition("-")[0]
        if self.recovery_term is None or cell != str(self.cell) or not (term.isascii() and term.isdecimal()):
            return False
        return len(term) <= MAX_TERM_DIGITS and self.recovery_term <= int(term) <= self.term

    def add_framework(self, info: FrameworkInfo) -> Framework:
        """Add a new framework."""
        framework = Framework(info, len(self.frameworks), self.limits.completed)
        framework.wanting = self.wanting
        framework.update_wanting()
        self.frameworks[framework.ident] = framework
        for task in self.tasks.values():
            if task.framework_id == framework.ident:  # adopted before their framework was known
                self._join(framework, task)
        return framework

    # -- resources are allocated and released -----------------------------------------------------------

    def add_task(self, task: Task) -> None:
        """Add a task, and charge its resources unless it has ended already."""
        self.tasks[task.task_id] = task
        framework = self.frameworks.get(task.framework_id)
        if framework is not None:
            framework.tasks[task.task_id] = task
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks[task.task_id] = task
        if not task.state.terminal:
            if task.shape and framework is not None:
                framework.place(task)
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
        if task.shape and not task.state.terminal:
            framework.place(task)
        if task.waits and not task.state.terminal:
            return
        if not task.state.terminal:
            framework.used += task.resources.counted()
            self._charge(framework, task)
        else:
            framework.unacknowledged[task.task_id] = Resend(0.0, self.limits.resend_first)

    def end_task(self, task: Task, state: TaskState) -> Task | None:
        """Move a task to a terminal state and release its resources exactly once (I5). If another task of its task
        queue takes them over, that task is returned."""
        assert state.terminal and not task.state.terminal
        task.state = state
        if task.shape and (owner := self.frameworks.get(task.framework_id)) is not None:
            owner.remove_placed(task)
        agent = self.agents.get(task.agent_id)
        key = task.queue_key
        successor = None
        if agent is not None and key is not None:
            successor = agent.queues.leave(key, task.task_id, waited=task.waits)
        if successor is not None:
            self.tasks[successor].waits = False
            return self.tasks[successor]
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
        """Remove a task that has ended; it stays in the list of completed tasks of its framework for a while."""
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
        """Make an offer of the resources that a round of allocation has granted."""
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
            for kind in offer.shape_counts:
                if kind[6] is not None and kind[6].ports:
                    agent.next_port = following(offer.resources, agent.next_port)
                    break
        framework.offered += offer.resources.counted()
        self._charge(framework, offer)
        self.log.record("offer", offer.offer_id, framework.ident, agent.ident)
        return offer

    def end_offer(self, offer: OpenOffer) -> None:
        """End an offer that is answered, rescinded or timed out, and free its resources."""
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
        self.log.record("offer ended", offer.offer_id, framework.ident, agent.ident)

    def _charge(self, framework: Framework, what: Task | OpenOffer) -> None:
        if not what.revocable:  # slack does not count for any share
            self.charge_amount(framework, what.role, what.resources.counted())

    def charge_amount(self, framework: Framework, role: str, amount: Resources) -> None:
        """Add an amount, with ranges and sets counted, to the share of a framework."""
        framework.held[role] = framework.held.get(role, EMPTY) + amount
        sums = self.held_by_role.setdefault(role, {})
        for name, some in amount.scalars.items():
            sums[name] = sums.get(name, 0) + some

    def _credit(self, framework: Framework, what: Task | OpenOffer) -> None:
        if not what.revocable:
            amount = what.resources.counted()
            if rest := framework.held.get(what.role, EMPTY) - amount:
                framework.held[what.role] = rest
            else:  # over time the tasks of one framework may be in any number of roles
                framework.held.pop(what.role, None)
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
        """The violations of the invariants, each as one line of text; none if the state is consistent."""
        for agent in self.agents.values():
            running = [t.resources for t in agent.tasks.values() if t.occupies]
            used = overlaid(running) if agent.has_conflict else Resources.sum(running)
            offered = Resources.sum(o.resources for o in agent.offers.values() if not o.revocable)
            if used != agent.used:
                yield f"{agent.ident}: used {agent.used}, its tasks sum up to {used}"
            if offered != agent.offered:
                yield f"{agent.ident}: offered {agent.offered}, its offers sum up to {offered}"
            # An agent that shrank may use more than it has; nothing that is missing may be offered then.
            if not agent.total.clipped_minus(used).contains(offered):
                yield f"I1: {agent.ident} has {agent.total}, promised {offered}, used {used}"
            slack = Resources.sum(
                on_slack(t.resources) for t in agent.tasks.values() if not t.state.terminal and t.revocable
            )
            promised = Resources.sum(o.resources for o in agent.offers.values() if o.revocable)
            if slack + promised != agent.slack_held:
                yield f"{agent.ident}: slack held {agent.slack_held}, it sums up to {slack + promised}"
            if not agent.slack.clipped_minus(slack).contains(promised):
                yield f"{agent.ident} has slack {agent.slack}, promised {promised}, used {slack}"
            for key in agent.queues:
                mine = [t for t in agent.tasks.values() if t.queue_key == key and not t.state.terminal]
                waiting = {t.task_id for t in mine if t.waits}
                occupying = agent.queues.held(key)
                if waiting != set(agent.queues.waiting(key)) or occupying != len(mine) - len(waiting):
                    yield f"{agent.ident}: queue {key} holds {occupying} of {len(mine)}, {len(waiting)} wait"
                if waiting and not occupying:
                    yield f"{agent.ident}: {len(waiting)} wait in queue {key} for nothing"
            if agent.offers and not agent.allocatable:
                yield f"I6: {agent.ident} is {agent.state} and has open offers"
        for framework in self.frameworks.values():
            held = Resources.sum(o.resources.counted() for o in framework.offers.values() if not o.revocable)
            held += Resources.sum(t.resources.counted() for t in framework.tasks.values() if t.occupies)
            if held != Resources.sum(framework.held.values()):
                yield f"{framework.ident}: holds {held}, accounted {framework.held}"
            placed = Counter(
                (t.shape, t.agent_id) for t in framework.tasks.values() if t.shape and not t.state.terminal
            )
            if placed != {(name, each): n for name, some in framework.placed.items() for each, n in some.items()}:
                yield f"{framework.ident}: its tasks of shapes are {placed}, counted {framework.placed}"
            if framework.offers and framework.state is FrameworkStatus.TORN_DOWN:
                yield f"I6: {framework.ident} is torn down and has open offers"
            if framework.wants is not (framework.ident in self.wanting):
                yield f"{framework.ident}: wants is {framework.wants}, which `wanting` contradicts"
        roles: dict[str, list[Resources]] = {}
        for framework in self.frameworks.values():
            for role, amount in framework.held.items():
                roles.setdefault(role, []).append(amount)
        for role, amounts in roles.items():
            if Resources.sum(amounts) != Resources.summed(self.held_by_role.get(role, {})):
                yield f"role {role} holds {Resources.sum(amounts)}, accounted {self.held_by_role.get(role)}"
