"""The faults of a seed: what happens when, and for how long. They all end before the end is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

SPAN = (4.0, 30.0)
"""Virtual seconds within which faults begin."""


def schedule(world: World) -> float:
    """Arrange a seed's faults; returns the time at which the last of them is over."""
    return 5.0
