"""Assembles gangs: offers of one or several cells are held until all tasks of a gang have a place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources


class GangPart(NamedTuple):
    """The part of a gang for one agent: accept these offers together, with tasks of these shapes."""

    offers: tuple[Offer, ...]
    tasks: tuple[tuple[Shape, int], ...]
    """Pairs of a shape and the number of its tasks."""


class Placement(NamedTuple):
    """The agents and offers for all tasks of a gang."""

    gang: str
    parts: tuple[GangPart, ...]
    excess: tuple[Offer, ...] = ()
    """Offers that the gang does not need."""


@dataclass(slots=True)
class _Place:
    """The offers of one agent to one role, and the resources that are left while tasks are placed."""

    offers: list[Offer]
    left: Resources
    tasks: list[tuple[Shape, int]] = field(default_factory=list)

    @property
    def head(self) -> Offer:
        return self.offers[0]

    def capacity(self, shape: Shape, most: int) -> int:
        """Number of tasks of a shape that fit, at most ``most``."""
        offer, need = self.head, shape.resources
        if offer.role != shape.role or not all(
            each.matches(offer.attributes, offer.hostname) for each in shape.constraints
        ):
            return 0
        if need.ranges or need.sets:
            return min(most, 1) if self.left.contains(need) else 0
        return min((self.left.get(name) // amount for name, amount in need.scalars.items()), default=0)

    def take(self, shape: Shape, count: int) -> None:
        """Place tasks that fit."""
        for _ in range(count if shape.resources.ranges or shape.resources.sets else 1):
            times = 1 if shape.resources.ranges or shape.resources.sets else count
            amounts = {name: amount * times for name, amount in shape.resources.scalars.items()}
            self.left -= shape.resources if times == 1 else Resources.scalars_of(amounts)
        self.tasks.append((shape, count))


def arrange(gang: str, shapes: Sequence[Shape], offers: Iterable[Offer]) -> Placement | None:
    """A placement of every task of a gang on these offers, on as few agents as possible; None if they do not
    suffice."""
    places: dict[tuple[int, str, str, bool], _Place] = {}
    for offer in offers:
        key = offer.cell, offer.agent_id, offer.role, offer.revocable
        place = places.get(key)
        if place is None:
            places[key] = _Place([offer], offer.resources)
        else:
            place.offers.append(offer)
            place.left += offer.resources
    wanted = [shape for shape in shapes if shape.count]
    total = Resources.sum(place.left.counted() for place in places.values())
    largest = sorted(wanted, key=lambda each: -each.resources.dominant_share(total))
    scarcest = sorted(largest, key=lambda each: sum(place.capacity(each, each.count) > 0 for place in places.values()))
    for order in (largest, scarcest):
        filled = [_Place(place.offers, place.left) for place in places.values()]
        if all(_fill(filled, shape) for shape in order):
            parts = tuple(GangPart(tuple(each.offers), tuple(each.tasks)) for each in filled if each.tasks)
            excess = tuple(offer for each in filled if not each.tasks for offer in each.offers)
            return Placement(gang, parts, excess)
    return None


def _fill(places: Sequence[_Place], shape: Shape) -> bool:
    left = shape.count
    for place in sorted(places, key=lambda each: (not each.tasks, -each.capacity(shape, left))):
        count = min(left, place.capacity(shape, left))
        if count > 0:
            place.take(shape, count)
            left -= count
        if not left:
            return True
    return not left


class GangAssembler:
    """Collects unanswered offers of gangs, by gang."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[str, Offer]] = {}

    def add(self, offers: Iterable[Offer]) -> None:
        """Add new offers, and drop those of an earlier owner of the same cell, which have ended with its term."""
        for offer in offers:
            offers_of_gang = self._offers.setdefault(offer.gang, {})
            for other in list(offers_of_gang.values()):
                if other.cell == offer.cell and other.term < offer.term:
                    del offers_of_gang[other.offer_id]
            offers_of_gang[offer.offer_id] = offer

    def remove(self, offer_ids: Iterable[str]) -> None:
        """Drop offers (by id) that have ended."""
        for offer_id in offer_ids:
            for offers_of_gang in self._offers.values():
                offers_of_gang.pop(offer_id, None)

    def clear(self) -> None:
        """Drop all offers, since any of them may have ended."""
        self._offers.clear()

    def take_unwanted(self, shapes: Sequence[Shape]) -> list[Offer]:
        """Remove and return the offers of gangs that are not, or no longer, among the wanted shapes."""
        wanted = {shape.gang for shape in shapes if shape.count}
        late = [gang for gang in self._offers if gang not in wanted]
        return [offer for gang in late for offer in self._offers.pop(gang).values()]

    def take_complete(self, shapes: Sequence[Shape]) -> list[Placement]:
        """Remove and return the gangs that have a place for all of their tasks."""
        found = []
        for gang, offers in list(self._offers.items()):
            wanted = [shape for shape in shapes if shape.gang == gang]
            placement = arrange(gang, wanted, offers.values()) if wanted else None
            if placement is not None:
                found.append(placement)
                del self._offers[gang]
        return found
