"""Pure functions that turn task statuses into one transaction on claims, results and counts.

A status applies only to the claim of its own task id, and only forward. A final status writes the result (or gives
the index back) and removes the claim in one transaction, so that a repeated status finds no claim and changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState, may_move
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import (
    ASK_AGAIN,
    CLAIMS,
    PENDING,
    UNSETTLED,
    WORK,
    ClaimRecord,
    JobRecord,
    ResultRecord,
    Slot,
    TaskName,
    Work,
    clip,
    failures_key,
    parse_task_id,
    results_key,
    text_of,
)

ASK_NOW_SCORE = 0.0
"""Score in ``unsettled`` of a task that its cell does not know, so that a worker asks the cell about it at once."""

_LOST = {TaskState.LOST, TaskState.GONE, TaskState.GONE_BY_OPERATOR}
_MOVED = {Reason.AGENT_DRAINING, Reason.CONTAINER_PREEMPTED}
_ALIVE = {TaskState.STARTING, TaskState.RUNNING}
_STARTED = {TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING}


@dataclass(slots=True)
class StatusPlan:
    """The changes that follow from some statuses."""

    plan: Plan
    job_ids: list[str] = field(default_factory=list)
    """Jobs whose counts change."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By job id: by how much each count changes."""
    exit_codes: dict[str, int] = field(default_factory=dict)
    """By job id: the exit code of the job's last result among these statuses."""
    kills: list[tuple[str, str]] = field(default_factory=list)
    """Task id and agent id of the tasks that must be killed, since they run and should not."""
    need_work: set[str] = field(default_factory=set)
    """Ids of jobs whose ``work`` must be read before the plan is complete."""


class _Claims:
    """The claims, each as the statuses applied so far leave it."""

    def __init__(self, texts: Mapping[str, str | None]) -> None:
        self.texts = texts
        self.now: dict[str, ClaimRecord | None] = {}

    def get(self, name: TaskName) -> ClaimRecord | None:
        """The claim of exactly this task id; None if there is none, or one of another launch."""
        if name.claim not in self.now:
            text = self.texts.get(name.claim)
            self.now[name.claim] = None if text is None else ClaimRecord.model_validate_json(text)
        claim = self.now[name.claim]
        return claim if claim is not None and claim.launch == name.launch else None


def plan_statuses(
    statuses: Sequence[TaskStatus],
    claims: Mapping[str, str | None],
    records: Mapping[str, JobRecord | None],
    works: Mapping[str, str | None],
    now: float,
) -> StatusPlan:
    """Apply statuses, in their order, to the claims (by field) and job records that were read.

    ``works`` may lack jobs on the first call; ``need_work`` of the result then names those to read.
    """
    plan = Plan()
    found = StatusPlan(plan)
    current = _Claims(claims)
    changed: dict[str, TaskName] = {}
    counts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    returned: defaultdict[str, list[Slot]] = defaultdict(list)
    freed: defaultdict[str, int] = defaultdict(int)
    kills: dict[str, str] = {}
    for status in statuses:
        name = parse_task_id(status.task_id)
        claim = None if name is None else current.get(name)
        if name is None:
            continue
        record = records.get(name.job_id)
        if claim is None:
            # The claim was replaced, or the task has its result: a task that is alive under this id must be
            # killed. A task of an unknown job is left alone: the store may have been wiped.
            if record is not None and status.state in _ALIVE:
                kills[name.task_id] = status.agent_id
            continue
        is_killed = record is None or record.killed or claim.kill
        if status.reason is Reason.TASK_ID_IN_USE:
            # A task id is used once, unless the store went back in time: then the task that ran under this id
            # is the one that was claimed, and its cell knows its state.
            plan.add(UNSETTLED, name.task_id, ASK_NOW_SCORE)
            continue
        if not status.state.terminal:
            if status.state is TaskState.UNKNOWN:
                plan.add(UNSETTLED, name.task_id, ASK_NOW_SCORE)
                continue
            if status.agent_id and status.agent_id != claim.agent_id:
                # A status from before the store went back in time, or of a task that has run there under this id
                # since then: its end will count. Whether the claimed task runs must still be asked.
                if is_killed:
                    kills[name.task_id] = status.agent_id
                continue
            if status.state is TaskState.UNREACHABLE and record is not None and record.rerun and not is_killed:
                elsewhere = _slot(Slot(name.index, claim.attempt, claim.launch + 1), name, found, works)
                if elsewhere is not None:
                    current.now[name.claim] = None
                    changed[name.claim] = name
                    counts[name.job_id]["claimed"] -= 1
                    counts[name.job_id]["version"] += 1
                    returned[name.job_id].append(elsewhere)
                    freed[name.job_id] += 1
                    continue
            if claim.state is None or may_move(claim.state, status.state):
                current.now[name.claim] = claim.model_copy(
                    update={
                        "state": status.state,
                        "started_at": status.started_at or claim.started_at,
                        "message": clip(status.message),
                    }
                )
                changed[name.claim] = name
            if is_killed and status.state is not TaskState.KILLING:
                kills[name.task_id] = claim.agent_id
            continue
        current.now[name.claim] = None
        changed[name.claim] = name
        kills.pop(name.task_id, None)
        again = None if record is None else _again(status, name, claim, record, is_killed, found, works)
        job = counts[name.job_id]
        job["claimed"] -= 1
        job["version"] += 1
        if record is not None and record.max_running:
            freed[name.job_id] += 1
            if name.job_id not in works:
                found.need_work.add(name.job_id)
        if again is not None:
            returned[name.job_id].append(again)
            continue
        result = _result(status, claim, is_killed, now)
        job["failed" if result.state == "lost" else result.state] += 1
        job["local"] += claim.local
        plan.set(results_key(name.job_id), str(name.index), text_of(result))
        found.exit_codes[name.job_id] = result.job_exit_code
        if result.state != "finished":
            plan.add(failures_key(name.job_id), str(name.index), name.index)
    wanted = False
    for field_, name in changed.items():
        plan.expect(CLAIMS, field_, claims[field_])
        left = current.now[field_]
        if left is None:
            plan.unset(CLAIMS, field_)
            plan.drop(UNSETTLED, name.task_id)
        else:
            plan.set(CLAIMS, field_, text_of(left))
            plan.add_after(UNSETTLED, name.task_id, ASK_AGAIN)
    for job_id in dict.fromkeys((*returned, *freed)):
        slots = returned.get(job_id, ())
        work_text, record = works.get(job_id), records[job_id]
        if work_text is None or record is None:  # only while need_work is not empty
            continue
        plan.expect(WORK, job_id, work_text)
        work = Work.parse(work_text)
        if slots and not work.pending(record.total):
            work = work.waits_anew(now)
        work = work.give_back(slots)
        if record.max_running:
            work = work.ran(-freed[job_id])
        plan.set(WORK, job_id, work.text)
        if work.claimable(record.total, record.max_running):
            plan.add(PENDING, job_id, record.score)
            wanted = True
    for job_id, by in counts.items():
        plan.count(job_id, **by)
    if wanted:
        plan.demand(True)
    found.job_ids = list(counts)
    found.counts = counts
    found.kills = list(kills.items())
    return found


def _again(
    status: TaskStatus,
    name: TaskName,
    claim: ClaimRecord,
    record: JobRecord,
    is_killed: bool,
    found: StatusPlan,
    works: Mapping[str, str | None],
) -> Slot | None:
    """The slot in which the index runs again; None if the status is the end of the index."""
    if is_killed:
        return None
    never_began = status.state is TaskState.DROPPED and not _began(claim)
    # The cell took the resources away from the task, or the killed task is an earlier launch under an id that the
    # store gave out twice: not the task's fault, so no retry is used.
    earlier = status.offer_id not in ("", claim.offer_id)
    moved = status.state is TaskState.KILLED and (earlier or status.reason in _MOVED)
    if never_began or moved or (record.rerun and status.state in _LOST | {TaskState.DROPPED}):
        slot = Slot(name.index, claim.attempt, claim.launch + 1)
    elif status.state is TaskState.FAILED or status.state in _LOST or status.state is TaskState.DROPPED:
        if claim.attempt > record.retries or not _retries_on(record, status):
            return None
        slot = Slot(name.index, claim.attempt + 1, claim.launch + 1)
    else:
        return None
    return _slot(slot, name, found, works)


def _retries_on(record: JobRecord, status: TaskStatus) -> bool:
    """Whether the job is retried after a failure with this exit code or signal."""
    if not record.retry_on or status.state is not TaskState.FAILED:
        return True
    code = 128 + status.signal if status.signal else status.exit_code
    return code in record.retry_on


def _began(claim: ClaimRecord) -> bool:
    """Whether the claim's task was seen alive: an agent can also become unreachable before it gets the launch."""
    return claim.state in _STARTED or claim.started_at is not None


def _slot(slot: Slot, name: TaskName, found: StatusPlan, works: Mapping[str, str | None]) -> Slot | None:
    if name.job_id not in works:
        found.need_work.add(name.job_id)
        return slot
    text = works[name.job_id]
    # If the job was killed after the record was read, no index runs again.
    return None if text is None or Work.parse(text).killed else slot


def _result(status: TaskStatus, claim: ClaimRecord, is_killed: bool, now: float) -> ResultRecord:
    state = status.state
    if state is TaskState.FINISHED:
        short = "finished"
    elif state is TaskState.KILLED:
        short = "killed"
    elif state in (TaskState.FAILED, TaskState.ERROR):
        short = "failed"
    elif is_killed or (state is TaskState.DROPPED and not _began(claim)):
        short = "killed"  # a drop that does not run again: its job was killed
    else:
        short = "lost"
    return ResultRecord(
        state=short,
        attempt=claim.attempt,
        launch=claim.launch,
        exit_code=status.exit_code,
        signal=status.signal,
        agent_id=claim.agent_id,
        hostname=claim.hostname,
        started_at=status.started_at or claim.started_at,
        ended_at=status.timestamp or now,
        message=clip(status.message),
    )
