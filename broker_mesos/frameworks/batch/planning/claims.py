"""Pure functions that choose which tasks of which jobs are launched on which offers, as one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.core.model.attributes import AGENT, attribute_of
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.port_numbers import count_ports, pick_ports, port_variables
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.sandbox_path import expand
from broker_mesos.core.model.task import OWNER_LABEL, TaskInfo
from broker_mesos.core.model.task_queues import queue_key_of
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.planning.shapes import JobShape, job_shape_of, single_task_gang
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
"""Maximum number of tasks that are claimed for one offer."""
MAX_ACCEPT_BYTES = 600_000
"""Maximum size of the tasks that are claimed for one offer, in bytes: they travel in one ACCEPT, of which a cell may
make one command."""
TASK_OVERHEAD_BYTES = 400
"""Size of a task on the wire beside its command, in bytes."""
MAX_SPEC_BYTES = 256 << 10
"""Maximum size of one job's JSON, in bytes, since its command travels with every task."""
MAX_USER_LENGTH = 200
"""Maximum length of the name of a job's user, in characters."""


def check_spec(spec: JobSpec, size: int) -> None:
    """Refuse a job that cannot be claimed or displayed. ``size`` is the size of its JSON in bytes. Raises
    InvalidInput."""
    if not spec.name.isprintable() or (spec.name and not spec.name.strip()):
        raise InvalidInput(f"the job name {spec.name!r} is blank or has control characters; give --name in plain text")
    if size > MAX_SPEC_BYTES:
        raise InvalidInput(f"a job of {size} bytes: at most {MAX_SPEC_BYTES}; put the data into a file")
    if len(spec.user) > MAX_USER_LENGTH:
        raise InvalidInput(f"a user name of {len(spec.user)} characters: at most {MAX_USER_LENGTH}")
    if spec.gang and spec.total * (size + TASK_OVERHEAD_BYTES) > MAX_ACCEPT_BYTES:
        most = MAX_ACCEPT_BYTES // (size + TASK_OVERHEAD_BYTES)
        raise InvalidInput(f"a gang of {spec.total} tasks of {size} bytes: {most} fit; put data into a file")


class Candidate(NamedTuple):
    """A pending job; ``work_text`` is its work as it was read, ``size`` the size of its spec in bytes."""

    job_id: str
    spec: JobSpec
    work_text: str
    size: int


class Launch(NamedTuple):
    """One claimed task; ``line`` is the name of its queue on the agent, empty if it is not queued."""

    name: TaskName
    attempt: int
    spec: JobSpec
    line: str = ""
    ports: Resources = Resources.EMPTY
    """The ports that it is given of the offer, if its job requests a number of them."""


@dataclass(slots=True)
class ClaimPlan:
    """The transaction that claims tasks, and the tasks to launch once it is applied."""

    plan: Plan
    launches: dict[str, list[Launch]] = field(default_factory=dict)
    """By offer id: the claimed tasks, for every offer that is used."""
    job_ids: list[str] = field(default_factory=list)
    """Jobs of which tasks are claimed."""
    wanted: bool | None = None
    """The new level of demand, which is set in the same transaction: False when nothing is left to claim afterwards,
    True when something is left and the cells may count wrongly what; None if the level stays."""
    room: bool = False
    """Whether an offer has resources left for more tasks."""
    gangs: set[str] = field(default_factory=set)
    """Ids of jobs that are gangs and did not fit."""


class _OpenOffer:
    """An offer, and what is left of it beside the tasks that are claimed for it."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.left = offer.resources
        self.slots = MAX_LAUNCHES
        self.bytes = MAX_ACCEPT_BYTES
        self.launches: list[Launch] = []

    def capacity(self, need: Resources, size: int, most: int, ports: int = 0) -> int:
        """Number of tasks with these resources and ports, and a spec of ``size`` bytes, that fit, at most ``most``."""
        most = min(most, self.slots, self.bytes // (size + TASK_OVERHEAD_BYTES))
        for name, amount in need.scalars.items():
            most = min(most, self.left.get(name) // amount)
        if ports:
            most = min(most, count_ports(self.left) // ports)
        # Ranges and sets name their members, so a second task with the same need cannot fit beside it.
        if most > 0 and (need.ranges or need.sets):
            most = 1 if self.left.contains(need) else 0
        return max(most, 0)

    def queue_capacity(self, fit: int, size: int, most: int) -> int:
        """Number of tasks that may be queued on the agent beside ``fit`` tasks that run at once, at most ``most``."""
        most = min(most, self.slots - fit, self.bytes // (size + TASK_OVERHEAD_BYTES) - fit)
        return max(most, 0)

    def fill(self, need: Resources, fit: int, size: int, launches: list[Launch]) -> None:
        """Add launches; the first ``fit`` of them take resources, the others are queued. No task with ports is."""
        if fit == 1:
            self.left -= need
        else:
            self.left -= Resources.scalars_of({name: amount * fit for name, amount in need.scalars.items()})
        for at, launch in enumerate(launches):
            if launch.spec.ports:
                ports = pick_ports(self.left, launch.spec.ports)
                self.left -= ports
                launches[at] = launch._replace(ports=ports)
        self.slots -= len(launches)
        self.bytes -= len(launches) * (size + TASK_OVERHEAD_BYTES)
        self.launches += launches

    @property
    def has_room(self) -> bool:
        """Whether the offer is unused, or has both CPUs and memory left."""
        return not self.launches or bool(self.left.get("cpus") and self.left.get("mem"))


def plan_claim(
    offers: Sequence[Offer],
    candidates: Sequence[Candidate],
    *,
    all_seen: bool,
    now: float,
    settle_after: float,
    depth: Callable[[str], int] = lambda job_id: 0,
) -> ClaimPlan:
    """Claim tasks by first fit: each job in turn on each offer in turn.

    ``all_seen`` states that the candidates are all pending jobs. ``settle_after`` is the time in seconds after which
    the cell is asked about a task without a status. ``depth`` returns for a job id how many of the job's tasks may
    be queued on an agent for each task that fits.
    """
    planner = _Planner(offers, now, settle_after, depth)
    for candidate in candidates:
        planner.claim(candidate)
    return planner.finish(all_seen=all_seen, candidates=len(candidates))


@dataclass(slots=True)
class _JobClaim:
    """The claim of one job's tasks, as far as it has come."""

    job_id: str
    spec: JobSpec
    size: int
    shape: JobShape
    waits: bool
    """Whether the job waits for a preferred agent."""
    before: Work
    """The work as it was read."""
    work: Work
    """The work that is left."""
    claimed: int = 0
    found_preferred: bool = False
    """Whether a task got a preferred agent."""

    @classmethod
    def of(cls, candidate: Candidate, now: float) -> _JobClaim:
        """The claim of a job of which nothing is claimed yet."""
        job_id, spec, work_text, size = candidate
        work = Work.parse(work_text)
        waits = bool(work.waits_until(spec, now))
        return cls(job_id, spec, size, job_shape_of(job_id, spec, waits), waits, work, work)

    @property
    def claimable(self) -> int:
        """Number of tasks that can still be claimed now."""
        return self.work.claimable(self.spec.total, self.spec.max_running)

    @property
    def was_claimable(self) -> bool:
        """Whether the job had tasks to claim when it was read."""
        return self.before.claimable(self.spec.total, self.spec.max_running) > 0

    @property
    def may_queue(self) -> bool:
        """Whether tasks of the job may wait in a queue on an agent."""
        spec = self.spec
        if spec.gang or spec.prefer or spec.ports or spec.most:
            return False
        return bool(queue_key_of("", "", self.job_id, spec.resources, (), spec.revocable))

    def take(self, most: int) -> list[Slot]:
        """Take up to ``most`` indices out of the job's work."""
        spec = self.spec
        slots, self.work = self.work.take(spec.array[0] if spec.array else 0, spec.total, most, spec.ranges)
        if spec.max_running:
            self.work = self.work.ran(len(slots))
        self.claimed += len(slots)
        return slots


class _Planner:
    """The offers as the claims so far have filled them, and the claims."""

    def __init__(self, offers: Sequence[Offer], now: float, settle_after: float, depth: Callable[[str], int]) -> None:
        self._now = now
        self._settle_after = settle_after
        self._depth = depth
        self._plan = Plan()
        self._found = ClaimPlan(self._plan)
        self._offers = [_OpenOffer(offer) for offer in offers]
        self._has_gang_offers = any(offer.gang for offer in offers)
        self._misfits: set[tuple[JobShape, int]] = set()
        """Shapes, with the size of the spec in KiB, of which no further task fits onto any offer."""
        self._left: set[JobShape] = set()
        """Shapes of tasks that are left to claim."""
        self._used: dict[JobShape, list[Offer]] = {}
        """By shape of the claimed tasks: the offers that they use."""
        self._exhausted: list[JobShape] = []
        """Shapes of the jobs whose last tasks to claim are claimed here."""
        self._demand_changed = False
        """Whether the shapes of the demand change although tasks are left to claim."""

    # -- one job

    def claim(self, candidate: Candidate) -> None:
        """Claim as many tasks of one job as fit onto the offers."""
        if self._cannot_fit(candidate):
            return
        job = _JobClaim.of(candidate, self._now)
        offers = self._usable(job.shape)
        if job.spec.gang and not _fits_whole(offers, job):
            self._left.add(job.shape)
            self._found.gangs.add(job.job_id)
            return
        self._claim_from(offers, job)
        self._store(job, candidate.work_text)

    def _cannot_fit(self, candidate: Candidate) -> bool:
        """Whether tasks like those of the job did not fit before. Offers only fill up, so they do not fit now."""
        job_id, spec, _, size = candidate
        return not spec.locality_wait and (job_shape_of(job_id, spec, False), size // 1024) in self._misfits

    def _usable(self, shape: JobShape) -> list[_OpenOffer]:
        """The offers that are not kept for another gang."""
        if not self._has_gang_offers:
            return self._offers
        gangs = ("", shape.gang or single_task_gang(shape))
        return [each for each in self._offers if each.offer.gang in gangs]

    def _claim_from(self, offers: Sequence[_OpenOffer], job: _JobClaim) -> None:
        spec = job.spec
        for each in _preferred_first(offers, spec) if spec.prefer else offers:
            claimable = job.claimable
            if not claimable:
                return
            fit = each.capacity(spec.resources, job.size, claimable, spec.ports)
            if not fit or not job.shape.matches(each.offer):
                continue
            if spec.most and not (fit := min(fit, _left_at(spec, each.offer, job.work.placed))):
                continue
            is_preferred = _prefers(spec, each.offer) if spec.prefer else False
            if job.found_preferred and not is_preferred and job.work.since is not None:
                return  # the wait for a preferred agent begins again
            job.found_preferred = job.found_preferred or is_preferred
            self._fill(each, job, fit, claimable, is_preferred)

    def _fill(self, open_offer: _OpenOffer, job: _JobClaim, fit: int, claimable: int, is_preferred: bool) -> None:
        """Claim ``fit`` tasks for an offer, and those that may be queued behind them."""
        offer, spec = open_offer.offer, job.spec
        queued = 0
        if job.may_queue:
            most = min(claimable - fit, fit * self._depth(job.job_id))
            queued = open_offer.queue_capacity(fit, job.size, most)
        queue = job.job_id if queued else ""
        launches = [self._launch(job, slot, offer, is_preferred, queue) for slot in job.take(fit + queued)]
        if spec.most:
            job.work = job.work.place(place_of(spec, offer), len(launches))
            # The cells do not know of the tasks in each other.
            self._demand_changed = self._demand_changed or spec.per != AGENT
        open_offer.fill(spec.resources, fit, job.size, launches)
        self._used.setdefault(job.shape, []).append(offer)
        if offer.gang and not spec.gang:
            # A gang is offered once for each version of the demand: the next single task takes a new version.
            self._demand_changed = True

    def _launch(self, job: _JobClaim, slot: Slot, offer: Offer, is_preferred: bool, queue: str) -> Launch:
        """Store the claim of one task."""
        name = TaskName(job.job_id, slot.index, slot.attempt, slot.launch)
        record = ClaimRecord(
            attempt=slot.attempt,
            launch=slot.launch,
            cell=offer.cell,
            offer_id=offer.offer_id,
            agent_id=offer.agent_id,
            hostname=offer.hostname,
            claimed_at=self._now,
            local=is_preferred,
            place=place_of(job.spec, offer),
        )
        self._plan.set(CLAIMS, name.claim, text_of(record))
        self._plan.add_after(UNSETTLED, name.task_id, self._settle_after)
        return Launch(name, slot.attempt, job.spec, queue)

    def _store(self, job: _JobClaim, work_text: str) -> None:
        """Store what is left of the job's work."""
        if job.claimable:
            self._leave(job)
        else:
            # A job that another worker has exhausted may have left the pending jobs, and another job may have come:
            # the number of pending jobs would be the same.
            if job.was_claimable:
                self._exhausted.append(job.shape)
            self._plan.drop_pending(job.job_id, job.spec.role)
        if job.claimed:
            self._found.job_ids.append(job.job_id)
            self._plan.count(job.job_id, claimed=job.claimed, version=job.claimed)
        if job.claimed or not job.was_claimable:
            self._plan.expect(WORK, job.job_id, work_text)
            self._plan.set(WORK, job.job_id, job.work.text)

    def _leave(self, job: _JobClaim) -> None:
        """Note the shape of the tasks that are left; their wait begins again if one of them got a preferred agent."""
        shape = job.shape
        if job.found_preferred:
            job.work = job.work.wait_restarted(self._now)
            waits = job.work.since is not None
            self._demand_changed = self._demand_changed or (waits and not job.waits)
            shape = job_shape_of(job.job_id, job.spec, waits)
        self._misfits.add((shape, job.size // 1024))
        self._left.add(shape)

    # -- the whole plan

    def finish(self, *, all_seen: bool, candidates: int) -> ClaimPlan:
        """Complete the plan with the new level of demand, after ``candidates`` jobs."""
        found = self._found
        found.launches = {each.offer.offer_id: each.launches for each in self._offers if each.launches}
        found.room = any(each.has_room for each in self._offers)
        if all_seen and self._exhausted and len(self._exhausted) == candidates:
            self._plan.expect_size(PENDING, candidates)
            found.wanted = False
        elif self._demand_changed or (all_seen and self._shape_ended()) or self._served_others():
            found.wanted = True
        if found.wanted is not None:
            self._plan.demand(found.wanted)
        return found

    def _shape_ended(self) -> bool:
        """Whether no task is left of a shape that the demand has named."""
        return any(shape not in self._left for shape in self._exhausted)

    def _served_others(self) -> bool:
        """Whether an offer may have been meant for tasks that are left, and was used for other tasks of the same
        resources: its cell cannot distinguish them, and would count the tasks that are left as served."""
        return any(
            shape != other and shape.resources == other.resources and any(map(shape.matches, offers))
            for shape in self._left
            for other, offers in self._used.items()
        )


def restate_demand(found: ClaimPlan, offers: Sequence[Offer], candidates: Sequence[Candidate]) -> None:
    """Have the demand stated again if an offer came for a role in which no job is pending any more. It is for where
    the demand does not count the tasks of each role: it would go on to request offers for that one."""
    if found.wanted is None and not {offer.role for offer in offers} <= {each.spec.role for each in candidates}:
        found.wanted = True
        found.plan.demand(True)


def _fits_whole(offers: Sequence[_OpenOffer], job: _JobClaim) -> bool:
    """Whether all pending tasks of a gang fit onto the offers at once."""
    shape, size, pending = job.shape, job.size, job.work.pending(job.spec.total)
    placed = dict(job.work.placed)
    fitting = 0
    for each in offers:
        if not shape.matches(each.offer):
            continue
        count = each.capacity(shape.resources, size, pending, shape.ports)
        if shape.most:
            count = min(count, _left_at(job.spec, each.offer, placed))
            value = place_of(job.spec, each.offer)
            placed[value] = placed.get(value, 0) + count
        fitting += count
    return pending <= fitting


def place_of(spec: JobSpec, offer: Offer) -> str:
    """The value of the attribute by which a job limits its tasks on the agent of an offer; empty if it does not limit
    them, or the agent does not have the attribute."""
    return (attribute_of(spec.per, offer.attributes, offer.hostname, offer.agent_id) or "") if spec.most else ""


def _left_at(spec: JobSpec, offer: Offer, placed: Mapping[str, int]) -> int:
    """How many more tasks a job with ``most`` may run on the agent of an offer; ``placed`` counts them by value."""
    value = place_of(spec, offer)
    return max(0, spec.most - placed.get(value, 0)) if value else 0


def _prefers(spec: JobSpec, offer: Offer) -> bool:
    return spec.prefers(offer.attributes, offer.hostname, offer.agent_id)


def _preferred_first(offers: Sequence[_OpenOffer], spec: JobSpec) -> list[_OpenOffer]:
    return sorted(offers, key=lambda each: not _prefers(spec, each.offer))


def _outputs(launch: Launch) -> dict[str, str]:
    """The names of a task's output files."""
    name, spec = launch.name, launch.spec
    command = spec.command
    if not (command.stdout or command.stderr):
        return {}
    values = {"j": name.job_id, "a": str(name.index), "n": spec.name, "u": spec.user}
    return {"stdout": expand(command.stdout, values), "stderr": expand(command.stderr, values)}


def task_info(launch: Launch, *, early: bool = False) -> TaskInfo:
    """The task as the cluster launches it. ``early`` requests an early status from the task's agent when it ends."""
    name, attempt, spec, queue, ports = launch
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
    if ports:
        environment.update(port_variables(ports, spec.port_names))
    return TaskInfo(
        task_id=name.task_id,
        name=spec.name,
        resources=spec.resources + ports,
        limits=spec.limits,
        isolation=spec.isolation,
        command=spec.command.model_copy(update={"environment": environment, **_outputs(launch)}),
        kill_grace=spec.kill_grace,
        max_output=spec.max_output,
        max_completion_time=spec.time_limit,
        labels={"job": name.job_id, **({OWNER_LABEL: spec.user} if spec.user else {})},
        line=queue,
        shape=name.job_id if spec.most else "",
        early=early,
    )
