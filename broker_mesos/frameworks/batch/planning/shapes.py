"""Pure functions that compute the demand of the batch framework: shapes of tasks of pending jobs, and their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.core.model.attributes import AGENT, Constraint
from broker_mesos.core.model.framework import MAX_DEMAND_ROLES, MAX_PLACED, Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.locality import alternatives
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.part import MAX_SHORT
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY
from broker_mesos.core.model.task_isolation import demanded_words
from broker_mesos.frameworks.batch.storage.records import Work

MAX_JOBS = 50
"""Maximum number of pending jobs for which the demand lists shapes; with more of them it is for any offer."""
MAX_SHAPES = 50
"""Maximum number of shapes in the demand; with more of them it is for any offer."""
MAX_TASKS = 10_000_000
"""Maximum number of tasks of one shape in the demand."""
NEVER = float("inf")
NONE_PLACED: Mapping[str, int] = MappingProxyType({})


class JobShape(NamedTuple):
    """The properties by which a cell distinguishes the tasks of jobs."""

    resources: Resources
    constraints: tuple[Constraint, ...]
    prefer: tuple[Constraint, ...] = ()
    """The preferred agents that the tasks wait for: those that match any of these; empty if they do not wait."""
    revocable: bool = False
    """Whether the tasks run on slack, and nowhere else."""
    gang: str = ""
    """Id of the job whose tasks must all start together; empty if the job is no gang."""
    role: str = ANYBODY
    """The role of the offers that the tasks may use."""
    isolation: tuple[str, ...] = ()
    """What their agents must hold tasks to; see ``Shape.isolation``."""
    ports: int = 0
    """Number of ports of each task."""
    name: str = ""
    """Id of the job if the number of its tasks by value of an attribute is limited; else empty. See ``Shape.name``."""
    most: int = 0
    per: str = AGENT

    def matches(self, offer: Offer) -> bool:
        """Whether tasks of this shape may use an offer, if it is large enough."""
        attributes, hostname, agent_id = offer.attributes, offer.hostname, offer.agent_id
        if self.revocable is not offer.revocable or self.role != offer.role:
            return False
        if not all(each.matches(attributes, hostname, agent_id) for each in self.constraints):
            return False
        # A cell of an earlier release offers any agent, and says nothing of what it holds tasks to.
        if self.isolation and not set(self.isolation).issubset(offer.isolation):
            return False
        return not self.prefer or any(each.matches(attributes, hostname, agent_id) for each in self.prefer)

    def shapes(self, count: int, placed: Mapping[str, int] = NONE_PLACED) -> list[Shape]:
        """The shapes of a demand for ``count`` tasks: one for each kind of preferred agent, since an agent is
        preferred if it matches any of them. ``placed`` counts the tasks that run, by value of ``per``."""
        # A cell counts the tasks of its own agents by itself.
        counts = {} if self.per == AGENT else dict(islice(placed.items(), MAX_PLACED))
        ways = [(each,) for each in alternatives(self.prefer)] if self.prefer else [()]
        return [
            Shape(
                resources=self.resources,
                constraints=(*self.constraints, *way),
                count=min(count, MAX_TASKS),
                gang=self.gang,
                revocable=self.revocable,
                role=self.role,
                isolation=self.isolation,
                ports=self.ports,
                name=self.name,
                most=self.most,
                per=self.per,
                placed=counts,
            )
            for way in ways
        ]


class DemandShapes(NamedTuple):
    """The shapes of the demand (None: any offer), and the time at which they change without any event."""

    shapes: tuple[Shape, ...] | None
    due: float = NEVER

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the shapes, as a demand names them."""
        return demand_roles(each.role for each in self.shapes or ())


def demand_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """The roles of a demand, as it names them: none if they are the framework's own. Jobs that are released or retried
    together may be of more roles than one demand can name; the others follow when these have nothing to claim."""
    found = tuple(dict.fromkeys(roles))[:MAX_DEMAND_ROLES]
    return () if found == (ANYBODY,) else found


def job_shape_of(job_id: str, spec: JobSpec, waits: bool) -> JobShape:
    """The shape of a job's tasks; ``waits`` states whether they wait for a preferred agent."""
    gang = job_id if spec.gang else ""
    return JobShape(
        spec.resources,
        spec.own_constraints,
        spec.prefer if waits else (),
        spec.revocable,
        gang,
        spec.role,
        demanded_words(spec.isolation, spec.limits),
        spec.ports,
        job_id if spec.most else "",
        spec.most,
        spec.per,
    )


def single_task_gang(shape: JobShape) -> str:
    """The name of the gang of one task as which the demand lists the first large task of a shape; empty if the shape
    has no such gang. The name is the same for all jobs of the shape, so that each of them may use its offers."""
    if shape.gang or shape.prefer or shape.revocable or shape.most:
        return ""
    role = () if shape.role == ANYBODY else (f"in role {shape.role}",)
    held = ("held to", *shape.isolation) if shape.isolation else ()
    ports = (f"with {shape.ports} ports",) if shape.ports else ()
    return " ".join(["one task of", str(shape.resources), *ports, *map(str, shape.constraints), *role, *held])


def _single_task_gangs(shapes: Iterable[JobShape]) -> dict[JobShape, str]:
    """The names of the gangs for shapes that need more of a resource than another shape. Without a gang they could
    starve, since each part of an agent that becomes free is enough for the smaller shape first."""
    shapes = list(shapes)
    least = {
        name: min(shape.resources.get(name) for shape in shapes)
        for name in {name for shape in shapes for name in shape.resources.scalars}
    }
    return {
        shape: name
        for shape in shapes
        if any(amount > least[resource] for resource, amount in shape.resources.scalars.items())
        and 0 < len(name := single_task_gang(shape)) <= MAX_SHORT
    }


def _shapes(shape: JobShape, count: int, gang: str | None, placed: Mapping[str, int]) -> list[Shape]:
    """The shapes of a demand for ``count`` tasks, one of them as a gang of this name if there is one. The gang is the
    last of them: while other tasks of its shape are served, no resources need be collected for it."""
    if gang is None:
        return shape.shapes(count, placed)
    return [*(shape.shapes(count - 1) if count > 1 else ()), *shape._replace(gang=gang).shapes(1)]


def demand_shapes(jobs: Iterable[tuple[str, JobSpec, Work]], now: float) -> DemandShapes:
    """The shapes of the tasks that jobs have to claim, in the order in which the jobs are served. A demand that is too
    large is harmless, since its offers are declined; under a demand that is too small, tasks would starve."""
    counts: dict[JobShape, int] = {}
    placed: dict[JobShape, Mapping[str, int]] = {}
    due = NEVER
    for job_id, spec, work in jobs:
        claimable = work.claimable(spec.total, spec.max_running)
        if claimable:
            until = work.waits_until(spec, now)
            due = min(due, until or NEVER)
            shape = job_shape_of(job_id, spec, bool(until))
            counts[shape] = counts.get(shape, 0) + claimable
            placed[shape] = work.placed
    gangs = _single_task_gangs(counts)
    shapes = tuple(
        each for shape, count in counts.items() for each in _shapes(shape, count, gangs.get(shape), placed[shape])
    )
    if len(shapes) > MAX_SHAPES:
        shapes = tuple(each for shape, count in counts.items() for each in shape.shapes(count, placed[shape]))
    return DemandShapes(shapes, due) if len(shapes) <= MAX_SHAPES else DemandShapes(None)
