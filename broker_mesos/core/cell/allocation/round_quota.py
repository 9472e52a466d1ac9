"""Quota in one round of allocation: how much a role may still be given within its limits, and without the resources
that are kept for guarantees of other roles.

Limits are exact: a cell allocates only its part of a limit (with one cell that is the limit itself), and the parts of
all cells never exceed the limit (``escrow.py``). Guarantees, like shares, depend on the usage that the cells publish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.multiples import times
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within, lineage, topmost

Amounts = dict[str, int]
ALL_AGENTS = ""
"""Key for the sum over all agents, which is no agent's id."""


class Quota:
    """The state of quota in one round."""

    def __init__(
        self,
        state: CellState,
        held: Mapping[str, Resources],
        total: Resources,
        *,
        hopeful: bool = False,
    ) -> None:
        """``held``: used and offered resources in the cluster by role. ``hopeful``: compute as if the cell already had
        the part of each limit that the other cells do not use."""
        roles = state.config.roles
        self.limits = {role: each.limit for role, each in roles.items() if each.limit}
        self._escrow: Mapping[str, Mapping[str, int]] = state.escrow if state.cells > 1 else self.limits
        self._here = held_here(state, self.limits)
        self._elsewhere = _by_role(state.foreign_roles, self.limits) if state.cells > 1 else {}
        if hopeful and state.cells > 1:
            self._escrow = {role: self._left(role, state.escrow.get(role, {})) for role in self.limits}
        self._wanting: dict[str, dict[tuple[str, ...], Resources]] = {}
        """Resources that were withheld since the cell's part of a limit is too small, for each role with a limit."""
        self._withheld: dict[tuple[str, object], Counter[str]] = {}
        """Number of tasks by agent for which resources could be offered if this cell had more of a limit, by framework
        and shape."""
        guarantees = {role: each.guarantee for role, each in roles.items() if each.guarantee}
        self._unmet: dict[str, Resources] = {}
        self._available = EMPTY
        self._kept: dict[str, tuple[Amounts, Amounts]] = {}
        if guarantees:
            self._available = total.clipped_minus(Resources.sum(held.values()))
            mine = _by_role(held, guarantees)
            for role, guarantee in guarantees.items():
                self._unmet[role] = guarantee.clipped_minus(mine.get(role, EMPTY))
        self._children = {role: topmost(self._unmet, role) for role in self._unmet}
        self._tops = topmost(self._unmet, None)

    @property
    def any(self) -> bool:
        """Whether any quota is set at all."""
        return bool(self.limits or self._unmet)

    @property
    def guarantees(self) -> bool:
        """Whether any guarantee is set."""
        return bool(self._unmet)

    def lift(self) -> None:
        """Ignore all quota in this round."""
        self.limits, self._unmet = {}, {}

    def short(self, role: str) -> bool:
        """Whether the role, or one above it, has less than its guarantee, so that it is served before the others."""
        return any(self._unmet.get(each) for each in lineage(role))

    # -- how much -----------------------------------------------------------------------------------------

    def allows(self, role: str, wanted: Resources) -> Resources:
        """The part of an amount that the role may be given."""
        for each in lineage(role):
            limit = self.limits.get(each)
            if limit is not None:
                wanted = self._below(each, limit, wanted)
        return self._beside(role, wanted) if self._unmet else wanted

    def _below(self, role: str, limit: Mapping[str, int], wanted: Resources) -> Resources:
        escrow, here = self._escrow.get(role, {}), self._here[role]
        over: Amounts = {}
        for name, most in limit.items():
            left = max(0, min(most, escrow.get(name, 0)) - here.get(name))
            if wanted.get(name) > left:
                over[name] = wanted.get(name) - left
        return wanted.clipped_minus(Resources.summed(over)) if over else wanted

    def _beside(self, role: str, wanted: Resources) -> Resources:
        kept, own = self._kept_from(role)
        over: Amounts = {}
        for name, amount in kept.items():
            left = max(own.get(name, 0), self._available.get(name) - amount, 0)
            if wanted.get(name) > left:
                over[name] = wanted.get(name) - left
        return wanted.clipped_minus(Resources.summed(over)) if over else wanted

    def _kept_from(self, role: str) -> tuple[Amounts, Amounts]:
        """Resources that the guarantees of other roles need, and those that the guarantees of the role itself and of
        the roles above it leave for it."""
        found = self._kept.get(role)
        if found is None:
            kept: Amounts = {}
            own: Amounts = {}
            level = self._tops
            while True:
                inner = next((each for each in level if is_within(role, each)), None)
                for each in level:
                    if each != inner:
                        _add(kept, self._needed(each))
                if inner is None:
                    break
                level = self._children[inner]
                mine = dict(self._unmet[inner].scalars)
                for each in level:
                    if not is_within(role, each):
                        for name, amount in self._needed(each).items():
                            mine[name] = max(0, mine.get(name, 0) - amount)
                for name, amount in mine.items():
                    own[name] = max(own.get(name, 0), amount)
            found = self._kept[role] = kept, own
        return found

    def _needed(self, role: str) -> Amounts:
        """The unmet guarantees of a role and the roles below it; one that lies within the unmet guarantee of a role
        above counts once."""
        inner: Amounts = {}
        for each in self._children[role]:
            _add(inner, self._needed(each))
        for name, amount in self._unmet[role].scalars.items():
            inner[name] = max(amount, inner.get(name, 0))
        return inner

    def why(self, role: str, wanted: Resources) -> str:
        """Which limit or guarantee prevents that a role is given an amount, as text; empty if none does."""
        for each in lineage(role):
            limit = self.limits.get(each)
            if limit is not None and (less := self._below(each, limit, wanted)) != wanted:
                short = wanted.clipped_minus(less)
                if _over(limit, self._here[each] + self._elsewhere.get(each, EMPTY), wanted):
                    return f"the limit of role {each} has no room for {short}"
                return f"the cell has yet to get {short} of the limit of role {each}"
        if self._unmet and (less := self._beside(role, wanted)) != wanted:
            whose = ", ".join(sorted(r for r, rest in self._unmet.items() if rest and not is_within(role, r)))
            return f"{wanted.clipped_minus(less)} is kept free for the guarantee of {whose}"
        return ""

    def _left(self, role: str, escrow: Mapping[str, int]) -> Amounts:
        others = self._elsewhere.get(role, EMPTY)
        return {name: max(most - others.get(name), escrow.get(name, 0)) for name, most in self.limits[role].items()}

    # -- changes ------------------------------------------------------------------------------------------

    def take(self, role: str, resources: Resources) -> None:
        """Charge resources that a role was given."""
        if not self.any:
            return
        amount = resources.counted()
        for each in lineage(role):
            if each in self._here:
                self._here[each] += amount
            if each in self._unmet:
                self._unmet[each] = self._unmet[each].clipped_minus(amount)
        if self._unmet:
            self._available = self._available.clipped_minus(amount)
            self._kept.clear()

    def vacate(self, role: str, resources: Resources) -> None:
        """Compute from now on as if a role gave back resources. Its own guarantee is not checked."""
        amount = resources.counted()
        for each in lineage(role):
            if each in self._here:
                self._here[each] = self._here[each].clipped_minus(amount)
        if self._unmet:
            self._available += amount
            self._kept.clear()

    def unmet(self, role: str) -> Resources:
        """The unmet part of a role's guarantee."""
        return self._unmet.get(role, EMPTY)

    def save(self) -> object:
        """A copy of the state, without ``requested``, for ``restore``."""
        return dict(self._here), dict(self._unmet), self._available

    def restore(self, saved: object) -> None:
        """Restore a state that ``save`` has returned."""
        assert isinstance(saved, tuple)
        self._here, self._unmet, self._available = saved
        self._kept.clear()

    def room(self, role: str, wanted: Resources) -> Resources:
        """The part of an amount that a role could be given if this cell had all of each limit that the other cells do
        not use."""
        for each in lineage(role):
            limit = self.limits.get(each)
            if limit is not None:
                held = self._here[each] + self._elsewhere.get(each, EMPTY)
                over = {
                    name: wanted.get(name) + held.get(name) - most
                    for name, most in limit.items()
                    if wanted.get(name) and wanted.get(name) + held.get(name) > most
                }
                if over:
                    wanted = wanted.clipped_minus(Resources.summed(over))
        return wanted

    def want(self, role: str, key: tuple[str, ...], resources: Resources) -> None:
        """Record resources that are not given to a role, perhaps only since the cell's part of a limit is too small.
        Of several records with the same ``key`` only the last one counts."""
        if self._escrow is self.limits or not resources:
            return
        for each in lineage(role):
            if each in self.limits:
                self._wanting.setdefault(each, {})[key] = resources

    def want_room(self, role: str, agent_id: str, free: Resources, given: Resources) -> None:
        """Record which resources of an agent a role could be given if the cell had more of a limit, since they may be
        withheld only because the cell's part of it is too small. ``given``: the part that the role is given."""
        room = self.room(role, free)
        if not cut(free, room):
            self.want(role, (agent_id,), room.clipped_minus(given))

    def want_tasks(
        self, framework_id: str, shape: Shape, agent_id: str, free: Resources, given: Resources, wanted: int
    ) -> None:
        """Do the same for tasks of a shape, over all agents for no more than the ``wanted`` tasks."""
        need, role = shape.resources, shape.role
        withheld = self._withheld.setdefault((framework_id, shape.key), Counter())
        most = wanted - withheld[ALL_AGENTS] + withheld[agent_id]
        count = min(most, shape.fits(self.room(role, free))) - min(wanted, shape.fits(given))
        if count > 0:
            withheld[ALL_AGENTS] += count - withheld[agent_id]
            withheld[agent_id] = count
            self.want(role, (framework_id, str(need), agent_id), times(need, count))

    @property
    def requested(self) -> dict[str, Amounts]:
        """The part that this cell could use of the limit of each role, in absolute amounts."""
        found = {}
        for role, many in self._wanting.items():
            whole = self._here[role] + Resources.sum(each.counted() for each in many.values())
            found[role] = {name: min(most, whole.get(name)) for name, most in self.limits[role].items()}
        return found


def cut(free: Resources, allowed: Resources) -> bool:
    """Whether quota leaves no cpus or no mem of an amount that has some: an offer without them is of little use."""
    return any(free.get(name) and not allowed.get(name) for name in ("cpus", "mem"))


def held_here(state: CellState, roles: Iterable[str]) -> dict[str, Resources]:
    """Used and offered resources in this cell by each of these roles, each with all roles below it."""
    found = dict.fromkeys(roles, EMPTY)
    if found:
        here = {role: Resources.summed(amounts) for role, amounts in state.held_by_role.items()}
        found.update(_by_role(here, found))
    return found


def _by_role(held: Mapping[str, Resources], roles: Mapping[str, object]) -> dict[str, Resources]:
    """Used and offered resources of each of the roles with all roles below it."""
    found: dict[str, list[Resources]] = {}
    if roles:
        for role, amount in held.items():
            for each in lineage(role):
                if each in roles:
                    found.setdefault(each, []).append(amount)
    return {role: Resources.sum(amounts) for role, amounts in found.items()}


def _add(amounts: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + amount


def _over(limit: Mapping[str, int], held: Resources, wanted: Resources) -> bool:
    return any(held.get(name) + wanted.get(name) > most for name, most in limit.items() if wanted.get(name))
