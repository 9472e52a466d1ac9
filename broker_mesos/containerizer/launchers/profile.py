"""What a launcher becomes before it starts tasks: a user, resource limits, and no privileges."""

from __future__ import annotations

import resource
from typing import Any, NamedTuple

from broker_mesos.containerizer.credentials import Ids

RLIMITS = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
"""The resource limits of this platform by name, such as ``nofile``."""
NO_LIMIT = -1


class Profile(NamedTuple):
    """A launcher starts tasks of one profile only."""

    user: Ids | None = None
    """The user of its tasks; None: that of the spawner, with its groups."""
    rlimits: tuple[tuple[str, int], ...] = (("core", 0),)
    """The name of a resource limit and its value, soft and hard; NO_LIMIT for none."""
    privileged: bool = False
    """Whether its tasks keep the capabilities of the spawner, and may gain rights by set-user-id programs; only without
    a user of their own."""
    umask: int = 0o022
    sandboxed: bool = False
    """Whether each of its tasks has a view of its own (``namespaces``): the launcher then stays root, where its agent
    is, and is the first process of a namespace."""
    network: str = "host"
    """``none`` if its sandboxed tasks have no network but their own loopback."""
    ports: tuple[tuple[int, int], ...] | None = None
    """The ranges of TCP ports that its tasks may listen on, both ends inclusive; None: all."""
    devices: str = ""
    """The folder of the cgroup that keeps its tasks from devices; empty for none. See ``cgroups/devices.py``."""


def profile_of(value: Any) -> Profile:
    """A profile as it was before it was JSON. Raises TypeError, ValueError if it is none."""
    made = Profile(*value)
    user = None
    if made.user is not None:
        uid, gid, groups = made.user
        user = Ids(int(uid), int(gid), tuple(int(each) for each in groups))
    rlimits = tuple((str(name), int(limit)) for name, limit in made.rlimits)
    if unknown := [name for name, _ in rlimits if name not in RLIMITS]:
        raise ValueError(f"rlimit {unknown[0]} is not known here")
    ports = None if made.ports is None else tuple((int(low), int(high)) for low, high in made.ports)
    return made._replace(user=user, rlimits=rlimits, ports=ports)
