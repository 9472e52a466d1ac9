"""Tasks as frameworks describe them, and the statuses that are reported of them."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.part import Ident, Part, Prose, Short, TaskId
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_states import Reason, Source, TaskState


class CommandInfo(Part):
    """A command line: ``arguments`` as they are, or with ``shell`` the first one given to ``/bin/sh -c``."""

    arguments: tuple[str, ...] = Field(min_length=1)
    shell: bool = False
    environment: dict[str, str] = Field(default_factory=dict)


class VolumeMount(Part):
    """A persistent volume that a task uses: ``path`` is where it appears in the task's sandbox."""

    volume_id: Ident
    path: str = Field(min_length=1, max_length=255)


class TaskInfo(Part):
    """One unit of work, as a framework describes it."""

    task_id: TaskId
    name: str = ""
    resources: Resources
    command: CommandInfo
    kill_grace: float = Field(default=3.0, ge=0, le=86_400)
    """Seconds between SIGTERM and SIGKILL."""
    max_completion_time: float | None = Field(default=None, gt=0)
    """Seconds after its process has started at which its agent ends it: TASK_FAILED, for
    REASON_MAX_COMPLETION_TIME_REACHED."""
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[VolumeMount, ...] = ()
    """Persistent volumes of the offer."""
    line: Short = ""
    """Short tasks may stand in line: those of one framework, role and line on an agent, all with the same
    resources, take turns on what those of them hold that were launched when there was room. One that does not
    fit into its offer waits on the agent, and starts where another of its line has ended: no message passes
    between the two. One that has waited for seconds is dropped, and may be launched elsewhere. Not for tasks
    with volumes, ports or other named resources, nor on slack."""
    early: bool = False
    """Its agent says to the framework itself how its process has ended, ahead of its cell: see
    EARLY_STATUSES."""


class TaskStatus(Part):
    """What is known of a task, and who says so. ``uuid`` names the status in acknowledgements."""

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
    """Number of the signal that ended the process, if one did."""
    started_at: float | None = None
    offer_id: Short = ""
    """Of a task that has ended, from its agent: the offer that it was launched on. Its id may have been given
    to another task since."""
