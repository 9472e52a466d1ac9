"""Estimates the slack of an agent: resources that are lent and not used, for revocable tasks. Pure.

Slack is the CPU and memory that tasks occupy, minus what they really use, minus a margin. Where the kernel counts the
use of each task, in cgroups, that is the sum over the tasks, and slack is never more than what the machine has left;
elsewhere it is what the whole machine uses without the revocable tasks. A rise of the use counts at once and a fall
only slowly, so that a short idle moment is not lent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """The estimate of the slack. ``now`` is monotonic time throughout. ``counted``: whether the use of each task is
    that of all its processes, as its cgroup has counted it."""

    def __init__(self, machine: Machine, lent: Resources, *, counted: bool = False) -> None:
        self._counted = counted
        self._machine = machine
        self._lent = {name: lent.get(name) for name in STEPS}
        self._averages: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
        self._sampled_at: float | None = None
        self._samples = 0
        self._busy = 0
        self._full = False
        self._calm = CALM_SAMPLES
        self._reported: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._memory: dict[str, float] = {}

    @property
    def scarce_use(self) -> Mapping[str, float]:
        """How much each running task uses of what the machine is short of when it is tight, as far as that is known: of
        memory if that is full, else of CPUs."""
        return self._memory if self._full else self._rates

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
        is_first = self._sampled_at is None
        rates = self._rates = self._cpus(tasks, now)
        self._memory = {each.task_id: float(each.use[1]) for each in tasks if each.use is not None}
        evictable = [each for each in tasks if each.revocable and each.use is not None]
        cpus = usage.cpu_percent / 100 * self._machine.cpus - sum(rates.get(each.task_id, 0.0) for each in evictable)
        mem_mb = usage.mem_mb - sum(each.use[1] / MB for each in evictable if each.use is not None)
        machine = {"cpus": max(0.0, cpus) * 1000, "mem": max(0.0, mem_mb) * 1000}
        own = self._own(tasks, rates) if self._counted else machine
        size = {"cpus": self._machine.cpus * 1000, "mem": self._machine.mem_mb * 1000}
        self._samples += 1
        self._busy = self._busy + 1 if usage.cpu_percent >= BUSY_PERCENT else 0
        self._full = usage.mem_mb >= BUSY_PERCENT / 100 * self._machine.mem_mb
        self._calm = 0 if self._calm < CALM_SAMPLES and (self._busy or self._full) else self._calm + 1
        for name, step in STEPS.items():
            margin = MIN_UNLENT_SHARE * self._lent[name]
            # Of the CPU time so far nothing follows; the averages begin with the second sample.
            used = own[name] if is_first and self._counted else self._average(name, own[name])
            free = sum(each.resources.get(name) for each in tasks if not each.revocable) - used
            if self._counted:
                free = min(free, size[name] - self._average(f"machine {name}", machine[name]))
            found = max(0, int(free - margin)) // step * step
            reported = self._reported.get(name, 0)
            if not found or abs(found - reported) >= MIN_UNLENT_SHARE * self._lent[name]:
                self._reported[name] = found

    def _average(self, name: str, value: float) -> float:
        """The average of a value, with a new sample of it."""
        before = self._averages.get(name, value)
        weight = RISING_WEIGHT if value > before else FALLING_WEIGHT
        self._averages[name] = before + weight * (value - before)
        return self._averages[name]

    def _own(self, tasks: list[TaskUse], rates: Mapping[str, float]) -> dict[str, float]:
        """What the tasks that are not revocable use, in thousandths. One whose use is not known yet uses all that it
        occupies."""
        own = dict.fromkeys(STEPS, 0.0)
        for each in tasks:
            if not each.revocable:
                cpus, memory = rates.get(each.task_id), None if each.use is None else each.use[1] / MB * 1000
                own["cpus"] += each.resources.get("cpus") if cpus is None else cpus * 1000
                own["mem"] += each.resources.get("mem") if memory is None else memory
        return own

    def _cpus(self, tasks: list[TaskUse], now: float) -> dict[str, float]:
        """The CPUs that tasks have used since the last sample, by task id, as far as that is known."""
        seconds = {each.task_id: each.use[0] for each in tasks if each.use is not None}
        before, passed = self._cpu_seconds, 0.0 if self._sampled_at is None else now - self._sampled_at
        self._cpu_seconds, self._sampled_at = seconds, now
        if passed <= 0:
            return {}
        # A revocable task that has started since then has used all of its seconds in that time.
        starts = {each.task_id: 0.0 for each in tasks if each.revocable}
        known = {**starts, **before}
        return {ident: max(0.0, value - known[ident]) / passed for ident, value in seconds.items() if ident in known}
