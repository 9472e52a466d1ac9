"""Which agents a job would rather run on, and how long each wait for one is (delay scheduling)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, model_validator

from broker_mesos.core.model.attributes import MAX_VALUE, Constraint
from broker_mesos.core.model.part import Part

MAX_PREFERRED = 20
MAX_WAIT_SECONDS = 86_400.0


class Preference(Part):
    """A preference for some agents."""

    prefer: tuple[Constraint, ...] = Field(default=(), max_length=MAX_PREFERRED)
    """An agent that matches any of these is preferred."""
    locality_wait: float = Field(default=0.0, ge=0, le=MAX_WAIT_SECONDS)
    """Seconds for which a preferred agent is waited for, from when the tasks began to wait, or from when the
    last of them was launched on a preferred agent."""

    @model_validator(mode="after")
    def _for_something(self) -> Preference:
        if self.locality_wait and not self.prefer:
            raise ValueError("locality_wait is given, and nothing to wait for: say which agents to prefer")
        return self

    def prefers(self, attributes: Mapping[str, str], hostname: str) -> bool:
        """Whether an agent with these attributes and this hostname is preferred."""
        return any(each.matches(attributes, hostname) for each in self.prefer)


class Locality(Part):
    """What came of a preference."""

    local: int | None = None
    """Tasks that ended on a preferred agent; None if none is preferred."""
    picky: float | None = None
    """Seconds for which a job that waits takes preferred agents only; None if it takes any."""


def alternatives(prefer: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
    """The same in fewer constraints: several values of one attribute become one pattern, if it is short."""
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
