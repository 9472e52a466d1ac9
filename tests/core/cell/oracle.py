"""What a role may use of an agent, computed a second time in the simplest way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within


def matches(constraint: Constraint, agent) -> bool:
    return constraint.matches(agent.info.attributes, agent.info.hostname, agent.ident)


def total(many: Iterable[Resources]) -> Resources:
    return Resources.sum(many)


def uses_of(agent) -> dict[str, Resources]:
    found: dict[str, Resources] = defaultdict(Resources)
    living = (each for each in agent.tasks.values() if not each.state.terminal)
    for each in (*living, *agent.offers.values()):
        if not each.revocable:
            found[each.role] += each.resources
    return found


def kept_for_others(agent, role: str, uses: dict[str, Resources]) -> dict[str, int]:
    """Scalars that are reserved for others than a role, and not used by them: each role's use fills up its
    own part first, then those above."""
    kept: dict[str, int] = defaultdict(int)
    names = {name for each in agent.reservations for name in each.resources.scalars}
    for name in names:
        parts: dict[str, int] = defaultdict(int)
        for each in agent.reservations:
            parts[each.role] += each.resources.get(name)
        left = {who: amount.get(name) for who, amount in uses.items()}
        for owner in sorted(parts, key=lambda each: -each.count("/")):
            for who in left:
                if is_within(who, owner):
                    charged = min(left[who], parts[owner])
                    parts[owner] -= charged
                    left[who] -= charged
            if not is_within(role, owner):
                kept[name] += parts[owner]
    return kept
