"""Keeps an eye on the disk of an agent: how full it is, and which sandboxes are deleted."""

from __future__ import annotations

from collections.abc import Callable

from broker_mesos.agent.options import AgentOptions
from broker_mesos.agent.outcomes import Outcomes
from broker_mesos.containerizer.collection import FULL_PERCENT, RELAXED_PERCENT
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.containerizer import Containerizer
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

CHECK_SECONDS = 1.0
"""Interval between two looks at the disk, in seconds."""
FIRST_COLLECTION_SECONDS = 30.0
"""Time from the start of the agent to the first collection, in seconds."""
PRESSED_SECONDS = 20.0
FULL_SECONDS = 2.0
"""Pause after a collection on a disk that is more than RELAXED_PERCENT, or FULL_PERCENT, full, in seconds."""
STEP_PAUSE_SECONDS = 0.05
"""Pause between two steps of a collection, in seconds: as long as a step, unless the disk is full."""


class DiskKeeper:
    """Measures the disk, and collects sandboxes. ``on_space`` is called with each measurement, ``outcomes`` returns the
    outcomes of the agent."""

    def __init__(
        self,
        containerizer: Containerizer,
        clock: Clock,
        options: AgentOptions,
        outcomes: Callable[[], Outcomes],
        on_space: Callable[[DiskSpace], None],
    ) -> None:
        self._containerizer = containerizer
        self._clock = clock
        self._options = options
        self._outcomes = outcomes
        self._on_space = on_space

    async def run(self) -> None:
        """Work until it is cancelled."""
        interval = self._options.collect_interval
        due = self._clock.monotonic() + min(interval, FIRST_COLLECTION_SECONDS)
        while True:
            percent = self._look()
            now = self._clock.monotonic()
            pause = FULL_SECONDS if percent >= FULL_PERCENT else PRESSED_SECONDS if percent > RELAXED_PERCENT else None
            if pause is not None:
                due = min(due, now + pause)
            if now >= due:
                await self._collect()
                due = self._clock.monotonic() + interval
            await self._clock.sleep(min(CHECK_SECONDS, interval))

    def _look(self) -> float:
        space = self._options.disk_space()
        if space is None:
            return 0.0
        self._on_space(space)
        return space.percent

    async def _collect(self) -> None:
        """Delete what is due in small steps, on and on while there is more: otherwise a busy agent would never catch
        up."""
        while True:
            try:
                step = await self._containerizer.collect(
                    self._options.retention, self._clock.time(), _Unacknowledged(self._outcomes())
                )
            except OSError as error:
                log.warning("cannot collect old sandboxes", error=str(error))
                return
            if step.task_ids:
                log.info("sandboxes are deleted", count=len(step.task_ids), why=step.why, tasks=" ".join(step.task_ids))
            if not step.more:
                return
            await self._clock.sleep(0.0 if self._look() >= FULL_PERCENT else STEP_PAUSE_SECONDS)


class _Unacknowledged:
    """The tasks whose outcome no cell has acknowledged, as a live view."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def __contains__(self, task_id: object) -> bool:
        return self._outcomes.is_unacknowledged(str(task_id))
