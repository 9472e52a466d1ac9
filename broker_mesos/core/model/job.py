"""What a job of the batch framework is."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.locality import Preference
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo

MAX_ARRAY = 10_000_000
MAX_GANG = 1_000


class JobSpec(Preference):
    """A job: one command, or an array of them, told apart by ``BMESOS_ARRAY_INDEX``."""

    name: str = Field(default="", max_length=200)
    command: CommandInfo
    resources: Resources = Resources.parse("cpus:1;mem:128")
    array: tuple[int, int] | None = None
    """First and last index, inclusive; None is a single task (index 0, without the variable)."""
    retries: int = Field(default=0, ge=0, le=1_000)
    priority: int = Field(default=0, ge=-1_000, le=1_000)
    """Higher goes first."""
    constraints: tuple[Constraint, ...] = ()
    kill_grace: float = Field(default=3.0, ge=0, le=86_400)
    user: str = ""
    rerun: bool = False
    """Run an attempt again elsewhere when its agent is lost or unreachable, without using a retry. It may
    still run over there, so that the task can run twice; otherwise it waits for the agent."""
    gang: bool = False
    """The tasks of the array begin all at once or not at all. What has to run again later (retries, a drained
    agent) begins at once as far as it waits at the same time; nothing else is restarted."""

    revocable: bool = False
    """Run on slack only: what agents lend a second time. A task that is evicted from it runs again without
    using a retry."""

    @model_validator(mode="after")
    def _together(self) -> JobSpec:
        if self.gang and self.array is None:
            raise ValueError("a gang is an array of tasks; give --array with their number")
        if self.gang and self.total > MAX_GANG:
            raise ValueError(f"a gang of {self.total} tasks: at most {MAX_GANG}")
        if self.gang and self.locality_wait:
            raise ValueError("a gang begins where it fits and does not wait: drop --locality-wait")
        if self.gang and self.revocable:
            raise ValueError("a gang does not run on slack, which is taken back bit by bit: drop --revocable")
        return self

    @field_validator("array")
    @classmethod
    def _bounded(cls, array: tuple[int, int] | None) -> tuple[int, int] | None:
        if array is not None:
            first, last = array
            if first < 0 or last < first:
                raise ValueError(f"array {first}-{last}: give FIRST-LAST with 0 <= FIRST <= LAST")
            if last - first >= MAX_ARRAY:
                raise ValueError(f"array {first}-{last}: at most {MAX_ARRAY} tasks; split the job")
        return array

    @field_validator("resources")
    @classmethod
    def _something(cls, resources: Resources) -> Resources:
        if not resources:
            raise ValueError("a task needs some resources, e.g. cpus:1;mem:128")
        return resources

    @property
    def total(self) -> int:
        """Number of tasks."""
        return 1 if self.array is None else self.array[1] - self.array[0] + 1
