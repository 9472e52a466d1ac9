"""Port numbers that are requested by their count: how many are free, and which ones a task is given.

The resource ``ports`` of an agent, of an offer and of a task is a range resource as in Mesos: each names its numbers.
Only a demand names a count (``Shape.ports``). The cell picks the numbers when it makes an offer, and the framework
gives each of its tasks some numbers of the offer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from broker_mesos.core.model.amounts import THOUSAND, shown
from broker_mesos.core.model.resource_sets import Ranges, count
from broker_mesos.core.model.resources import Resources

PORTS: Final = "ports"
"""Name of the resource."""
MAX_PORTS: Final = 1_000
"""The largest number of ports that one task may request."""
_NAME: Final = r"[A-Za-z][A-Za-z0-9_-]{0,62}"


def count_ports(resources: Resources) -> int:
    """How many port numbers an amount of resources holds."""
    return count(_ranges(resources))


def pick_ports(free: Resources, number: int, start: int = 0) -> Resources:
    """So many of the free port numbers, as resources: the lowest ones from ``start`` on, then the lowest of all. Fewer
    if there are not enough; the caller checks that by ``count_ports``."""
    picked: list[tuple[int, int]] = []
    ranges = _ranges(free)
    later = [(max(low, start), high) for low, high in ranges if high >= start]
    earlier = [(low, min(high, start - 1)) for low, high in ranges if low < start]
    for low, high in (*later, *earlier):
        if number <= 0:
            break
        last = min(high, low + number - 1)
        picked.append((low, last))
        number -= last - low + 1
    return Resources.from_mapping({PORTS: picked})


def following(picked: Resources, start: int) -> int:
    """The number from which the next ports are picked, after these were picked from ``start`` on."""
    ranges = _ranges(picked)
    # The lowest numbers were picked only after there were no more above.
    last = [high for low, high in ranges if low < start] or [high for _, high in ranges] or [start - 1]
    return last[-1] + 1


def numbers_of(resources: Resources) -> list[int]:
    """The port numbers in an amount of resources, in ascending order."""
    return [port for low, high in _ranges(resources) for port in range(low, high + 1)]


def with_count(resources: Resources, ports: int) -> Resources:
    """An amount in which all ranges and sets are counted, with a number of ports beside: for sums and comparisons."""
    counted = resources.counted()
    return counted + Resources.scalars_of({PORTS: ports * THOUSAND}) if ports else counted


def port_variables(resources: Resources, names: Sequence[str] = ()) -> dict[str, str]:
    """The environment variables that tell a task its ports: ``PORT0``, ``PORT1`` and so on, in ascending order, and
    ``PORT_<NAME>`` for the first of them, which have these names."""
    numbers = numbers_of(resources)
    found = {f"PORT{at}": str(port) for at, port in enumerate(numbers)}
    found.update((variable_of(name), str(port)) for name, port in zip(names, numbers, strict=False))
    return found


def variable_of(name: str) -> str:
    """The environment variable of a named port: ``PORT_HTTP`` of ``http``."""
    return "PORT_" + name.upper().replace("-", "_")


def check_port_names(names: Sequence[str], ports: int) -> None:
    """Check the names of a task's ports. Raises ValueError in one line."""
    variables = [variable_of(name) for name in names]
    for name in names:
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"port name {shown(name)}: write letters, digits, '-' and '_', a letter first, as in http")
    if len(set(variables)) < len(variables):
        twice = next(name for name, each in zip(names, variables, strict=True) if variables.count(each) > 1)
        raise ValueError(f"port name {shown(twice)} is given twice")
    if len(names) > ports:
        raise ValueError(f"{len(names)} port names for {ports} ports: ask for at least as many ports as names")


def _ranges(resources: Resources) -> Ranges:
    return resources.ranges.get(PORTS, ())
