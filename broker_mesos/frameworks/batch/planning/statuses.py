"""Pure functions that turn task statuses into one transaction on claims, results and counts.

A status applies only to the claim of its own task id, and only forward. A final status writes the result (or gives
the index back) and removes the claim in one transaction, so that a repeated status finds no claim and changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_history import RUNNING, Step, step_of, with_step
from broker_mesos.core.model.task_states import Reason, TaskState, may_move
from broker_mesos.frameworks.batch.planning.jobs import Plan
from broker_mesos.frameworks.batch.storage.records import (
    ASK_AGAIN,
    CLAIMS,
    MAX_ATTEMPTS,
    UNSETTLED,
    WORK,
    ClaimRecord,
    JobRecord,
    ResultRecord,
    Slot,
    TaskName,
    Work,
    attempt_field,
    attempts_key,
    clip,
    failures_key,
    parse_task_id,
    results_key,
    text_of,
)

ASK_NOW_SCORE = 0.0
"""Score in ``unsettled`` of a task that its cell does not know, so that a worker asks the cell about it at once."""

_LOST = {TaskState.LOST, TaskState.GONE, TaskState.GONE_BY_OPERATOR}
_TAKEN_AWAY = {Reason.AGENT_DRAINING, Reason.CONTAINER_PREEMPTED}
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
    planner = _Planner(claims, records, works, now)
    for status in statuses:
        name = parse_task_id(status.task_id)
        if name is not None:
            planner.apply(status, name)
    return planner.finish()


class _Planner:
    """The claims as the statuses applied so far leave them, and the changes that follow from these statuses."""

    def __init__(
        self,
        claims: Mapping[str, str | None],
        records: Mapping[str, JobRecord | None],
        works: Mapping[str, str | None],
        now: float,
    ) -> None:
        self._texts = claims
        self._records = records
        self._works = works
        self._now = now
        self._plan = Plan()
        self._found = StatusPlan(self._plan)
        self._claims: dict[str, ClaimRecord | None] = {}
        self._changed: dict[str, TaskName] = {}
        self._counts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._returned: defaultdict[str, list[Slot]] = defaultdict(list)
        self._freed: defaultdict[str, int] = defaultdict(int)
        self._vacated: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """By job id: number of tasks that have left a place (``ClaimRecord.place``)."""
        self._kills: dict[str, str] = {}

    def apply(self, status: TaskStatus, name: TaskName) -> None:
        """Apply one status of the task ``name``."""
        claim = self._claim(name)
        record = self._records.get(name.job_id)
        if claim is None:
            self._apply_without_claim(status, name, record)
            return
        is_killed = record is None or record.killed or claim.kill
        if status.reason is Reason.TASK_ID_IN_USE or status.state is TaskState.UNKNOWN:
            # A task id is used once, unless the store went back in time: then the task that ran under this id
            # is the one that was claimed, and its cell knows its state.
            self._plan.add(UNSETTLED, name.task_id, ASK_NOW_SCORE)
        elif status.state.terminal:
            self._end(status, name, claim, record, is_killed)
        elif status.agent_id and status.agent_id != claim.agent_id:
            # A status from before the store went back in time, or of a task that has run there under this id
            # since then: its end will count. Whether the claimed task runs must still be asked.
            if is_killed:
                self._kills[name.task_id] = status.agent_id
        elif not self._runs_elsewhere(status, name, claim, record, is_killed):
            self._update(status, name, claim, is_killed)

    def _claim(self, name: TaskName) -> ClaimRecord | None:
        """The claim of exactly this task id; None if there is none, or one of another launch."""
        if name.claim not in self._claims:
            text = self._texts.get(name.claim)
            self._claims[name.claim] = None if text is None else ClaimRecord.model_validate_json(text)
        claim = self._claims[name.claim]
        return claim if claim is not None and claim.launch == name.launch else None

    def _change_claim(self, name: TaskName, claim: ClaimRecord | None) -> None:
        self._claims[name.claim] = claim
        self._changed[name.claim] = name

    # -- one status, by case

    def _apply_without_claim(self, status: TaskStatus, name: TaskName, record: JobRecord | None) -> None:
        # The claim was replaced, or the task has its result: a task that is alive under this id must be
        # killed. A task of an unknown job is left alone: the store may have been wiped.
        if record is not None and status.state in _ALIVE:
            self._kills[name.task_id] = status.agent_id

    def _runs_elsewhere(
        self, status: TaskStatus, name: TaskName, claim: ClaimRecord, record: JobRecord | None, is_killed: bool
    ) -> bool:
        """Give the index of a task on an unreachable agent back, if its job allows that it runs twice. Returns
        whether it was given back."""
        if status.state is not TaskState.UNREACHABLE or record is None or not record.rerun or is_killed:
            return False
        slot = Slot(name.index, claim.attempt, claim.launch + 1)
        if not self._may_be_claimed(name.job_id):
            return False
        self._change_claim(name, None)
        self._keep_attempt(name, _result(status, claim, is_killed, self._now))
        self._count_end(name)
        self._vacate(name, claim)
        self._returned[name.job_id].append(slot)
        self._freed[name.job_id] += 1
        return True

    def _update(self, status: TaskStatus, name: TaskName, claim: ClaimRecord, is_killed: bool) -> None:
        """Move the claim forward to the state of a task that has not ended, and kill the task if it should not run."""
        if claim.state is None or may_move(claim.state, status.state):
            self._change_claim(name, _updated(claim, status))
        if is_killed and status.state is not TaskState.KILLING:
            self._kills[name.task_id] = claim.agent_id

    def _end(
        self, status: TaskStatus, name: TaskName, claim: ClaimRecord, record: JobRecord | None, is_killed: bool
    ) -> None:
        """Remove the claim of a task that has ended; store its result, or give its index back."""
        self._change_claim(name, None)
        self._kills.pop(name.task_id, None)
        slot = None if record is None or is_killed else _slot_after(status, name, claim, record)
        if slot is not None and not self._may_be_claimed(name.job_id):
            slot = None
        self._count_end(name)
        if record is not None:
            self._vacate(name, claim)
        if record is not None and record.max_running:
            self._freed[name.job_id] += 1
            self._need_work(name.job_id)
        result = _result(status, claim, is_killed, self._now)
        if slot is None:
            self._store_result(name, claim, result)
            return
        self._returned[name.job_id].append(slot)
        if status.state is not TaskState.DROPPED or _has_started(claim):
            self._keep_attempt(name, result)

    def _vacate(self, name: TaskName, claim: ClaimRecord) -> None:
        """Note that a task has left the place that it counts for."""
        if claim.place:
            self._vacated[name.job_id][claim.place] += 1
            self._need_work(name.job_id)

    def _store_result(self, name: TaskName, claim: ClaimRecord, result: ResultRecord) -> None:
        counts = self._counts[name.job_id]
        counts["failed" if result.state == "lost" else result.state] += 1
        counts["local"] += claim.local
        self._plan.set(results_key(name.job_id), str(name.index), text_of(result))
        self._found.exit_codes[name.job_id] = result.job_exit_code
        if result.state != "finished":
            self._plan.add(failures_key(name.job_id), str(name.index), name.index)

    def _keep_attempt(self, name: TaskName, result: ResultRecord) -> None:
        """Keep how an attempt has ended whose index runs again, and drop the oldest of too many. No value is read for
        that: the launches of an index are numbered."""
        keep_attempt(self._plan, name.job_id, name.index, result)

    def _count_end(self, name: TaskName) -> None:
        counts = self._counts[name.job_id]
        counts["claimed"] -= 1
        counts["version"] += 1

    def _need_work(self, job_id: str) -> None:
        if job_id not in self._works:
            self._found.need_work.add(job_id)

    def _may_be_claimed(self, job_id: str) -> bool:
        """Whether an index of the job may run again. The answer is yes as long as the job's work was not read, since
        the plan is then made once more."""
        if job_id not in self._works:
            self._need_work(job_id)
            return True
        text = self._works[job_id]
        # If the job was killed after the record was read, no index runs again.
        return text is not None and not Work.parse(text).killed

    # -- the transaction

    def finish(self) -> StatusPlan:
        """Complete the transaction with the changes of claims, work and counts."""
        for field_, name in self._changed.items():
            self._store_claim(field_, name)
        has_work = False
        for job_id in dict.fromkeys((*self._returned, *self._freed, *self._vacated)):
            has_work = self._store_work(job_id) or has_work
        for job_id, by in self._counts.items():
            self._plan.count(job_id, **by)
        if has_work:
            self._plan.demand(True)
        self._found.job_ids = list(self._counts)
        self._found.counts = self._counts
        self._found.kills = list(self._kills.items())
        return self._found

    def _store_claim(self, field_: str, name: TaskName) -> None:
        self._plan.expect(CLAIMS, field_, self._texts[field_])
        claim = self._claims[field_]
        if claim is None:
            self._plan.unset(CLAIMS, field_)
            self._plan.drop(UNSETTLED, name.task_id)
        else:
            self._plan.set(CLAIMS, field_, text_of(claim))
            self._plan.add_after(UNSETTLED, name.task_id, ASK_AGAIN)

    def _store_work(self, job_id: str) -> bool:
        """Store the job's work with the indices that were given back. Returns whether the job has tasks to claim."""
        text, record = self._works.get(job_id), self._records[job_id]
        if text is None or record is None:  # only while need_work is not empty
            return False
        self._plan.expect(WORK, job_id, text)
        work = _work_after(Work.parse(text), record, self._returned.get(job_id, ()), self._freed[job_id], self._now)
        for place, tasks in self._vacated[job_id].items():
            work = work.place(place, -tasks)
        self._plan.set(WORK, job_id, work.text)
        if not work.claimable(record.total, record.max_running):
            return False
        self._plan.add_pending(job_id, record.role, record.score)
        return True


def keep_attempt(plan: Plan, job_id: str, index: int | str, result: ResultRecord) -> None:
    """Keep how an attempt has ended whose index runs again."""
    plan.set(attempts_key(job_id), attempt_field(index, result.launch), text_of(result))
    if result.launch > MAX_ATTEMPTS:
        plan.unset(attempts_key(job_id), attempt_field(index, result.launch - MAX_ATTEMPTS))


def _updated(claim: ClaimRecord, status: TaskStatus) -> ClaimRecord:
    """The claim with the state of its task, which has not ended."""
    return claim.model_copy(
        update={
            "state": status.state,
            "started_at": status.started_at or claim.started_at,
            "message": clip(status.message),
            "history": _history(claim, status),
        }
    )


def _history(claim: ClaimRecord, status: TaskStatus) -> tuple[Step, ...]:
    """The claim's history with the state of its task. It stays empty for a task that has only begun to run."""
    if not claim.history and status.state is TaskState.RUNNING and status.started_at is not None:
        return ()
    started_at = claim.started_at
    is_first = not claim.history and started_at is not None
    return with_step((Step(RUNNING, started_at),) if is_first and started_at else claim.history, step_of(status))


def _work_after(work: Work, record: JobRecord, returned: Sequence[Slot], freed: int, now: float) -> Work:
    """The job's work after indices were ``returned`` to it and ``freed`` of its tasks have ended."""
    if returned and not work.pending(record.total):
        work = work.wait_restarted(now)
    work = work.give_back(returned)
    return work.ran(-freed) if record.max_running else work


def _slot_after(status: TaskStatus, name: TaskName, claim: ClaimRecord, record: JobRecord) -> Slot | None:
    """The slot in which an index runs again after a final status; None if the status is the end of the index."""
    if _costs_no_retry(status, claim, record):
        return Slot(name.index, claim.attempt, claim.launch + 1)
    has_failed = status.state is TaskState.FAILED or status.state in _LOST or status.state is TaskState.DROPPED
    if has_failed and claim.attempt <= record.retries and _retries_on(record, status):
        return Slot(name.index, claim.attempt + 1, claim.launch + 1)
    return None


def _costs_no_retry(status: TaskStatus, claim: ClaimRecord, record: JobRecord) -> bool:
    """Whether a task that has ended runs again as the same attempt, since its end was not the task's fault."""
    if status.state is TaskState.DROPPED and not _has_started(claim):
        return True
    if status.state is TaskState.KILLED:
        # The cell took the resources away from the task, or the killed task is an earlier launch under an id that the
        # store gave out twice.
        is_earlier_launch = status.offer_id not in ("", claim.offer_id)
        return is_earlier_launch or status.reason in _TAKEN_AWAY
    return record.rerun and (status.state in _LOST or status.state is TaskState.DROPPED)


def _retries_on(record: JobRecord, status: TaskStatus) -> bool:
    """Whether the job is retried after a failure with this exit code or signal."""
    if not record.retry_on or status.state is not TaskState.FAILED:
        return True
    code = 128 + status.signal if status.signal else status.exit_code
    return code in record.retry_on


def _has_started(claim: ClaimRecord) -> bool:
    """Whether the claim's task was seen alive: an agent can also become unreachable before it gets the launch."""
    return claim.state in _STARTED or claim.started_at is not None


def _result(status: TaskStatus, claim: ClaimRecord, is_killed: bool, now: float) -> ResultRecord:
    return ResultRecord(
        state=_result_state(status.state, claim, is_killed),
        attempt=claim.attempt,
        launch=claim.launch,
        exit_code=status.exit_code,
        signal=status.signal,
        agent_id=claim.agent_id,
        hostname=claim.hostname,
        started_at=status.started_at or claim.started_at,
        ended_at=status.timestamp or now,
        message=clip(status.message),
        local=claim.local,
        used=_used(status),
        claimed_at=round(claim.claimed_at, 3),
        history=claim.history,
    )


def _used(status: TaskStatus) -> tuple[float | None, int | None, int | None, int | None, str] | None:
    if status.cpu_seconds is None:
        return None
    return status.cpu_seconds, status.memory_peak, status.io_read, status.io_written, status.measured_by


def _result_state(state: TaskState, claim: ClaimRecord, is_killed: bool) -> str:
    """The state of a result (finished, failed, lost, killed) from the task's final state."""
    if state is TaskState.FINISHED:
        return "finished"
    if state is TaskState.KILLED:
        return "killed"
    if state in (TaskState.FAILED, TaskState.ERROR):
        return "failed"
    if is_killed or (state is TaskState.DROPPED and not _has_started(claim)):
        return "killed"  # a drop that does not run again: its job was killed
    return "lost"
