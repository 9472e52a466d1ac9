"""What the things are that messages and records speak of: agents, frameworks, tasks, offers, demands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.attributes import Constraint
from broker_mesos.core.resources import Resources
from broker_mesos.core.tasks import Reason, Source, TaskState
from broker_mesos.core.wire import Ident, Part, Prose, Short, TaskId


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
    """Of a killed task: the offer that it was launched on. A store that went back in time may have given its
    id out again since."""


class Layer(Part):
    """What tells one reservation from another of the same resources: everything but the amount."""

    role: Short
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], bool]:
        """Comparable and hashable."""
        return self.role, tuple(sorted(self.labels.items())), self.static


LayersKey = tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...]


def layers_key(layers: tuple[Layer, ...]) -> LayersKey:
    """What tells a reservation and all that it refines from others."""
    return tuple(layer.key for layer in layers)


class Reservation(Part):
    """A part of an agent that only a role, and the roles below it, may use."""

    role: Short
    resources: Resources
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False
    """Given with the agent's own options: it cannot be unreserved."""
    refines: tuple[Layer, ...] = ()
    """The reservations of roles above that it is a part of, the outermost first: once unreserved, it is
    reserved as the last of them says."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """With those that it refines, the outermost first."""
        return (*self.refines, Layer(role=self.role, labels=self.labels, static=self.static))

    @property
    def key(self) -> LayersKey:
        """What tells reservations apart: parts with the same key are one."""
        return layers_key(self.layers)


class Volume(Part):
    """A folder on an agent that outlives tasks, made of reserved disk."""

    volume_id: Ident
    role: Short
    size: Resources
    """The disk that it was made of, ``disk:1024``."""
    shared: bool = False
    """Several tasks may use it at once."""
    labels: dict[str, str] = Field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    """The reservation whose disk it is made of; the cell fills it in."""


class Holdings(Part):
    """What an agent keeps for others: dynamic reservations, and the volumes made of them. The amount of a
    reservation includes what others refine of it, and the disk of its volumes."""

    version: int = 0
    """Counts up with each change."""
    reservations: tuple[Reservation, ...] = ()
    volumes: tuple[Volume, ...] = ()
    operations: tuple[str, ...] = ()
    """Ids of the latest operations, each after its framework's id: none of them is carried out again."""


class Unavailability(Part):
    """When an agent is planned to be away: seconds since the epoch, and seconds (None: for good)."""

    start: float
    duration: float | None = Field(default=None, ge=0)


class InverseOffer(Part):
    """An agent is wanted back."""

    agent_id: Ident
    framework_id: Ident
    unavailability: Unavailability


class Operation(Part):
    """A change to an offer's resources, by the framework that accepts it (or by an operator).

    ``RESERVE`` (resources, role, labels, refine), ``UNRESERVE`` (resources, role, labels), ``CREATE``
    (volume) and ``DESTROY`` (volume_id). With an ``operation_id`` its outcome is told.
    """

    type: Literal["RESERVE", "UNRESERVE", "CREATE", "DESTROY"]
    operation_id: Short = ""
    role: Short = ""
    resources: Resources = Resources.EMPTY
    labels: dict[str, str] = Field(default_factory=dict)
    refine: Short = ""
    """A role above: only what is reserved for it is reserved further. By default what nobody has reserved
    comes first, then what is reserved for roles above, the nearest first."""
    volume: Volume | None = None
    volume_id: Short = ""


class OperationStatus(Part):
    """How an operation ended."""

    operation_id: Short
    state: Literal["OPERATION_FINISHED", "OPERATION_ERROR"]
    message: Prose = ""
    agent_id: Short = ""


class AgentInfo(Part):
    """A machine that lends resources."""

    agent_id: Ident
    hostname: str = ""
    resources: Resources
    attributes: dict[str, str] = Field(default_factory=dict)
    version: str = ""
    pid: int = 0
    reservations: tuple[Reservation, ...] = ()
    """Static ones: parts of ``resources``."""


class FrameworkInfo(Part):
    """A scheduler. Processes with the same ``framework_id`` are one framework."""

    framework_id: Ident
    name: str = ""
    roles: tuple[Short, ...] = Field(default=("*",), max_length=100)
    failover_timeout: float = Field(default=0.0, ge=0)
    """Seconds that its tasks outlive its last process."""
    capabilities: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    offer_filters: dict[str, tuple[Resources, ...]] = Field(default_factory=dict)
    """Per role: an offer must hold at least one of these amounts."""
    offer_constraints: dict[str, tuple[tuple[Constraint, ...], ...]] = Field(default_factory=dict)
    """Per role: groups of constraints on agents, all of one group must hold."""
    packing: Literal["binpack", "spread"] = "binpack"
    """Which of the agents that fit a stated demand come first: the fullest or the emptiest."""
    competing: bool = False
    """All processes receive offers and events at once; its task state is in a shared store."""


REVOCABLE_RESOURCES = "REVOCABLE_RESOURCES"
"""Capability of a framework that can do with offers of slack."""
GPU_RESOURCES = "GPU_RESOURCES"
"""Capability of a framework that is offered agents with gpus."""


class Shape(Part):
    """Tasks of one kind that a framework wants to launch."""

    resources: Resources
    count: int = Field(default=1, ge=0, le=10_000_000)
    """Tasks still to be launched when the demand's version was taken."""
    role: Short = "*"
    constraints: tuple[Constraint, ...] = ()
    gang: Short = ""
    """Shapes with the same name are wanted all at once or not at all."""
    revocable: bool = False
    """Slack is wanted, and nothing else is. Not in a gang: what may go one by one is no place for it."""

    @property
    def on_slack(self) -> bool:
        """Whether slack meets it."""
        return self.revocable and not self.gang

    @property
    def kind(self) -> tuple[Resources, str, tuple[Constraint, ...], str, bool]:
        """What tells shapes apart, whatever their counts."""
        return self.resources, self.role, self.constraints, self.gang, self.revocable


class Demand(Part):
    """What a framework wants, as a level: a cell heeds only a version above the last one it saw."""

    version: int = 0
    wanted: bool = True
    """False is Mesos' SUPPRESS; a higher version with True is REVIVE: it clears filters as well."""
    suppressed: tuple[Short, ...] = ()
    """Roles that want nothing although others do."""
    shapes: tuple[Shape, ...] | None = Field(default=None, max_length=1_000)
    """What for, if it is stated: then only what fits is offered, and no more than that. None: anything."""
    spare: bool = False
    """It is for tasks that may come, so that a place is ready for them: nothing is offered for it while
    anybody else wants something, and with the first offer that is not used it is over."""


class Offer(Part):
    """A slice of one agent's free resources, promised to one framework."""

    offer_id: Ident
    framework_id: Ident
    agent_id: Ident
    cell: int
    hostname: str = ""
    role: str = "*"
    resources: Resources
    """All of it, what is reserved included."""
    attributes: dict[str, str] = Field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    """The part of it that is reserved for the role, or for a role above it."""
    volumes: tuple[Volume, ...] = ()
    """Volumes that may be used; those that are not shared are in ``resources`` too, as ``volumes:{id}``."""
    revocable: bool = False
    """Slack: tasks on it are the first to go when the machine gets tight."""
    unavailability: Unavailability | None = None
    gang: Short = ""
    """The gang that it is meant for."""
    until: float | None = None
    """When it ends, in seconds since the epoch: of a gang that gathers. None: at the offer timeout."""
    spare: bool = False
    """It was made for a demand that is ``spare``."""

    @property
    def term(self) -> int:
        """Under which owner of its cell it was made: it ends with it. 0 if the id does not say."""
        parts = self.offer_id.split("-")
        return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0


class Usage(Part):
    """What an agent's machine really uses, for people to see; no decision rests on it."""

    cpu_percent: float = 0.0
    mem_mb: float = 0.0
    disk_mb: float = 0.0
    load: float = 0.0


class AgentTask(Part):
    """A task in an agent's list: enough for a cell that does not know it to adopt it."""

    task_id: TaskId
    framework_id: Ident
    role: str = "*"
    name: str = ""
    resources: Resources
    state: TaskState = TaskState.RUNNING
    started_at: float | None = None
    offer_id: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[Ident, ...] = ()
    """Ids of the persistent volumes that it uses."""
    revocable: bool = False
    line: str = ""
    waits: bool = False
    """It stands in line, and holds nothing yet."""


class AgentList(Part):
    """All that runs on an agent, and every outcome that no cell has acknowledged."""

    applied: int = 0
    """Number of the last command applied in the session."""
    tasks: tuple[AgentTask, ...] = ()
    outcomes: tuple[TaskStatus, ...] = ()
    holdings: Holdings | None = None
    """As the agent remembers them; None if it remembers none."""
