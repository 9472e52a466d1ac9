"""Assembles gangs: offers of one or several cells are held until all tasks of a gang have a place. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.model.attributes import attribute_of
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

    def capacity(self, shape: Shape) -> int:
        """Number of tasks of a shape that fit."""
        offer = self.head
        if offer.role != shape.role or not all(
            each.matches(offer.attributes, offer.hostname, offer.agent_id) for each in shape.constraints
        ):
            return 0
        return shape.fits(self.left)

    def take(self, shape: Shape, count: int) -> None:
        """Place tasks that fit."""
        self.left -= shape.portion(count, self.left)
        self.tasks.append((shape, count))

    def value_of(self, name: str) -> str | None:
        """The value of an attribute of the agent."""
        return attribute_of(name, self.head.attributes, self.head.hostname, self.head.agent_id)


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
    scarcest = sorted(largest, key=lambda each: sum(place.capacity(each) > 0 for place in places.values()))
    for order in (largest, scarcest):
        filled = [_Place(place.offers, place.left) for place in places.values()]
        spreads: dict[tuple[str, str], Counter[str]] = {}
        if all(_fill(filled, shape, spreads) for shape in order):
            parts = tuple(GangPart(tuple(each.offers), tuple(each.tasks)) for each in filled if each.tasks)
            excess = tuple(offer for each in filled if not each.tasks for offer in each.offers)
            return Placement(gang, parts, excess)
    return None


def _fill(places: Sequence[_Place], shape: Shape, spreads: dict[tuple[str, str], Counter[str]]) -> bool:
    """Place the tasks of a shape. ``spreads`` counts tasks by value, for each name of shapes and attribute."""
    left = shape.count
    rules = shape.rules
    spread = None
    if rules is not None and rules.most:
        spread = spreads.setdefault((rules.name, rules.per), Counter(shape.placed))
    for place in sorted(places, key=lambda each: (not each.tasks, -each.capacity(shape))):
        count = min(left, place.capacity(shape))
        if spread is not None:
            value = place.value_of(shape.per)
            count = 0 if value is None else min(count, shape.most - spread[value])
            if value is not None and count > 0:
                spread[value] += count
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
