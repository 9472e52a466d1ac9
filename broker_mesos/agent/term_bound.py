"""The lowest term that no owner of a cell can have, as far as an agent knows."""

from __future__ import annotations

from broker_mesos.core.protocol.limits import MAX_COMMAND_TERM
from broker_mesos.errors import InvalidMessage


class TermRefused(InvalidMessage):
    """A command has a term that no owner can have: once stored, it would make the agent refuse all commands."""


class TermBound:
    """Grows with monotonic time, as the terms of new owners do. Until a master has sent one it is MAX_COMMAND_TERM."""

    def __init__(self) -> None:
        self._bound = 0
        self._learned_at = 0.0

    def learn(self, bound: int, mono: float) -> None:
        """Take a master's answer at a monotonic time in seconds; 0 if the master does not know."""
        self._bound, self._learned_at = bound, mono

    def at(self, mono: float) -> int:
        """The bound at a monotonic time in seconds."""
        elapsed_ms = int((mono - self._learned_at) * 1000)
        return min(MAX_COMMAND_TERM, self._bound + elapsed_ms) if self._bound else MAX_COMMAND_TERM

    def check(self, term: int, mono: float) -> None:
        """Raise TermRefused for a term that is out of bounds."""
        if not 0 <= term < self.at(mono):
            raise TermRefused(f"term {term} is out of bounds: no owner of a cell can have it yet")
