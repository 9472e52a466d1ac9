"""Descriptions of tasks by frameworks, and the statuses that are reported for tasks."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.part import Ident, Part, Prose, Short, TaskId
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.sandbox_path import check_directory
from broker_mesos.core.model.task_input import MAX_STDIN_CHARS, decode_stdin
from broker_mesos.core.model.task_isolation import TaskIsolation, check_limits
from broker_mesos.core.model.task_states import Reason, Source, TaskState
from broker_mesos.core.model.task_user import check_task_user

MAX_OUTPUT_MB = 1 << 30
OWNER_LABEL = "owner"
"""The label with the principal that a task belongs to, who may run commands beside it with a right to its own tasks."""


class CommandInfo(Part):
    """A command line. ``arguments`` is executed as it is; with ``shell``, its first item is run by
    ``/bin/sh -c``."""

    arguments: tuple[str, ...] = Field(min_length=1)
    shell: bool = False
    environment: dict[str, str] = Field(default_factory=dict)
    directory: str = ""
    """The folder in which it runs: an absolute path, or one in the sandbox, where it is made if it is missing. Empty
    for the sandbox itself."""
    stdin: str = Field(default="", max_length=MAX_STDIN_CHARS)
    """What it reads from its standard input, in base64; empty if it reads nothing."""
    stdout: str = ""
    """Path in the sandbox of a file that is the same as ``stdout``; empty for none."""
    stderr: str = ""
    """Path in the sandbox of a file that is the same as ``stderr``; empty for none."""
    user: str = ""
    """The user of the agent's machine as which it runs, if the agent allows that; empty for the one that the agent
    chooses."""

    @field_validator("user")
    @classmethod
    def _user(cls, name: str) -> str:
        return check_task_user(name)

    @field_validator("directory")
    @classmethod
    def _directory(cls, path: str) -> str:
        return check_directory(path)

    @field_validator("stdin")
    @classmethod
    def _stdin(cls, text: str) -> str:
        decode_stdin(text)
        return text


class VolumeMount(Part):
    """A persistent volume that a task uses. ``path`` is its path within the task's sandbox."""

    volume_id: Ident
    path: str = Field(min_length=1, max_length=255)


class TaskInfo(Part):
    """One unit of work, as a framework describes it."""

    task_id: TaskId
    name: str = ""
    resources: Resources
    command: CommandInfo
    kill_grace: float | None = Field(default=None, ge=0, le=86_400)
    """Time between SIGTERM and SIGKILL when the task is killed, in seconds; None for the agent's ``kill_grace``."""
    max_completion_time: float | None = Field(default=None, gt=0)
    """The longest time that the task's process may run, in seconds. Its agent then ends it, with TASK_FAILED and
    REASON_MAX_COMPLETION_TIME_REACHED. None if it is not limited."""
    max_output: int | None = Field(default=None, ge=1, le=MAX_OUTPUT_MB)
    """Maximum size of each of its two output files on the agent's disk, in MB; None for the agent's ``max_output``. The
    agent holds it to its ``max_task_output`` if that is less, and says so in the task's status."""
    limits: Resources | None = None
    """What its agent holds it to: ``mem``, if it can (``AgentInfo.isolation``), and ``cpus``, which it demands; neither
    below its resources. It is what somebody has stated, not a default, which would end programs that have run so far.
    None: its resources are accounted only."""
    isolation: TaskIsolation | None = None
    """What it demands of its agent's isolation; None if it demands nothing."""
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[VolumeMount, ...] = ()
    """Persistent volumes of the offer that the task uses."""
    line: Short = ""
    """Name of the task queue of a short task; empty if the task is not queued. The tasks of one framework, role
    and queue on an agent, all with the same resources, share the resources of those that were launched while
    there was room. A task that does not fit into its offer waits on the agent, and starts when another task of its
    queue has ended, without a message in between. A task that has waited for several seconds is dropped, and may
    be launched elsewhere. Tasks with volumes, ports or other named resources, and tasks on slack, cannot be
    queued."""
    shape: Short = ""
    """Name of the shape as which the task was demanded (``Shape.name``), so that it counts for ``Shape.most``. If it is
    empty, the cell takes the name of the shape that its offer was made for."""
    early: bool = False
    """Whether the agent itself reports the end of the task's process to the framework, before the cell does; see
    EARLY_STATUSES."""

    @model_validator(mode="after")
    def _limits_are_possible(self) -> TaskInfo:
        check_limits(self.limits, self.resources, self.isolation)
        return self


class TaskStatus(Part):
    """The state of a task, and the source that reports it. ``uuid`` identifies the status in acknowledgements."""

    task_id: TaskId
    state: TaskState
    uuid: Short = ""
    agent_id: Short = ""
    framework_id: Short = ""
    source: Source = Source.MASTER
    reason: Reason | None = None
    message: Prose = ""
    timestamp: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that ended the process; None if no signal did."""
    started_at: float | None = None
    cpu_seconds: float | None = None
    """The CPU time of the processes of a task that has ended; None if it is not known, as all that follows. See
    ``measured_by``."""
    memory_peak: int | None = None
    """The most memory that they had in use at one time, in bytes: page cache included if a cgroup has counted it."""
    io_read: int | None = None
    """Bytes that they have read from disks, and not from memory."""
    io_written: int | None = None
    """Bytes that they have written to disks."""
    measured_by: Short = ""
    """Which processes count. ``cgroup``: all of them. ``wait``: the main process and those children that it has waited
    for, and the peak of memory is that of the largest one; where an agent has no cgroups nobody knows better. Empty: of
    an agent of an earlier release, which has cgroups, if there are figures."""
    offer_id: Short = ""
    """Id of the offer on which the task was launched; set by the agent for a task that has ended, since the same
    task id may have been used again since."""
