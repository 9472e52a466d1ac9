"""The decision function of a cell: (messages, now) → Decision. Nothing here waits, reads a clock, or uses random
numbers.

A batch of messages is handled in order, then the time limits are checked, then the free resources are offered. The
daemon commits the decision before it publishes anything of it; if the commit is refused, the daemon drops the whole
state, since another master owns the cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from broker_mesos.core.api.access import AccessPolicy
from broker_mesos.core.cell.allocation import escrow, gang_token
from broker_mesos.core.cell.allocation.allocate import allocate
from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.cell.allocation.policies.policy import Policy
from broker_mesos.core.cell.allocation.preempt import preempt
from broker_mesos.core.cell.changes import agent_change, framework_change
from broker_mesos.core.cell.decision import Decision
from broker_mesos.core.cell.handlers import absence, agents, frameworks, maintenance, offers, operator_reservations
from broker_mesos.core.cell.handlers.tasks import kill
from broker_mesos.core.cell.inputs import (
    Configured,
    ConsumersCounted,
    EscrowSet,
    Input,
    OffersReturned,
    OperatorKill,
    OperatorMaintain,
    OperatorMarkGone,
    OperatorOperate,
    OperatorReadmit,
    OperatorTearDown,
    Reconnected,
    TokenSet,
)
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.restore import restore
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentListed,
    RegisterAgent,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.framework_messages import Call, FrameworkHeartbeat, Subscribe
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import Snapshot
from broker_mesos.core.quota.cluster_config import DEFAULT_POLICY, ClusterConfig
from broker_mesos.errors import BrokerMesosError, InvalidMessage


class Cell:
    """A cell under one owner and term."""

    def __init__(
        self,
        snapshot: Snapshot,
        cells: int,
        limits: Limits,
        now: Instant,
        *,
        policies: Mapping[str, Policy] = BUILT_IN,
        weights: Mapping[str, float] | None = None,
        config: ClusterConfig | None = None,
    ) -> None:
        self.state: CellState = restore(snapshot, cells, limits, now.mono)
        for agent in self.state.agents.values():
            agent_change(agent)  # what an earlier owner has announced is no change
        for framework in self.state.frameworks.values():
            framework_change(framework)
        self.state.log.set_time(now.wall)
        self.state.default_weights = dict(weights or {})
        self.state.configure(config or ClusterConfig())
        self._policies = policies
        self._next_number = 1 + max((entry.number for entry in snapshot.outbox), default=0)
        # Numbers need not exceed those of messages that receivers have seen in earlier terms: the id has the term.
        self._last_batch = now.mono
        self._acknowledged_at = now.mono
        self._next_round = now.mono
        """Monotonic time before which there is no new round, so that freed resources are offered together."""

    @property
    def policy(self) -> Policy:
        """The policy of the cluster config; the default policy if this process does not have that one."""
        return self._policies.get(self.state.config.policy or DEFAULT_POLICY, BUILT_IN[DEFAULT_POLICY])

    def use_access(self, policy: AccessPolicy, built_in: Collection[str]) -> None:
        """Check the roles of frameworks by this access policy from now on, but for the ``built_in`` frameworks."""
        self.state.access, self.state.built_in = policy, built_in

    @property
    def pause(self) -> float:
        """The shortest pause between two rounds of allocation, in seconds."""
        return self.state.limits.pause_of(len(self.state.agents))

    @property
    def number(self) -> int:
        """The number of the cell."""
        return self.state.cell

    @property
    def term(self) -> int:
        """The term of the owner."""
        return self.state.term

    def is_urgent(self, beat: AgentHeartbeat | FrameworkHeartbeat) -> bool:
        """Whether a heartbeat reports more than that its sender is alive, so that somebody may wait for its
        effect."""
        if isinstance(beat, AgentHeartbeat):
            agent = self.state.agents.get(beat.agent_id)
            return agent is None or agent.session != beat.session or not agent.listed or self.term < beat.highest_term
        framework = self.state.frameworks.get(beat.framework_id)
        return framework is None or framework.muted or framework.demand.version < beat.demand.version

    def begin(self) -> Decision:
        """The first decision of a term: frameworks are notified, so that they send their demand at once; in a
        recovery, every agent is requested to send its list."""
        out = self._outlet()
        self.state.log.begin("new owner")
        frameworks.announce_owner(self.state, out)
        agents.request_lists(self.state, out)
        out.decision.escrow.update(escrow.settle(self.state, {}, everything=True))
        return self._close(out)

    def decide(self, inputs: Sequence[Input], now: Instant, *, behind: bool = False, full: bool = False) -> Decision:
        """Handle a batch of inputs, which is empty if only time has passed. ``behind``: more inputs are waiting,
        perhaps answers to open offers. ``full``: so many inputs are waiting that no new offers are made."""
        self.state.tick(now.mono)
        log = self.state.log
        log.set_time(now.wall)
        out = self._outlet()
        self.state.overloaded = full
        for each in inputs:
            log.begin(each)
            self._handle(each, out, now)
        log.begin("offer timeouts")
        offers.check_unanswered(self.state, out, now, behind=behind)
        batch = now.mono - self._last_batch >= self.state.limits.allocation
        if batch:
            self._last_batch = now.mono
            log.begin("silence of agents")
            agents.check_silence(self.state, out, now)
            log.begin("absence of frameworks")
            absence.check(self.state, out, now)
            log.begin("gang token")
            gang_token.tick(self.state, out, now)
            if now.mono - self._acknowledged_at >= self.state.limits.acknowledge:
                self._acknowledged_at = now.mono
                out.send_acknowledged()
        log.begin("maintenance")
        maintenance.tick(self.state, out, now, everything=batch)
        if self.state.spare:
            log.begin("spare offers")
            offers.make_way(self.state, out)
        anything_changed = self.state.reconsider or self.state.changed
        if not full and (batch or (anything_changed and now.mono >= self._next_round)):
            self._next_round = now.mono + self.pause
            log.begin("allocation")
            allocate(self.state, self.policy, out, now, everything=batch)
        if batch and not full:
            log.begin("preemption")
            preempt(self.state, self.policy, out, now)
        return self._close(out)

    def wake_at(self, now: Instant) -> float:
        """Monotonic time at which ``decide`` has to be called even if no input arrives."""
        batch = self._last_batch + self.state.limits.allocation
        if (self.state.reconsider or self.state.changed) and not self.state.overloaded:
            batch = min(batch, max(self._next_round, now.mono))
        if self.state.offers:
            return min(batch, now.mono + self.state.limits.consumer_check)
        return batch

    def _outlet(self) -> Outlet:
        return Outlet(self.state, self._next_number, self.state.term)

    def _close(self, out: Outlet) -> Decision:
        self.state.log.close()
        decision = out.close()
        self._next_number = out.next_number
        return decision

    def _handle(self, each: Input, out: Outlet, now: Instant) -> None:
        state = self.state
        match each:
            case AgentHeartbeat():
                agents.on_heartbeat(state, each, out, now)
            case FrameworkHeartbeat():
                frameworks.on_heartbeat(state, each, out, now)
            case UpdateStatuses():
                agents.on_statuses(state, each, out, now)
            case Subscribe():
                frameworks.on_subscribe(state, each, out, now)
            case Call():
                frameworks.on_call(state, each, out, now)
            case RegisterAgent():
                agents.on_register(state, each, out, now)
            case AgentListed():
                agents.on_listed(state, each, out, now)
            case UnregisterAgent():
                agents.on_unregister(state, each, out, now)
            case Ping():
                pass
            case ConsumersCounted():
                if not each.count:
                    frameworks.mute(state, each.framework_id, out)
            case OffersReturned():
                frameworks.mute(state, each.framework_id, out)
            case Reconnected():
                state.blind_until = now.mono
            case OperatorKill():
                task = state.tasks.get(each.task_id)
                if task is not None:
                    kill(state, task, out)
            case OperatorMarkGone():
                agents.gone(state, each.agent_id, out, now)
            case OperatorTearDown():
                frameworks.operator_teardown(state, each.framework_id, out, now)
            case OperatorReadmit():
                frameworks.readmit(state, each.framework_id, out, now)
            case OperatorMaintain():
                maintenance.on_request(state, each.request, out, now)
            case OperatorOperate():
                try:
                    operator_reservations.operate(state, each.agent_id, each.operation, out)
                except BrokerMesosError as error:
                    state.log.record("refused", each.agent_id)
                    out.decision.refusals.append((each, error))
            case Configured():
                state.configure(each.config)
            case EscrowSet():
                escrow.on_set(state, each.role, each.since, each.amounts)
            case TokenSet():
                gang_token.on_set(state, each.token, now)
            case _:
                raise InvalidMessage(f"{each.TYPE} is not for a cell")
