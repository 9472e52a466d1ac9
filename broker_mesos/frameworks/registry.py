"""The built-in frameworks by name. Nothing outside ``frameworks/`` names one of them otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    import asyncio
    import random

    from broker_mesos.ports.bus import Bus
    from broker_mesos.ports.clock import Clock, NewId
    from broker_mesos.ports.store import Records
    from broker_mesos.runtime.settings import Settings


class Context(NamedTuple):
    """What a process of a framework is built from."""

    settings: Settings
    bus: Bus
    records: Records
    """In the framework's own space."""
    clock: Clock
    new_id: NewId
    rng: random.Random


class FrameworkProcess(Protocol):
    """One of any number of processes of a framework."""

    serving: asyncio.Event
    """Set once it answers operator requests."""

    async def run(self) -> None:
        """Work until ``stop``."""
        ...

    def stop(self) -> None:
        """End ``run``. Tasks go on."""
        ...


class BuiltInFramework(NamedTuple):
    """A framework that ships with broker_mesos.

    Classes and functions are named as ``module:name``, so that who only needs the name of a framework does
    not import it.
    """

    name: str
    """Its framework id, the key of its operator queue, and the space of its records in the store."""
    purpose: str
    """What it does, in a few words that complete "it"."""
    requests: str
    """The base class of the operator requests that it answers."""
    builder: str
    """The function that makes a FrameworkProcess of a Context."""

    @property
    def space(self) -> str:
        """The space of its records."""
        return self.name

    def build(self, context: Context) -> FrameworkProcess:
        """A process of this framework, which does not run yet."""
        build: Callable[[Context], FrameworkProcess] = resolve_name(self.builder)
        return build(context)


JOBS = BuiltInFramework(
    name="batch",
    purpose="runs the jobs of `bmesos submit`",
    requests="broker_mesos.core.api.jobs:JobRequest",
    builder="broker_mesos.frameworks.batch.build:build",
)
"""The framework that has the jobs."""

FRAMEWORKS = {each.name: each for each in (JOBS,)}


def framework_named(name: str) -> BuiltInFramework:
    """The framework of this name. Raises InvalidInput, listing the known ones."""
    if name not in FRAMEWORKS:
        raise InvalidInput(f"there is no framework {name!r}; there is: {', '.join(sorted(FRAMEWORKS))}")
    return FRAMEWORKS[name]


def framework_for(request: type) -> BuiltInFramework:
    """The framework that answers requests of this class. Raises LookupError when none does."""
    for framework in FRAMEWORKS.values():
        if issubclass(request, resolve_name(framework.requests)):
            return framework
    raise LookupError(f"no built-in framework answers {request.__name__}")
