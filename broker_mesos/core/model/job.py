"""What a job of the batch framework is."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.job_array import Range, problem_of, size_of
from broker_mesos.core.model.locality import Preference
from broker_mesos.core.model.part import ID_PATTERN, Ident, Part
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.errors import InvalidInput

MAX_GANG = 1_000
MAX_AFTER = 100
"""Jobs after which one runs."""


class Dependency(Part):
    """A job after which another one runs."""

    job_id: Ident
    any_end: bool = False
    """Any end of it will do; else it must have succeeded."""

    @classmethod
    def parse(cls, text: str) -> Dependency:
        """``JOB`` must succeed; of ``any:JOB`` any end will do. Raises InvalidInput."""
        kind, colon, job_id = text.strip().rpartition(":")
        if (colon and kind not in ("any", "ok")) or not re.fullmatch(ID_PATTERN, job_id):
            raise InvalidInput(f"after {text!r}: write JOB, which must succeed, or any:JOB, of which any end will do")
        return cls(job_id=job_id, any_end=kind == "any")


class JobSpec(Preference):
    """A job: one command, or an array of them, told apart by ``BMESOS_ARRAY_INDEX``."""

    name: str = Field(default="", max_length=200)
    command: CommandInfo
    resources: Resources = Resources.parse("cpus:1;mem:128")
    array: tuple[int, int] | None = None
    """First and last index, inclusive; None is a single task (index 0, without the variable)."""
    ranges: tuple[Range, ...] = ()
    """Ranges with steps that make up the array, in ascending order; empty: every index of it."""
    max_running: int = Field(default=0, ge=0, le=1_000_000)
    """Most tasks of the array that run at a time; 0: any number."""
    retries: int = Field(default=0, ge=0, le=1_000)
    retry_on: tuple[int, ...] = Field(default=(), max_length=100)
    """Exit codes (128 + signal for a signal) after which a retry is used; empty: after any failure. A task
    whose agent is lost has no exit code, and is always retried."""
    time_limit: float | None = Field(default=None, gt=0, le=366 * 86_400)
    """Seconds that one run of a task may take. Its agent ends it then, and it has failed."""
    priority: int = Field(default=0, ge=-1_000, le=1_000)
    """Higher goes first."""
    constraints: tuple[Constraint, ...] = ()
    after: tuple[Dependency, ...] = Field(default=(), max_length=MAX_AFTER)
    """Jobs that must have ended before its tasks begin. They must exist when it is submitted, so that no jobs
    can wait for each other."""
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

    @field_validator("resources")
    @classmethod
    def _something(cls, resources: Resources) -> Resources:
        if not resources:
            raise ValueError("a task needs some resources, e.g. cpus:1;mem:128")
        return resources

    @property
    def total(self) -> int:
        """Number of tasks."""
        return 1 if self.array is None else size_of(self.array, self.ranges)
