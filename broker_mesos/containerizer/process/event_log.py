"""Writes the spawner's records to its journal, and then sends its events to the agent. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from broker_mesos.containerizer.process.journal import Entry, Journal, Record
from broker_mesos.containerizer.process.spawner_link import AgentLink

COALESCE_SECONDS = 0.005
"""Time that events wait for others while tasks are queued, in seconds; nothing else waits for them then."""


class EventLog:
    """Collects the records of a round of the spawner's loop; they are written and sent together at its end."""

    def __init__(self, journal: Journal, link: AgentLink, log: Callable[[str], None]) -> None:
        self._journal = journal
        self._link = link
        self._log = log
        self._records: list[Record] = []
        self._events: list[Record] = []
        self._since = 0.0
        self._fails = False

    def __bool__(self) -> bool:
        """Whether events are still to be sent to the agent."""
        return bool(self._events)

    @property
    def due(self) -> float:
        """Monotonic time at which to ``flush`` events that are held back."""
        return self._since + COALESCE_SECONDS

    def record_and_send(self, record: Record) -> None:
        """Add a record that is written to the journal and then sent to the agent."""
        self._records.append(record)
        self._events.append(record)

    def record(self, record: Record) -> None:
        """Add a record that is only written to the journal."""
        self._records.append(record)

    def send(self, *records: Record) -> None:
        """Add records that are only sent to the agent."""
        self._events.extend(records)

    def write_ahead(self, records: Sequence[Record]) -> None:
        """Write the collected records and these to the journal now. Raises OSError."""
        self._journal.append([*self._records, *records])
        self._records.clear()

    def flush(self, entries: Iterable[Entry], known: int, *, coalesce: bool) -> None:
        """Write and send what was collected; with ``coalesce``, send events only after COALESCE_SECONDS. ``entries``
        are all ``known`` tasks, for the case that the journal must be rewritten."""
        if self._records:
            try:
                self.write_ahead(())
                if self._journal.is_long(known):
                    self._journal.compact(entries)
                self._fails = False
            except OSError as error:
                # The disk is full: the records are kept for the next round. The events are sent nevertheless, since
                # the agent stores outcomes, too.
                if not self._fails:
                    self._log(f"journal: {error}")
                self._fails = True
        if self._events and coalesce:
            now = time.monotonic()
            self._since = self._since or now
            if now < self.due:
                return
        self._since = 0.0
        if self._events or self._link.unsent:
            self._link.send(self._events)
            self._events.clear()
