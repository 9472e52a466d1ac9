"""The records that the cells share in the store, as one cell accesses them: the ledger of limits
(``core/quota/ledger.py``) and the gang token (``core/quota/gang_token.py``)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from broker_mesos.core.quota.gang_token import GangToken, TokenRequest, read, turn
from broker_mesos.core.quota.ledger import EscrowRequest, ledger_key, settle
from broker_mesos.errors import StoreUnavailable
from broker_mesos.master.config_store import CONFIG, VERSION
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Change, Check, Records
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

ASK_INTERVAL_SECONDS = 0.2
"""Minimum time between two requests of a cell about the same role, in seconds."""
MAX_TRIES = 8
"""Maximum number of attempts to raise a part while other cells are faster; then the cell keeps its part and asks
again later."""


GANGS, TOKEN = "gangs", "token"


class SharedQuota:
    """The ledger of all roles and the gang token, as one cell accesses them under one term."""

    def __init__(self, records: Records, clock: Clock, rng: random.Random, *, cell: int, cells: int, term: int) -> None:
        self._records = records
        self._clock = clock
        self._rng = rng
        self._cell = cell
        self._cells = cells
        self._term = term
        self._requested_at: dict[str, float] = {}
        """By role: the monotonic time of the last request, in seconds."""

    async def settle_in_time(self, ask: EscrowRequest, ended: asyncio.Event) -> Mapping[str, int] | None:
        """Change the cell's part of a limit, at most once per ASK_INTERVAL_SECONDS, and repeatedly while the store is
        away. Returns None if the term has ended."""
        wait = self._requested_at.get(ask.role, -ASK_INTERVAL_SECONDS) + ASK_INTERVAL_SECONDS - self._clock.monotonic()
        while not ended.is_set():
            if wait > 0:
                await self._clock.sleep(wait)
            self._requested_at[ask.role] = self._clock.monotonic()
            try:
                return await self.settle(ask)
            except StoreUnavailable as error:
                log.warning("the ledger of limits cannot be reached", cell=self._cell, error=str(error))
                wait = 1.0
        return None

    async def settle(self, ask: EscrowRequest) -> Mapping[str, int] | None:
        """Change the cell's part of a limit. Returns the part that the cell has from now on, or None if the cell has
        a later owner. A request whose answer was lost may be repeated, as long as no other one was made since.

        Raises StoreUnavailable.
        """
        key, field = ledger_key(ask.role), str(self._cell)
        tries = 0
        while True:
            (version,), stored = await asyncio.gather(self._records.get(CONFIG, [VERSION]), self._records.get_all(key))
            if version != str(ask.version) or tries >= MAX_TRIES:
                ask = ask.without_raise()
            found = settle(ask, self._cell, self._cells, self._term, stored)
            if found is None:
                return None
            text = found.entry.encode().decode()
            if text == stored.get(field):
                return found.entry.amounts
            compared = range(self._cells) if found.raised else (self._cell,)
            checks = [Check("hash", key, str(each), stored.get(str(each))) for each in compared]
            if found.raised:
                checks.append(Check("hash", CONFIG, VERSION, version))
            if await self._records.transact(checks, [Change("hset", key, field, text)]) is not None:
                return found.entry.amounts
            tries += 1
            await self._pause(tries)

    async def token(self, ask: TokenRequest) -> GangToken | None:
        """Request the gang token. Returns who has it from now on. Raises StoreUnavailable."""
        for tries in range(1, MAX_TRIES + 1):
            (text,) = await self._records.get(GANGS, [TOKEN])
            before = read(text)
            after = turn(before, ask)
            if after == before:
                return before.holder
            change = Change("hset", GANGS, TOKEN, after.encode().decode())
            if await self._records.transact([Check("hash", GANGS, TOKEN, text)], [change]) is not None:
                return after.holder
            await self._pause(tries)
        return read((await self._records.get(GANGS, [TOKEN]))[0]).holder

    async def _pause(self, tries: int) -> None:
        await self._clock.sleep(self._rng.uniform(0.5, 1.0) * min(0.002 * 2**tries, 0.1))
