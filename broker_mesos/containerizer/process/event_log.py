"""What the spawner writes down and what it tells its agent, in this order. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from broker_mesos.containerizer.process.journal import Entry, Journal, Record
from broker_mesos.containerizer.process.spawner_link import AgentLink

GATHER_SECONDS = 0.005
"""Seconds that events wait for others while tasks stand in line: nobody else is kept waiting."""


class EventLog:
    """Records gather in a round of the spawner's loop, and are written and sent together at its end."""

    def __init__(self, journal: Journal, link: AgentLink, log: Callable[[str], None]) -> None:
        self._journal = journal
        self._link = link
        self._log = log
        self._records: list[Record] = []
        self._events: list[Record] = []
        self._since = 0.0
        self._fails = False

    def __bool__(self) -> bool:
        """Whether the agent is still to be told something."""
        return bool(self._events)

    @property
    def due(self) -> float:
        """Monotonic time at which to ``flush`` what gathers."""
        return self._since + GATHER_SECONDS

    def record_and_send(self, record: Record) -> None:
        """To the journal, and then to the agent."""
        self._records.append(record)
        self._events.append(record)

    def record(self, record: Record) -> None:
        """To the journal."""
        self._records.append(record)

    def send(self, *records: Record) -> None:
        """To the agent."""
        self._events.extend(records)

    def write_ahead(self, records: Sequence[Record]) -> None:
        """Write something down, and all that waits for it, now. Raises OSError."""
        self._journal.append([*self._records, *records])
        self._records.clear()

    def flush(self, entries: Iterable[Entry], known: int, *, gathering: bool) -> None:
        """Write down and send; with ``gathering``, send only what has waited for long enough. ``entries``:
        all ``known`` tasks, should the journal have to be rewritten."""
        if self._records:
            try:
                self.write_ahead(())
                if self._journal.is_long(known):
                    self._journal.compact(entries)
                self._fails = False
            except OSError as error:
                # Disk full: they are kept for the next round. Telling the agent is the better half.
                if not self._fails:
                    self._log(f"journal: {error}")
                self._fails = True
        if self._events and gathering:
            now = time.monotonic()
            self._since = self._since or now
            if now < self.due:
                return
        self._since = 0.0
        if self._events or self._link.unsent:
            self._link.send(self._events)
            self._events.clear()
