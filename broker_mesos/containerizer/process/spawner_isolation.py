"""The isolation that an agent wishes for its tasks, and what its spawner has answered."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.gpu_devices import NO_GPUS, GpuDevices
from broker_mesos.containerizer.task_views import TaskViews
from broker_mesos.errors import Unavailable
from broker_mesos.ports.containerizer import Isolation, LaunchSpec
from broker_mesos.runtime.timeouts import within

SHARE_OF_LENT = 1.05
"""The memory that all tasks together may use, as a share of what is lent."""
ANSWER_SECONDS = 60.0
GPUS = "gpus"
GPUS_NOT_ENFORCED = "gpus are told by CUDA_VISIBLE_DEVICES only: not enforced"
OLD = "the process that starts tasks here is of an earlier release; it is replaced once its tasks have ended"

logger = logging.getLogger(__name__)


class SpawnerIsolation:
    """``level`` is that of the settings; all tasks together are held to ``cpus`` CPUs and ``memory`` bytes. ``views``
    are what sandboxed tasks see."""

    def __init__(
        self, level: str, cpus: float, memory: int, views: TaskViews | None = None, gpus: GpuDevices = NO_GPUS
    ) -> None:
        self._gpus = gpus
        self._level = level
        self._views = views or TaskViews(Path("/"))
        self._cpus = cpus
        self._memory = memory
        self._answer = asyncio.Event()
        self.found = Isolation()
        """What was answered first: the agent is registered with it, so that tasks are never held to less."""
        self.problems: tuple[str, ...] = ()
        """What an operator has to know of the process that starts tasks, a line for each."""

    def request(self, version: int) -> list[Any] | None:
        """The request to a spawner with this version of the protocol; None if there is none."""
        if self._level == "none":
            return None
        if version < 5:
            self.on_answer(["isolation", [], OLD])
            return None
        return ["isolate", os.getpid(), self._cpus, int(self._memory * SHARE_OF_LENT), bool(self._gpus.gpus)]

    def on_record(self, record: list[Any]) -> None:
        """Take a record of a spawner, if it is about isolation."""
        if record[0] == "isolation":
            self.on_answer(record)
        elif record[0] in ("hello", "problems"):  # another spawner has other problems
            self.problems = tuple(map(str, record[1])) if record[0] == "problems" else ()

    def on_answer(self, record: list[Any]) -> None:
        """Take the answer of a spawner."""
        found = self._views.allowed(Isolation(tuple(record[1]), record[2], record[3] if len(record) > 3 else {}))
        if not self._answer.is_set():
            self.found = found
            self._answer.set()
        elif found != self.found:
            logger.warning("tasks were held to %s, and now to %s: %s", self.found.words, found.words, found.reason)

    async def answered(self) -> None:
        """Wait for the answer. Raises Unavailable if the agent is not to start without isolation, or none comes."""
        if self._level == "none":
            return
        try:
            async with within(ANSWER_SECONDS):
                await self._answer.wait()
        except TimeoutError:
            raise Unavailable("the process that starts tasks has not said whether cgroups work here") from None
        needed = {"limits": "mem", "sandboxed": "fs"}.get(self._level)
        if needed is not None and needed not in self.found.words:
            reason = self.found.reason or self.found.missing.get(needed, OLD)
            lesser = "auto or none" if not self.found.words else "limits, auto or none"
            raise Unavailable(f"isolation={self._level} is not possible here: {reason}; or set isolation to {lesser}")

    def limits_of(self, spec: LaunchSpec, rootfs: str = "") -> dict[str, Any] | None:
        """What a task is to be held to, for its launch request; None if it is not held. ``rootfs`` is the folder of its
        root file system; empty for that of the machine."""
        if not self.found.words:
            return None
        held: dict[str, Any] = {"group": spec.group, "cpus": spec.cpus, "memory": spec.memory, "idle": spec.revocable}
        optional = {
            "pids": spec.pids,
            "cpu_limit": spec.cpu_limit,
            "pin": int(spec.cpus) if spec.pin else 0,
            "rlimits": dict(spec.rlimits),
            "oom": spec.oom if spec.oom != "kill" else "",
        }
        held.update((name, value) for name, value in optional.items() if value)
        held.update(self._views.demands(spec, rootfs))
        return held

    def gpus_of(self, spec: LaunchSpec) -> dict[str, Any] | None:
        """The GPUs that a task wants and those of the machine, for its launch request; None where none are known."""
        if not self._gpus.gpus:
            return None
        return {"count": spec.gpus, "known": self._gpus.gpus, "shared": self._gpus.shared}

    def with_gpus(self, found: Isolation) -> Isolation:
        """What tasks are held to, with why they are not kept from the GPUs of others."""
        if GPUS in found.words and not self._gpus.gpus:
            found = found._replace(words=tuple(word for word in found.words if word != GPUS))
        if GPUS in found.words:
            return found
        why = GPUS_NOT_ENFORCED if self._gpus.gpus else "it knows no GPUs, by its setting gpu_devices"
        return found._replace(missing={**found.missing, GPUS: why})

    def sandboxes(self, spec: LaunchSpec) -> bool:
        """Whether a task gets a view of its own."""
        return bool(self.found.words) and self._views.is_sandboxed(spec)
