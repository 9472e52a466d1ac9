"""What jobs wait for, by the reason: for a page of jobs, and counted for all of them.

The cells report what keeps tasks of a shape from running; jobs are told apart by their shapes only, of which there are
few. Nothing here delays offers or statuses: the work is done in slices, and its result is used for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from broker_mesos.core.api.explain_reasons import shape_of
from broker_mesos.core.api.waiting import (
    AFTER_OTHERS,
    MAX_REQUESTED,
    GetUnmetShapes,
    UnmetShapes,
    WaitingJobs,
    WaitingTasks,
    group_of,
)
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.errors import BrokerMesosError
from broker_mesos.frameworks.batch.storage.records import ACTIVE, FRAMEWORK_ID, PENDING, SPECS, WORK, Work
from broker_mesos.frameworks.batch.storage.store import JobStore
from broker_mesos.ports.clock import Clock

MAX_COUNTED = 10_000
"""The largest number of jobs that are counted."""
MAX_SHAPES = 2 * MAX_REQUESTED
"""The largest number of shapes that the cells are asked about at a time: those of the most tasks."""
GROUP_SECONDS = 2.0
"""Time for which an answer of the cells is used, in seconds."""
COUNT_SECONDS = 3.0
"""Time for which the counts are used at least, in seconds."""
REST_FACTOR = 20
"""The counts are used for as many times as long as it took to compute them, so that they cost 1/20 of the time."""
SLICE = 100
"""Number of jobs that are read and decoded at a time."""

Ask = Callable[[GetUnmetShapes], Awaitable[list[UnmetShapes]]]
"""Asks all cells."""


class _Known(NamedTuple):
    """What is remembered of a job's spec, which never changes."""

    score: float
    """Its score among the pending jobs, which tells it from an earlier job with the same id."""
    total: int
    shape: Shape


class Counts(NamedTuple):
    """The counts, and the group of each job that was counted."""

    view: WaitingJobs
    groups: Mapping[str, str]


class WaitingReasons:
    """Finds what jobs wait for. ``ask`` asks all cells; it raises the subclasses of BrokerMesosError."""

    def __init__(self, store: JobStore, ask: Ask, clock: Clock) -> None:
        self._store = store
        self._ask = ask
        self._clock = clock
        self._groups: dict[object, tuple[float, str]] = {}
        """By key of a shape: when its group was found, and the group."""
        self._known: dict[str, _Known] = {}
        self._counting: asyncio.Task[Counts] | None = None
        self._stale_at = 0.0

    async def groups(self, scores: Mapping[str, float]) -> dict[str, str]:
        """The groups of some waiting jobs, by id, as far as they are known. ``scores`` are those of the jobs among the
        pending ones. Raises StoreUnavailable."""
        known = await self._specs(scores)
        blocked = await self._blocked(list(scores))
        shapes = [each.shape for ident, each in known.items() if ident not in blocked]
        found = await self._groups_of(shapes[:MAX_SHAPES])
        groups = {ident: found.get(each.shape.key, "") for ident, each in known.items()}
        return groups | dict.fromkeys(blocked, AFTER_OTHERS)

    async def counted(self) -> Counts:
        """The jobs that wait, by the reason. Callers share what is computed. Raises StoreUnavailable."""
        if self._counting is None or (self._counting.done() and self._clock.monotonic() >= self._stale_at):
            self._counting = asyncio.create_task(self._count(), name="batch-waiting")
            # The requester may have gone by the time it fails, and then no other code would retrieve the exception.
            self._counting.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._counting)

    async def _count(self) -> Counts:
        began = self._clock.monotonic()
        try:
            return await self._counts()
        finally:
            now = self._clock.monotonic()
            self._stale_at = now + max(COUNT_SECONDS, REST_FACTOR * (now - began))

    async def _counts(self) -> Counts:
        page = await self._store.records.range(PENDING, limit=MAX_COUNTED + 1)
        pending = dict(page[:MAX_COUNTED])
        active = await self._store.records.range(ACTIVE, limit=MAX_COUNTED + 1)
        truncated = len(page) > MAX_COUNTED or len(active) > MAX_COUNTED
        known = await self._specs(pending)
        self._known = known
        tasks = await self._pending_tasks(known)
        by_shape: Counter[object] = Counter()
        shapes: dict[object, Shape] = {}
        for ident, count in tasks.items():
            shape = known[ident].shape
            by_shape[shape.key] += count
            shapes[shape.key] = shape
        asked = [shapes[key] for key, _ in by_shape.most_common(MAX_SHAPES)]
        found = await self._groups_of(asked)
        groups = {ident: found.get(known[ident].shape.key, "") for ident in tasks}
        blocked = await self._blocked([ident for ident, _ in active[:MAX_COUNTED] if ident not in pending])
        records = await self._store.read.records(list(blocked))
        for ident, record in records.items():
            groups[ident], tasks[ident] = AFTER_OTHERS, record.total
        jobs = Counter(groups.values())
        counts: Counter[str] = Counter()
        for ident, count in tasks.items():
            counts[groups[ident]] += count
        view = WaitingJobs(
            groups=tuple(
                WaitingTasks(group=group, tasks=count, jobs=jobs[group], frameworks=(FRAMEWORK_ID,))
                for group, count in counts.most_common()
                if group
            ),
            jobs=len(groups),
            tasks=counts.total(),
            truncated=truncated or "" in counts,
        )
        return Counts(view, groups)

    async def _specs(self, scores: Mapping[str, float]) -> dict[str, _Known]:
        """What is known of the specs of jobs, which are read in slices. Only shapes are kept: specs are large."""
        found: dict[str, _Known] = {}
        missing: list[str] = []
        for ident, score in scores.items():
            known = self._known.get(ident)
            if known is not None and known.score == score:
                found[ident] = known
            else:
                missing.append(ident)
        for at in range(0, len(missing), SLICE):
            for ident, text in (await self._store.read.fields(SPECS, missing[at : at + SLICE])).items():
                if text is not None:
                    spec = JobSpec.model_validate_json(text)
                    # What keeps one task of a gang from running keeps all of them.
                    shape = shape_of(spec).model_copy(update={"gang": "", "count": 1})
                    found[ident] = _Known(scores[ident], spec.total, shape)
            await asyncio.sleep(0)
        return found

    async def _pending_tasks(self, known: Mapping[str, _Known]) -> dict[str, int]:
        """The number of tasks that are still to be claimed, by job id; jobs without any are left out."""
        found: dict[str, int] = {}
        ids = list(known)
        for at in range(0, len(ids), SLICE):
            for ident, text in (await self._store.read.fields(WORK, ids[at : at + SLICE])).items():
                if text is not None and (count := Work.parse(text).pending(known[ident].total)) > 0:
                    found[ident] = count
            await asyncio.sleep(0)
        return found

    async def _blocked(self, ids: Sequence[str]) -> set[str]:
        """Those of the jobs that run after others which have not ended."""
        found: set[str] = set()
        for at in range(0, len(ids), SLICE):
            for ident, text in (await self._store.read.fields(WORK, ids[at : at + SLICE])).items():
                if text is not None and '"b"' in text and Work.parse(text).blocked:
                    found.add(ident)
            await asyncio.sleep(0)
        return found

    async def _groups_of(self, shapes: Collection[Shape]) -> dict[object, str]:
        """The groups of shapes, by key; shapes of which no cell knows anything are left out."""
        now = self._clock.monotonic()
        self._groups = {key: each for key, each in self._groups.items() if now - each[0] <= GROUP_SECONDS}
        missing = list({shape.key: shape for shape in shapes if shape.key not in self._groups}.values())
        for at in range(0, len(missing), MAX_REQUESTED):
            some = missing[at : at + MAX_REQUESTED]
            try:
                answers = await self._ask(GetUnmetShapes(framework_id=FRAMEWORK_ID, shapes=tuple(some)))
            except BrokerMesosError:
                break  # the jobs are shown without a group
            for number, shape in enumerate(some):
                same = [answer.shapes[number] for answer in answers if number < len(answer.shapes)]
                if same:
                    self._groups[shape.key] = now, group_of(same)
        return {key: group for key, (_, group) in self._groups.items()}
