"""Reservations and persistent volumes of agents, and the operations that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from broker_mesos.core.model.part import Ident, Part, Prose, Short
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY, check_role
from broker_mesos.core.model.task import VolumeMount
from broker_mesos.errors import InvalidInput


class Layer(Part):
    """What tells one reservation from another of the same resources: everything but the amount."""

    role: Short
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], bool]:
        """Comparable and hashable."""
        return self.role, tuple(sorted(self.labels.items())), self.static


LayersKey = tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...]


def layers_key(layers: tuple[Layer, ...]) -> LayersKey:
    """What tells a reservation and all that it refines from others."""
    return tuple(layer.key for layer in layers)


class Reservation(Part):
    """A part of an agent that only a role, and the roles below it, may use."""

    role: Short
    resources: Resources
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False
    """Given with the agent's own options: it cannot be unreserved."""
    refines: tuple[Layer, ...] = ()
    """The reservations of roles above that it is a part of, the outermost first: once unreserved, it is
    reserved as the last of them says."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """With those that it refines, the outermost first."""
        return (*self.refines, Layer(role=self.role, labels=self.labels, static=self.static))

    @property
    def key(self) -> LayersKey:
        """What tells reservations apart: parts with the same key are one."""
        return layers_key(self.layers)


class Volume(Part):
    """A folder on an agent that outlives tasks, made of reserved disk."""

    volume_id: Ident
    role: Short
    size: Resources
    """The disk that it was made of, ``disk:1024``."""
    shared: bool = False
    """Several tasks may use it at once."""
    labels: dict[str, str] = Field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    """The reservation whose disk it is made of; the cell fills it in."""


class ReservedResources(Part):
    """What an agent keeps for others: dynamic reservations, and the volumes made of them. The amount of a
    reservation includes what others refine of it, and the disk of its volumes."""

    version: int = 0
    """Counts up with each change."""
    reservations: tuple[Reservation, ...] = ()
    volumes: tuple[Volume, ...] = ()
    operations: tuple[str, ...] = ()
    """Ids of the latest operations, each after its framework's id: none of them is carried out again."""


class Operation(Part):
    """A change to an offer's resources, by the framework that accepts it (or by an operator).

    ``RESERVE`` (resources, role, labels, refine), ``UNRESERVE`` (resources, role, labels), ``CREATE``
    (volume) and ``DESTROY`` (volume_id). With an ``operation_id`` its outcome is told.
    """

    type: Literal["RESERVE", "UNRESERVE", "CREATE", "DESTROY"]
    operation_id: Short = ""
    role: Short = ""
    resources: Resources = Resources.EMPTY
    labels: dict[str, str] = Field(default_factory=dict)
    refine: Short = ""
    """A role above: only what is reserved for it is reserved further. By default what nobody has reserved
    comes first, then what is reserved for roles above, the nearest first."""
    volume: Volume | None = None
    volume_id: Short = ""


class OperationStatus(Part):
    """How an operation ended."""

    operation_id: Short
    state: Literal["OPERATION_FINISHED", "OPERATION_ERROR"]
    message: Prose = ""
    agent_id: Short = ""


OWN_FILES = ("stdout", "stderr")
"""Names in a sandbox that are the agent's."""


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
            return f"{parts[0]} is the name of the task's own output; choose another path for {mount.volume_id}"
        for other in seen:
            if other[: len(parts)] == parts or parts[: len(other)] == other:
                return f"{mount.path[:80]!r} lies within another volume; give each volume a path of its own"
        seen.append(parts)
    ids = [mount.volume_id for mount in mounts]
    if len(set(ids)) < len(ids):
        return "it names a volume twice"
    return ""
