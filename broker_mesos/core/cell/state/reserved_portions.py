"""Which part of an agent a role may use: everything free, but what is reserved for others.

Which of a role's tasks use its reservation is not written down: what is in use by a role fills up its own
reservations first, the most refined one before those above it. So a task that was launched before its
resources were reserved counts as well as one after, and nothing is stranded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.reservation import LayersKey, Reservation, Volume, layers_key
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within
from broker_mesos.errors import InvalidResources

EMPTY = Resources()
VOLUMES = "volumes"
"""The set by which volumes that are not shared are offered and used, like any other resource."""


class ReservedAgent(Protocol):
    """What of an agent matters here."""

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """Static and dynamic ones."""

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Its tasks, by id."""

    @property
    def offers(self) -> Mapping[str, OfferDetails]:
        """Its open offers, by id."""

    @property
    def has_conflict(self) -> bool:
        """Whether two of its tasks hold the same part of a range or set."""


def overlaid(many: list[Resources]) -> Resources:
    """All added up, where ranges and sets may share members; of a name that is used as
    different kinds of resources, the first kind counts."""
    whole = EMPTY
    for one in many:
        scalars = [Resources.scalars_of({name: amount}) for name, amount in one.scalars.items()]
        rest = one.clipped_minus(Resources.sum(scalars)).clipped_minus(whole)
        for part in (*scalars, rest):
            with contextlib.suppress(InvalidResources):
                whole += part
    return whole


def common(one: Resources, other: Resources) -> Resources:
    """What both have."""
    return one.clipped_minus(one.clipped_minus(other))


def laid_out(
    total: Resources, reservations: Iterable[Reservation], volumes: Iterable[Volume]
) -> tuple[Resources, tuple[Reservation, ...]]:
    """A total in which disk has become volumes, and its reservations side by side: each without what others
    refine of it, and with the volumes that are made of it.

    Where an agent has less than was reserved (it shrank), the earlier reservations come first, and what is
    refined has at most what it is a part of.
    """
    found: dict[LayersKey, Reservation] = {}
    # No agent lends a resource of this name: its options refuse it.
    total = left = total.clipped_minus(_named(total, VOLUMES))
    for each in sorted(reservations, key=lambda each: len(each.refines)):
        outer = found.get(layers_key(each.refines))
        part = common(each.resources, left if outer is None else outer.resources)
        if outer is None:
            left -= part
        else:
            found[outer.key] = _sized(outer, outer.resources - part)
        before = found.get(each.key)
        found[each.key] = _sized(each, part if before is None else before.resources + part)
    for volume in {each.volume_id: each for each in volumes}.values():
        made = EMPTY if volume.shared else Resources.of(**{VOLUMES: {volume.volume_id}})
        total = total.clipped_minus(volume.size) + made
        source = found.get(layers_key(volume.layers))
        if source is None:
            # The agent does not reserve it any more: what is in the volume still belongs to its role.
            source = Reservation(role=volume.role, resources=EMPTY)
            source = found.get(source.key, source)
        found[source.key] = _sized(source, source.resources.clipped_minus(volume.size) + made)
    return total, tuple(each for each in found.values() if each.resources)


def _named(resources: Resources, name: str) -> Resources:
    """The part with that name."""
    if name not in resources.names():
        return EMPTY
    return Resources.from_mapping({name: str(resources.as_numbers()[name])})


def _sized(reservation: Reservation, resources: Resources) -> Reservation:
    return reservation.model_copy(update={"resources": resources})


def unused(reservations: Iterable[Reservation], uses: Mapping[str, Resources]) -> list[tuple[Reservation, Resources]]:
    """What is left of each reservation when ``uses``, by role, have filled them up."""
    left = dict(uses)
    found = []
    # The most refined first; of one role in the order in which they were made.
    for each in sorted(reservations, key=lambda each: -each.role.count("/")):
        rest = each.resources
        for role, amount in left.items():
            if rest and is_within(role, each.role):
                charged = common(rest, amount)
                rest -= charged
                left[role] = amount - charged
        found.append((each, rest))
    return found


def uses_by_role(agent: ReservedAgent, *, offered: bool = True) -> dict[str, Resources]:
    """What each role uses or (unless told otherwise) is offered of an agent, slack aside."""
    found: dict[str, list[Resources]] = {}
    for task in agent.tasks.values():
        if task.holds:
            found.setdefault(task.role, []).append(task.resources)
    for offer in agent.offers.values() if offered else ():
        if not offer.revocable:
            found.setdefault(offer.role, []).append(offer.resources)
    whole = overlaid if agent.has_conflict else Resources.sum
    return {role: whole(amounts) for role, amounts in found.items()}


def kept_from(
    agent: ReservedAgent,
    role: str,
    given: Mapping[str, Resources],
    uses: Mapping[str, Resources] | None = None,
) -> Resources:
    """What of an agent's free resources is reserved for others than ``role``. ``given``: what else is about
    to be in use, by role. ``uses`` spares adding up what is in use already, for who asks often."""
    if not agent.reservations:
        return EMPTY
    uses = uses_by_role(agent) if uses is None else dict(uses)
    for other, amount in given.items():
        uses[other] = uses.get(other, EMPTY) + amount
    return Resources.sum(
        rest for each, rest in unused(agent.reservations, uses) if rest and not is_within(role, each.role)
    )


def reserved_in(agent: ReservedAgent, role: str, resources: Resources) -> tuple[Reservation, ...]:
    """Which part of an offer to ``role`` of these resources is reserved for it, before it is made."""
    if not agent.reservations:
        return ()
    found = []
    left = resources
    for each, rest in unused(agent.reservations, uses_by_role(agent)):
        if is_within(role, each.role):
            part = common(rest, left)
            if part:
                left -= part
                found.append(each.model_copy(update={"resources": part}))
    return tuple(found)
