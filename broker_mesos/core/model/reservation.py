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
    """The identity of a reservation: everything but the amount."""

    role: Short
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], bool]:
        """The identity in a comparable and hashable form."""
        return self.role, tuple(sorted(self.labels.items())), self.static


LayersKey = tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...]


def layers_key(layers: tuple[Layer, ...]) -> LayersKey:
    """The identity of a reservation together with those that it refines, as a hashable key."""
    return tuple(layer.key for layer in layers)


class Reservation(Part):
    """A part of an agent that only a role, and the roles below it, may use."""

    role: Short
    resources: Resources
    labels: dict[str, str] = Field(default_factory=dict)
    static: bool = False
    """Whether the reservation is set by the agent's own options; it then cannot be unreserved."""
    refines: tuple[Layer, ...] = ()
    """The reservations for roles above that this one refines, the outermost first. When this one is unreserved,
    the resources return to the last of them."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of this reservation and of those that it refines, the outermost first."""
        return (*self.refines, Layer(role=self.role, labels=self.labels, static=self.static))

    @property
    def key(self) -> LayersKey:
        """The key that distinguishes reservations: resources with the same key are one reservation."""
        return layers_key(self.layers)


class Volume(Part):
    """A persistent volume: a folder on an agent that outlives tasks, made of reserved disk."""

    volume_id: Ident
    role: Short
    size: Resources
    """The reserved disk that the volume is made of, such as ``disk:1024`` (MB)."""
    shared: bool = False
    """Whether several tasks may use the volume at the same time."""
    labels: dict[str, str] = Field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    """The layers of the reservation whose disk the volume is made of. The cell sets them."""


class ReservedResources(Part):
    """The dynamic reservations of an agent, and its persistent volumes. The amount of a reservation includes the
    reservations that refine it, and the disk of its volumes."""

    version: int = 0
    """Version of the value: it is incremented with each change."""
    reservations: tuple[Reservation, ...] = ()
    volumes: tuple[Volume, ...] = ()
    operations: tuple[str, ...] = ()
    """Ids of the latest operations, each preceded by its framework's id, so that none is carried out twice."""


class Operation(Part):
    """A change to an offer's resources, by the framework that accepts it (or by an operator).

    The types and their fields are ``RESERVE`` (resources, role, labels, refine), ``UNRESERVE`` (resources, role,
    labels), ``CREATE`` (volume) and ``DESTROY`` (volume_id). The outcome is reported to the framework if the
    operation has an ``operation_id``.
    """

    type: Literal["RESERVE", "UNRESERVE", "CREATE", "DESTROY"]
    operation_id: Short = ""
    role: Short = ""
    resources: Resources = Resources.EMPTY
    labels: dict[str, str] = Field(default_factory=dict)
    refine: Short = ""
    """A role above ``role``: only resources that are reserved for it are refined. If empty, unreserved resources
    are taken first, then those that are reserved for roles above, the nearest role first."""
    volume: Volume | None = None
    volume_id: Short = ""


class OperationStatus(Part):
    """The outcome of an operation."""

    operation_id: Short
    state: Literal["OPERATION_FINISHED", "OPERATION_ERROR"]
    message: Prose = ""
    agent_id: Short = ""


OWN_FILES = ("stdout", "stderr")
"""Names of the files that the agent itself writes in a sandbox."""


def static_reservations(given: Mapping[str, str], total: Resources) -> tuple[Reservation, ...]:
    """The static reservations for the agent's own options, which are resources by role. Raises InvalidInput, in
    one line, if they are more than ``total``."""
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
    """Why these volumes cannot be mounted in one sandbox, as a phrase; empty if they can."""
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
