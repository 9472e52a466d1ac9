"""The tasks of an agent: those that run, those that have ended, and the statuses that are still to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from broker_mesos.agent.backoff import BackOff
from broker_mesos.agent.checkpoint import Acknowledged, Ended, Entry, KillRequested, Known, Saved
from broker_mesos.agent.effects import Checkpoint, Effect, Forget, KillProcess, LaunchProcess, WithdrawProcess
from broker_mesos.agent.isolation import problem_of_demand
from broker_mesos.agent.outcomes import Outcomes
from broker_mesos.agent.running import RunningTask, spec_of
from broker_mesos.agent.status_buffer import StatusBuffer
from broker_mesos.agent.task_resources import TaskResources
from broker_mesos.agent.time_limits import TimeLimits
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_queues import TaskQueues, queue_key_of
from broker_mesos.core.model.task_states import Reason, Source, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchItem
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.ports.clock import NewId
from broker_mesos.ports.containerizer import (
    ContainerEvent,
    LaunchSpec,
    Recovered,
    StartFailed,
    TaskEvent,
    TaskExited,
    TaskNote,
    TaskStarted,
)

NEVER = float("inf")
MAX_MESSAGE_CHARS = 500
QUEUE_TIMEOUT_SECONDS = 2.0
"""Maximum time for which a task is queued, in seconds. After that the tasks before it are not as short as its framework
estimated, and it may run elsewhere."""
KILL_GRACE_SECONDS = 3.0
"""Time between SIGTERM and SIGKILL of a task that names none, in seconds, unless the agent's settings name another."""
CANNOT_START_CODE: int | None = 127
"""Exit code of a command that could not be started, as shells report it."""


class TaskTable:
    """The tasks of an agent. It launches no task that does not fit beside those that run. ``running`` and ``outcomes``
    are for reading only."""

    def __init__(self, agent_id: str, total: Resources, new_id: NewId) -> None:
        self.kill_grace = KILL_GRACE_SECONDS
        """Time between SIGTERM and SIGKILL of tasks that name none, in seconds."""
        self.running: dict[str, RunningTask] = {}
        """By task id, including queued tasks."""
        self._queues = TaskQueues()
        self.hands_over = False
        """Whether the containerizer takes queued tasks, and starts each at its turn."""
        self.outcomes = Outcomes()
        self.pending = StatusBuffer()
        """The statuses that are to be sent to the cell."""
        self.early: list[TaskStatus] = []
        """Terminal statuses that are also to be sent to frameworks at once."""
        self.backoff = BackOff()
        self.isolation: tuple[str, ...] = ()
        """What the agent holds tasks to; see ``AgentInfo.isolation``."""
        self._agent_id = agent_id
        self._new_id = new_id
        self.resources = TaskResources(total)
        self.time_limits = TimeLimits()
        self._turns: list[Effect] = []
        """Starts of queued tasks whose turn has come; they follow the journal records of the same step."""

    def recover(
        self,
        saved: Saved,
        recovered: Iterable[Recovered],
        early: Sequence[ContainerEvent],
        rebooted: bool,
        now: Instant,
    ) -> list[Effect]:
        """Merge the facts of the journal and of the containerizer. ``early`` are the events that the containerizer has
        reported since it began."""
        effects: list[Effect] = []
        found = {one.task_id: one for one in recovered}
        failed = {event.task_id for event in early if isinstance(event, StartFailed)}
        for status in saved.outcomes.values():
            self.outcomes.add(status, now.mono)
        exits: list[TaskExited] = []
        for known in saved.tasks.values():
            task_id = known.task.task_id
            # A task that was still queued has no process, and is dropped below.
            task = self._add(known.task, known.kill_grace)
            task.kill_requested = task_id in saved.kills
            task.evicted = task_id in saved.evicted
            one = found.get(task_id)
            unseen = one is None or one.exited is None or one.exited[1:3] == (None, None)
            if one is not None and one.exited is not None and not (rebooted and unseen):
                task.started_at = one.started_at
                exits.append(one.exited)
            elif one is not None and one.running and not rebooted:
                task.started_at = one.started_at
                self.time_limits.found(task, now)
                if task.kill_requested:
                    effects.append(KillProcess(task_id, task.kill_grace))
            elif task_id not in failed:
                state, text = TaskState.LOST, "its machine was restarted"
                if one is None and not rebooted:
                    # The containerizer stores a task before its process exists, so this one was never started,
                    # unless a reboot made the containerizer lose it.
                    state, text = TaskState.DROPPED, "its agent was restarted before it began"
                entry = self._end(task, state, now, reason=Reason.AGENT_RESTARTED, message=text)
                effects.append(Checkpoint((entry,)))
                if one is not None and one.running:
                    effects.append(KillProcess(task_id, 0.0))
        effects += self.on_events(exits, now)
        for task_id, one in found.items():
            if task_id in self.running or task_id in self.outcomes:
                continue
            # The agent does not know the task: its resources are not counted, and no cell waits for it.
            effects.append(KillProcess(task_id, 0.0) if one.running else Forget(task_id))
        return effects

    @property
    def used(self) -> Resources:
        """The resources of the tasks that run or are being started."""
        return self.resources.used

    @property
    def starting(self) -> bool:
        """Whether some task is being started, and it is not known yet whether that succeeds."""
        return any(task.started_at is None and not task.waits for task in self.running.values())

    # -- statuses to send ---------------------------------------------------------------------------------

    def send_at(self, now: float) -> float:
        """Monotonic time at which the pending statuses are to be sent."""
        return self.pending.send_at(now, self.running, queued=self._queues.any_waiting)

    def take_pending(self) -> list[TaskStatus]:
        """Remove and return the pending statuses."""
        return self.pending.take(self._running_status)

    def send_again(self, statuses: Iterable[TaskStatus]) -> None:
        """Send outcomes again that were not acknowledged in time."""
        for status in statuses:
            self.pending.resend(status, replace=False)

    # -- commands -----------------------------------------------------------------------------------------

    @property
    def volumes_used(self) -> set[str]:
        """The ids of the volumes that tasks use."""
        return {each for task in self.running.values() for each in task.info.volumes}

    def launch(self, launches: Iterable[LaunchItem], now: Instant, refusal: str = "") -> list[Effect]:
        """Start new tasks that fit, refuse those that do not fit, and send the statuses of known ones again. With a
        ``refusal`` all new ones are refused."""
        entries: list[Entry] = []
        starts: list[Effect] = []
        total, slack = self.resources.free(revocable=False), self.resources.free(revocable=True)
        for launch in launches:
            free = slack if launch.revocable else total
            task_id = launch.task.task_id
            if task_id in self.running or self.outcomes.is_of(task_id, launch.offer_id):
                self.resend_all(task_id, now)
                continue
            # An outcome of another offer belongs to an earlier task with the same id.
            self.pending.drop(task_id)
            if self.outcomes.replace(task_id):
                entries.append(Acknowledged(task_id))
                starts.append(Forget(task_id))
            wanted, role = launch.task.resources, launch.role
            mounts, revocable = launch.task.volumes, launch.revocable
            queue = queue_key_of(launch.framework_id, role, launch.task.line, wanted, mounts, revocable)
            # The tasks whose resources it is to use may have ended since the cell decided.
            waits = launch.waits and queue is not None and self._queues.held(queue) > 0
            text = refusal or problem_of_demand(launch.task, self.isolation)
            if text := text or ("" if waits else self.resources.misfit(launch, free)):
                entries.append(
                    self._outcome(
                        task_id,
                        launch.framework_id,
                        TaskState.DROPPED,
                        now,
                        reason=Reason.LAUNCH_REFUSED,
                        message=text,
                        offer_id=launch.offer_id,
                    )
                )
                continue
            if revocable:
                slack -= wanted
            elif not waits:
                total -= wanted
            info = AgentTask(
                task_id=task_id,
                framework_id=launch.framework_id,
                role=role,
                name=launch.task.name,
                resources=wanted,
                state=TaskState.STARTING,
                offer_id=launch.offer_id,
                labels=launch.task.labels,
                max_completion_time=launch.task.max_completion_time,
                volumes=tuple(mount.volume_id for mount in mounts),
                revocable=revocable,
                line="" if queue is None else queue.name,
                shape=launch.task.shape,
            )
            handed_queue = queue if self.hands_over else None
            width = self._queues.held(handed_queue) if waits and handed_queue is not None else 0
            grace = self.kill_grace if launch.task.kill_grace is None else launch.task.kill_grace
            spec = spec_of(launch, self._agent_id, grace, handed_queue, width, self.resources.volume_sizes)
            entries.append(Known(info, grace))
            if waits:
                task = self._add(info, grace, spec)
                task.since = now.mono
                task.handed = self.hands_over
                if task.handed:
                    starts.append(LaunchProcess(spec))
                continue
            task = self._add(info, grace)
            task.since = now.mono
            task.early = launch.task.early
            self.pending.launched(task_id, now.mono)
            starts.append(LaunchProcess(spec))
        return [Checkpoint(tuple(entries)), *starts] if entries else []

    def kill(self, task_ids: Iterable[str], now: Instant, grace: float | None = None) -> list[Effect]:
        """Kill running tasks, with at most ``grace`` seconds; send the outcomes of ended tasks again; report
        TASK_DROPPED for unknown tasks."""
        entries: list[Entry] = []
        kills: list[Effect] = []
        for task_id in task_ids:
            task = self.running.get(task_id)
            if task is not None and task.waits and not task.handed:
                entries.append(self._end_queued(task, now))
            elif task is not None:
                if not task.kill_requested or task.evicted:
                    task.kill_requested, task.evicted = True, False
                    entries.append(KillRequested(task_id))
                allowed = task.kill_grace if grace is None else min(grace, task.kill_grace)
                kills.append(KillProcess(task_id, allowed))
            elif task_id in self.outcomes:
                self.resend_all(task_id, now)
            else:
                text = "this agent does not know the task"
                entries.append(self._outcome(task_id, "", TaskState.DROPPED, now, message=text))
        return [Checkpoint(tuple(entries)), *kills] if entries else kills

    def evict(self, *, tight: bool, use: Mapping[str, float] = MappingProxyType({})) -> list[Effect]:
        """Kill revocable tasks, the youngest first: as many as exceed the slack. If the machine is ``tight`` and none
        is ending yet, the first one is the one that uses the most of what is short, by ``use``."""
        revocable = [task for task in self.running.values() if task.info.revocable]
        staying = [task for task in revocable if not task.kill_requested]
        occupied = Resources.sum(task.info.resources for task in staying)
        wanted = tight and len(staying) == len(revocable)
        entries: list[Entry] = []
        kills: list[Effect] = []
        order = staying[::-1]
        if wanted and order:
            most = max(order, key=lambda each: use.get(each.info.task_id, 0.0))  # the youngest, if none is known to
            order = [most, *(each for each in order if each is not most)]
        for task in order:
            if not wanted and self.resources.slack.contains(occupied):
                break
            wanted = False
            occupied -= task.info.resources
            task.kill_requested = task.evicted = True
            entries.append(KillRequested(task.info.task_id, evicted=True))
            kills.append(KillProcess(task.info.task_id, task.kill_grace))
        return [Checkpoint(tuple(entries)), *kills] if entries else []

    def kill_all(self, now: Instant) -> list[Effect]:
        """From now on whatever ends was killed: the agent itself ends its tasks."""
        entries: list[Entry] = []
        for task in list(self.running.values()):
            if task.waits:
                entries.append(self._end_queued(task, now))
            else:
                task.kill_requested = True
        return [Checkpoint(tuple(entries))] if entries else []

    def _end_queued(self, task: RunningTask, now: Instant) -> Entry:
        reason = Reason.TASK_KILLED_DURING_LAUNCH
        return self._end(task, TaskState.KILLED, now, reason=reason, message="killed before its turn came")

    # -- queued tasks -------------------------------------------------------------------------------------

    def queue_due(self) -> float:
        """Monotonic time at which the first queued task has waited for too long."""
        first = self._queues.first()
        return min((self.running[task_id].since for task_id in first), default=NEVER) + QUEUE_TIMEOUT_SECONDS

    def drop_queued(self, now: Instant) -> list[Effect]:
        """Drop queued tasks that have waited for too long."""
        late = [task for task in self.running.values() if task.waits and task.since + QUEUE_TIMEOUT_SECONDS <= now.mono]
        entries: list[Entry] = []
        withdrawn: list[Effect] = []
        for task in late:
            if not task.handed:
                entries.append(self._drop_late(task, now))
                continue
            withdrawn.append(WithdrawProcess(task.info.task_id))
            task.late = True
            task.since = now.mono  # so that the withdrawal is repeated if it gets lost
        return [Checkpoint(tuple(entries)), *withdrawn] if entries else withdrawn

    def _drop_late(self, task: RunningTask, now: Instant) -> Entry:
        text = f"it was queued for {QUEUE_TIMEOUT_SECONDS:g} s"
        return self._end(task, TaskState.DROPPED, now, reason=Reason.LAUNCH_REFUSED, message=text)

    # -- events of the containerizer ----------------------------------------------------------------------

    def on_events(self, events: Iterable[TaskEvent], now: Instant) -> list[Effect]:
        """Handle events: processes have started, have ended, or could not be started."""
        entries: list[Entry] = []
        after: list[Effect] = []
        for event in events:
            task = self.running.get(event.task_id)
            if isinstance(event, TaskNote):
                if task is not None:
                    task.note = event.text
                    self.resend_all(event.task_id, now)
            elif task is None:
                if not isinstance(event, TaskStarted) and event.task_id not in self.outcomes:
                    after.append(Forget(event.task_id))
            elif isinstance(event, TaskStarted):
                task.started_at = event.started_at
                self.time_limits.started(task, now)
                self.backoff.started(now.mono)
                self.resend_all(event.task_id, now)
            elif isinstance(event, TaskExited):
                entries.append(self._exited(task, event, now))
            else:
                entries.append(self._not_started(task, event, now))
        after += self._turns
        self._turns.clear()
        return [Checkpoint(tuple(entries)), *after] if entries else after

    def _not_started(self, task: RunningTask, event: StartFailed, now: Instant) -> Entry:
        text = event.message
        if task.late and not task.kill_requested and task.waits and not event.machine:
            return self._drop_late(task, now)
        if task.kill_requested:
            reason = Reason.CONTAINER_PREEMPTED if task.evicted else Reason.TASK_KILLED_DURING_LAUNCH
            return self._end(task, TaskState.KILLED, now, reason=reason, message=text)
        if event.machine:
            self.backoff.failed(text, now.mono)
            # A task that a list has reported as being started cannot be dropped any more.
            if not task.reported:
                reason = Reason.LAUNCH_REFUSED
                return self._end(task, TaskState.DROPPED, now, reason=reason, message=text)
        return self._end(
            task,
            TaskState.FAILED,
            now,
            reason=Reason.CONTAINER_LAUNCH_FAILED if event.kind == "image" else Reason.COMMAND_EXECUTOR_FAILED,
            message=text,
            exit_code=CANNOT_START_CODE,
        )

    def _exited(self, task: RunningTask, event: TaskExited, now: Instant) -> Entry:
        state, reason, message = task.outcome_of(event)
        entry = self._end(
            task,
            state,
            now,
            reason=reason,
            message=message,
            exited=event,
        )
        # Other outcomes may change in the cell, so only the cell sends them.
        if task.early and state in (TaskState.FINISHED, TaskState.FAILED):
            self.early.append(entry.status)
        return entry

    # -- tasks and statuses -------------------------------------------------------------------------------

    def _add(self, info: AgentTask, kill_grace: float, spec: LaunchSpec | None = None) -> RunningTask:
        """Add a task; ``spec`` is its launch request if it is queued."""
        task = self.running[info.task_id] = RunningTask(info, kill_grace)
        task.spec = spec
        key = task.queue_key
        if key is not None:
            self._queues.enter(key, info.task_id, waits=task.waits)
        if not task.waits:
            self.resources.add(info)
        return task

    def _end(
        self,
        task: RunningTask,
        to: TaskState,
        now: Instant,
        *,
        reason: Reason | None = None,
        message: str = "",
        exit_code: int | None = None,
        exited: TaskExited | None = None,
    ) -> Ended:
        info = task.info
        del self.running[info.task_id]
        self.time_limits.ended(info.task_id)
        key = task.queue_key
        next_id = None if key is None else self._queues.leave(key, info.task_id, waited=task.waits)
        if next_id is not None:
            follower = self.running[next_id]
            assert follower.spec is not None
            if not follower.handed:
                self._turns.append(LaunchProcess(follower.spec))
            follower.spec = None
        elif not task.waits:
            self.resources.remove(info)
        return self._outcome(
            info.task_id,
            info.framework_id,
            to,
            now,
            reason=reason,
            message=message,
            exit_code=exit_code,
            started_at=task.started_at,
            offer_id=task.info.offer_id,
            exited=exited,
        )

    def _outcome(
        self,
        task_id: str,
        framework_id: str,
        to: TaskState,
        now: Instant,
        *,
        reason: Reason | None = None,
        message: str = "",
        exit_code: int | None = None,
        started_at: float | None = None,
        offer_id: str = "",
        exited: TaskExited | None = None,
    ) -> Ended:
        status = TaskStatus(
            task_id=task_id,
            state=to,
            uuid=self._new_id(),
            agent_id=self._agent_id,
            framework_id=framework_id,
            source=Source.AGENT,
            reason=reason,
            message=message[:MAX_MESSAGE_CHARS],
            timestamp=now.wall if exited is None else exited.at,
            exit_code=exit_code if exited is None else exited.exit_code,
            signal=None if exited is None else exited.signal,
            cpu_seconds=None if exited is None else exited.cpu_seconds,
            memory_peak=None if exited is None else exited.memory_peak,
            io_read=None if exited is None else exited.io_read,
            io_written=None if exited is None else exited.io_written,
            measured_by="" if exited is None else exited.measured_by,
            started_at=started_at,
            offer_id=offer_id,
        )
        self.outcomes.add(status, now.mono)
        self.pending.ended(status, now.mono)
        return Ended(status)

    def resend_all(self, task_id: str, now: Instant) -> None:
        """Send the status of a task again; nothing while its process has not started."""
        task = self.running.get(task_id)
        if task is None:
            status = self.outcomes.get(task_id)
            if status is not None:
                self.pending.resend(status, replace=True)
        elif task.started_at is not None:
            self.pending.started(task_id, now.mono)

    def _running_status(self, task_id: str) -> TaskStatus | None:
        task = self.running.get(task_id)
        if task is None or task.started_at is None:
            return None
        return TaskStatus(
            task_id=task_id,
            state=TaskState.RUNNING,
            uuid=self._new_id(),
            agent_id=self._agent_id,
            framework_id=task.info.framework_id,
            source=Source.AGENT,
            message=task.note[:MAX_MESSAGE_CHARS],
            timestamp=task.started_at,
            started_at=task.started_at,
        )
