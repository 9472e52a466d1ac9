"""Estimates the slack of an agent: resources that are lent and not used, for revocable tasks. Pure.

Slack is the CPU and memory that tasks occupy, minus what the machine really uses without the revocable tasks, minus a
margin. A rise of the use counts at once and a fall only slowly, so that a short idle moment is not lent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Resources

INTERVAL_SECONDS = 5.0
"""Interval between two samples of the machine's use, in seconds."""
MIN_UNLENT_SHARE = 0.1
"""The share of the lent resources that is never part of the slack; also the least change that is reported."""
RISING_WEIGHT = 0.6
FALLING_WEIGHT = 0.15
"""Weights of a new sample that is above, and below, the average of the earlier ones."""
WARM_SAMPLES = 3
"""Number of samples before slack is lent or taken back; earlier estimates are not reliable."""
BUSY_PERCENT = 95.0
"""Use of CPU or memory, in per cent, from which the machine is tight, that is, needs resources back."""
BUSY_SAMPLES = 3
"""Number of consecutive samples for which the CPU must be busy before the machine is tight; memory needs one only."""
CALM_SAMPLES = 6
"""Number of consecutive calm samples after a task was evicted before slack is lent again; otherwise the same task would
be launched and evicted again and again."""
STEPS = {"cpus": 100, "mem": 32_000}
"""Step sizes in which slack is reported, in thousandths of a CPU and of a MB."""
MB = 1 << 20


class Machine(NamedTuple):
    """The size of the whole machine, of which the agent may lend a part."""

    cpus: float
    mem_mb: float


class TaskUse(NamedTuple):
    """A running task: the resources it occupies and, where known, its CPU seconds so far and its memory in bytes."""

    task_id: str
    resources: Resources
    revocable: bool
    use: tuple[float, int] | None = None


class Slack:
    """The estimate of the slack. ``now`` is monotonic time throughout."""

    def __init__(self, machine: Machine, lent: Resources) -> None:
        self._machine = machine
        self._lent = {name: lent.get(name) for name in STEPS}
        self._own: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
        self._sampled_at: float | None = None
        self._samples = 0
        self._busy = 0
        self._full = False
        self._calm = CALM_SAMPLES
        self._reported: dict[str, int] = {}

    @property
    def resources(self) -> Resources | None:
        """The slack that revocable tasks may occupy; None before the estimate is reliable."""
        return Resources.scalars_of(self._reported) if self._samples >= WARM_SAMPLES else None

    @property
    def offered(self) -> Resources | None:
        """The slack that is lent; nothing while the machine is busy, and for a while after it was tight."""
        busy = self._busy or self._full or self._calm < CALM_SAMPLES
        return Resources.EMPTY if busy and self._samples >= WARM_SAMPLES else self.resources

    @property
    def tight(self) -> bool:
        """Whether the machine needs resources back now."""
        return self._samples >= WARM_SAMPLES and (self._full or self._busy >= BUSY_SAMPLES)

    def eased(self) -> None:
        """Note that a task was evicted: wait for its effect before another one is evicted or slack is lent."""
        self._busy = self._calm = 0

    def sample(self, usage: Usage, tasks: Iterable[TaskUse], now: float) -> None:
        """Update the estimate from the use of the machine and its running tasks."""
        tasks = list(tasks)
        cpus = usage.cpu_percent / 100 * self._machine.cpus
        revocable_cpus, revocable_mb = self._revocable_use(tasks, now)
        own = {
            "cpus": max(0.0, cpus - revocable_cpus) * 1000,
            "mem": max(0.0, usage.mem_mb - revocable_mb) * 1000,
        }
        self._samples += 1
        self._busy = self._busy + 1 if usage.cpu_percent >= BUSY_PERCENT else 0
        self._full = usage.mem_mb >= BUSY_PERCENT / 100 * self._machine.mem_mb
        self._calm = 0 if self._calm < CALM_SAMPLES and (self._busy or self._full) else self._calm + 1
        for name, step in STEPS.items():
            before = self._own.get(name, own[name])
            weight = RISING_WEIGHT if own[name] > before else FALLING_WEIGHT
            self._own[name] = before + weight * (own[name] - before)
            occupied = sum(each.resources.get(name) for each in tasks if not each.revocable)
            found = max(0, int(occupied - self._own[name] - MIN_UNLENT_SHARE * self._lent[name])) // step * step
            reported = self._reported.get(name, 0)
            if not found or abs(found - reported) >= MIN_UNLENT_SHARE * self._lent[name]:
                self._reported[name] = found

    def _revocable_use(self, tasks: list[TaskUse], now: float) -> tuple[float, float]:
        """The CPUs and MB that the revocable tasks use; unknown use of a task counts as use by the machine itself."""
        seconds = {each.task_id: each.use[0] for each in tasks if each.revocable and each.use is not None}
        passed = 0.0 if self._sampled_at is None else now - self._sampled_at
        cpus = 0.0
        if passed > 0:
            used = (max(0.0, value - self._cpu_seconds.get(ident, 0.0)) for ident, value in seconds.items())
            cpus = sum(used) / passed
        self._cpu_seconds, self._sampled_at = seconds, now
        return cpus, sum(each.use[1] / MB for each in tasks if each.revocable and each.use is not None)
