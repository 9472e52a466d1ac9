"""A task that an agent knows and that has not ended."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.model.task_input import decode_stdin
from broker_mesos.core.model.task_isolation import NO_DEMANDS
from broker_mesos.core.model.task_queues import QueueKey, queue_key_of
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited

MB = 1 << 20

_LIMIT_REASONS = {"memory": Reason.MEMORY_LIMIT, "launch": Reason.CONTAINER_LAUNCH_FAILED}


class RunningTask:
    """A task that occupies resources, or is queued for them."""

    __slots__ = (
        "early",
        "evicted",
        "handed",
        "info",
        "kill_grace",
        "kill_requested",
        "late",
        "note",
        "reported",
        "since",
        "spec",
        "started_at",
        "timed_out",
    )

    def __init__(self, info: AgentTask, kill_grace: float) -> None:
        self.info = info
        self.spec: LaunchSpec | None = None
        """The launch request, while the task is queued."""
        self.handed = False
        """Whether the containerizer has the task, and starts it at its turn."""
        self.early = False
        """Whether the agent sends the task's end directly to its framework as well. An agent process that has taken the
        task over leaves that to the cell."""
        self.late = False
        """Whether the task was queued for too long, and has been withdrawn from the containerizer."""
        self.since = 0.0
        """Monotonic time at which the task was launched."""
        self.kill_grace = kill_grace
        self.kill_requested = False
        self.evicted = False
        """Whether the agent itself killed the task, since it runs on slack and the machine needs its resources."""
        self.timed_out = False
        """Whether the agent ends the task, since it has reached its time limit."""
        self.started_at: float | None = None
        """Wall-clock time at which the task's process was started; None before that."""
        self.note = ""
        """What the containerizer has found worth knowing about it, as a phrase."""
        self.reported = False
        """Whether a list has reported to the cell that the task is being started."""

    @property
    def waits(self) -> bool:
        """Whether the task is queued, and occupies no resources yet."""
        return self.spec is not None

    @property
    def queue_key(self) -> QueueKey | None:
        """The key of the queue that the task belongs to; None if it belongs to none."""
        info = self.info
        if not info.line:
            return None
        return queue_key_of(info.framework_id, info.role, info.line, info.resources, info.volumes, info.revocable)

    @property
    def state(self) -> TaskState:
        """The state of the task that the agent reports."""
        if self.waits:
            return TaskState.STAGING
        return TaskState.STARTING if self.started_at is None else TaskState.RUNNING

    def listed(self) -> AgentTask:
        """The task's entry in a list that is being sent."""
        self.reported = not self.waits
        known = {"state": self.state, "started_at": self.started_at, "waits": self.waits}
        return self.info.model_copy(update=known)

    def outcome_of(self, event: TaskExited) -> tuple[TaskState, Reason | None, str]:
        """The terminal state, reason and message that follow from the end of the task's process."""
        state, message = TaskState.FAILED, ""
        reason: Reason | None = None
        if event.signal is not None:
            message = f"terminated by {signal_name(event.signal)}"
        elif event.exit_code:
            message = f"exited with code {event.exit_code}"
        if self.kill_requested:
            state = TaskState.KILLED
            if self.evicted:
                reason, message = Reason.CONTAINER_PREEMPTED, "it ran on slack, and the machine needed the resources"
        elif self.timed_out:
            reason = Reason.MAX_COMPLETION_TIME_REACHED
            message = f"its time limit of {self.info.max_completion_time or 0:g} s was reached"
        elif event.limit:
            reason = _LIMIT_REASONS.get(event.limit_kind, Reason.DISK_LIMIT)
            message = event.limit
        elif event.exit_code == 0:
            state = TaskState.FINISHED
        elif event.exit_code is None and event.signal is None:
            state, reason = TaskState.LOST, Reason.AGENT_RESTARTED
            message = "its process is gone, and its exit status is not known"
        return state, reason, "; ".join(filter(None, (message, self.note)))


def spec_of(
    launch: LaunchItem,
    agent_id: str,
    kill_grace: float,
    queue: QueueKey | None,
    width: int,
    volume_sizes: Mapping[str, int],
) -> LaunchSpec:
    """The request to the containerizer to start a task. ``queue`` is its queue (None: it is not queued), and ``width``
    the number of tasks of that queue that may run at a time (0: any number). ``volume_sizes`` are those of all volumes
    of the agent, in bytes."""
    task = launch.task
    command, isolation = task.command, task.isolation or NO_DEMANDS
    env = {**command.environment, "BMESOS_TASK_ID": task.task_id, "BMESOS_AGENT_ID": agent_id}
    mounts = tuple((mount.path, mount.volume_id) for mount in task.volumes)
    name = "" if queue is None else f"{queue.framework_id} {queue.role} {queue.name} {queue.resources}"
    return LaunchSpec(
        task.task_id,
        command.arguments,
        command.shell,
        env,
        kill_grace,
        mounts,
        name,
        width,
        directory=command.directory,
        disk=task.resources.get("disk") * MB // 1000,
        volume_sizes=tuple((each, volume_sizes[each]) for _, each in mounts if each in volume_sizes),
        max_output=(task.max_output or 0) * MB,
        stdin=decode_stdin(command.stdin),
        outputs=tuple((name, path) for name, path in _outputs(command) if path),
        user=command.user,
        group=f"{launch.framework_id} {launch.role}",
        cpus=task.resources.get("cpus") / 1000,
        memory=0 if task.limits is None else task.limits.get("mem") * MB // 1000,
        revocable=launch.revocable,
        level=isolation.needed_level,
        pids=isolation.pids,
        cpu_limit=0.0 if task.limits is None else task.limits.get("cpus") / 1000,
        pin=isolation.pin,
        rlimits=tuple(sorted(isolation.rlimits.items())),
        network=isolation.network,
        rootfs=isolation.rootfs,
        image=isolation.image,
        gpus=task.resources.get("gpus") // 1000,
        oom=isolation.oom,
        ports=task.resources.ranges.get("ports", ()),
    )


def _outputs(command: CommandInfo) -> tuple[tuple[str, str], ...]:
    return ("stdout", command.stdout), ("stderr", command.stderr)


def signal_name(number: int) -> str:
    """The name of a signal, such as ``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
