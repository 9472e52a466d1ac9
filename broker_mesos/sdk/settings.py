"""How a driver behaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """How a driver behaves; times in seconds."""

    heartbeat_interval: float = 2.0
    subscribe_interval: float = 1.0
    """Between the first SUBSCRIBEs that stay without an answer; later ones come more rarely."""
    registration_timeout: float | None = None
    """How long masters may be away at the start; then ``run`` raises TimedOut. None: for ever."""
    stop_timeout: float = 10.0
    """How long a callback under way may hold the end up; and after it, the last messages and the teardown."""
    offer_timeout: float = 10.0
    """The cluster's; after 1.5 times that a launch without news is asked about."""
    settle: bool = True
    """Ask about launches without news. False: the framework keeps its own claims, and settles them."""
    gather: bool = True
    """Put offers of gangs together and tell when a gang has them all. False: the framework does so itself,
    they come like any other."""
    serial: bool = True
    """Never run two callbacks at once. False: offers and events are handled side by side."""
    prefetch: int = 500
    """Messages taken from a queue and not yet handled; those go to another process when this one ends."""
    remember: int = 100_000
    """Tasks remembered, of each kind: where they run, that they have ended."""
