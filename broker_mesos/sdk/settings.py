"""The settings of a driver."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """The settings of a driver; times are in seconds."""

    heartbeat_interval: float = 2.0
    subscribe_interval: float = 1.0
    """Interval between the first SUBSCRIBE calls without an answer; later intervals are longer."""
    registration_timeout: float | None = None
    """Time without an answer of a master at the start after which ``run`` raises TimedOut; None: no limit."""
    stop_timeout: float = 10.0
    """Maximum time at the end of a run to wait for a callback that still runs, and again for the last messages and the
    teardown."""
    offer_timeout: float = 10.0
    """The cluster's offer timeout; after 1.5 times this, the cell is asked about a launch without a status."""
    settle: bool = True
    """Whether the driver asks cells about launches without a status. False: the framework keeps claims of its own, and
    settles them."""
    gather: bool = True
    """Whether the driver assembles gangs and calls ``gang_offers`` for complete ones. False: offers of gangs are passed
    to ``resource_offers`` like any others, and the framework assembles them."""
    serial: bool = True
    """Whether only one callback runs at a time. False: offers and events are handled concurrently."""
    prefetch: int = 500
    """Maximum number of messages that are taken from a queue and not handled yet; they are returned when this process
    ends."""
    remember: int = 100_000
    """Maximum number of entries of each kind that a driver keeps: offers, tasks and their agents, ended tasks."""
