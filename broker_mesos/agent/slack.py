"""What is lent and not used: an estimate, for tasks that may be taken away again at any moment. Pure.

Slack is what tasks hold of CPU and memory, less what the machine really uses without the revocable tasks,
less a margin. Use counts as risen at once and as fallen only slowly, so that an idle moment is not lent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Resources

INTERVAL_SECONDS = 5.0
"""Seconds between two looks at the machine."""
MIN_UNLENT_SHARE = 0.1
"""Of what the agent lends: never part of the slack. Also the least change that is told."""
RISING_WEIGHT = 0.6
FALLING_WEIGHT = 0.15
"""Weights of a new sample above or below the average of the earlier ones."""
WARM_SAMPLES = 3
"""Samples before anything is lent, or taken back: those before are a guess."""
BUSY_PERCENT = 95.0
"""Per cent of CPU or memory in use from which the machine is tight."""
BUSY_SAMPLES = 3
"""Samples in a row for which the CPU must be busy. Memory does not wait."""
CALM_SAMPLES = 6
"""Samples in a row, after something had to be taken back, before more is lent: else the same task would come
and go for ever."""
STEPS = {"cpus": 100, "mem": 32_000}
"""Thousandths: slack is told in steps."""
MB = 1 << 20


class Machine(NamedTuple):
    """All of the machine, whatever of it is lent."""

    cpus: float
    mem_mb: float


class TaskUse(NamedTuple):
    """A running task: what it holds, and, where that is known, CPU seconds so far and bytes of memory."""

    task_id: str
    resources: Resources
    revocable: bool
    use: tuple[float, int] | None = None


class Slack:
    """The estimate. ``now`` is monotonic time throughout."""

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
        """What may be held of it; None before that can be told."""
        return Resources.scalars_of(self._reported) if self._samples >= WARM_SAMPLES else None

    @property
    def offered(self) -> Resources | None:
        """What is lent to others: of a machine that is busy, or was tight just now, nothing."""
        busy = self._busy or self._full or self._calm < CALM_SAMPLES
        return Resources.EMPTY if busy and self._samples >= WARM_SAMPLES else self.resources

    @property
    def tight(self) -> bool:
        """Whether the machine needs something back now."""
        return self._samples >= WARM_SAMPLES and (self._full or self._busy >= BUSY_SAMPLES)

    def eased(self) -> None:
        """Something was taken back: see what that does before more is, and before anything is lent."""
        self._busy = self._calm = 0

    def sample(self, usage: Usage, tasks: Iterable[TaskUse], now: float) -> None:
        """Take in how busy the machine is, and what runs on it."""
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
            held = sum(each.resources.get(name) for each in tasks if not each.revocable)
            found = max(0, int(held - self._own[name] - MIN_UNLENT_SHARE * self._lent[name])) // step * step
            told = self._reported.get(name, 0)
            if not found or abs(found - told) >= MIN_UNLENT_SHARE * self._lent[name]:
                self._reported[name] = found

    def _revocable_use(self, tasks: list[TaskUse], now: float) -> tuple[float, float]:
        """CPUs and MB that the revocable tasks use; what is not known of one counts as the machine's own."""
        seconds = {each.task_id: each.use[0] for each in tasks if each.revocable and each.use is not None}
        passed = 0.0 if self._sampled_at is None else now - self._sampled_at
        cpus = 0.0
        if passed > 0:
            used = (max(0.0, value - self._cpu_seconds.get(ident, 0.0)) for ident, value in seconds.items())
            cpus = sum(used) / passed
        self._cpu_seconds, self._sampled_at = seconds, now
        return cpus, sum(each.use[1] / MB for each in tasks if each.revocable and each.use is not None)
