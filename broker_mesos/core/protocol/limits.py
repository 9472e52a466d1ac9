"""The limits of a cell. All times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MISSED_BEATS = 2.5
"""The number of heartbeats that an agent with a longer interval may miss before it is unreachable."""
MAX_COMMAND_TERM = 2**42
"""Terms of commands are below this number. Terms are milliseconds since 1970, so that this is the year 2109. It is far
below MAX_TERM, so that owners can always use a higher term than an agent has seen. A master's answer to an agent has a
closer bound (``HelloAnswer.max_term``)."""


class Instant(NamedTuple):
    """A moment on two clocks, both in seconds. ``wall`` is calendar time: it is stored and shown, and may step, so
    that no duration is computed from it. ``mono`` is monotonic: it measures durations, and has no meaning in other
    processes."""

    wall: float
    mono: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a cell, with their default values."""

    agent_beat: float = 5.0
    """Shortest interval between two heartbeats of an agent, in seconds."""
    agent_missed: int = 5
    """Number of heartbeats at the shortest interval that an agent may miss before it is unreachable."""
    agent_beats: float = 50.0
    """Heartbeats per second that a cell receives from all its agents at most: with more agents, each sends them
    less often. (As Nomad does by its ``max_heartbeats_per_second``.)"""
    framework_beat: float = 2.0
    """Interval between two heartbeats of a framework's process, in seconds."""
    framework_missed: int = 5
    """Number of heartbeats that a framework may miss before it is disconnected."""
    offer_timeout: float = 10.0
    """Time after which an offer that is not answered ends, in seconds."""
    consumer_check: float = 0.3
    """Interval between two checks whether a framework's queues have consumers, in seconds."""
    refuse: float = 5.0
    """Duration of the filter after a decline or accept that names none, in seconds."""
    refuse_at_most: float = 365 * 86_400.0
    """Longest duration of a filter, in seconds."""
    allocation: float = 1.0
    """Longest interval between two rounds of allocation, in seconds; a filter lasts at least as long."""
    round_pause: float = 0.2
    """Shortest pause between two rounds of allocation in a cell of ``round_agents`` or more agents, in seconds. In a
    smaller cell the pause is shorter in proportion, and below a tenth of ``round_agents`` there is none. Resources
    that become free during a pause are offered together."""
    round_agents: int = 2_500
    """Number of agents of a cell from which on the whole ``round_pause`` applies."""
    gang_patience: float = 3.0
    """Time for which a gang waits for room like any other demand before it requests the gang token, in seconds."""
    gang_hold: float = 30.0
    """Time for which one gang has the gang token, and free resources are kept for it, in seconds."""
    acknowledge: float = 5.0
    """Half of the longest time for which an acknowledgement waits for a launch command to the same agent that can
    carry it, in seconds."""
    resend_first: float = 30.0
    """Time after which a terminal update that its framework has not acknowledged is first sent again, in seconds.
    The broker keeps its messages, so that this is for updates that got lost in spite of that."""
    resend_at_most: float = 600.0
    """Longest interval between two repeats of a terminal update, in seconds."""
    tombstone: float = 8 * 86_400.0
    """Time for which the id of a torn down framework is refused, in seconds: the longest lifetime of its queues."""
    forget_agent: float = 14 * 86_400.0
    """Time after which an unreachable agent without tasks is removed, in seconds."""
    agents_lost_at_once: float = 0.05
    """Fraction of a cell's agents (at least one) that may be declared unreachable within one ``agent_beat``: when
    many agents fall silent together, a fault of the network is more likely than one of the machines."""
    home_overdue: float = 30.0
    """Time after a framework's failover timeout at which its other cells first report it to its home cell, and
    interval at which they repeat the report, in seconds."""
    completed: int = 1_000
    """Number of completed tasks that are kept for each framework, in the owner's memory."""

    def beat_of(self, agents: int) -> float:
        """Interval between two heartbeats of each agent of a cell with so many agents, in seconds."""
        return max(self.agent_beat, agents / self.agent_beats)

    def pause_of(self, agents: int) -> float:
        """Shortest pause between two rounds of allocation of a cell with so many agents, in seconds."""
        part = min(1.0, agents / self.round_agents)
        return self.round_pause * part if part >= 0.1 else 0.0

    def silence(self, beat: float) -> float:
        """Time without a heartbeat after which an agent with this interval is unreachable, in seconds."""
        return max(self.agent_beat * self.agent_missed, MISSED_BEATS * beat)
