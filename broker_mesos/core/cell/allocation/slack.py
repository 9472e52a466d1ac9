"""Oversubscription: resources that are lent but not used are offered a second time, as revocable.

Slack is accounted separately: it is not part of an agent's total (to which invariant I1 applies), and counts for no
quota and no share. The policy divides it among the frameworks that accept it, as if it were the whole cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker_mesos.core.cell.allocation.feasibility import worth_offering
from broker_mesos.core.cell.allocation.policies.policy import Claimant, Policy, Shares
from broker_mesos.core.cell.allocation.round import Round
from broker_mesos.core.cell.allocation.shares import claimants_of
from broker_mesos.core.cell.handlers import offers
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState, Grant
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.model.framework import REVOCABLE_RESOURCES
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.limits import Instant


def apply(state: CellState, agent: Agent, slack: Resources | None, out: Outlet) -> None:
    """Apply the slack that an agent reports; None if it lends none. If the slack is less than what is offered and used
    of it, the open offers of slack are rescinded; the agent itself ends tasks that exceed it."""
    reported = EMPTY if slack is None else Resources.scalars_of({**slack.scalars})
    if reported == agent.slack:
        return
    agent.slack = reported
    if reported:
        state.oversubscribed[agent.ident] = None
    else:
        state.oversubscribed.pop(agent.ident, None)
    if not reported.contains(agent.slack_held):
        offers.end_all(
            state, [each for each in agent.offers.values() if each.revocable], out, "its agent has less slack"
        )
    state.changed[agent.ident] = None


def left_of(agent: Agent) -> Resources:
    """The slack that is neither offered nor used."""
    return agent.slack.clipped_minus(agent.slack_held)


def candidates(state: CellState, everything: bool) -> list[Agent]:
    """Agents with slack to offer: all of them, or those that have changed."""
    if not state.oversubscribed:
        return []
    agents = (state.agents.get(ident) for ident in state.oversubscribed if everything or ident in state.changed)
    return [each for each in agents if each is not None and each.allocatable and worth_offering(left_of(each))]


def takers(state: CellState) -> list[Claimant]:
    """The claimants whose frameworks accept slack."""
    return [
        claimant
        for claimant in claimants_of(state)
        if REVOCABLE_RESOURCES in state.frameworks[claimant.framework_id].info.capabilities
    ]


class SlackRound(Round):
    """A round of allocation over the slack that is left."""

    revocable = True

    def __init__(
        self,
        state: CellState,
        policy: Policy,
        agents: Sequence[Agent],
        now: Instant,
        claimants: Sequence[Claimant],
    ) -> None:
        super().__init__(state, policy, agents, now, claimants)
        self.quota.lift()
        self.books.free = {agent.ident: left_of(agent) for agent in agents}

    @staticmethod
    def _shares_of(state: CellState) -> Shares:
        total = Resources.sum(state.agents[ident].slack for ident in state.oversubscribed)
        return Shares(total, _held(state), state.weights, state.exclude, state.rounds)

    def run(self) -> list[Grant]:
        """Compute the grants of the round, which are revocable."""
        return [grant._replace(revocable=True) for grant in super().run()]


def _held(state: CellState) -> dict[tuple[str, str], Resources]:
    """Slack that is used and offered, by role and framework id."""
    held: dict[tuple[str, str], Resources] = {}
    for ident in state.oversubscribed:
        agent = state.agents[ident]
        if not agent.slack_held:
            continue
        for offer in agent.offers.values():
            if offer.revocable:
                key = offer.role, offer.framework_id
                held[key] = held.get(key, EMPTY) + offer.resources.counted()
        for task in agent.tasks.values():
            if task.revocable and not task.state.terminal:
                key = task.role, task.framework_id
                held[key] = held.get(key, EMPTY) + task.resources.counted()
    return held
