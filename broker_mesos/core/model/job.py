"""The description of a job of the batch framework."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.amounts import shown
from broker_mesos.core.model.attributes import AGENT, Constraint, check_attribute_name
from broker_mesos.core.model.job_array import MAX_ARRAY, Range, problem_of, size_of
from broker_mesos.core.model.locality import Preference
from broker_mesos.core.model.part import ID_PATTERN, MAX_ID, Ident, Part, Short
from broker_mesos.core.model.port_numbers import MAX_PORTS, PORTS, check_port_names
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY, check_role
from broker_mesos.core.model.sandbox_path import check_patterns
from broker_mesos.core.model.task import MAX_OUTPUT_MB, CommandInfo
from broker_mesos.core.model.task_isolation import TaskIsolation, check_limits
from broker_mesos.errors import InvalidInput

MAX_GANG = 1_000
GUARD = Constraint.parse("isolation-of-a-later-release")
"""A constraint that no agent satisfies. A job with ``isolation`` has it, so that workers and cells of a release that
does not know that field never run its tasks without it; the others leave it out (``JobSpec.own_constraints``)."""
PLACEMENT_GUARD = Constraint.parse("placement-of-a-later-release")
"""The same for a job with ``ports`` or ``most``, or with a constraint on ``agent``."""
MAX_AFTER = 100
"""The largest number of jobs that one job may depend on."""


class Dependency(Part):
    """A job that must have ended before another job starts."""

    job_id: Ident
    any_end: bool = False
    """Whether the job may end in any way; if False, it must succeed."""

    @classmethod
    def parse(cls, text: str) -> Dependency:
        """Parse ``JOB``, which must succeed, or ``any:JOB``, which may end in any way. Raises InvalidInput."""
        kind, colon, job_id = text.strip().rpartition(":")
        if (colon and kind not in ("any", "ok")) or not re.fullmatch(ID_PATTERN, job_id):
            raise InvalidInput(
                f"after {shown(text)}: write JOB, which must succeed, or any:JOB, of which any end will do"
            )
        return cls(job_id=job_id, any_end=kind == "any")


class JobSpec(Preference):
    """A job: one command, or an array of tasks that run it with different values of ``BMESOS_ARRAY_INDEX``."""

    name: str = Field(default="", max_length=200)
    command: CommandInfo
    """The command of each task. The names of its output files are patterns; see ``sandbox_path.py``."""
    resources: Resources = Resources.parse("cpus:1;mem:128")
    limits: Resources | None = None
    """What agents hold each task to; see ``TaskInfo.limits``."""
    isolation: TaskIsolation | None = None
    """What each task demands of its agent's isolation; None if it demands nothing."""
    array: tuple[int, int] | None = None
    """First and last index of the array, inclusive; None is a single task (index 0, without the variable)."""
    ranges: tuple[Range, ...] = ()
    """Ranges with steps that make up the array, in ascending order; empty if it has every index from the first to
    the last."""
    max_running: int = Field(default=0, ge=0, le=1_000_000)
    """The largest number of tasks of the array that run at a time; 0 if it is not limited."""
    retries: int = Field(default=0, ge=0, le=1_000)
    retry_on: tuple[int, ...] = Field(default=(), max_length=100)
    """Exit codes (128 + signal for a signal) after which a retry is used; empty: after any failure. A task
    whose agent is lost has no exit code, and is always retried."""
    time_limit: float | None = Field(default=None, gt=0, le=366 * 86_400)
    """The longest time that one attempt of a task may run, in seconds. Its agent then ends it, and it has
    failed."""
    priority: int = Field(default=0, ge=-1_000, le=1_000)
    """Priority among the jobs of the framework: a job with a higher number starts first."""
    constraints: tuple[Constraint, ...] = ()
    after: tuple[Dependency, ...] = Field(default=(), max_length=MAX_AFTER)
    """Jobs that must have ended before the tasks of this one start. They must exist when it is submitted, so that
    no jobs can wait for each other."""
    kill_grace: float | None = Field(default=None, ge=0, le=86_400)
    """Time between SIGTERM and SIGKILL when a task is killed, in seconds; None for the agent's ``kill_grace``."""
    max_output: int | None = Field(default=None, ge=1, le=MAX_OUTPUT_MB)
    """Maximum size of each output file of a task, in MB; see ``TaskInfo.max_output``."""
    user: str = ""
    role: str = ANYBODY
    """The role to which the resources of the job's tasks are accounted."""
    rerun: bool = False
    """Whether an attempt is run again elsewhere when its agent is lost or unreachable, without using a retry. The
    first attempt may still run on that agent, so that the task can run twice. If False, the task waits for the
    agent."""
    gang: bool = False
    """Whether the tasks of the array start all together or not at all. Tasks that have to run again later (after a
    failure or a drain) start together with those that wait at the same time; no other task is restarted."""

    ports: int = Field(default=0, ge=0, le=MAX_PORTS)
    """Number of ports of each task, whose environment has their numbers as ``PORT0``, ``PORT1`` and so on. No two tasks
    on an agent have the same port."""
    port_names: tuple[str, ...] = Field(default=(), max_length=MAX_PORTS)
    """Names of the first ports: the number of one with the name ``http`` is in ``PORT_HTTP`` as well."""
    most: int = Field(default=0, ge=0, le=MAX_ARRAY)
    """The largest number of tasks of the array that run at a time on all agents with the same value of ``per``; 0 if it
    is not limited. They run on no agent that does not have that attribute."""
    per: Short = AGENT
    """Name of the attribute by whose values ``most`` counts, or ``agent`` or ``hostname``."""
    revocable: bool = False
    """Whether the tasks run on slack only, which agents lend a second time. A task that is evicted from slack runs
    again without using a retry."""

    @model_validator(mode="after")
    def _together(self) -> JobSpec:
        values = {"j": "j" * MAX_ID, "a": str(self.array[1] if self.array else 0), "n": self.name, "u": self.user}
        check_patterns(self.command.stdout, self.command.stderr, values)
        check_limits(self.limits, self.resources, self.isolation)
        if GUARD not in self.constraints:
            if self.isolation is None and self.limits is not None and self.limits.get("cpus"):
                object.__setattr__(self, "isolation", TaskIsolation())  # a quota is a demand as well
            if self.isolation is not None:
                object.__setattr__(self, "constraints", (*self.constraints, GUARD))
        if PLACEMENT_GUARD not in self.constraints and self._has_placement:
            object.__setattr__(self, "constraints", (*self.constraints, PLACEMENT_GUARD))
        check_port_names(self.port_names, self.ports)
        if self.ports and PORTS in self.resources.names():
            raise ValueError("ports are requested by number in resources and by their count: keep one")
        if self.ports and self.revocable:
            raise ValueError("ports are not lent a second time: drop --ports, or --revocable")
        if self.most and self.array is None:
            raise ValueError("a number of tasks for each agent is for an array; give --array")
        if self.per != AGENT and not self.most:
            raise ValueError("per is given without most: say how many tasks may run for each value")
        if problem := problem_of(self.array, self.ranges):
            raise ValueError(problem)
        if self.max_running and self.array is None:
            raise ValueError("a number of tasks at a time is for an array; give --array")
        if self.gang and self.max_running:
            raise ValueError("a gang begins all at once: drop the %N of --array, or --gang")
        if self.retry_on and not self.retries:
            raise ValueError("exit codes to retry on are given without retries; give --retries")
        if self.gang and self.array is None:
            raise ValueError("a gang is an array of tasks; give --array with their number")
        if self.gang and self.total > MAX_GANG:
            raise ValueError(f"a gang of {self.total} tasks: at most {MAX_GANG}")
        if self.gang and self.locality_wait:
            raise ValueError("a gang begins where it fits and does not wait: drop --locality-wait")
        if self.gang and self.revocable:
            raise ValueError("a gang does not run on slack, which is taken back bit by bit: drop --revocable")
        return self

    @field_validator("per")
    @classmethod
    def _per(cls, name: str) -> str:
        return check_attribute_name(name)

    @field_validator("ports", mode="before")
    @classmethod
    def _ports(cls, ports: object) -> object:
        if isinstance(ports, int) and not 0 <= ports <= MAX_PORTS:
            raise ValueError(f"ports {shown(ports)}: write a number of ports from 0 to {MAX_PORTS}")
        return ports

    @field_validator("resources")
    @classmethod
    def _something(cls, resources: Resources) -> Resources:
        if not resources:
            raise ValueError("a task needs some resources, e.g. cpus:1;mem:128")
        return resources

    @field_validator("role")
    @classmethod
    def _role(cls, role: str) -> str:
        return check_role(role)

    @property
    def own_constraints(self) -> tuple[Constraint, ...]:
        """The constraints that agents are compared with. If an earlier release has stored the job, and lost its
        ``isolation`` or ``ports``, a guard is among them: the tasks wait for ever rather than run without it."""
        known = (GUARD,) * (self.isolation is not None) + (PLACEMENT_GUARD,) * self._has_placement
        return tuple(each for each in self.constraints if each not in known) if known else self.constraints

    @property
    def _has_placement(self) -> bool:
        return bool(self.ports or self.most) or any(each.name == AGENT for each in self.constraints)

    @property
    def total(self) -> int:
        """Number of tasks of the job."""
        return 1 if self.array is None else size_of(self.array, self.ranges)
