"""The gangs of one round of allocation.

A gang is offered to its framework when all its missing tasks fit the free resources of the cell at the same time. A
framework that has accepted a part of it states the rest in its next demand; until then nothing more of that gang is
offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from broker_mesos.core.cell.allocation.books import Books
from broker_mesos.core.cell.allocation.gang_demand import Member, missing, shapes_of, waits
from broker_mesos.core.cell.allocation.grants import Grants, Slice
from broker_mesos.core.cell.allocation.places import Places
from broker_mesos.core.cell.allocation.policies.policy import Claimant
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer_details import ShapeKey
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.multiples import times
from broker_mesos.core.model.port_numbers import pick_ports
from broker_mesos.core.model.resources import Resources


class Placing(NamedTuple):
    """A number of tasks of a shape on the agent with the index ``at`` in the round."""

    at: int
    shape: Shape
    tasks: int
    resources: Resources


class Gangs:
    """The gangs in one round of allocation."""

    def __init__(
        self,
        books: Books,
        places: Places,
        grants: Grants,
        claimants: Mapping[tuple[str, str], Claimant],
        demand_overrides: Mapping[str, tuple[Shape, ...]],
    ) -> None:
        """``claimants``: by role and framework id. ``demand_overrides``: demands that replace those of frameworks, by
        framework id."""
        self._books = books
        self._places = places
        self._grants = grants
        self._claimants = claimants
        self._demand_overrides = demand_overrides
        self._tried: set[tuple[str, str]] = set()
        """Gangs that were served in this round, or have found no room."""

    def serve(self, framework: Framework, shapes: Sequence[Shape], gang: str) -> bool:
        """Grant room for the whole gang, or nothing. It is tried once per round, since free resources only decrease
        in it."""
        if (framework.ident, gang) in self._tried:
            return False
        self._tried.add((framework.ident, gang))
        if framework.ident in self._demand_overrides:
            members = [Member(each, each.count) for each in shapes_of(shapes, gang) if each.count]
        else:
            members = missing(framework, gang) if waits(framework, gang) else []
        if not members:
            self._grants.satisfied = True
            return False
        if not self._competes(framework, members):
            return False
        placings = place(self._books, self._places, framework, members)
        if placings is None:
            return False
        self._grant(framework, gang, placings)
        return True

    def serve_holder(self) -> None:
        """Serve the gang with the token before all others. Resources that do not suffice for it are kept for it: a
        single cell offers them to no framework, one of several cells offers them to the gang, whose framework combines
        the offers."""
        state = self._books.state
        token = state.token
        framework = None if token is None else state.frameworks.get(token.framework_id)
        if token is None or framework is None or not framework.wants or framework.ident in self._demand_overrides:
            return
        members = missing(framework, token.gang)
        if not members or not self._competes(framework, members):
            return
        self._tried.add(token.key)
        first = waits(framework, token.gang)
        placings = place(self._books, self._places, framework, members)
        if placings is not None and first:
            self._grant(framework, token.gang, placings)
            return
        if placings is None:
            placings = fill(self._places, framework, members)
            keep_agents(self._books, members, placings)
        if state.cells > 1:
            self._grant(framework, token.gang, placings, state.token_until)

    def _competes(self, framework: Framework, members: Sequence[Member]) -> bool:
        return all((each.shape.role, framework.ident) in self._claimants for each in members)

    def _grant(self, framework: Framework, gang: str, placings: Sequence[Placing], until: float | None = None) -> None:
        self._grants.satisfied = True
        for at, shape, tasks, resources in placings:
            slice_ = Slice(at, resources, shape.key, tasks)
            self._grants.add(self._claimants[shape.role, framework.ident], framework, slice_, gang, until)


def place(books: Books, places: Places, framework: Framework, members: Sequence[Member]) -> list[Placing] | None:
    """Take room for all members in the round. Returns None, and leaves the round unchanged, if there is not room for
    all."""
    needs: dict[str, list[Resources]] = {}
    for shape, count in members:
        needs.setdefault(shape.role, []).append(times(shape.whole, count))
    for role, whole in _wholes(needs):
        if books.quota.allows(role, whole) != whole:
            # The cell's part of a limit must be raised in one step, and not for each member.
            if books.quota.room(role, whole) == whole:
                books.quota.want(role, (framework.ident, members[0].shape.gang), whole)
            return None
    tried: list[list[Member]] = []
    for order in (_largest(books, members), _scarcest(books, places, framework, members)):
        if order in tried:
            continue
        tried.append(order)
        before = books.save()
        placings = fill(places, framework, order)
        if sum(each.tasks for each in placings) == sum(count for _, count in members):
            return placings
        books.restore(before)
    return None


def fill(places: Places, framework: Framework, members: Sequence[Member]) -> list[Placing]:
    """Take room in the round for as many tasks of the members as possible, in this order."""
    return [
        Placing(at, shape, count, taken)
        for shape, wanted in members
        for at, count, taken in places.take_for(framework, shape, wanted)
    ]


def keep_agents(books: Books, members: Sequence[Member], placings: Sequence[Placing]) -> None:
    """Take off the round's books what is free of the agents that are kept for the gang with the token, up to
    what its tasks need that have no place yet. It is given to nobody."""
    chosen = books.state.token_agents
    if not chosen:
        return
    short = {each.shape.key: each.tasks for each in members}
    placed: dict[tuple[str, ShapeKey], int] = {}
    for at, shape, tasks, _ in placings:
        short[shape.key] -= tasks
        place_key = books.agents[at].ident, shape.key
        placed[place_key] = placed.get(place_key, 0) + tasks
    places = {agent.ident: at for at, agent in enumerate(books.agents) if agent.ident in chosen}
    for ident, planned in chosen.items():
        for shape, tasks in planned:
            count = min(tasks - placed.get((ident, shape.key), 0), short.get(shape.key, 0))
            if count <= 0:
                continue
            short[shape.key] -= count
            need = times(shape.resources, count)
            # Of an agent that is not in the round nothing is given to anybody.
            if ident in places and books.quota.allows(shape.role, need) == need:
                agent = books.agents[places[ident]]
                free = books.left_of(agent)
                if agent.reservations:
                    free = free.clipped_minus(books.reserved_for_others(agent, shape.role))
                part = {name: min(amount, free.get(name)) for name, amount in need.scalars.items()}
                kept = Resources.scalars_of(part)
                if shape.ports:
                    kept += pick_ports(free, shape.ports * count, agent.next_port)
                books.take(shape.role, places[ident], kept)


def _largest(books: Books, members: Sequence[Member]) -> list[Member]:
    total = books.total
    return sorted(members, key=lambda each: -each.shape.resources.dominant_share(total))


def _scarcest(books: Books, places: Places, framework: Framework, members: Sequence[Member]) -> list[Member]:
    """Members that fit the fewest agents first: a constraint may leave fewer agents to a small task than a large one
    has."""
    if len(members) == 1:
        return list(members)
    return sorted(_largest(books, members), key=lambda each: places.count(framework, each.shape))


def _wholes(needs: dict[str, list[Resources]]) -> Iterator[tuple[str, Resources]]:
    return ((role, Resources.sum(each)) for role, each in needs.items())
