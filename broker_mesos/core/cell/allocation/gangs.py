"""Gangs: shapes of a demand whose tasks start together or not at all.

A gang is offered to its framework when all its missing tasks fit the free resources of the cell at the same time. A
framework that has accepted a part of it states the rest in its next demand; until then nothing more of that gang is
offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from broker_mesos.core.cell.allocation.policies.policy import Claimant, Shares
from broker_mesos.core.cell.allocation.round_quota import Quota
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.cell.state.reserved_portions import kept_from
from broker_mesos.core.model.amounts import MAX_BOUND
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources


class RoundBooks(Protocol):
    """The part of a round of allocation that gangs use; see ``Round``."""

    state: CellState
    quota: Quota
    shares: Shares
    agents: Sequence[Agent]
    free: dict[str, Resources]
    satisfied: bool

    @property
    def demand_overrides(self) -> Mapping[str, tuple[Shape, ...]]:
        """Demands that replace those of frameworks, by framework id."""

    @property
    def claimant(self) -> Mapping[tuple[str, str], Claimant]:
        """Claimants by role and framework id."""

    def take_for(self, framework: Framework, shape: Shape, wanted: int) -> Iterator[tuple[int, int]]:
        """Take room for tasks of a shape."""

    def take(self, role: str, at: int, resources: Resources) -> None:
        """Take resources of the agent at a place."""

    def count_places(self, framework: Framework, shape: Shape) -> int:
        """Count the agents that have room for a task of a shape."""

    def save(self) -> object:
        """Copy the state of the round."""

    def restore(self, saved: object) -> None:
        """Undo what was taken since ``save``."""

    def grant(
        self,
        claimant: Claimant,
        framework: Framework,
        at: int,
        resources: Resources,
        kind: ShapeKey | None,
        count: int,
        gang: str = "",
        until: float | None = None,
    ) -> None:
        """Grant resources that were taken."""


class Member(NamedTuple):
    """A shape of a gang, with the number of tasks that are missing."""

    shape: Shape
    tasks: int


class Placing(NamedTuple):
    """A number of tasks of a shape on the agent with the index ``at`` in the round."""

    at: int
    shape: Shape
    tasks: int


def gangs_of(framework: Framework) -> Iterator[str]:
    """Names of the gangs that a framework demands, in the order of the demand."""
    return iter(framework.gangs)


def shapes_of(shapes: Sequence[Shape], gang: str) -> list[Shape]:
    """The shapes that belong to a gang."""
    return [shape for shape in shapes if shape.gang == gang]


def has_started(framework: Framework, gang: str) -> bool:
    """Whether the framework has launched tasks of a gang and has sent no new demand since."""
    return gang in framework.started_gangs


def missing(framework: Framework, gang: str) -> list[Member]:
    """The tasks of a gang that are not offered; empty if all of them are, or if the framework has started the gang."""
    if has_started(framework, gang):
        return []
    return [
        Member(shape, count)
        for shape in shapes_of(framework.demand.shapes or (), gang)
        if (count := framework.missing(shape))
    ]


def waits(framework: Framework, gang: str) -> bool:
    """Whether nothing of a gang is offered, and tasks of it are missing."""
    if any(framework.promised[shape.key] for shape in shapes_of(framework.demand.shapes or (), gang)):
        return False
    return bool(missing(framework, gang))


def any_waits(framework: Framework) -> bool:
    """Whether a framework wants a gang of several tasks of which nothing is offered. A single task needs one
    agent, and so it can be looked at when that changes."""
    return framework.wants and any(
        waits(framework, gang) and sum(each.tasks for each in missing(framework, gang)) > 1
        for gang in gangs_of(framework)
    )


class Gangs:
    """The gangs in one round of allocation."""

    def __init__(self, round_: RoundBooks) -> None:
        self._round = round_
        self._tried: set[tuple[str, str]] = set()
        """Gangs that were served in this round, or have found no room."""

    def serve(self, framework: Framework, shapes: Sequence[Shape], gang: str) -> bool:
        """Grant room for the whole gang, or nothing. It is tried once per round, since free resources only decrease
        in it."""
        round_ = self._round
        if (framework.ident, gang) in self._tried:
            return False
        self._tried.add((framework.ident, gang))
        if framework.ident in round_.demand_overrides:
            members = [Member(each, each.count) for each in shapes_of(shapes, gang) if each.count]
        else:
            members = missing(framework, gang) if waits(framework, gang) else []
        if not members:
            round_.satisfied = True
            return False
        if not self._competes(framework, members):
            return False
        placings = place(round_, framework, members)
        if placings is None:
            return False
        self._grant(framework, gang, placings)
        return True

    def serve_holder(self) -> None:
        """Serve the gang with the token before all others. Resources that do not suffice for it are kept for it: a
        single cell offers them to no framework, one of several cells offers them to the gang, whose framework combines
        the offers."""
        round_ = self._round
        token = round_.state.token
        framework = None if token is None else round_.state.frameworks.get(token.framework_id)
        if token is None or framework is None or not framework.wants or framework.ident in round_.demand_overrides:
            return
        members = missing(framework, token.gang)
        if not members or not self._competes(framework, members):
            return
        self._tried.add(token.key)
        first = waits(framework, token.gang)
        placings = place(round_, framework, members)
        if placings is not None and first:
            self._grant(framework, token.gang, placings)
            return
        if placings is None:
            placings = fill(round_, framework, members)
            keep_agents(round_, members, placings)
        if round_.state.cells > 1:
            self._grant(framework, token.gang, placings, round_.state.token_until)

    def gathers(self, framework: Framework, gang: str) -> bool:
        """Whether this gang has the token."""
        token = self._round.state.token
        return token is not None and token.key == (framework.ident, gang)

    def _competes(self, framework: Framework, members: Sequence[Member]) -> bool:
        return all((each.shape.role, framework.ident) in self._round.claimant for each in members)

    def _grant(self, framework: Framework, gang: str, placings: Sequence[Placing], until: float | None = None) -> None:
        round_ = self._round
        round_.satisfied = True
        for at, shape, tasks in placings:
            claimant = round_.claimant[shape.role, framework.ident]
            resources = _times(shape.resources, tasks)
            round_.grant(claimant, framework, at, resources, shape.key, tasks, gang, until)


def place(round_: RoundBooks, framework: Framework, members: Sequence[Member]) -> list[Placing] | None:
    """Take room for all members in the round. Returns None, and leaves the round unchanged, if there is not room for
    all."""
    needs: dict[str, list[Resources]] = {}
    for shape, count in members:
        needs.setdefault(shape.role, []).append(_times(shape.resources.counted(), count))
    for role, whole in _wholes(needs):
        if round_.quota.allows(role, whole) != whole:
            # The cell's part of a limit must be raised in one step, and not for each member.
            if round_.quota.room(role, whole) == whole:
                round_.quota.want(role, (framework.ident, members[0].shape.gang), whole)
            return None
    tried: list[list[Member]] = []
    for order in (_largest(round_, members), _scarcest(round_, framework, members)):
        if order in tried:
            continue
        tried.append(order)
        before = round_.save()
        placings = fill(round_, framework, order)
        if sum(each.tasks for each in placings) == sum(count for _, count in members):
            return placings
        round_.restore(before)
    return None


def fill(round_: RoundBooks, framework: Framework, members: Sequence[Member]) -> list[Placing]:
    """Take room in the round for as many tasks of the members as possible, in this order."""
    return [
        Placing(at, shape, count)
        for shape, wanted in members
        for at, count in round_.take_for(framework, shape, wanted)
    ]


def keep_agents(round_: RoundBooks, members: Sequence[Member], placings: Sequence[Placing]) -> None:
    """Take off the round's books what is free of the agents that are kept for the gang with the token, up to
    what its tasks need that have no place yet. It is given to nobody."""
    chosen = round_.state.token_agents
    if not chosen:
        return
    short = {each.shape.key: each.tasks for each in members}
    placed: dict[tuple[str, ShapeKey], int] = {}
    for at, shape, tasks in placings:
        short[shape.key] -= tasks
        place_key = round_.agents[at].ident, shape.key
        placed[place_key] = placed.get(place_key, 0) + tasks
    places = {agent.ident: at for at, agent in enumerate(round_.agents) if agent.ident in chosen}
    for ident, planned in chosen.items():
        for shape, tasks in planned:
            count = min(tasks - placed.get((ident, shape.key), 0), short.get(shape.key, 0))
            if count <= 0:
                continue
            short[shape.key] -= count
            need = _times(shape.resources, count)
            # Of an agent that is not in the round nothing is given to anybody.
            if ident in places and round_.quota.allows(shape.role, need) == need:
                agent = round_.agents[places[ident]]
                free = round_.free.get(ident, agent.free).clipped_minus(kept_from(agent, shape.role, {}))
                part = {name: min(amount, free.get(name)) for name, amount in need.scalars.items()}
                round_.take(shape.role, places[ident], Resources.scalars_of(part))


def _largest(round_: RoundBooks, members: Sequence[Member]) -> list[Member]:
    total = round_.shares.total
    return sorted(members, key=lambda each: -each.shape.resources.dominant_share(total))


def _scarcest(round_: RoundBooks, framework: Framework, members: Sequence[Member]) -> list[Member]:
    """Members that fit the fewest agents first: a constraint may leave fewer agents to a small task than a large one
    has."""
    if len(members) == 1:
        return list(members)
    return sorted(_largest(round_, members), key=lambda each: round_.count_places(framework, each.shape))


def _times(need: Resources, count: int) -> Resources:
    """The need of ``count`` tasks, capped at the bound: an amount above it fits nowhere, and must raise no error."""
    if count == 1:
        return need
    return Resources.scalars_of({k: min(v * count, MAX_BOUND) for k, v in need.scalars.items()})


def _wholes(needs: dict[str, list[Resources]]) -> Iterator[tuple[str, Resources]]:
    return ((role, Resources.sum(each)) for role, each in needs.items())
