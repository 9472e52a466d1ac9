"""The decisions of an agent, as pure functions from (event, now) to effects: no clock, no I/O, no event loop.

The agent has the last word on its own machine: it applies only commands of its own session, in their order,
under no lower term than it has seen, and launches nothing that does not fit beside what runs. While a
registration is under way it has no session, and so applies none: the list that it sends must stay true until
the cell has answered it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from broker_mesos.agent.checkpoint import Acknowledged, Saved
from broker_mesos.agent.effects import (
    AskHello,
    Checkpoint,
    DropVolumes,
    Effect,
    Forget,
    LeaveCommands,
    Publish,
    SaveReservations,
    SaveTerm,
)
from broker_mesos.agent.lending import Lending
from broker_mesos.agent.outcomes import Outcomes
from broker_mesos.agent.running import RunningTask
from broker_mesos.agent.slack import INTERVAL_SECONDS, Slack, TaskUse
from broker_mesos.agent.tasks import TaskTable
from broker_mesos.agent.term_bound import TermBound
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.core.model.agent import AgentInfo, AgentList, Usage
from broker_mesos.core.model.reservation import ReservedResources
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    KillTasks,
    LaunchTasks,
    ListTasks,
    RegisterAgent,
    Reregister,
    SetHeartbeat,
    SetReservations,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.events import EarlyStatuses
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.wire import MAX_BODY, Message
from broker_mesos.ports.clock import NewId
from broker_mesos.ports.containerizer import ContainerEvent, Recovered, SupervisorBack, SupervisorLost, TaskEvent

FIRST_REPEAT_SECONDS = 2.0
MAX_REPEAT_SECONDS = 15.0
"""Maximum interval between two repeats of a registration, in seconds. They wait in the inbox, so that a long interval
costs no time when a master appears, while a flood of them would."""
DEBOUNCE_SECONDS = 1.0
"""Minimum interval between two registrations, in seconds."""
NEVER = float("inf")
MAX_RECOVERED = 2_000
"""Maximum number of acknowledged outcomes that a registration lists during a recovery: the latest ones."""
EARLY_STATUSES_TTL_SECONDS = 2.0
"""TTL of an EARLY_STATUSES message, in seconds; after that the cell's update has arrived."""
MAX_LIST_BYTES = MAX_BODY - 64 * 1024
"""Maximum size of the statuses or of the list in one message, in bytes."""


class AgentMachine:
    """The agent's side of the protocol. ``highest_term`` and ``tasks`` are for reading only."""

    def __init__(
        self,
        info: AgentInfo,
        *,
        boot_id: str,
        new_id: NewId,
        rng: random.Random,
        highest_term: int = 0,
        slack: Slack | None = None,
        min_free_disk: int = 0,
    ) -> None:
        self.info = info
        self.highest_term = highest_term
        self._term_bound = TermBound()
        self.table = TaskTable(info.agent_id, info.resources, new_id)
        self.table.isolation = info.isolation
        self.reserved_resources = ReservedResources()
        """The reservations and volumes, as the cell last sent them."""
        self._dropped_volumes: set[str] = set()
        """Ids of volumes that the cell has dropped, and that tasks may still use."""
        self.session = ""
        """The id of the agent's session; empty while it has none."""
        self.applied = 0
        self.cells = 0
        self.usage = Usage()
        """The use of the machine that the next heartbeats report."""
        self._slack = slack
        self._measure_at = NEVER if slack is None else -NEVER
        self._boot_id = boot_id
        self._new_id = new_id
        self._rng = rng
        self._listening = False
        self._process = new_id()
        self._attempts = 0
        self._attempt = ""
        self._attempted_at = -NEVER
        self._recover = False
        """Whether the next registration is for a cell whose store may have lost facts."""
        self._repeat_delay = FIRST_REPEAT_SECONDS
        self._register_at = self._repeat_at = self._beat_at = NEVER
        self._reopen_at = NEVER
        """Monotonic time at which the agent lends its resources again; until then it reports only those in use."""
        self._interval = 5.0
        self.lending = Lending(min_free_disk)

    @property
    def tasks(self) -> dict[str, RunningTask]:
        """The tasks that have not ended, by id."""
        return self.table.running

    @property
    def outcomes(self) -> Outcomes:
        """The outcomes of tasks that have ended and are still kept."""
        return self.table.outcomes

    @property
    def cell(self) -> int:
        """The number of the agent's cell; valid only while ``cells`` is known."""
        return addresses.cell_of(self.info.agent_id, self.cells)

    # -- registration -------------------------------------------------------------------------------------

    def recover(
        self,
        saved: Saved,
        recovered: Iterable[Recovered],
        early: Sequence[ContainerEvent],
        now: Instant,
    ) -> list[Effect]:
        """Merge the facts of the journal and of the containerizer. ``early`` are the events that the containerizer has
        reported since it began; they are passed to ``on_container_events`` afterwards."""
        rebooted = bool(saved.boot_id) and saved.boot_id != self._boot_id
        if saved.reserved_resources is not None:
            self.reserved_resources = saved.reserved_resources
            self._dropped_volumes = set(saved.dropped_volumes)
            self.table.resources.set_total(self.info, self.reserved_resources)
        return self.table.recover(saved, recovered, early, rebooted, now) + self._drop_unused()

    def _set_reservations(self, reserved_resources: ReservedResources, now: Instant) -> list[Effect]:
        if reserved_resources.version < self.reserved_resources.version:
            return self._register_soon(now)  # the list of the agent restores what the cell has forgotten
        if reserved_resources.version == self.reserved_resources.version:
            return []
        named = {each.volume_id for each in reserved_resources.volumes}
        self._dropped_volumes |= {each.volume_id for each in self.reserved_resources.volumes}
        self._dropped_volumes -= named
        self.reserved_resources = reserved_resources
        self.table.resources.set_total(self.info, reserved_resources)
        return [SaveReservations(reserved_resources, tuple(sorted(self._dropped_volumes))), *self._drop_unused()]

    def _drop_unused(self) -> list[Effect]:
        if not (self._dropped_volumes and (unused := self._dropped_volumes - self.table.volumes_used)):
            return []
        self._dropped_volumes -= unused
        return [DropVolumes(tuple(sorted(unused)))]

    def on_hello(self, cells: int, now: Instant, max_term: int = 0) -> list[Effect]:
        """Handle a master's answer: the number of cells, and the lowest term that no owner can have (0: not known)."""
        self.cells = cells
        self._term_bound.learn(max_term, now.mono)
        if self.highest_term < self._term_bound.at(now.mono):
            return self._register(now)
        self.highest_term = 0
        return [SaveTerm(0), *self._register(now)]

    def on_listening(self, now: Instant) -> list[Effect]:
        """Note that commands are received from now on; a new session repairs what was missed before."""
        self._listening = True
        return self._register(now)

    def on_commands_lost(self) -> None:
        """Note that commands are not received any more."""
        self._listening = False
        self._drop_session()

    def leave(self) -> list[Effect]:
        """Report that the agent leaves, with the list of the tasks that run on without it."""
        if not self.session:
            return []
        message = UnregisterAgent(agent_id=self.info.agent_id, session=self.session, list=self.task_list())
        self._drop_session()
        return [Publish(addresses.updates(self.cell), message, mandatory=True)]

    def _drop_session(self) -> None:
        self.session = ""
        self._attempt = ""
        self._register_at = self._repeat_at = self._beat_at = NEVER

    def _register_soon(self, now: Instant) -> list[Effect]:
        """Register again because of a contradiction, at most once in DEBOUNCE_SECONDS."""
        self._drop_session()
        at = self._attempted_at + DEBOUNCE_SECONDS
        if now.mono >= at:
            return self._register(now)
        self._register_at = at
        return []

    def _register(self, now: Instant) -> list[Effect]:
        self._drop_session()
        if not self.cells or not self._listening:
            return []
        self._attempts += 1
        self._attempt = f"{self._process}.{self._attempts}"
        self._attempted_at = now.mono
        self._repeat_delay = FIRST_REPEAT_SECONDS
        self.table.take_pending()  # the list contains all of them
        return self._send_registration(now)

    def _send_registration(self, now: Instant) -> list[Effect]:
        self._repeat_at = now.mono + self._repeat_delay * self._rng.uniform(0.8, 1.2)
        message = RegisterAgent(
            agent=self.lending.registration(self.info, self.table.used, backing_off=self._reopen_at != NEVER),
            attempt=self._attempt,
            boot_id=self._boot_id,
            cells=self.cells,
            highest_term=self.highest_term,
            list=self.task_list(everything=self._recover),
        )
        return [Publish(addresses.updates(self.cell), message, mandatory=True)]

    def task_list(self, *, everything: bool = False) -> AgentList:
        """The list of all tasks that have not ended and of every unacknowledged outcome; without optional fields if it
        would not fit.

        With ``everything`` it has acknowledged outcomes too, for a cell whose store may have lost them.
        """
        # Queued tasks come last: the cell then knows the tasks whose resources they will use.
        tasks = [task.listed() for task in sorted(self.tasks.values(), key=lambda each: each.waits)]
        outcomes = self.outcomes.unacknowledged()
        if everything:
            outcomes += self.outcomes.acknowledged()[-MAX_RECOVERED:]
        reserved_resources = self.reserved_resources if self.reserved_resources.version else None
        whole = AgentList(
            applied=self.applied, tasks=tuple(tasks), outcomes=tuple(outcomes), reserved_resources=reserved_resources
        )
        if len(tasks) + len(outcomes) < 100 or len(whole.__pydantic_serializer__.to_json(whole)) < MAX_LIST_BYTES:
            return whole
        plain = {"name": "", "labels": {}, "offer_id": ""}
        return AgentList(
            applied=self.applied,
            tasks=tuple(task.model_copy(update=plain) for task in tasks),
            outcomes=tuple(status.model_copy(update={"message": ""}) for status in outcomes),
            reserved_resources=reserved_resources,
        )

    # -- commands -----------------------------------------------------------------------------------------

    def on_command(self, message: Message, term: int, now: Instant) -> list[Effect]:
        """Handle a message from the cell's owner under its ``term``. Raises TermRefused."""
        self._term_bound.check(term, now.mono)
        if term < self.highest_term:
            # An owner that was replaced, or one that does not know the highest term: a heartbeat (or the repeated
            # registration) reports it.
            self._beat_at = now.mono if self.session else NEVER
            return []
        effects: list[Effect] = []
        if term > self.highest_term:
            self.highest_term = term
            effects.append(SaveTerm(term))
        if isinstance(message, LaunchTasks) and message.acknowledged:
            effects += self._acknowledged(message.acknowledged, now)
        match message:
            case LaunchTasks() | KillTasks() | SetReservations():
                if self.session and message.session == self.session and message.number > self.applied:
                    effects += self._in_session(message, now)
            case AcknowledgeStatuses():
                effects += self._acknowledged(message.uuids, now)
            case AgentRegistered():
                self._registered(message, now)
            case AgentRefused() if message.attempt in ("", self._attempt):
                effects += self._refused(message)
            case Reregister():
                recent = now.mono < self._attempted_at + DEBOUNCE_SECONDS
                if self.session and (message.session == self.session or not (message.session or recent)):
                    self._recover = message.recover
                    effects += self._register_soon(now)
            case SetHeartbeat():
                if self.session and message.session == self.session:
                    self._interval = max(0.05, message.interval)
                    self._beat_at = now.mono
            case Ping() if message.token and self.cells:
                effects.append(Publish(addresses.updates(self.cell), message, persistent=False))
            case ListTasks():
                if self.session and message.session == self.session:
                    # Unsent statuses are in the list as well; sending them first keeps the order of events.
                    effects += self.statuses()
                    listed = AgentListed(agent_id=self.info.agent_id, session=self.session, list=self.task_list())
                    effects.append(Publish(addresses.updates(self.cell), listed))
        return effects

    def _acknowledged(self, uuids: Sequence[str], now: Instant) -> list[Effect]:
        acknowledged = self.outcomes.acknowledge(uuids, now.mono)
        saved = Checkpoint(tuple(Acknowledged(task_id) for task_id in acknowledged))
        return [saved, *(Forget(task_id) for task_id in acknowledged)] if acknowledged else []

    def _registered(self, message: AgentRegistered, now: Instant) -> None:
        if not self._attempt or message.attempt != self._attempt:
            return
        self._drop_session()
        self.session = message.session
        self.applied = 0
        self._recover = False
        self._interval = max(0.05, message.heartbeat_interval)
        self._beat_at = now.mono
        self.outcomes.restart(now.mono)

    def _refused(self, message: AgentRefused) -> list[Effect]:
        self._drop_session()
        if message.retry_after:
            return [LeaveCommands(message.retry_after, message.message)]
        self.cells = 0
        return [AskHello()]

    def _in_session(self, command: LaunchTasks | KillTasks | SetReservations, now: Instant) -> list[Effect]:
        if command.number != self.applied + 1:
            return self._register_soon(now)
        self.applied = command.number
        if isinstance(command, SetReservations):
            return self._set_reservations(command.reserved_resources, now)
        if isinstance(command, KillTasks):
            return self.table.kill(command.task_ids, now, command.grace)
        return self.table.launch(command.launches, now, self.lending.refusal)

    # -- events of the containerizer ----------------------------------------------------------------------

    def on_container_events(self, events: Iterable[ContainerEvent], now: Instant) -> list[Effect]:
        """Handle events: processes have started or ended, or cannot be started for now."""
        effects: list[Effect] = []
        of_tasks: list[TaskEvent] = []
        for event in events:
            if isinstance(event, SupervisorLost | SupervisorBack):
                if self.lending.on_supervisor(event, self.table.backoff, now.mono):
                    effects += self._register(now)
            else:
                of_tasks.append(event)
        effects += self.table.on_events(of_tasks, now) + self._early_statuses() + self._drop_unused()
        if self.lending.supervisor_lost:
            return effects
        # The registration's list must not name tasks that may be dropped in the next moment.
        if self.table.backoff.until > now.mono and self._reopen_at == NEVER and not self.table.starting:
            self._reopen_at = self.table.backoff.until
            effects += self._register(now)
        return effects

    def on_disk_space(self, space: DiskSpace, now: Instant) -> list[Effect]:
        """Handle a measurement of the disk: register again if the agent lends less or more because of it, once no task
        is being started."""
        changed = self.lending.measured(space, self.table.used)
        return self._register(now) if changed and not self.table.starting else []

    def _early_statuses(self) -> list[Effect]:
        """Messages to frameworks with terminal statuses that were just written to the journal. None without a session:
        the cell may have declared the tasks lost, and then only its updates are right."""
        early, self.table.early = self.table.early, []
        by_framework: dict[str, list[TaskStatus]] = {}
        for status in early if self.session else ():
            by_framework.setdefault(status.framework_id, []).append(status)
        return [
            Publish(
                addresses.early_statuses(framework_id),
                EarlyStatuses(statuses=tuple(statuses)),
                persistent=False,
                expiration=EARLY_STATUSES_TTL_SECONDS,
            )
            for framework_id, statuses in by_framework.items()
        ]

    # -- statuses -----------------------------------------------------------------------------------------

    def statuses(self) -> list[Effect]:
        """All unsent statuses, in as few messages as possible. None without a session: the list of the registration
        reports them."""
        if not self.session or not self.table.pending:
            return []
        effects: list[Effect] = []
        part: list[TaskStatus] = []
        size = 0
        for status in self.table.take_pending():
            length = 1_000 + 4 * len(status.message)
            if part and size + length > MAX_LIST_BYTES:
                effects.append(self._update(part))
                part, size = [], 0
            part.append(status)
            size += length
        effects.append(self._update(part))
        return effects

    def _update(self, statuses: list[TaskStatus]) -> Effect:
        update = UpdateStatuses(agent_id=self.info.agent_id, session=self.session, statuses=tuple(statuses))
        return Publish(addresses.updates(self.cell), update, mandatory=True)

    def on_unsent(self, message: Message, now: Instant) -> None:
        """Handle that a message could not be published or routed. Outcomes are sent again soon; a list repairs the
        rest."""
        if isinstance(message, UpdateStatuses):
            ended = [status.task_id for status in message.statuses if status.state.terminal]
            self.outcomes.unsent(ended, now.mono)
        elif isinstance(message, RegisterAgent) and message.attempt == self._attempt:
            self._repeat_delay = FIRST_REPEAT_SECONDS
            self._repeat_at = min(self._repeat_at, now.mono + FIRST_REPEAT_SECONDS)

    # -- slack --------------------------------------------------------------------------------------------

    def measure_due(self, now: Instant) -> bool:
        """Whether ``measured`` is due; only for an agent that lends slack."""
        return now.mono >= self._measure_at

    def measured(self, usage: Usage, tasks: Mapping[str, tuple[float, int]], now: Instant) -> list[Effect]:
        """Update the slack from the use of the machine and of its tasks (CPU seconds so far, bytes of memory), and
        evict revocable tasks where needed."""
        self.usage = usage
        if (slack := self._slack) is None:
            return []
        self._measure_at = now.mono + INTERVAL_SECONDS
        running = [
            TaskUse(ident, task.info.resources, task.info.revocable, tasks.get(ident))
            for ident, task in self.tasks.items()
            if not task.waits
        ]
        slack.sample(usage, running, now.mono)
        if slack.resources is None:
            return []  # tasks of an earlier agent process run on until the estimate is reliable
        self.table.resources.slack = slack.resources
        effects = self.table.evict(tight=slack.tight, use=slack.scarce_use)
        if effects:
            slack.eased()
        return effects

    # -- time ---------------------------------------------------------------------------------------------

    def due(self, now: Instant) -> list[Effect]:
        """The effects that are due by time: registration, heartbeat, outcomes to send again."""
        effects: list[Effect] = []
        if self.measure_due(now):
            # So that a shell that does not measure is asked again only later.
            self._measure_at = now.mono + INTERVAL_SECONDS
        if now.mono >= self._reopen_at:
            self._reopen_at = NEVER
            effects += self._register(now)
        elif now.mono >= self._register_at:
            effects += self._register(now)
        elif now.mono >= self._repeat_at:
            self._repeat_delay = min(2 * self._repeat_delay, MAX_REPEAT_SECONDS)
            effects += self._send_registration(now)
        if self.beat_due(now):
            self._beat_at = now.mono + self._interval
            beat = AgentHeartbeat(
                agent_id=self.info.agent_id,
                session=self.session,
                applied=self.applied,
                running=len(self.tasks),
                highest_term=self.highest_term,
                usage=self.lending.report(self.usage),
                interval=self._interval,
                slack=self._lent_twice(now),
            )
            to = addresses.heartbeats(self.cell)
            effects.append(Publish(to, beat, persistent=False, expiration=2 * self._interval))
        if now.mono >= self.table.queue_due():
            effects += self.table.drop_queued(now)
        if now.mono >= self.table.time_limits.due():
            effects += self.table.time_limits.end_overdue(self.table.running, now)
        if self.session:
            self.table.send_again(self.outcomes.due(now.mono))
        return effects

    def _lent_twice(self, now: Instant) -> Resources | None:
        out_of_order = self.table.backoff.until > now.mono or self.lending.nothing
        return None if self._slack is None or out_of_order else self._slack.offered

    def beat_due(self, now: Instant) -> bool:
        """Whether the next ``due`` sends a heartbeat, so that ``usage`` must be set before."""
        return bool(self.session) and now.mono >= self._beat_at

    def next_due(self) -> float:
        """Monotonic time at which ``due`` must be called next."""
        at = min(self._register_at, self._repeat_at, self._beat_at, self._reopen_at, self._measure_at)
        at = min(at, self.table.queue_due(), self.table.time_limits.due())
        return min(at, self.outcomes.next_due()) if self.session else at
