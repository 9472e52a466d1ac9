"""The time limits of a cell (design, section 6). Seconds throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MISSED_BEATS = 2.5
"""Heartbeats that an agent may miss which has been told to beat less often."""
MAX_COMMAND_TERM = 2**42
"""Terms of commands stay below it. Terms are milliseconds since 1970, so that this is the year 2109; it is far below
MAX_TERM, so that owners can always go above what an agent has seen. (No clock of an agent bounds it more closely: one
that is years behind until the network is up would refuse every command.)"""


class Instant(NamedTuple):
    """A moment on two clocks, both in seconds. ``wall`` is the calendar: it is stored and shown, and may step,
    so that no duration is computed from it. ``mono`` measures durations, and means nothing to other processes."""

    wall: float
    mono: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults are those of the design."""

    agent_beat: float = 5.0
    agent_missed: int = 5
    agent_beats: float = 50.0
    """Heartbeats a second that a cell hears from its agents: of more agents than can beat so often, each
    beats less often. (As Nomad does by its ``max_heartbeats_per_second``.)"""
    framework_beat: float = 2.0
    framework_missed: int = 5
    offer_timeout: float = 10.0
    consumer_check: float = 0.3
    refuse: float = 5.0
    """Of a decline or accept that names no time."""
    refuse_at_most: float = 365 * 86_400.0
    allocation: float = 1.0
    """The batch interval; a filter lasts at least as long."""
    round_pause: float = 0.2
    """Between two rounds of allocation in a cell of ``round_agents`` or more, at least; a smaller one waits
    that much less, one below a tenth of that not at all. What becomes free meanwhile is offered together."""
    round_agents: int = 2_500
    gang_patience: float = 3.0
    """For so long a gang waits for room like anybody else, before it wants the gang token."""
    gang_hold: float = 30.0
    """For so long one gang has the token, and free room is kept for it; then it is the next one's turn."""
    acknowledge: float = 5.0
    """Twice that at most an acknowledgement waits for a launch that takes it along to its agent."""
    resend_first: float = 30.0
    """After it a terminal update that its framework has not acknowledged is sent again; the broker keeps what
    it has, so that this is for what got lost all the same."""
    resend_at_most: float = 600.0
    tombstone: float = 8 * 86_400.0
    """How long a torn down framework's id stays refused: as long as its queues could live."""
    forget_agent: float = 14 * 86_400.0
    """How long an unreachable agent without tasks is remembered."""
    agents_lost_at_once: float = 0.05
    """The part of a cell's agents (at least one) that may be declared unreachable within an agent beat:
    when many vanish together, it is more likely the network than the machines."""
    home_overdue: float = 30.0
    """Seconds after a framework's failover timeout at which its other cells remind its home cell of it, again
    and again."""
    completed: int = 1_000
    """Completed tasks kept for each framework, in the owner's memory."""

    def beat_of(self, agents: int) -> float:
        """Seconds between two heartbeats of each of so many agents."""
        return max(self.agent_beat, agents / self.agent_beats)

    def pause_of(self, agents: int) -> float:
        """Seconds between two rounds of allocation among so many agents, at least."""
        part = min(1.0, agents / self.round_agents)
        return self.round_pause * part if part >= 0.1 else 0.0

    def silence(self, beat: float) -> float:
        """Seconds of silence after which an agent is unreachable that beats so often."""
        return max(self.agent_beat * self.agent_missed, MISSED_BEATS * beat)
