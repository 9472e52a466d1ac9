"""The store's time, the only wall clock whose times workers may store and compare."""

from __future__ import annotations

from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Records


class StoreClock:
    """A Clock whose ``time`` is the store's: read by ``sync``, and carried on by this process' monotonic clock.

    The wall clocks of workers differ and step, so a time that one of them stores must not be compared with
    the wall clock of another. Until the first ``sync`` it is this process' own wall clock at the start.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.time() - clock.monotonic()

    async def sync(self, records: Records) -> None:
        """Read the store's time. Raises StoreUnavailable."""
        requested_at = self._clock.monotonic()
        now = await records.now()
        self._offset = now - (requested_at + self._clock.monotonic()) / 2

    def time(self) -> float:
        """See Clock."""
        return self._clock.monotonic() + self._offset

    def monotonic(self) -> float:
        """See Clock."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await self._clock.sleep(seconds)
