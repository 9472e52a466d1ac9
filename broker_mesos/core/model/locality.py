"""The agents that a job prefers, and how long it waits for one of them (delay scheduling)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, model_validator

from broker_mesos.core.model.attributes import MAX_VALUE, Constraint
from broker_mesos.core.model.part import Part

MAX_PREFERRED = 20
MAX_WAIT_SECONDS = 86_400.0


class Preference(Part):
    """A job's preference for some agents."""

    prefer: tuple[Constraint, ...] = Field(default=(), max_length=MAX_PREFERRED)
    """An agent that matches any of these is preferred."""
    locality_wait: float = Field(default=0.0, ge=0, le=MAX_WAIT_SECONDS)
    """How long the job waits for a preferred agent, in seconds, from the moment when its tasks began to wait or
    when the last of them was launched on a preferred agent."""

    @model_validator(mode="after")
    def _for_something(self) -> Preference:
        if self.locality_wait and not self.prefer:
            raise ValueError("locality_wait is given, and nothing to wait for: say which agents to prefer")
        return self

    def prefers(self, attributes: Mapping[str, str], hostname: str, agent_id: str) -> bool:
        """Whether an agent with these attributes, this hostname and this id is preferred."""
        return any(each.matches(attributes, hostname, agent_id) for each in self.prefer)


class Locality(Part):
    """The effect that a preference has had."""

    local: int | None = None
    """Number of tasks that have ended on a preferred agent; None if the job prefers none."""
    picky: float | None = None
    """How long a waiting job still accepts preferred agents only, in seconds; None if it accepts any agent."""


def alternatives(prefer: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
    """Equivalent alternatives in fewer constraints: several values of one attribute become one pattern if the
    pattern is short enough."""
    values: dict[str, list[str]] = {}
    for each in prefer:
        if each.operator == "==":
            values.setdefault(each.name, []).append(each.value)
    found = [each for each in prefer if each.operator != "=="]
    for name, several in values.items():
        pattern = "|".join(re.escape(value) for value in dict.fromkeys(several))
        if len(set(several)) == 1 or len(pattern) > MAX_VALUE or not pattern.isprintable():
            found += [Constraint(name, "==", value) for value in dict.fromkeys(several)]
        else:
            found.append(Constraint(name, "~=", pattern))
    return tuple(found)
