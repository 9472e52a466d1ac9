"""Reads which jobs are pending, all of them or those of some roles, and in which roles jobs are pending."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from broker_mesos.core.model.framework import MAX_DEMAND_ROLES
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import PENDING, ROLES, pending_key
from broker_mesos.ports.store import Records

PAGES = (50, 500, 10_000)
"""Numbers of pending jobs that are read for offers: a larger one only if the jobs before leave room in the offers."""
MAX_ROLES = MAX_DEMAND_ROLES - 1
"""Maximum number of roles, besides ``*``, in which jobs are pending at a time."""

Pending = Sequence[tuple[str, float]]
"""Pairs of job id and score, in the order in which the jobs are served."""


class PendingPage(NamedTuple):
    """Pending jobs that were read for offers."""

    jobs: Pending
    last: bool
    """Whether there are no more of them in the roles of the offers."""
    whole: bool
    """Whether there are no more of them at all."""


class PendingJobs:
    """Reads pending jobs. Every method raises StoreUnavailable."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def page(self, limit: int, roles: Collection[str] = (), first: Pending = ()) -> PendingPage:
        """The first ``limit`` pending jobs; or, after such a page (``first``), these and the first ``limit`` in some
        roles, since any number of jobs of other roles may come before those."""
        if not first:
            jobs = await self._records.range(PENDING, limit=limit)
            return PendingPage(jobs, len(jobs) < limit, len(jobs) < limit)
        size, parts = await asyncio.gather(
            self._records.size(PENDING),
            asyncio.gather(*(self._records.range(pending_key(role), limit=limit) for role in sorted(roles))),
        )
        found = sorted({*first}.union(*parts), key=lambda each: (each[1], each[0].encode()))
        return PendingPage(found, all(len(part) < limit for part in parts), len(found) == size)

    async def roles(self) -> tuple[str, ...]:
        """The roles in which jobs are pending."""
        known = [ANYBODY, *sorted(await self._records.get_all(ROLES))]
        sizes = dict(zip(known, await self._sizes(known), strict=True))
        # A job that an earlier release has stored is in ``pending`` alone, and in the role ``*``.
        sizes[ANYBODY] = sizes[ANYBODY] or await self._records.size(PENDING) - sum(sizes.values())
        empty = [role for role, size in sizes.items() if not size and role != ANYBODY]
        for role in empty:
            plan = Plan()
            plan.expect_size(pending_key(role), 0)
            plan.unset(ROLES, role)
            await self._records.transact(plan.checks, plan.changes)
        return tuple(role for role, size in sizes.items() if size > 0)

    async def _sizes(self, roles: Iterable[str]) -> list[int]:
        return await asyncio.gather(*(self._records.size(pending_key(role)) for role in roles))

    async def check_roles(self, roles: Iterable[str]) -> None:
        """Raise Conflict if jobs of these roles would be pending in more than MAX_ROLES roles."""
        names = sorted({*roles} - {ANYBODY})
        if not names:
            return
        new = [role for role, known in zip(names, await self._records.get(ROLES, names), strict=True) if known is None]
        if not new or await self._records.size(ROLES) + len(new) <= MAX_ROLES:
            return
        if len({*await self.roles(), *new} - {ANYBODY}) > MAX_ROLES:
            raise Conflict(
                f"jobs of {MAX_ROLES} roles wait already, which is the most: use one of these roles, or wait until"
                " jobs of one of them run"
            )
