"""Tasks that the kernel holds to limits, for tests on this machine's cgroups."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.cgroups.layout import base_name
from broker_mesos.containerizer.cgroups.limits import MB
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.task_users import TaskUsers
from broker_mesos.containerizer.task_views import TaskViews
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited
from tests.containerizer.conftest import Runner, gone

EAT = "python3 -I -S -c 'bytearray(200 << 20)'"
WAIT = "while [ ! -e go ]; do sleep 0.02; done; "


def cgroups_of(work_dir: Path) -> list[Path]:
    """The folders of the task cgroups of a work folder, wherever they are."""
    name = base_name(str(work_dir))
    return [Path(top, each) for top, folders, _ in os.walk("/sys/fs/cgroup") for each in folders if each == name]


class HeldRunner(Runner):
    """A runner whose tasks have 64 MB of memory at most."""

    def __init__(self, work_dir: Path, users: TaskUsers | None = None, views: TaskViews | None = None) -> None:
        super().__init__(work_dir)
        self.containerizer = ProcessContainerizer(
            work_dir, self._on_events, isolation="limits", lent=(1.0, 1 << 32), users=users, views=views
        )
        wish = self.containerizer._wish
        limits_of = wish.limits_of
        self._more: dict[str, dict[str, Any]] = {}
        wish.limits_of = lambda *given: {**(limits_of(*given) or {}), **self._more.get(given[0].task_id, {})}  # type: ignore[method-assign]

    def start_task(
        self, task_id: str, command: str, memory: int = 64 * MB, grace: float = 1.0, cpus: float = 1.0, **more: Any
    ) -> None:
        """Start a shell command; ``more`` goes into the limits of the launch request."""
        self._more[task_id] = more
        spec = LaunchSpec(task_id, (command,), True, {}, grace, group="f", memory=memory, cpus=cpus)
        self.containerizer.launch(spec)

    async def exited(self, task_id: str) -> TaskExited:
        end = await self.outcome(task_id)
        assert isinstance(end, TaskExited), end
        return end

    def go(self, task_id: str) -> None:
        self.file(task_id, "go").touch()


def code_of(number: int) -> int:
    """The exit code of a task of ``start_waiting``."""
    return 1 + number % 100


def start_waiting(runner: HeldRunner, number: int) -> None:
    """Start the task ``t<number>``, which costs nothing until nobody has the lock of ``lock`` any more."""
    lock = runner.work_dir / "lock"
    runner.start_task(f"t{number}", f"flock -s {lock} true; exit {code_of(number)}")


async def ended_while_nobody_is_there(held: HeldRunner, task_id: str) -> TaskExited:
    """The end of a task that waits for ``go``, and goes and ends while there is neither an agent nor a spawner, as
    the next ones find it."""
    main = (await held.started(task_id)).pid
    spawner = held.containerizer.spawner_pid
    await held.containerizer.stop(kill_tasks=False)
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    held.go(task_id)
    await gone(main)
    again = HeldRunner(held.work_dir)
    (found,) = await again.containerizer.start()
    await again.containerizer.stop(kill_tasks=True, grace=0.0)
    assert found.exited is not None
    return found.exited
