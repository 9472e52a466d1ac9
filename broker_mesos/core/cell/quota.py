"""Quota in one round of allocation: how much a role may still be given, below its limits, and beside what is
guaranteed to others.

Limits are exact: a cell gives away only what it holds in escrow of them (with one cell that is the limit
itself), and the escrows of all cells never exceed it. Guarantees rest on what the cells tell each other, as
shares do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker_mesos.core.cell.portions import EMPTY
from broker_mesos.core.cell.state import CellState
from broker_mesos.core.resources import Resources
from broker_mesos.core.roles import is_within, lineage

Amounts = dict[str, int]


class Quota:
    """The books of one round. ``asked``: what was held back for want of escrow, absolute per role: a cell
    asks the ledger for as much."""

    def __init__(self, state: CellState, held: Mapping[tuple[str, str], Resources], total: Resources) -> None:
        roles = state.config.roles
        self.limits = {role: each.limit for role, each in roles.items() if each.limit}
        self._guarantees = {role: each.guarantee for role, each in roles.items() if each.guarantee}
        self.asked: dict[str, Amounts] = {}
        self._escrow = state.escrow if state.cells > 1 else self.limits
        self._here = {role: subtree(state, role) for role in self.limits}
        self._unmet: dict[str, Resources] = {}
        self._available = EMPTY
        if self._guarantees:
            self._available = total.clipped_minus(Resources.sum(held.values()))
            for role, guarantee in self._guarantees.items():
                mine = Resources.sum(amount for (other, _), amount in held.items() if is_within(other, role))
                self._unmet[role] = guarantee.clipped_minus(mine)

    @property
    def any(self) -> bool:
        """Whether any quota is set at all."""
        return bool(self.limits or self._guarantees)

    def short(self, role: str) -> bool:
        """Whether the role, or one above it, has less than it is guaranteed: it goes before the others."""
        return any(self._unmet.get(each) for each in lineage(role))

    def allows(self, role: str, wanted: Resources) -> Resources:
        """The part of an amount that the role may be given."""
        for each in lineage(role):
            limit = self.limits.get(each)
            if limit is not None:
                wanted = self._below(each, limit, wanted)
        return self._beside(role, wanted) if self._unmet else wanted

    def _below(self, role: str, limit: Amounts, wanted: Resources) -> Resources:
        escrow, here = self._escrow.get(role, {}), self._here[role]
        over: dict[str, int] = {}
        for name, most in limit.items():
            amount = wanted.get(name)
            left = max(0, min(most, escrow.get(name, 0)) - here.get(name))
            if amount > left:
                over[name] = amount - left
                if here.get(name) + left < most:
                    asked = self.asked.setdefault(role, {})
                    asked[name] = max(asked.get(name, 0), min(most, here.get(name) + amount))
        return wanted.clipped_minus(Resources.scalars_of(over)) if over else wanted

    def _beside(self, role: str, wanted: Resources) -> Resources:
        needed: Amounts = {}
        own: Amounts = {}
        for other, unmet in self._unmet.items():
            into = own if is_within(role, other) else needed
            if into is needed and any(above in self._unmet for above in lineage(other)[1:]):
                continue  # it counts in that of the role above it
            for name, amount in unmet.scalars.items():
                into[name] = into.get(name, 0) + amount
        over: dict[str, int] = {}
        for name, amount in needed.items():
            left = max(own.get(name, 0), self._available.get(name) - amount, 0)
            if wanted.get(name) > left:
                over[name] = wanted.get(name) - left
        return wanted.clipped_minus(Resources.scalars_of(over)) if over else wanted

    def why(self, role: str, wanted: Resources) -> str:
        """Which limit or guarantee keeps an amount from a role, in words; empty if none does."""
        for each in lineage(role):
            limit = self.limits.get(each)
            if limit is not None and (less := self._below(each, limit, wanted)) != wanted:
                short = wanted.clipped_minus(less)
                if state_of(limit, self._here[each], wanted):
                    return f"the limit of role {each} has no room for {short}"
                return f"role {each} is near its limit: {short} is still to be released by other cells"
        if self._unmet and (less := self._beside(role, wanted)) != wanted:
            whose = ", ".join(sorted(r for r, rest in self._unmet.items() if rest and not is_within(role, r)))
            return f"{wanted.clipped_minus(less)} is kept free for the guarantee of {whose}"
        return ""

    def take(self, role: str, resources: Resources) -> None:
        """A role was given that much."""
        if not self.any:
            return
        amount = resources.counted()
        for each in lineage(role):
            if each in self._here:
                self._here[each] += amount
            if each in self._unmet:
                self._unmet[each] = self._unmet[each].clipped_minus(amount)
        self._available = self._available.clipped_minus(amount)


def state_of(limit: Amounts, here: Resources, wanted: Resources) -> bool:
    """Whether the limit itself has no room, whatever the cells hold of it."""
    return any(here.get(name) + wanted.get(name) > most for name, most in limit.items() if wanted.get(name))


def subtree(state: CellState, role: str) -> Resources:
    """Offered and used by a role and all below it, in this cell."""
    return Resources.sum(_amounts(state, role))


def _amounts(state: CellState, role: str) -> Iterable[Resources]:
    for framework in state.frameworks.values():
        for other, amount in framework.held.items():
            if is_within(other, role):
                yield amount


def escrow_wanted(state: CellState, asked: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """What this cell wants to hold of each limit from now on, absolute: what is held here, and what it would
    give away if it could. A role that is not in it is content with what it has."""
    found: dict[str, Amounts] = {}
    for role, settings in state.config.roles.items():
        if not settings.limit:
            continue
        here = subtree(state, role)
        wanted = {name: max(here.get(name), asked.get(role, {}).get(name, 0)) for name in settings.limit}
        if wanted != state.escrow.get(role):
            found[role] = wanted
    return found
