"""The outcomes of tasks: they are sent again until a cell has committed them, and then kept for a while."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from broker_mesos.core.model.task import TaskStatus

FIRST_RESEND_SECONDS = 30.0
"""Delay before an outcome is sent for the second time, in seconds. A cell acknowledges a committed outcome within up to
10 s, and later if it is behind, when a repeat would only add to its load. A message that the broker has confirmed is
rarely lost."""
MAX_RESEND_SECONDS = 120.0
RESEND_UNSENT_SECONDS = 2.0
"""Delay before an outcome is sent again after the broker did not confirm its message, in seconds."""
OUTCOME_RETENTION_SECONDS = 600.0
"""Time for which an acknowledged outcome is kept, in seconds, so that a repeated command finds it."""
MAX_ACKNOWLEDGED = 10_000
"""Maximum number of acknowledged outcomes in memory; the number of the others is bounded by what a cell launches."""


class _Outcome:
    __slots__ = ("acknowledged", "delay", "resend_at", "status")

    def __init__(self, status: TaskStatus, now: float) -> None:
        self.status = status
        self.acknowledged = False
        self.delay = FIRST_RESEND_SECONDS
        self.resend_at = now + FIRST_RESEND_SECONDS


class Outcomes:
    """The terminal statuses by task. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._by_task: dict[str, _Outcome] = {}
        self._by_uuid: dict[str, str] = {}
        self._queue: list[tuple[float, str]] = []
        self._acknowledged: deque[tuple[float, _Outcome]] = deque()
        self.retention_seconds = OUTCOME_RETENTION_SECONDS

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._by_task

    def add(self, status: TaskStatus, now: float) -> None:
        """Add an outcome, which is being sent now."""
        outcome = self._by_task[status.task_id] = _Outcome(status, now)
        self._by_uuid[status.uuid] = status.task_id
        heapq.heappush(self._queue, (outcome.resend_at, status.task_id))

    def get(self, task_id: str) -> TaskStatus | None:
        """A task's outcome, acknowledged or not; None if there is none."""
        outcome = self._by_task.get(task_id)
        return None if outcome is None else outcome.status

    def unacknowledged(self) -> list[TaskStatus]:
        """The outcomes that no cell has acknowledged."""
        return [outcome.status for outcome in self._by_task.values() if not outcome.acknowledged]

    def is_unacknowledged(self, task_id: str) -> bool:
        """Whether the task has an outcome that no cell has acknowledged."""
        outcome = self._by_task.get(task_id)
        return outcome is not None and not outcome.acknowledged

    def acknowledged(self) -> list[TaskStatus]:
        """The acknowledged outcomes that are still kept, the latest last."""
        return [outcome.status for outcome in self._by_task.values() if outcome.acknowledged]

    def is_of(self, task_id: str, offer_id: str) -> bool:
        """Whether the task has an outcome of a launch on this offer. An outcome whose offer is not known counts as
        such until it is acknowledged: only then the task id may be used again."""
        outcome = self._by_task.get(task_id)
        if outcome is None:
            return False
        return outcome.status.offer_id == offer_id or not (outcome.status.offer_id or outcome.acknowledged)

    def replace(self, task_id: str) -> bool:
        """Remove a task's outcome, since its cell launches another task with the same id. The cell does so only after
        it has committed the outcome, so this is also an acknowledgement. Returns whether it is the first one."""
        outcome = self._by_task.pop(task_id, None)
        if outcome is None or outcome.acknowledged:
            return False
        self._by_uuid.pop(outcome.status.uuid, None)
        return True

    def acknowledge(self, uuids: Iterable[str], now: float) -> list[str]:
        """Note that these statuses are committed. Returns the ids of the tasks that were not acknowledged before."""
        tasks = []
        for uuid in uuids:
            task_id = self._by_uuid.pop(uuid, None)
            if task_id is None:
                continue
            outcome = self._by_task[task_id]
            outcome.acknowledged = True
            self._acknowledged.append((now + self.retention_seconds, outcome))
            tasks.append(task_id)
        return tasks

    def restart(self, now: float) -> None:
        """Begin the delays again, since all outcomes have just been sent with a registration."""
        self._queue = []
        for task_id, outcome in self._by_task.items():
            if not outcome.acknowledged:
                outcome.delay = FIRST_RESEND_SECONDS
                outcome.resend_at = now + FIRST_RESEND_SECONDS
                self._queue.append((outcome.resend_at, task_id))
        heapq.heapify(self._queue)

    def unsent(self, task_ids: Iterable[str], now: float) -> None:
        """Make the outcomes of these tasks due soon, since sending them has failed."""
        for task_id in task_ids:
            outcome = self._by_task.get(task_id)
            if outcome is not None and not outcome.acknowledged:
                outcome.delay = RESEND_UNSENT_SECONDS
                if outcome.resend_at > now + RESEND_UNSENT_SECONDS:
                    outcome.resend_at = now + RESEND_UNSENT_SECONDS
                    heapq.heappush(self._queue, (outcome.resend_at, task_id))

    def due(self, now: float) -> list[TaskStatus]:
        """The outcomes to send again now, whose delays are doubled. Also deletes those that were kept for long
        enough."""
        while self._acknowledged and (self._acknowledged[0][0] <= now or len(self._acknowledged) > MAX_ACKNOWLEDGED):
            _, kept = self._acknowledged.popleft()
            if self._by_task.get(kept.status.task_id) is kept:  # otherwise another task has had the id since
                del self._by_task[kept.status.task_id]
        statuses = []
        while self._queue and self._queue[0][0] <= now:
            at, task_id = heapq.heappop(self._queue)
            outcome = self._by_task.get(task_id)
            if outcome is None or outcome.acknowledged or outcome.resend_at != at:
                continue
            outcome.delay = min(2 * outcome.delay, MAX_RESEND_SECONDS)
            outcome.resend_at = now + outcome.delay
            heapq.heappush(self._queue, (outcome.resend_at, task_id))
            statuses.append(outcome.status)
        return statuses

    def next_due(self) -> float:
        """Monotonic time at which ``due`` must be called next; infinity if never."""
        at = self._queue[0][0] if self._queue else float("inf")
        return min(at, self._acknowledged[0][0]) if self._acknowledged else at
