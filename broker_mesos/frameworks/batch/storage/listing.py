"""Lists jobs: all of them, those that have not ended, or those that have ended, narrowed by filters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from fnmatch import fnmatchcase
from typing import NamedTuple

from broker_mesos.core.api.jobs import JobFilter, JobSummary
from broker_mesos.core.model.roles import is_within
from broker_mesos.frameworks.batch.storage.reader import CHUNK, JobReader
from broker_mesos.frameworks.batch.storage.records import ACTIVE, ENDED, ORDER, Counts, JobRecord
from broker_mesos.ports.store import Records

MAX_LISTED = 100_000
"""Maximum number of jobs that are read, in their order, for one listing."""


class Listing(NamedTuple):
    """A page of jobs, the latest submitted first."""

    jobs: list[JobSummary]
    total: int
    """Number of jobs of that kind, before the filters."""
    after: int | None
    """Number (``seq``) of the last job that was read, after which the next page begins; None on the last page."""


class JobLister:
    """Lists jobs from the store. ``current`` returns the summary of a job from its record and counts."""

    def __init__(
        self,
        records: Records,
        reader: JobReader,
        current: Callable[[str, JobRecord, Counts], Awaitable[JobSummary]],
    ) -> None:
        self._records = records
        self._read = reader
        self._current = current

    async def list(self, limit: int, which: JobFilter, only: Collection[str] | None = None) -> Listing:
        """Up to ``limit`` jobs that match the filter, and whose ids are in ``only`` if it is given. Raises
        StoreUnavailable."""
        key = {"all": ORDER, "active": ACTIVE, "ended": ENDED}[which.kind]
        total = await self._records.size(key)
        if key == ORDER:
            # Scores are the jobs' numbers, negated: the jobs that follow one in the listing have higher scores.
            plain = which.is_plain and only is None
            page = await self._records.range(ORDER, limit=limit + 1 if plain else MAX_LISTED)
            ids = [ident for ident, score in page if which.after is None or -score < which.after]
        else:
            ids = [ident for ident, _ in await self._records.range(key, limit=MAX_LISTED)]
        if only is not None:
            ids = [ident for ident in ids if ident in only]
        found: list[JobSummary] = []
        last: int | None = None
        if key != ORDER:
            records = await self._read.records(ids)
            ids = sorted(records, key=lambda ident: -records[ident].seq)
            if which.after is not None:
                ids = [ident for ident in ids if records[ident].seq < which.after]
        for at in range(0, len(ids), CHUNK):
            part = ids[at : at + CHUNK]
            records = await self._read.records(part)
            matching = [ident for ident in part if ident in records and _may_match(records[ident], which)]
            for begin in range(0, len(matching), limit):
                some = matching[begin : begin + limit]
                counts = await self._read.counts_of([each for each in some if records[each].ended_at is None])
                for ident in some:
                    if len(found) == limit:
                        return Listing(found, total, last)
                    summary = await self._current(ident, records[ident], counts.get(ident, Counts()))
                    last = records[ident].seq
                    if not which.states or summary.state in which.states:
                        found.append(summary)
        return Listing(found, total, None)


def _may_match(record: JobRecord, which: JobFilter) -> bool:
    """Whether a job matches those parts of a filter for which its record is enough."""
    if which.name and not fnmatchcase(record.name, which.name):
        return False
    if which.user and record.user != which.user:
        return False
    if which.role and not is_within(record.role, which.role):
        return False
    at = record.submitted_at if record.ended_at is None else record.ended_at
    if which.since is not None and at < which.since:
        return False
    return which.until is None or at <= which.until
