"""The four operations on the reservations and volumes of an agent: RESERVE, UNRESERVE, CREATE and DESTROY.

An operation of a framework changes the offers that it accepts, one of an operator the free resources of an agent. It
is carried out completely or not at all. Scalars have no identity: a role with enough unused resources may unreserve
its reservation, independent of which of its tasks would be considered to use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.reserved_portions import EMPTY, VOLUMES, common, unused, uses_by_role
from broker_mesos.core.model.reservation import (
    Layer,
    LayersKey,
    Operation,
    Reservation,
    ReservedResources,
    Volume,
)
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import ANYBODY, check_role, is_within
from broker_mesos.errors import Conflict, InvalidInput, NotFound

MAX_OPERATION_IDS = 64
"""The largest number of ids of operations that are stored with an agent's reservations."""
MAX_RESERVED_BYTES = 128 * 1024
"""The largest size of an agent's reservations and volumes, in bytes: each of its offers contains them."""


@dataclass(slots=True)
class Ground:
    """The resources that operations can change. ``pool`` has all of them; in an accept, tasks use the remaining ones.
    ``named`` is the part that is reserved according to the offers. ``role`` is the role of the offers; it is None for
    an operator, who may change the resources of all roles."""

    agent: Agent
    role: str | None
    pool: Resources
    named: Resources = EMPTY
    offered: bool = True
    """Whether open offers count as used. It is False for a trial as if nothing of the agent were offered."""

    def may_use(self, role: str) -> bool:
        """Whether resources that are reserved for a role may be changed."""
        return self.role is None or is_within(self.role, role)


class Changed:
    """The result of an operation."""

    __slots__ = ("named", "pool", "reserved_resources")

    def __init__(self, reserved_resources: ReservedResources, pool: Resources, named: Resources) -> None:
        self.reserved_resources = reserved_resources
        self.pool = pool
        self.named = named


def apply(ground: Ground, operation: Operation, name: str) -> None:
    """Carry out an operation, unless one with the same non-empty ``name`` was carried out before. Raises InvalidInput,
    Conflict or NotFound, and then nothing has changed."""
    agent = ground.agent
    if name and name in agent.reserved_resources.operations:
        return
    changed = change(ground, operation)
    done = agent.reserved_resources.operations
    reserved_resources = changed.reserved_resources.model_copy(
        update={
            "version": agent.reserved_resources.version + 1,
            "operations": (*done, name)[-MAX_OPERATION_IDS:] if name else done,
        }
    )
    if len(reserved_resources.encode()) > MAX_RESERVED_BYTES:
        raise Conflict(f"agent {agent.ident} has too many reservations and volumes; remove some of them first")
    agent.set_reserved(reserved_resources)
    # If the agent shrank, fewer resources may become free than were once reserved.
    ground.pool, ground.named = common(changed.pool, agent.free), changed.named


def change(ground: Ground, operation: Operation) -> Changed:
    """Compute the result of an operation without changing anything. Raises the same errors as ``apply``."""
    match operation.type:
        case "RESERVE":
            return _reserve(ground, operation)
        case "UNRESERVE":
            return _unreserve(ground, operation)
        case "CREATE":
            return _create(ground, operation)
        case "DESTROY":
            return _destroy(ground, operation)


def _reserve(ground: Ground, operation: Operation) -> Changed:
    agent, role, wanted = ground.agent, operation.role, _amount(operation)
    _check_owner(role)
    if ground.role is not None and not is_within(role, ground.role):
        raise InvalidInput(f"role {role} is not the offer's role {ground.role}, nor below it")
    if operation.refine and (operation.refine == role or not is_within(role, operation.refine)):
        raise InvalidInput(f"only a role above {role} can be refined, not {operation.refine}")
    if not ground.pool.contains(wanted):
        raise _short(ground, wanted, ground.pool, "is free")
    taken: list[Reservation] = []
    fresh = EMPTY
    if not operation.refine:
        fresh = common(wanted, _unreserved(ground))
        if fresh:
            taken.append(Reservation(role=role, resources=fresh, labels=operation.labels))
    left = wanted - fresh
    spent: dict[LayersKey, Resources] = {}
    for outer in sorted(agent.reservations, key=lambda each: -each.role.count("/")):
        above = outer.role != role and is_within(role, outer.role) and ground.may_use(outer.role)
        if not above or operation.refine not in ("", outer.role):
            continue
        part = common(left, common(outer.resources, _available(ground, outer, wanted - left, spent)))
        if part:
            left -= part
            spent[outer.key] = part
            taken.append(Reservation(role=role, resources=part, labels=operation.labels, refines=outer.layers))
    if left:
        where = f"is reserved for {operation.refine}" if operation.refine else "can be reserved"
        raise _short(ground, wanted, wanted - left, where)
    kept = list(agent.reserved_resources.reservations)
    for each in taken:
        _add(kept, each)
    pool, named = ground.pool, ground.named
    if ground.role == role:
        named += fresh
    elif ground.role is not None:
        # Resources that are reserved for a role below are not available to the offer's role any more.
        pool, named = pool - wanted, named.clipped_minus(wanted - fresh)
    return Changed(agent.reserved_resources.model_copy(update={"reservations": tuple(kept)}), pool, named)


def _unreserved(ground: Ground) -> Resources:
    """The unreserved part of the pool: neither reserved according to the offers, nor reserved since."""
    agent = ground.agent
    uses = uses_by_role(agent, offered=ground.offered)
    kept = Resources.sum(rest for _, rest in unused(agent.reservations, uses))
    free = agent.free if ground.offered else agent.total.clipped_minus(agent.used)
    return common(ground.pool.clipped_minus(ground.named), free.clipped_minus(kept))


def _available(
    ground: Ground,
    reservation: Reservation,
    taken: Resources = EMPTY,
    spent: Mapping[LayersKey, Resources] = MappingProxyType({}),
) -> Resources:
    """The part of the pool that may be taken out of a reservation, without the parts of other reservations. ``taken``
    was already taken out of the pool, and ``spent`` has its parts by reservation."""
    agent = ground.agent
    others = Resources.sum(
        rest.clipped_minus(spent.get(each.key, EMPTY))
        for each, rest in unused(agent.reservations, uses_by_role(agent, offered=ground.offered))
        if each.key != reservation.key and ground.may_use(each.role)
    )
    # An operator's pool has all free resources; beside a framework's pool, others may be free for other reservations.
    elsewhere = EMPTY if ground.role is None else agent.free.clipped_minus(ground.pool)
    return (ground.pool - taken).clipped_minus(others.clipped_minus(elsewhere))


def _unreserve(ground: Ground, operation: Operation) -> Changed:
    agent, wanted = ground.agent, _amount(operation)
    _check_owner(operation.role)
    layer = Layer(role=operation.role, labels=operation.labels).key
    known = [each for each in agent.reservations if each.key[-1] == layer and ground.may_use(each.role)]
    kept = list(agent.reserved_resources.reservations)
    left, named = wanted, ground.named
    for each in known:
        part = common(left, each.resources)
        left -= part
        _take(kept, each, part)
        if not each.refines:
            named = named.clipped_minus(part)
    # Resources that the agent does not have any more are not in use.
    lost = EMPTY
    for each in [each for each in kept if each.key[-1] == layer]:
        part = common(left, each.resources.clipped_minus(agent.info.resources))
        left -= part
        lost += part
        _take(kept, each, part)
    if left:
        if any(each.static and each.role == operation.role for each in agent.reservations) and not known:
            raise InvalidInput(
                f"what agent {agent.ident} reserves for {operation.role} by its own options stays reserved"
            )
        labels = " ".join(f"{name}={value}" for name, value in operation.labels.items())
        has = f"with the labels {labels[:200]}" if labels else "without labels"
        raise _short(ground, wanted, wanted - left, f"is reserved for {operation.role} {has}")
    if not ground.pool.contains(wanted - lost):
        raise _short(ground, wanted, ground.pool, "is unused")
    return Changed(agent.reserved_resources.model_copy(update={"reservations": tuple(kept)}), ground.pool, named)


def _create(ground: Ground, operation: Operation) -> Changed:
    agent, volume = ground.agent, operation.volume
    if volume is None:
        raise InvalidInput("CREATE names no volume")
    _check_owner(volume.role)
    size = volume.size
    if size.names() != ["disk"] or not size.get("disk"):
        raise InvalidInput(f"a volume is made of disk, as in disk:1024, not of {_clip(size) or 'nothing'}")
    if any(each.volume_id == volume.volume_id for each in agent.reserved_resources.volumes):
        raise Conflict(f"agent {agent.ident} has a volume {volume.volume_id} already; choose another id")
    if not ground.may_use(volume.role):
        raise InvalidInput(f"the offer is for role {ground.role}, not for {volume.role} or a role below it")
    sources = [each for each in agent.reservations if each.role == volume.role]
    labels = Layer(role=volume.role, labels=operation.labels).labels
    source = next(
        (each for each in sources if each.resources.contains(size) and (not labels or each.labels == labels)),
        None,
    )
    if source is None:
        most = max((each.resources.get("disk") for each in sources), default=0)
        raise _short(ground, size, Resources.scalars_of({"disk": most}), f"is reserved for {volume.role} at once")
    if not (there := _available(ground, source)).contains(size):
        raise _short(ground, size, there, "is unused")
    made = volume.model_copy(update={"layers": source.layers})
    used = EMPTY if volume.shared else _as_resource(volume)
    return Changed(
        agent.reserved_resources.model_copy(update={"volumes": (*agent.reserved_resources.volumes, made)}),
        ground.pool - size + used,
        ground.named.clipped_minus(size) + used,
    )


def _destroy(ground: Ground, operation: Operation) -> Changed:
    agent = ground.agent
    volume = next((each for each in agent.reserved_resources.volumes if each.volume_id == operation.volume_id), None)
    if volume is None or not ground.may_use(volume.role):
        raise NotFound(
            f"agent {agent.ident} has no volume {operation.volume_id!r}"
            + (f" for role {ground.role}" if ground.role is not None else "")
        )
    users = [
        task.task_id
        for task in agent.tasks.values()
        if not task.state.terminal and volume.volume_id in task.details.volumes
    ]
    used = EMPTY if volume.shared else _as_resource(volume)
    if users:
        raise Conflict(f"task {users[0]} uses volume {volume.volume_id}; wait for its end, or kill it")
    if not ground.pool.contains(used):
        raise Conflict(f"volume {volume.volume_id} is in another offer, or in use")
    rest = tuple(each for each in agent.reserved_resources.volumes if each is not volume)
    reserved_resources = agent.reserved_resources.model_copy(update={"volumes": rest})
    named = ground.named.clipped_minus(used) + volume.size
    return Changed(reserved_resources, ground.pool - used + volume.size, named)


def _as_resource(volume: Volume) -> Resources:
    return Resources.of(**{VOLUMES: {volume.volume_id}})


def _amount(operation: Operation) -> Resources:
    wanted = operation.resources
    if not wanted:
        raise InvalidInput(f"{operation.type} names no resources; write them as in cpus:2;mem:1024")
    if VOLUMES in wanted.names():
        raise InvalidInput("a volume cannot be reserved or unreserved; destroy it, then unreserve its disk")
    return wanted


def _check_owner(role: str) -> None:
    if check_role(role) == ANYBODY:
        raise InvalidInput("nothing can be reserved for the role *, the default role; name another role")


def _add(kept: list[Reservation], more: Reservation) -> None:
    for at, each in enumerate(kept):
        if each.key == more.key:
            kept[at] = each.model_copy(update={"resources": each.resources + more.resources})
            return
    kept.append(more)


def _take(kept: list[Reservation], where: Reservation, part: Resources) -> None:
    for at, each in enumerate(kept):
        if part and each.key == where.key:
            left = each.resources - part
            kept[at : at + 1] = [each.model_copy(update={"resources": left})] if left else []
            return


def _short(ground: Ground, wanted: Resources, there: Resources, what: str) -> Conflict:
    missing = there.missing(wanted)
    where = f"of agent {ground.agent.ident}" if ground.role is None else "of the offer"
    return Conflict(f"short of {_clip(missing)}: {_clip(wanted)} is requested, and less than that {where} {what}")


def _clip(resources: Resources) -> str:
    text = str(resources)
    return text if len(text) <= 500 else text[:500] + "…"
