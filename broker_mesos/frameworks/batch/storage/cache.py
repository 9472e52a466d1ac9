"""A write-through cache of the records that a worker has stored itself.

Another worker may have changed a record since. So every plan that uses a cached value compares it in the store, and
when a transaction is refused the whole cache is dropped; everything is read from the store then, for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import CLAIMS, COUNTS, JOBS, META, PENDING, WORK, Counts
from broker_mesos.ports.clock import Clock

DISTRUST_SECONDS = 1.0
"""Time for which the cache is not used after a transaction was refused, in seconds: several workers change the same
jobs."""
MAX_BYTES = 32 << 20
"""Maximum size of the cached texts, in bytes."""
MAX_JOBS = 5_000
"""Maximum number of jobs whose counts are cached."""
MAX_PENDING = 50
"""Maximum number of cached pending jobs; if there are more, they are read from the store."""
_OVERHEAD = 250

_CACHED_KEYS = frozenset({JOBS, WORK, CLAIMS})
_SEQ = (META, "seq")
_VERSION = (META, "demand_version")
_COUNTS = "counts:"


class Cache:
    """Caches texts of jobs, work and claims, counts, and the pending jobs as of one version of demand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._bytes = 0
        self._counts: OrderedDict[str, Counts] = OrderedDict()
        self._pending: dict[str, float] | None = None
        self._version = -1
        self._not_before = float("-inf")
        self._under_way = 0
        self._overlap = False

    @property
    def trusted(self) -> bool:
        """Whether the cache may be used; False for DISTRUST_SECONDS after ``forget``."""
        return self._clock.monotonic() >= self._not_before

    def forget(self) -> None:
        """Drop everything, since a cached value was found to be out of date."""
        self._texts.clear()
        self._bytes = 0
        self._counts.clear()
        self._pending = None
        self._not_before = self._clock.monotonic() + DISTRUST_SECONDS

    def forget_job(self, job_id: str, version: int) -> None:
        """Drop a job if its cached counts are older than ``version``, which another worker has published."""
        counts = self._counts.get(job_id)
        if counts is None or counts.version < version:
            self._counts.pop(job_id, None)
            self._drop((JOBS, job_id))
            self._drop((WORK, job_id))

    def text(self, key: str, field: str) -> str | None:
        """A field's value; None if it is not cached."""
        return self._texts.get((key, field)) if self.trusted else None

    def counts(self, job_id: str) -> Counts | None:
        """A job's counts; None if they are not cached."""
        return self._counts.get(job_id) if self.trusted else None

    def pending(self) -> tuple[int, list[tuple[str, float]]] | None:
        """A version of demand, and the jobs that were pending when it was taken, without those that no longer are,
        in the order in which they are served; None if they are not cached. Every transaction that makes work appear
        takes a new version."""
        if self._pending is None or len(self._pending) > MAX_PENDING or not self.trusted:
            return None
        return self._version, sorted(self._pending.items(), key=lambda each: (each[1], each[0].encode()))

    def begin(self, plan: Plan) -> bool:
        """Note that a plan is being applied. Returns whether it changes which jobs are pending; if so, the caller
        must call ``end`` afterwards."""
        if not any(change.key == PENDING for change in plan.changes):
            return False
        self._under_way += 1
        # Of two transactions under way at once the order in the store is not known here.
        self._overlap = self._overlap or self._under_way > 1
        return True

    def end(self) -> None:
        """Note that a plan for which ``begin`` returned True was applied or refused."""
        if self._overlap:
            self._pending = None
        self._under_way -= 1
        self._overlap = self._overlap and self._under_way > 0

    def applied(self, plan: Plan, totals: Mapping[tuple[str, str], int]) -> None:
        """Cache what an applied plan has stored."""
        if not self.trusted:
            return
        added: dict[str, float] = {}
        dropped: list[str] = []
        for change in plan.changes:
            name = change.key, change.field
            if change.op == "hset":
                if change.key in _CACHED_KEYS or name == _SEQ:
                    self._keep(name, str(change.value))
            elif change.op == "hdel":
                self._drop(name)
            elif change.key == PENDING:
                if change.op == "zadd":
                    added[change.field] = float(change.value)
                else:
                    dropped.append(change.field)
        self._follow(plan, added, dropped, totals.get(_VERSION))
        for (key, field), _ in totals.items():
            if field == COUNTS[0] and key.startswith(_COUNTS):
                self._count(key.removeprefix(_COUNTS), [totals[key, each] for each in COUNTS])

    def _follow(self, plan: Plan, added: Mapping[str, float], dropped: Sequence[str], version: int | None) -> None:
        if version is None:
            if added:
                self._pending = None  # cannot happen: every plan that makes work appear takes a version
        elif self._pending is not None and version == self._version + 1:
            self._version = version
        else:
            # The pending jobs are not cached, or other workers have taken versions. They are known nevertheless if
            # the plan compared their exact number and removed as many.
            sizes = [check.value for check in plan.checks if check.op == "zcard" and check.key == PENDING]
            self._pending = {} if sizes == [len(dropped)] else None
            self._version = version
        if self._pending is not None:
            for job_id in dropped:
                self._pending.pop(job_id, None)
            self._pending.update(added)

    def _count(self, job_id: str, values: Sequence[int]) -> None:
        self._counts[job_id] = Counts(*values)
        self._counts.move_to_end(job_id)
        if len(self._counts) > MAX_JOBS:
            self._counts.popitem(last=False)

    def _keep(self, name: tuple[str, str], text: str) -> None:
        self._drop(name)
        self._texts[name] = text
        self._bytes += len(text) + _OVERHEAD
        while self._bytes > MAX_BYTES:
            self._drop(next(iter(self._texts)))

    def _drop(self, name: tuple[str, str]) -> None:
        old = self._texts.pop(name, None)
        if old is not None:
            self._bytes -= len(old) + _OVERHEAD
