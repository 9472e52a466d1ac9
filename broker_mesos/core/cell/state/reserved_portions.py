"""The part of an agent that a role may use: all free resources but those that are reserved for other roles.

It is not recorded which tasks of a role use its reservation. The resources that a role uses are charged to its own
reservations first, to the most refined one before those above it. Therefore a task that was launched before its
resources were reserved counts like one that was launched after, and no reserved resources become unusable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.reservation import LayersKey, Reservation, Volume, layers_key
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within
from broker_mesos.errors import InvalidResources

EMPTY = Resources()
VOLUMES = "volumes"
"""Name of the set resource that contains the volumes which are not shared."""


class ReservedAgent(Protocol):
    """The attributes of an agent that this module uses."""

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """Its static and dynamic reservations."""

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Its tasks, by id."""

    @property
    def offers(self) -> Mapping[str, OfferDetails]:
        """Its open offers, by id."""


def overlaid(many: list[Resources]) -> Resources:
    """The sum of values whose ranges and sets may share members. If a name is used for different kinds of resources,
    the first kind counts."""
    whole = EMPTY
    for one in many:
        scalars = [Resources.scalars_of({name: amount}) for name, amount in one.scalars.items()]
        rest = one.clipped_minus(Resources.sum(scalars)).clipped_minus(whole)
        for part in (*scalars, rest):
            with contextlib.suppress(InvalidResources):
                whole += part
    return whole


def total_of(many: list[Resources]) -> Resources:
    """The sum of values; that of ``overlaid`` if they share members of ranges or sets, or use a name for different
    kinds of resources, as an agent may report them."""
    try:
        return Resources.sum(many)
    except InvalidResources:
        return overlaid(many)


def on_slack(resources: Resources) -> Resources:
    """The part of a revocable task's resources that it takes of the slack, which has scalars only. An agent may report
    more of a task."""
    return Resources.summed(resources.scalars)


def common(one: Resources, other: Resources) -> Resources:
    """The resources that both values contain."""
    return one.clipped_minus(one.clipped_minus(other))


def laid_out(
    total: Resources, reservations: Sequence[Reservation], volumes: Sequence[Volume]
) -> tuple[Resources, tuple[Reservation, ...]]:
    """The total with the disk of volumes replaced by the volumes, and reservations that do not overlap: each without
    the reservations that refine it, and with the volumes that are made of it.

    If an agent has less than is reserved (it shrank), its volumes come first, then earlier reservations take
    precedence, and a refined reservation has at most the resources of the one that it refines.
    """
    # No agent lends a resource of this name: its options refuse it.
    total = total.clipped_minus(_named(total, VOLUMES))
    if not reservations and not volumes:
        return total, ()
    found: dict[LayersKey, Reservation] = {}
    known = {each.volume_id: each for each in volumes}.values()
    if known:
        # The content of volumes is on the disk already: whatever the agent has lost, it was not that.
        total = total.clipped_minus(total_of([each.size for each in known]))
    left = total
    merged: dict[LayersKey, Reservation] = {}
    for each in reservations:
        before = merged.get(each.key)
        merged[each.key] = each if before is None else _sized(each, total_of([before.resources, each.resources]))
    for each in sorted(merged.values(), key=lambda each: len(each.refines)):
        outer = found.get(layers_key(each.refines))
        wanted = each.resources.clipped_minus(total_of([volume.size for volume in known if _is_made_of(volume, each)]))
        part = common(wanted, left if outer is None else outer.resources)
        if outer is None:
            left -= part
        else:
            found[outer.key] = _sized(outer, outer.resources - part)
        found[each.key] = _sized(each, part)
    for volume in known:
        made = EMPTY if volume.shared else Resources.of(**{VOLUMES: {volume.volume_id}})
        total += made
        source = found.get(layers_key(volume.layers))
        if source is None:
            # The reservation does not exist any more: the content of the volume still belongs to its role.
            source = Reservation(role=volume.role, resources=EMPTY)
            source = found.get(source.key, source)
        found[source.key] = _sized(source, source.resources + made)
    return total, tuple(each for each in found.values() if each.resources)


def _is_made_of(volume: Volume, reservation: Reservation) -> bool:
    """Whether the disk of a volume is part of a reservation, or of one that refines it."""
    layers = layers_key(volume.layers)
    return layers[: len(reservation.key)] == reservation.key


def _named(resources: Resources, name: str) -> Resources:
    """The resource with that name; empty if there is none."""
    if name not in resources.names():
        return EMPTY
    return Resources.from_mapping({name: str(resources.as_numbers()[name])})


def _sized(reservation: Reservation, resources: Resources) -> Reservation:
    return reservation.model_copy(update={"resources": resources})


def unused(reservations: Iterable[Reservation], uses: Mapping[str, Resources]) -> list[tuple[Reservation, Resources]]:
    """The unused part of each reservation after the used resources (``uses``, by role) have been charged to them."""
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
    """Resources of an agent that each role uses or, if ``offered`` is set, is offered; without slack."""
    found: dict[str, list[Resources]] = {}
    for task in agent.tasks.values():
        if task.occupies:
            found.setdefault(task.role, []).append(task.resources)
    for offer in agent.offers.values() if offered else ():
        if not offer.revocable:
            found.setdefault(offer.role, []).append(offer.resources)
    return {role: total_of(amounts) for role, amounts in found.items()}


def kept_from(
    agent: ReservedAgent,
    role: str,
    given: Mapping[str, Resources],
    uses: Mapping[str, Resources] | None = None,
) -> Resources:
    """The part of an agent's free resources that is reserved for other roles than ``role``. ``given`` has resources
    by role that are about to be used as well. ``uses`` can be the result of ``uses_by_role``, which saves computing
    it again for each call."""
    if not agent.reservations:
        return EMPTY
    uses = uses_by_role(agent) if uses is None else dict(uses)
    for other, amount in given.items():
        uses[other] = total_of([uses.get(other, EMPTY), amount])
    return Resources.sum(
        rest for each, rest in unused(agent.reservations, uses) if rest and not is_within(role, each.role)
    )


def reserved_in(agent: ReservedAgent, role: str, resources: Resources) -> tuple[Reservation, ...]:
    """The reserved part of these resources for an offer to ``role`` that has not been made yet."""
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
