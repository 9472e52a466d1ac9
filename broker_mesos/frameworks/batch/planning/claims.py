"""Claiming: which tasks of which jobs go onto which offers, as one transaction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo
from broker_mesos.core.model.task_queues import queue_key_of
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.planning.shapes import JobShape, alone, job_shape_of
from broker_mesos.frameworks.batch.storage.records import (
    CLAIMS,
    PENDING,
    UNSETTLED,
    WORK,
    ClaimRecord,
    Slot,
    TaskName,
    Work,
    text_of,
)

MAX_LAUNCHES = 1_000
"""Tasks claimed for one offer."""
MAX_BYTES = 600_000
"""Size of the tasks claimed for one offer; they travel in one ACCEPT, of which a cell may make a command."""
TASK_OVERHEAD = 400
"""Bytes that a task has on the wire beside its command."""


MAX_SPEC = 256 << 10
"""Bytes of one job's JSON: its command travels with every task."""
MAX_USER = 200


def check_spec(spec: JobSpec, size: int) -> None:
    """Refuse a job that cannot be claimed, or be shown. ``size``: bytes of its JSON. Raises InvalidInput."""
    if not spec.name.isprintable() or (spec.name and not spec.name.strip()):
        raise InvalidInput(f"the job name {spec.name!r} is blank or has control characters; give --name in plain text")
    if size > MAX_SPEC:
        raise InvalidInput(f"a job of {size} bytes: at most {MAX_SPEC}; put the data into a file")
    if len(spec.user) > MAX_USER:
        raise InvalidInput(f"a user name of {len(spec.user)} characters: at most {MAX_USER}")
    if spec.gang and spec.total * (size + TASK_OVERHEAD) > MAX_BYTES:
        most = MAX_BYTES // (size + TASK_OVERHEAD)
        raise InvalidInput(f"a gang of {spec.total} tasks of {size} bytes: {most} fit; put data into a file")


class Candidate(NamedTuple):
    """A job with something to claim. ``size``: bytes of its spec."""

    job_id: str
    spec: JobSpec
    work_text: str
    size: int


class Launch(NamedTuple):
    """One claimed task."""

    name: TaskName
    attempt: int
    spec: JobSpec
    line: str = ""


@dataclass(slots=True)
class ClaimPlan:
    """What to claim. ``launches`` by offer id, for every offer that is used."""

    plan: Plan
    launches: dict[str, list[Launch]] = field(default_factory=dict)
    job_ids: list[str] = field(default_factory=list)
    wanted: bool | None = None
    """The new level of demand, taken in the same step: False when nothing is left to claim afterwards, True
    when something is and the cells may count wrongly what; None if it stays."""
    room: bool = False
    """An offer could hold more."""
    gangs: set[str] = field(default_factory=set)
    """Jobs that are gangs and did not fit."""


class _OpenOffer:
    """An offer being filled."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.left = offer.resources
        self.slots = MAX_LAUNCHES
        self.bytes = MAX_BYTES
        self.launches: list[Launch] = []

    def holds(self, need: Resources, size: int, most: int) -> int:
        """How many tasks of that need fit, at most ``most``."""
        most = min(most, self.slots, self.bytes // (size + TASK_OVERHEAD))
        for name, amount in need.scalars.items():
            most = min(most, self.left.get(name) // amount)
        # Ranges and sets name their members, so a second task with the same need cannot fit beside it.
        if most > 0 and (need.ranges or need.sets):
            most = 1 if self.left.contains(need) else 0
        return max(most, 0)

    def queued(self, fit: int, size: int, most: int) -> int:
        """How many tasks beyond those that ``fit`` may come along and stand in line, at most ``most``."""
        most = min(most, self.slots - fit, self.bytes // (size + TASK_OVERHEAD) - fit)
        return max(most, 0)

    def take(self, need: Resources, fit: int, size: int, launches: list[Launch]) -> None:
        """Fill in tasks, of which ``holds`` has found the first ``fit`` to fit."""
        if fit == 1:
            self.left -= need
        else:
            self.left -= Resources.scalars_of({name: amount * fit for name, amount in need.scalars.items()})
        self.slots -= len(launches)
        self.bytes -= len(launches) * (size + TASK_OVERHEAD)
        self.launches += launches


def plan_claim(
    offers: Sequence[Offer],
    candidates: Sequence[Candidate],
    *,
    all_seen: bool,
    now: float,
    settle_after: float,
    depth: Callable[[str], int] = lambda job_id: 0,
) -> ClaimPlan:
    """First fit: each job in turn onto each offer in turn.

    ``all_seen``: the candidates are all pending jobs. ``settle_after``: seconds after which a missing first
    status is asked for.
    ``depth``: by job id, how many of its tasks may stand in line for each that fits.
    """
    plan = Plan()
    found = ClaimPlan(plan)
    opened = [_OpenOffer(offer) for offer in offers]
    hopeless: set[object] = set()
    left: set[JobShape] = set()
    used: dict[JobShape, list[Offer]] = {}
    ended: set[JobShape] = set()
    served_alone = False  # a gang is offered once for each version of the demand: the next one takes a new one
    for_gangs = any(offer.gang for offer in offers)
    exhausted = 0
    wait_anew = False
    for job_id, spec, work_text, size in candidates:
        # Offers only fill up: what did not fit once does not fit later.
        if not spec.locality_wait and (job_shape_of(job_id, spec, False), size // 1024) in hopeless:
            continue
        before = work = Work.parse(work_text)
        waits = bool(work.waits_until(spec, now))
        kind = job_shape_of(job_id, spec, waits)
        total, first = spec.total, spec.array[0] if spec.array else 0
        claimed = 0
        there = found_there = False
        mine = [one for one in opened if one.offer.gang in ("", kind.gang or alone(kind))] if for_gangs else opened
        if spec.gang and not _holds_all(mine, kind, size, work.pending(total)):
            left.add(kind)
            found.gangs.add(job_id)
            continue
        for one in _preferred_first(mine, spec) if spec.prefer else mine:
            waiting = work.claimable(total, spec.max_running)
            if not waiting:
                break
            most = one.holds(spec.resources, size, waiting)
            if not most or not kind.welcomes(one.offer):
                continue
            if spec.prefer:
                there = spec.prefers(one.offer.attributes, one.offer.hostname)
                if found_there and not there and work.since is not None:
                    break
                found_there = found_there or there
            lined = 0
            if not (spec.gang or spec.prefer) and queue_key_of("", "", job_id, spec.resources, (), spec.revocable):
                lined = one.queued(most, size, min(waiting - most, most * depth(job_id)))
            slots, work = work.take(first, total, most + lined, spec.ranges)
            if spec.max_running:
                work = work.ran(len(slots))
            launches = _claim(plan, job_id, spec, slots, one.offer, now, settle_after, there, job_id if lined else "")
            one.take(spec.resources, most, size, launches)
            used.setdefault(kind, []).append(one.offer)
            served_alone = served_alone or bool(one.offer.gang and not spec.gang)
            claimed += len(slots)
        if work.claimable(total, spec.max_running):
            if found_there:
                work = work.waits_anew(now)
                wait_anew = wait_anew or (work.since is not None and not waits)
                kind = job_shape_of(job_id, spec, work.since is not None)
            hopeless.add((kind, size // 1024))
            left.add(kind)
        else:
            # What somebody else has exhausted may have left the pending jobs, and another have come: their
            # number would be the same.
            if before.claimable(total, spec.max_running):
                ended.add(kind)
                exhausted += 1
            plan.drop(PENDING, job_id)
        if claimed:
            found.job_ids.append(job_id)
            plan.count(job_id, claimed=claimed, version=claimed)
        if claimed or not before.claimable(total, spec.max_running):
            plan.expect(WORK, job_id, work_text)
            plan.set(WORK, job_id, work.text)
    found.launches = {one.offer.offer_id: one.launches for one in opened if one.launches}
    found.room = any(not one.launches or (one.left.get("cpus") and one.left.get("mem")) for one in opened)
    if all_seen and exhausted and exhausted == len(candidates):
        plan.expect_size(PENDING, exhausted)
        found.wanted = False
    elif wait_anew or served_alone or (all_seen and any(kind not in left for kind in ended)) or _confused(left, used):
        found.wanted = True
    if found.wanted is not None:
        plan.demand(found.wanted)
    return found


def _holds_all(opened: Sequence[_OpenOffer], kind: JobShape, size: int, wanted: int) -> bool:
    return wanted <= sum(one.holds(kind.resources, size, wanted) for one in opened if kind.welcomes(one.offer))


def _confused(left: Collection[JobShape], used: Mapping[JobShape, Sequence[Offer]]) -> bool:
    """Whether an offer may have been meant for tasks that still wait, and went to others, which its cell
    cannot tell from them: it would take what waits for served."""
    return any(
        kind != other and kind.resources == other.resources and any(map(kind.welcomes, offers))
        for kind in left
        for other, offers in used.items()
    )


def _claim(
    plan: Plan,
    job_id: str,
    spec: JobSpec,
    slots: Sequence[Slot],
    offer: Offer,
    now: float,
    settle_after: float,
    local: bool,
    line: str,
) -> list[Launch]:
    launches = []
    for slot in slots:
        name = TaskName(job_id, slot.index, slot.launch)
        record = ClaimRecord(
            attempt=slot.attempt,
            launch=slot.launch,
            cell=offer.cell,
            offer_id=offer.offer_id,
            agent_id=offer.agent_id,
            hostname=offer.hostname,
            claimed_at=now,
            local=local,
        )
        plan.set(CLAIMS, name.claim, text_of(record))
        plan.add_after(UNSETTLED, name.task_id, settle_after)
        launches.append(Launch(name, slot.attempt, spec, line))
    return launches


def _preferred_first(opened: Sequence[_OpenOffer], spec: JobSpec) -> list[_OpenOffer]:
    return sorted(opened, key=lambda one: not spec.prefers(one.offer.attributes, one.offer.hostname))


def task_info(launch: Launch, *, early: bool = False) -> TaskInfo:
    """The task as the cluster launches it. ``early``: its agent tells us of its end itself."""
    name, attempt, spec, line = launch
    environment = {
        **spec.command.environment,
        "BMESOS_JOB_ID": name.job_id,
        "BMESOS_TASK_ID": name.task_id,
        "BMESOS_ATTEMPT": str(attempt),
    }
    if spec.array is not None:
        environment["BMESOS_ARRAY_INDEX"] = str(name.index)
    if spec.gang:
        environment["BMESOS_GANG_SIZE"] = str(spec.total)
    return TaskInfo(
        task_id=name.task_id,
        name=spec.name,
        resources=spec.resources,
        command=CommandInfo(arguments=spec.command.arguments, shell=spec.command.shell, environment=environment),
        kill_grace=spec.kill_grace,
        max_completion_time=spec.time_limit,
        labels={"job": name.job_id},
        line=line,
        early=early,
    )
