"""What a launcher becomes before it starts tasks: a user, resource limits, and no privileges."""

from __future__ import annotations

import resource
from typing import Any, NamedTuple

RLIMITS = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
"""The resource limits of this platform by name, such as ``nofile``."""
NO_LIMIT = -1


class Profile(NamedTuple):
    """A launcher starts tasks of one profile only."""

    uid: int = -1
    """The user of its tasks; -1: the spawner's, and the groups as well."""
    gid: int = -1
    groups: tuple[int, ...] = ()
    rlimits: tuple[tuple[str, int], ...] = (("core", 0),)
    """The name of a resource limit and its value, soft and hard; NO_LIMIT for none."""
    new_privileges: bool = False
    """Whether setuid programs and file capabilities have an effect."""
    capabilities: bool = False
    """Whether a task of root has the capabilities of root; other users have none in any case."""
    umask: int = 0o022


def profile_of(value: Any) -> Profile:
    """A profile as it was before it was JSON. Raises TypeError, ValueError if it is none."""
    made = Profile(*value)
    rlimits = tuple((str(name), int(limit)) for name, limit in made.rlimits)
    if unknown := [name for name, _ in rlimits if name not in RLIMITS]:
        raise ValueError(f"rlimit {unknown[0]} is not known here")
    return made._replace(groups=tuple(int(each) for each in made.groups), rlimits=rlimits)
