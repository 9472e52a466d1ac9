"""Gangs in the demand of a framework: shapes whose tasks start together or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.framework import Shape


class Member(NamedTuple):
    """A shape of a gang, with the number of tasks that are missing."""

    shape: Shape
    tasks: int


def gangs_of(framework: Framework) -> Iterator[str]:
    """Names of the gangs that a framework demands, in the order of the demand."""
    return iter(framework.gangs)


def shapes_of(shapes: Sequence[Shape], gang: str) -> list[Shape]:
    """The shapes that belong to a gang."""
    return [shape for shape in shapes if shape.gang == gang]


def has_started(framework: Framework, gang: str) -> bool:
    """Whether the framework has launched tasks of a gang and has sent no new demand since."""
    return gang in framework.started_gangs


def missing(framework: Framework, gang: str) -> list[Member]:
    """The tasks of a gang that are not offered; empty if all of them are, or if the framework has started the gang."""
    if has_started(framework, gang):
        return []
    return [
        Member(shape, count)
        for shape in shapes_of(framework.demand.shapes or (), gang)
        if (count := framework.missing(shape))
    ]


def waits(framework: Framework, gang: str) -> bool:
    """Whether nothing of a gang is offered, and tasks of it are missing."""
    if any(framework.promised[shape.key] for shape in shapes_of(framework.demand.shapes or (), gang)):
        return False
    return bool(missing(framework, gang))


def any_waits(framework: Framework) -> bool:
    """Whether a framework wants a gang of several tasks of which nothing is offered. A single task needs one
    agent, and so it can be looked at when that changes."""
    return framework.wants and any(
        waits(framework, gang) and sum(each.tasks for each in missing(framework, gang)) > 1
        for gang in gangs_of(framework)
    )
