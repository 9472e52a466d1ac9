"""How many tasks with one need fit an amount of resources, and the need of several of them."""

from __future__ import annotations

from broker_mesos.core.model.amounts import MAX_BOUND
from broker_mesos.core.model.port_numbers import count_ports, pick_ports
from broker_mesos.core.model.resources import Resources


def fits(need: Resources, free: Resources, ports: int = 0) -> int:
    """Number of tasks with this need, and with so many ports each, that fit; at most one if the need contains ranges or
    sets, since these name their members."""
    if ports:
        enough = count_ports(free) // ports
        return min(enough, fits(need, free)) if need else enough
    if need.ranges or need.sets:
        return 1 if free.contains(need) else 0
    return min((free.get(name) // amount for name, amount in need.scalars.items()), default=0)


def times(need: Resources, count: int) -> Resources:
    """The need of ``count`` tasks. Ranges and sets are left out if there are several, since they can only be taken
    once. Amounts are capped at the bound: one above it fits nowhere, and must raise no error."""
    if count == 1:
        return need
    return Resources.summed({name: min(amount * count, MAX_BOUND) for name, amount in need.scalars.items()})


def portion(need: Resources, count: int, free: Resources, ports: int = 0, start: int = 0) -> Resources:
    """What ``count`` tasks with this need, and with so many ports each, are given of the free resources. Their ports
    are picked from ``start`` on."""
    whole = times(need, count)
    return whole + pick_ports(free, ports * count, start) if ports else whole
