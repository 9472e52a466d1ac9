"""Reservations and volumes as people and tasks see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker_mesos.core.infos import Reservation, Volume, VolumeMount
from broker_mesos.core.resources import Resources
from broker_mesos.core.roles import ANYBODY, check_role
from broker_mesos.core.wire import Part
from broker_mesos.errors import InvalidInput

OWN_FILES = ("stdout", "stderr")
"""Names in a sandbox that are the agent's."""


class ReservationView(Part):
    """What is reserved of an agent, without what others refine of it; its volumes are in it as
    ``volumes:{id}``."""

    reservation: Reservation
    unused: Resources
    """The part that neither a task nor an open offer holds."""


class VolumeView(Part):
    """A volume, and the tasks that use it."""

    volume: Volume
    tasks: tuple[str, ...] = ()
    """Ids, at most 100."""


def static_reservations(given: Mapping[str, str], total: Resources) -> tuple[Reservation, ...]:
    """What an agent reserves by its own options: resources by role. Raises InvalidInput, in one line, for
    what is not a part of ``total``."""
    left = total
    found = []
    for role, text in given.items():
        resources = Resources.parse(text)
        if check_role(role) == ANYBODY:
            raise InvalidInput("--reserve: the role * is everybody's; name another one, as in 'eng=cpus:2'")
        if not resources:
            raise InvalidInput(f"--reserve: nothing is reserved for {role}; as in '{role}=cpus:2;mem:1024'")
        if not left.contains(resources):
            raise InvalidInput(
                f"--reserve: {role} is to have {resources}, and the agent has {left or 'nothing'} left; "
                "reserve less, or lend more with --resources"
            )
        left -= resources
        found.append(Reservation(role=role, resources=resources, static=True))
    return tuple(found)


def mount_problem(mounts: Sequence[VolumeMount]) -> str:
    """Why these volumes cannot appear in one sandbox, in words; empty if they can."""
    seen: list[tuple[str, ...]] = []
    for mount in mounts:
        parts = tuple(mount.path.split("/"))
        if "\0" in mount.path or any(part in ("", ".", "..") for part in parts):
            return f"{mount.path[:80]!r} is not a path within the sandbox: write it as in data or data/db"
        if parts[0] in OWN_FILES:
            return (
                f"{parts[0]} is the name of the task's own output; choose another path for {mount.volume_id}"
            )
        for other in seen:
            if other[: len(parts)] == parts or parts[: len(other)] == other:
                return f"{mount.path[:80]!r} lies within another volume; give each volume a path of its own"
        seen.append(parts)
    ids = [mount.volume_id for mount in mounts]
    if len(set(ids)) < len(ids):
        return "it names a volume twice"
    return ""
