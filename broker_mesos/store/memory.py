"""Store and Records in the memory of one process, for embedded clusters and simulations.

``MemoryStoreState`` is the server; each master and each framework process has its own adapter on it. With a
``SqliteStoreState`` (``sqlite.py``) the same adapters keep their data in a file. Hooks for tests and simulations:
``available``, ``lost_replies``, ``snapshot()``, ``restore()``, ``wipe()``.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from broker_mesos.core.api.health import StoreReport
from broker_mesos.core.protocol.records import Lease, RecordKind, Snapshot
from broker_mesos.errors import Conflict, Fenced, StoreUnavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.store import Change, Check, Commit, MasterInfo, Pulse
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.store import keys, rules
from broker_mesos.store.facts import CellFacts, Facts, Row

T = TypeVar("T")


class MemoryStoreState:
    """What the server would hold; shared by the adapters of one process and one event loop.

    - ``available = False``: every call raises StoreUnavailable, and nothing is applied.
    - ``lost_replies = n``: the next n calls are applied, and raise StoreUnavailable all the same.
    - ``snapshot()`` and ``restore(old)``: the store goes back in time (and has another ``run_id``, as a
      restarted Redis has).
    - ``wipe()``: everything is gone.

    ``clock``: the server's, by which records are due; the machine's by default.
    """

    server = "memory"
    """The name in health reports."""
    unavailable_text = "the store in memory is switched off: switch it on again"

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.available = True
        self.lost_replies = 0
        self.run_id = 1
        self.facts = Facts()

    async def durable(self) -> None:
        """Return once everything that the caller may have changed or read is as durable as this store can make it."""

    def snapshot(self) -> object:
        """A copy of all data, for ``restore``."""
        return copy.deepcopy(self.facts)

    def restore(self, old: object) -> None:
        """Go back to a snapshot."""
        assert isinstance(old, Facts)
        self.facts = copy.deepcopy(old)
        self.run_id += 1

    def wipe(self) -> None:
        """Delete all data."""
        self.facts = Facts()


class _Adapter:
    """A client of a MemoryStoreState."""

    def __init__(self, state: MemoryStoreState) -> None:
        self._state = state
        self._closed = False

    @property
    def _facts(self) -> Facts:
        return self._state.facts

    async def open(self, timeout: float) -> None:
        """Connect, without waiting. Raises StoreUnavailable while the state is not available."""
        self._closed = False
        await self._call(lambda: None)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        self._closed = True

    async def _call(self, do: Callable[[], T]) -> T:
        await asyncio.sleep(0)  # other tasks may run in between, as with a network
        if self._closed:
            raise StoreUnavailable("the store is closed: open it first")
        if not self._state.available:
            raise StoreUnavailable(self._state.unavailable_text)
        result = do()
        await self._state.durable()
        if self._state.lost_replies > 0:
            self._state.lost_replies -= 1
            raise StoreUnavailable("the store's reply was lost: try again")
        return result


class MemoryStore(_Adapter):
    """The Store port on a MemoryStoreState."""

    def __init__(self, state: MemoryStoreState, clock: Clock) -> None:
        super().__init__(state)
        self._clock = clock
        self._count = 0

    async def cell_count(self, wanted: int | None) -> int:
        """See Store."""
        rules.check_wanted(wanted)

        def do() -> int:
            if wanted is not None and not self._facts.cell_count:
                self._set_count(wanted)
            return self._facts.cell_count

        found = await self._call(do)
        if wanted is not None and wanted != found:
            raise Conflict(rules.conflict_text(wanted, found))
        self._count = found or self._count
        return found

    async def claim(self, cell: int, *, owner: str, nonce: str, floor: int, seen: Lease) -> Snapshot:
        """See Store."""
        rules.check_claim(nonce, floor)

        def do() -> Snapshot:
            stored = self._cell(cell)
            repeat = stored.term > 0 and stored.nonce == nonce
            if not repeat and (stored.term, stored.nonce) != (seen.term, seen.nonce):
                raise rules.fenced(cell, seen.term, stored.term, stored.owner)
            now = int(self._clock.time() * 1000)
            if not repeat and floor > max(now + rules.MAX_FLOOR_AHEAD_MS, stored.term):
                raise rules.floor_refused(floor)
            if not repeat:
                stored.recovering = stored.term == 0 or stored.run_id != self._state.run_id
                stored.term = max(stored.term + 1, now, floor)
                stored.nonce, stored.owner = nonce, owner
                stored.run_id = self._state.run_id
                stored.renewed_at = self._clock.monotonic()
                if stored.recovering:
                    stored.recovered, stored.recovery_term = False, stored.term
                self._facts.cells[cell] = stored
                self._facts.changed("lease", cell)
            return Snapshot(
                stored.lease(cell, self._clock.monotonic()),
                dict(stored.records[RecordKind.AGENTS]),
                dict(stored.records[RecordKind.FRAMEWORKS]),
                dict(stored.records[RecordKind.TASKS]),
                [stored.outbox[number] for number in sorted(stored.outbox)],
                stored.recovering,
                stored.recovered,
                stored.recovery_term,
            )

        return await self._call(do)

    async def renew(self, cell: int, *, term: int, nonce: str, commit: int = 0, recovered: bool = False) -> None:
        """See Store."""

        def do() -> None:
            stored = self._owned(cell, term, nonce)
            if stored.commit < commit:
                raise rules.lost(cell, commit + 1, stored.commit)
            stored.recovered = stored.recovered or recovered
            stored.renewed_at = self._clock.monotonic()

        await self._call(do)

    async def release(self, cell: int, *, term: int, nonce: str) -> None:
        """See Store."""

        def do() -> None:
            try:
                stored = self._owned(cell, term, nonce)
            except Fenced:
                return
            stored.nonce = stored.owner = ""
            self._facts.changed("lease", cell)

        await self._call(do)

    async def commit(self, commit: Commit) -> None:
        """See Store."""
        net = rules.coalesce(commit)

        def do() -> None:
            stored = self._owned(commit.cell, commit.term, commit.nonce)
            if stored.commit == commit.number and stored.commit_id == commit.commit_id:
                return
            if stored.commit != commit.number - 1:
                raise rules.lost(commit.cell, commit.number, stored.commit)
            for number in commit.trim:
                stored.outbox.pop(number, None)
            for entry in commit.outbox:
                stored.outbox[entry.number] = entry._replace(body=bytes(entry.body))
            for kind in RecordKind:
                stored.records[kind].update(net.sets[kind])
                for ident in net.deletes[kind]:
                    stored.records[kind].pop(ident, None)
            stored.commit, stored.commit_id = commit.number, commit.commit_id
            stored.renewed_at = self._clock.monotonic()
            if self._facts.journal is not None:
                self._facts.journal.update(_rows(commit, net))

        await self._call(do)

    async def leases(self) -> list[Lease]:
        """See Store."""

        def do() -> list[Lease]:
            now = self._clock.monotonic()
            self._count = self._facts.cell_count or self._count
            return [self._cell(number).lease(number, now) for number in range(self._count)]

        return await self._call(do)

    async def beat(self, master: MasterInfo, ttl: float) -> Pulse:
        """See Store."""

        def do() -> Pulse:
            now = self._clock.monotonic()
            self._facts.masters[master.master_id] = (master, now, now + ttl)
            # A store that was wiped under running masters gets their number of cells again.
            if self._count and not self._facts.cell_count:
                self._set_count(self._count)
            return Pulse(self._living(), dict(self._facts.usage))

        return await self._call(do)

    async def retire(self, master_id: str) -> None:
        """See Store."""
        await self._call(lambda: self._facts.masters.pop(master_id, None))

    async def masters(self) -> list[MasterInfo]:
        """See Store."""
        return await self._call(self._living)

    def _living(self) -> list[MasterInfo]:
        now = self._clock.monotonic()
        masters = self._facts.masters
        for master_id in [each for each, (_, _, end) in masters.items() if end <= now]:
            del masters[master_id]
        return [info._replace(age=max(0.0, now - at)) for _, (info, at, _) in sorted(masters.items())]

    async def publish_usage(self, cell: int, usage: bytes) -> None:
        """See Store."""
        await self._call(lambda: self._facts.usage.__setitem__(cell, bytes(usage)))

    async def usage(self) -> dict[int, bytes]:
        """See Store."""
        return await self._call(lambda: dict(self._facts.usage))

    async def health(self) -> StoreReport:
        """See Store."""

        def do() -> StoreReport:
            outboxes = tuple(len(self._cell(number).outbox) for number in range(self._count))
            return StoreReport(server=self._state.server, time=self._clock.time(), outboxes=outboxes, in_process=True)

        return await self._call(do)

    async def tries(self, cell: int) -> dict[str, int]:
        """See Store."""
        return await self._call(lambda: dict(self._tries(cell)))

    async def trying(self, cell: int, message_ids: Sequence[str], tried: Sequence[str] = ()) -> list[int]:
        """See Store."""

        def do() -> list[int]:
            counts = self._tries(cell)
            for each in tried:
                counts.pop(each, None)
            for each in message_ids:
                counts[each] = counts.get(each, 0) + 1
            self._facts.tries[cell] = (self._clock.monotonic() + rules.TRIES_TTL_SECONDS, counts)
            return [counts[each] for each in message_ids]

        return await self._call(do)

    async def tried(self, cell: int, message_ids: Sequence[str]) -> None:
        """See Store."""

        def do() -> None:
            for each in message_ids:
                self._tries(cell).pop(each, None)

        await self._call(do)

    def _tries(self, cell: int) -> dict[str, int]:
        until, counts = self._facts.tries.get(cell, (0.0, {}))
        return counts if until > self._clock.monotonic() else {}

    def _set_count(self, count: int) -> None:
        self._facts.cell_count = count
        self._facts.changed("cluster", "cell_count")

    def _cell(self, cell: int) -> CellFacts:
        return self._facts.cells.get(cell) or CellFacts()

    def _owned(self, cell: int, term: int, nonce: str) -> CellFacts:
        stored = self._cell(cell)
        if (stored.term, stored.nonce) != (term, nonce):
            raise rules.fenced(cell, term, stored.term, stored.owner)
        return stored


def _rows(commit: Commit, net: rules.Coalesced) -> Iterator[Row]:
    """The names of the durable values that a commit changes."""
    cell = commit.cell
    yield "lease", cell
    for number in (*commit.trim, *(entry.number for entry in commit.outbox)):
        yield "outbox", cell, number
    for kind in RecordKind:
        for ident in (*net.sets[kind], *net.deletes[kind]):
            yield "record", cell, kind.value, ident


class MemoryRecords(_Adapter):
    """The Records port on a MemoryStoreState; ``space`` separates the records of frameworks."""

    def __init__(self, state: MemoryStoreState, *, space: str = "records") -> None:
        super().__init__(state)
        self._prefix = keys.records("memory", space)

    async def transact(self, checks: Sequence[Check], changes: Sequence[Change]) -> list[int] | None:
        """See Records."""
        rules.check_transaction(checks, changes)

        def do() -> list[int] | None:
            for check in checks:
                if check.op == "zcard":
                    if len(self._zset(check.key)) != check.value:
                        return None
                else:
                    wanted = None if check.value is None else rules.as_text(check.value)
                    if self._hash(check.key).get(check.field) != wanted:
                        return None
            self._refuse_wrong_types(changes)
            return [result for change in changes if (result := self._apply(change)) is not None]

        return await self._call(do)

    async def get(self, key: str, fields: Sequence[str]) -> list[str | None]:
        """See Records."""
        return await self._call(lambda: [self._hash(key).get(name) for name in fields])

    async def get_all(self, key: str) -> dict[str, str]:
        """See Records."""
        return await self._call(lambda: dict(self._hash(key)))

    async def size(self, key: str) -> int:
        """See Records."""
        name = self._prefix + key
        return await self._call(lambda: len(self._facts.hashes.get(name) or self._facts.zsets.get(name) or ()))

    async def range(self, key: str, *, limit: int, max_score: float | None = None) -> list[tuple[str, float]]:
        """See Records."""
        most = math.inf if max_score is None else max_score
        return await self._call(lambda: self._between(key, -math.inf, most, limit))

    async def due(self, key: str, *, limit: int, horizon: float) -> list[tuple[str, float]]:
        """See Records."""

        def do() -> list[tuple[str, float]]:
            now = self._state.clock.time()
            found = self._between(key, -math.inf, now, limit)
            beyond = math.nextafter(now + horizon, math.inf)
            return found + self._between(key, beyond, math.inf, limit - len(found))

        return await self._call(do)

    async def now(self) -> float:
        """See Records."""
        return await self._call(self._state.clock.time)

    def _between(self, key: str, least: float, most: float, limit: int) -> list[tuple[str, float]]:
        found = (pair for pair in self._zset(key).items() if least <= pair[1] <= most)
        return heapq.nsmallest(limit, found, key=lambda pair: (pair[1], pair[0].encode()))

    async def scan(self, key: str, cursor: str, limit: int) -> tuple[str, dict[str, str]]:
        """See Records."""

        def do() -> tuple[str, dict[str, str]]:
            # The cursor is the last field that was returned, so that fields that stay are found whatever else comes
            # and goes.
            stored, last = self._hash(key), cursor[1:] if cursor != "0" else None
            page = heapq.nsmallest(limit, (name for name in stored if last is None or name > last))
            following = f"={page[-1]}" if len(page) == limit > 0 else "0"
            return following, {name: stored[name] for name in page}

        return await self._call(do)

    def _type(self, key: str) -> str:
        name = self._prefix + key
        return "hash" if name in self._facts.hashes else "zset" if name in self._facts.zsets else "none"

    def _hash(self, key: str) -> dict[str, str]:
        if self._type(key) == "zset":
            raise rules.wrong_type(self._prefix + key, "zset", "hash")
        return self._facts.hashes.get(self._prefix + key, {})

    def _zset(self, key: str) -> dict[str, float]:
        if self._type(key) == "hash":
            raise rules.wrong_type(self._prefix + key, "hash", "zset")
        return self._facts.zsets.get(self._prefix + key, {})

    def _refuse_wrong_types(self, changes: Sequence[Change]) -> None:
        """Check the changes in the order in which they would be applied, so that none of them fails half-way."""
        types: dict[str, str] = {}
        for change in changes:
            found = types.get(change.key) or self._type(change.key)
            needed = "none" if change.op == "del" else "zset" if change.op[0] == "z" else "hash"
            if needed != "none" and found not in (needed, "none"):
                raise rules.wrong_type(self._prefix + change.key, found, needed)
            types[change.key] = needed
        for change in changes:
            if change.op == "hincrby" and self._type(change.key) == "hash":
                stored = self._hash(change.key).get(change.field, "0")
                if not rules.INTEGER.fullmatch(stored):
                    raise rules.not_integer(self._prefix + change.key, change.field)

    def _apply(self, change: Change) -> int | None:
        facts, name, result = self._facts, self._prefix + change.key, None
        if change.op == "del":
            for field in facts.hashes.pop(name, ()):
                facts.changed("hash", name, field)
            for member in facts.zsets.pop(name, ()):
                facts.changed("zset", name, member)
            return None
        if change.op == "hset":
            facts.hashes.setdefault(name, {})[change.field] = rules.as_text(change.value)
        elif change.op == "hincrby":
            fields = facts.hashes.setdefault(name, {})
            result = int(fields.get(change.field, "0")) + int(change.value)
            fields[change.field] = str(result)
        elif change.op == "zadd" or change.op == "zadd_after":
            base = 0.0 if change.op == "zadd" else self._state.clock.time()
            facts.zsets.setdefault(name, {})[change.field] = base + float(change.value)
        elif change.op == "zadd_last":
            scores = facts.zsets.setdefault(name, {})
            scores[change.field] = max(float(change.value), max(scores.values(), default=-math.inf) + 1e-6)
        else:
            kind: dict[str, dict[str, str]] | dict[str, dict[str, float]]
            kind = facts.hashes if change.op == "hdel" else facts.zsets
            members = kind.get(name, {})
            members.pop(change.field, None)
            if not members:
                kind.pop(name, None)  # Redis has no empty hashes or sorted sets either
        facts.changed("zset" if change.op[0] == "z" else "hash", name, change.field)
        return result
