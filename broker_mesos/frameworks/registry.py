"""The built-in frameworks by name. Nothing outside ``frameworks/`` names one of them otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    import asyncio
    import random

    from broker_mesos.bus.caller import CheckedAccess
    from broker_mesos.ports.bus import Bus
    from broker_mesos.ports.clock import Clock, NewId
    from broker_mesos.ports.store import Records
    from broker_mesos.runtime.settings import Settings


class Context(NamedTuple):
    """The parts from which a process of a framework is built."""

    settings: Settings
    bus: Bus
    records: Records
    """The records in the framework's own space of the store."""
    clock: Clock
    new_id: NewId
    rng: random.Random
    access: CheckedAccess | None = None
    """The policy by which requests are refused; None if everybody may do everything."""


class FrameworkProcess(Protocol):
    """A process of a framework, which may have any number of them."""

    serving: asyncio.Event
    """An event that is set once the process answers operator requests."""
    subscribed: asyncio.Event
    """An event that is set while the process receives offers and events of the framework."""

    async def run(self) -> None:
        """Serve until ``stop`` is called."""
        ...

    def stop(self) -> None:
        """End ``run``; the framework's tasks run on."""
        ...


class BuiltInFramework(NamedTuple):
    """A framework that ships with broker_mesos.

    Functions are given as ``module:name`` and requests by their types, so that code which only needs these does not
    import the framework, or any models.
    """

    name: str
    """The framework id, which is also the key of its operator queue and the space of its records in the store."""
    purpose: str
    """What the framework does, as a phrase that follows its name."""
    requests: frozenset[str]
    """The types of the operator requests that the framework answers."""
    builder: str
    """The function that builds a FrameworkProcess from a Context, as ``module:name``."""

    @property
    def space(self) -> str:
        """The space of the framework's records in the store."""
        return self.name

    def build(self, context: Context) -> FrameworkProcess:
        """A new process of this framework, which is not running yet."""
        from pkgutil import resolve_name

        build: Callable[[Context], FrameworkProcess] = resolve_name(self.builder)
        return build(context)


JOBS = BuiltInFramework(
    name="batch",
    purpose="runs the jobs of `bmesos submit`",
    requests=frozenset(
        {
            "GET_JOB",
            "GET_JOBS",
            "GET_TASK",
            "GET_TIMELINE",
            "GET_WAITING_JOBS",
            "GET_WORKER_HEALTH",
            "KILL_JOB",
            "KILL_JOBS",
            "KILL_JOBS_OF_ROLE",
            "RETRY_JOB",
            "SUBMIT_JOB",
            "WAIT_JOB",
        }
    ),
    builder="broker_mesos.frameworks.batch.build:build",
)
"""The framework that runs jobs."""

FRAMEWORKS = {each.name: each for each in (JOBS,)}


def framework_named(name: str) -> BuiltInFramework:
    """The framework of this name. Raises InvalidInput, listing the known ones."""
    if name not in FRAMEWORKS:
        raise InvalidInput(f"there is no framework {name!r}; there is: {', '.join(sorted(FRAMEWORKS))}")
    return FRAMEWORKS[name]


def framework_for(kind: str) -> BuiltInFramework | None:
    """The framework that answers requests of this type; None if another process does."""
    return next((each for each in FRAMEWORKS.values() if kind in each.requests), None)
