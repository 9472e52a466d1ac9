"""A task that an agent knows and that has not ended."""

from __future__ import annotations

import signal

from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.task_queues import QueueKey, queue_key_of
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited


class RunningTask:
    """It holds resources, or stands in line for them."""

    __slots__ = (
        "early",
        "evicted",
        "handed",
        "info",
        "kill_asked",
        "kill_grace",
        "late",
        "reported",
        "since",
        "spec",
        "started_at",
        "timed_out",
    )

    def __init__(self, info: AgentTask, kill_grace: float) -> None:
        self.info = info
        self.spec: LaunchSpec | None = None
        """How it is started, while it waits in its line."""
        self.handed = False
        """The containerizer starts it when its turn has come."""
        self.early = False
        """Its framework wants to hear of its end from here. An agent process that finds it again leaves that
        to its cell."""
        self.late = False
        """It has waited for too long; the containerizer was told not to start it any more."""
        self.since = 0.0
        """Monotonic time at which it was launched."""
        self.kill_grace = kill_grace
        self.kill_asked = False
        self.evicted = False
        """Killed by the agent itself, since it runs on slack and the machine got tight."""
        self.timed_out = False
        """Its agent ends it, since it has run for as long as it may."""
        self.started_at: float | None = None
        """None until its process runs."""
        self.reported = False
        """Whether its cell knows from a list that it is on its way up."""

    @property
    def waits(self) -> bool:
        """Whether it stands in line, and holds nothing yet."""
        return self.spec is not None

    @property
    def queue_key(self) -> QueueKey | None:
        """The line that it stands in, if it does."""
        info = self.info
        if not info.line:
            return None
        return queue_key_of(info.framework_id, info.role, info.line, info.resources, info.volumes, info.revocable)

    @property
    def state(self) -> TaskState:
        """As the agent reports it."""
        if self.waits:
            return TaskState.STAGING
        return TaskState.STARTING if self.started_at is None else TaskState.RUNNING

    def listed(self) -> AgentTask:
        """As it stands in a list, which is being sent."""
        self.reported = not self.waits
        known = {"state": self.state, "started_at": self.started_at, "waits": self.waits}
        return self.info.model_copy(update=known)

    def outcome_of(self, event: TaskExited) -> tuple[TaskState, Reason | None, str]:
        """What the end of its process means, and why."""
        state, message = TaskState.FAILED, ""
        reason: Reason | None = None
        if event.signal is not None:
            message = f"terminated by {signal_name(event.signal)}"
        elif event.exit_code:
            message = f"exited with code {event.exit_code}"
        if self.kill_asked:
            state = TaskState.KILLED
            if self.evicted:
                reason, message = Reason.CONTAINER_PREEMPTED, "it ran on slack, and the machine got tight"
        elif self.timed_out:
            reason = Reason.MAX_COMPLETION_TIME_REACHED
            message = f"its time limit of {self.info.max_completion_time or 0:g} s was reached"
        elif event.limit:
            reason, message = Reason.DISK_LIMIT, event.limit
        elif event.exit_code == 0:
            state = TaskState.FINISHED
        elif event.exit_code is None and event.signal is None:
            state, reason = TaskState.LOST, Reason.AGENT_RESTARTED
            message = "it is gone, and nobody saw how it ended"
        return state, reason, message


def spec_of(launch: LaunchItem, agent_id: str, line: QueueKey | None, width: int) -> LaunchSpec:
    """How a task is started; in which line the containerizer puts it, and how many of that run at once
    (0: any number)."""
    task = launch.task
    command = task.command
    env = {**command.environment, "BMESOS_TASK_ID": task.task_id, "BMESOS_AGENT_ID": agent_id}
    mounts = tuple((mount.path, mount.volume_id) for mount in task.volumes)
    name = "" if line is None else f"{line.framework_id} {line.role} {line.name} {line.resources}"
    return LaunchSpec(task.task_id, command.arguments, command.shell, env, task.kill_grace, mounts, name, width)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
