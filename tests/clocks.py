"""Clocks for tests."""

from __future__ import annotations

import asyncio


class StillClock:
    """Time passes only when a test says so; sleeping lets others run."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
