"""The agent's asyncio shell: passes events to ``AgentMachine``, and carries out its effects in their order.

Effects are plain synchronous calls (a journal write, a request to the containerizer, a publish that is
confirmed later), so that a decision and its effects are one step of the event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from broker_mesos.agent.checkpoint import Ended, Journal, Known
from broker_mesos.agent.disk_keeper import DiskKeeper
from broker_mesos.agent.effects import (
    AskHello,
    Checkpoint,
    DropVolumes,
    Effect,
    Forget,
    KillProcess,
    LaunchProcess,
    LeaveCommands,
    Publish,
    SaveReservations,
    SaveTerm,
    WithdrawProcess,
)
from broker_mesos.agent.exec_sessions import ExecSessions
from broker_mesos.agent.files import FileServer
from broker_mesos.agent.isolation import with_isolation, with_problems
from broker_mesos.agent.options import AgentOptions
from broker_mesos.agent.slack import Slack
from broker_mesos.agent.state import AgentMachine
from broker_mesos.agent.task_usage import TaskUsageReader
from broker_mesos.agent.term_bound import TermRefused
from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.api.exec import AgentExec
from broker_mesos.core.api.files import ListSandbox, ReadFile
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.usage import ReadUsage
from broker_mesos.core.model.agent import AgentInfo, AgentTask
from broker_mesos.core.model.part import Part
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_master
from broker_mesos.core.protocol.agent_messages import UpdateStatuses
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BrokerMesosError, BusUnavailable, Conflict, InvalidInput, InvalidMessage
from broker_mesos.ports.bus import Bus, ConsumerClosed, Delivery, Outgoing, QueueInUse
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.containerizer import (
    ContainerEvent,
    Containerizer,
    OnContainerEvents,
    StartFailed,
    SupervisorBack,
    SupervisorLost,
)
from broker_mesos.runtime import failpoints
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

HELLO_TIMEOUT_SECONDS = 5.0
LEAVE_TIMEOUT_SECONDS = 1.0


class AgentDaemon:
    """One agent. The caller opens and closes the bus; the containerizer is created, started and stopped here."""

    def __init__(
        self,
        bus: Bus,
        containerizer: Callable[[OnContainerEvents], Containerizer],
        checkpoint: Journal,
        clock: Clock,
        new_id: NewId,
        rng: random.Random,
        options: AgentOptions,
    ) -> None:
        self._bus = bus
        self._containerizer = containerizer(self._on_container_events)
        self._journal = checkpoint
        self._clock = clock
        self._new_id = new_id
        self._rng = rng
        self._options = options
        self._state: AgentMachine | None = None
        self._files = FileServer(self._containerizer, clock, self._is_running)
        self._usage = TaskUsageReader(self._containerizer, clock)
        self._execs = ExecSessions(self._containerizer, clock, self._task_info, enabled=options.exec_enabled)
        self._early: list[ContainerEvent] = []
        self._stop = asyncio.Event()
        self._kill_tasks = False
        self._hello_wanted = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._flushing: asyncio.Handle | None = None
        self._flush_at = 0.0
        self._unconfirmed = False
        self._journal_fails = False
        self._had_session = False
        self._left_for = 0.0
        """Time for which the queue of commands is left to another agent, in seconds; 0 if it is consumed."""
        self._publishes: set[asyncio.Future[bool]] = set()
        self.registered = asyncio.Event()
        """Set while the agent has a session."""

    @property
    def state(self) -> AgentMachine:
        """The state machine of the agent; it exists only after ``run`` has begun to serve."""
        assert self._state is not None
        return self._state

    def stop(self, *, kill_tasks: bool = False) -> None:
        """End ``run``. With ``kill_tasks`` the tasks are killed; otherwise they run on, and the next agent in this
        work folder takes them over."""
        self._kill_tasks = self._kill_tasks or kill_tasks
        self._stop.set()

    async def run(self) -> None:
        """Serve until ``stop``. Raises Conflict when another agent uses the work folder or the id, InvalidInput when
        that cannot be used, Unavailable when tasks cannot be run here."""
        saved = self._journal.open()
        try:
            options = self._options
            agent_id = saved.agent_id or options.agent_id or f"agent-{self._new_id()}"
            if self._bus.verifies and agent_id != self._bus.user:
                raise Conflict(
                    f"this is the agent {agent_id}, and its user on the broker is {self._bus.user!r}: with security on "
                    "both are the same; give each work folder the user of its own agent"
                )
            info = AgentInfo(
                agent_id=agent_id,
                hostname=options.hostname,
                resources=options.resources,
                attributes=dict(options.attributes),
                reservations=tuple(options.reservations),
                version=options.version,
                pid=options.pid,
            )
            recovered = await self._containerizer.start()
            held = self._containerizer.isolation
            info = with_isolation(info, held)
            if held.reason:
                log.warning("isolation: none: resources are accounted, not enforced", reason=held.reason)
            # The containerizer reports tasks that never started in the next turn of the loop.
            await asyncio.sleep(0)
            try:
                if (saved.agent_id, saved.boot_id) != (agent_id, options.boot_id):
                    self._journal.save(agent_id, saved.highest_term, options.boot_id)
                self._state = state = AgentMachine(
                    info,
                    boot_id=options.boot_id,
                    new_id=self._new_id,
                    rng=self._rng,
                    highest_term=saved.highest_term,
                    min_free_disk=options.min_free_disk,
                    slack=None
                    if options.machine is None
                    else Slack(options.machine, options.resources, counted={"cpu", "mem"} <= set(held.words)),
                )
                state.table.kill_grace = options.kill_grace
                state.outcomes.retention_seconds = options.outcomes_kept
                self._perform(state.recover(saved, recovered, self._early, self._now()))
                self._on_container_events(self._early)
                self._early.clear()
                self._execs.agent_id = agent_id
                log.info("agent begins", agent_id=agent_id, resources=str(info.resources))
                await self._serve(agent_id)
            finally:
                await self._containerizer.stop(kill_tasks=self._kill_tasks)
                await self._leave()
        finally:
            self._journal.close()

    async def _serve(self, agent_id: str) -> None:
        responder = Responder(
            self._bus, Queue(QueueKind.OPERATOR_AGENT, agent_id), self._answer, self._clock, self._new_id
        )
        keeper = DiskKeeper(
            self._containerizer, self._clock, self._options, lambda: self.state.outcomes, self._on_disk_space
        )
        self._hello_wanted.set()
        parts = [
            asyncio.create_task(self._hello(agent_id), name="agent hello"),
            asyncio.create_task(self._commands(agent_id), name="agent commands"),
            asyncio.create_task(keeper.run(), name="agent disk"),
            asyncio.create_task(self._forever(responder.run), name="agent operator"),
        ]
        stopped = asyncio.create_task(self._stop.wait(), name="agent stop")
        try:
            done, _ = await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            self._stop.set()
            for part in [stopped, *parts]:
                part.cancel()
            await asyncio.gather(stopped, *parts, return_exceptions=True)
            self._files.close()
            self._execs.close()
            if self._timer is not None:
                self._timer.cancel()
            if self._kill_tasks:
                self._perform(self.state.table.kill_all(self._now()))

    async def _leave(self) -> None:
        """Send the last statuses and the agent's departure, after the containerizer has stopped."""
        if self._state is None:
            return
        self._perform(self._state.statuses() + self._state.leave())
        self.registered.clear()
        if self._publishes:
            await asyncio.wait(set(self._publishes), timeout=LEAVE_TIMEOUT_SECONDS)

    # -- events -------------------------------------------------------------------------------------------

    async def _forever(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run ``run`` again after each refusal of the bus that ends it."""
        while True:
            try:
                await run()
            except BrokerMesosError as error:
                log.warning("cannot serve operators, trying again", error=str(error))
            await self._clock.sleep(self._rng.uniform(0.5, 1.5))

    async def _hello(self, agent_id: str) -> None:
        while True:
            await self._hello_wanted.wait()
            requester = Requester(self._bus, self._clock, self._new_id)
            failures = 0
            try:
                while self._hello_wanted.is_set():
                    try:
                        answer = await requester.request(
                            operator_master(), Hello(agent_id=agent_id), HELLO_TIMEOUT_SECONDS
                        )
                    except BrokerMesosError as error:
                        failures += 1
                        if failures in (1, 10, 100, 1000):
                            log.warning("no master answers, trying again", error=str(error), tries=failures)
                        await self._clock.sleep(self._rng.uniform(0.5, 1.5))
                        continue
                    assert isinstance(answer, HelloAnswer)
                    self._hello_wanted.clear()
                    self._turn(self.state.on_hello(answer.cells, self._now(), answer.max_term))
            finally:
                await requester.close()

    async def _commands(self, agent_id: str) -> None:
        queue = Queue(QueueKind.AGENT_COMMANDS, agent_id)
        while True:
            try:
                consumer = await self._bus.consume(queue)
            except BrokerMesosError as error:
                # Two agents with one id would take each other's commands. The later one ends; the one that had a
                # session keeps its tasks, and waits until the other one has ended.
                if isinstance(error, QueueInUse) and not self._had_session:
                    raise
                log.warning("cannot receive commands, trying again", error=str(error))
                await self._clock.sleep(self._rng.uniform(0.5, 1.5))
                continue
            try:
                self._turn(self.state.on_listening(self._now()))
                while not self._left_for:
                    deliveries = await consumer.receive()
                    for delivery in deliveries:
                        if reason := self._on_delivery(delivery):
                            await self._bury(delivery, reason)
                    consumer.acknowledge(deliveries)
            except ConsumerClosed as error:
                log.warning("lost the queue of commands", error=str(error))
            finally:
                await consumer.close()
            self.state.on_commands_lost()
            self._turn(())
            seconds, self._left_for = self._left_for, 0.0
            await self._clock.sleep(seconds * self._rng.uniform(1.0, 1.5))

    def _on_delivery(self, delivery: Delivery) -> str:
        """Handle a command. Returns why it could not be handled; empty if it was."""
        if delivery.problem:
            return delivery.problem
        try:
            message = decode(delivery.type, delivery.body)
            self._bus.verify(delivery, message)
            self.state.table.hands_over = self._containerizer.queues_tasks
            effects = self.state.on_command(message, delivery.term, self._now())
        except InvalidMessage as error:
            if isinstance(error, TermRefused):
                self._hello_wanted.set()  # the bound is old if this machine was suspended for days
            return str(error)
        except Exception as error:
            log.exception("a command failed", type=delivery.type, message_id=delivery.message_id)
            return f"the agent failed to handle it: {error!r}"
        self._turn(effects)
        return ""

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        """Move a command to the dead letters. It is not tried again, since the state that its sender knew will have
        changed."""
        log.warning("a command goes to the dead letters", type=delivery.type, reason=reason)
        queue = Queue(QueueKind.AGENT_COMMANDS, self.state.info.agent_id)
        now = self._clock.time()
        dead = letter(delivery, queue, reason, tries=1, letter_id=self._new_id(), now=now)
        while True:
            try:
                return await park(self._bus, dead)
            except BusUnavailable as error:
                log.warning("cannot write to the dead letters, trying again", error=str(error))
                await self._clock.sleep(self._rng.uniform(0.5, 1.5))

    def _on_container_events(self, events: Sequence[ContainerEvent]) -> None:
        if self._state is None:
            self._early.extend(events)
            return
        effects = self._state.on_container_events(events, self._now())
        self._turn(effects)
        for event in events:
            if not isinstance(event, SupervisorLost | SupervisorBack) and not self._is_running(event.task_id):
                self._files.task_ended(event.task_id)
                self._execs.task_ended(event.task_id)

    def _is_running(self, task_id: str) -> bool:
        return self._state is not None and task_id in self._state.tasks

    def _task_info(self, task_id: str) -> AgentTask | None:
        return self.state.tasks[task_id].info if self._is_running(task_id) else None

    async def _answer(self, request: Request) -> Part:
        if isinstance(request, AgentExec):
            return await self._execs.answer(request)
        if isinstance(request, ReadFile):
            return await self._files.read(request)
        if isinstance(request, ReadUsage):
            return await self._usage.read(request)
        if isinstance(request, ListSandbox):
            return await self._files.folder(request)
        raise InvalidInput(f"an agent does not answer {request.TYPE}")

    def _on_disk_space(self, space: DiskSpace) -> None:
        before = self.state.lending.reason
        self._turn(self.state.on_disk_space(space, self._now()))
        after = self.state.lending.reason
        if after and not before:
            log.warning("the agent lends less than it has", reason=after)
        elif before and not after:
            log.info("the agent lends everything again")

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._turn(())

    # -- effects ------------------------------------------------------------------------------------------

    def _now(self) -> Instant:
        return Instant(self._clock.time(), self._clock.monotonic())

    def _turn(self, effects: Iterable[Effect]) -> None:
        """Carry out effects, then those that are due by time, then schedule the statuses and the next timer."""
        self._perform(effects)
        state, now = self.state, self._now()
        if state.next_due() <= now.mono:
            if state.measure_due(now):
                used = self._containerizer.usage()
                self._perform(state.measured(self._options.usage(), used, now))
            elif state.beat_due(now) and self._options.machine is None:
                state.usage = self._options.usage()
            state.usage = with_problems(state.usage, self._containerizer.problems)
            self._perform(state.due(now))
        if reason := state.table.backoff.take_reason():
            log.warning("no task can be started here; the agent lends nothing", error=reason)
        if state.session:
            self._had_session = True
            self.registered.set()
        else:
            self.registered.clear()
        self._flush_soon()
        self._arm(state.next_due())

    def _arm(self, at: float) -> None:
        if at == self._timer_at or self._stop.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at != float("inf"):
            delay = max(0.0, at - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _flush_soon(self) -> None:
        """Send statuses of one turn of the loop together. While a message with statuses is unconfirmed the next ones
        are collected, so that messages grow with the load."""
        if self._unconfirmed or not self.state.table.pending:
            return
        at = self.state.table.send_at(self._clock.monotonic())
        if self._flushing is not None:
            if self._flush_at <= at:
                return
            self._flushing.cancel()
        delay, self._flush_at = at - self._clock.monotonic(), at
        loop = asyncio.get_running_loop()
        self._flushing = loop.call_later(delay, self._flush) if delay > 0 else loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        if not self._unconfirmed:
            self._perform(self.state.statuses())

    def _perform(self, effects: Iterable[Effect]) -> None:
        unwritten: dict[str, str] = {}
        unsaved = False
        for effect in effects:
            match effect:
                case Publish():
                    message = effect.message
                    out = effect.outgoing(self._new_id())
                    self._publish(out, message)
                case Checkpoint(entries):
                    failpoints.hit("agent.before-checkpoint")
                    if self._options.retention.keep_failed:
                        for entry in entries:
                            if isinstance(entry, Ended) and entry.status.state is TaskState.FAILED:
                                self._containerizer.mark_failed(entry.status.task_id)
                    try:
                        self._journal.append(entries)
                        self._journal_fails = False
                    except OSError as error:
                        if not self._journal_fails:
                            log.error("cannot write the agent's journal", error=str(error))
                        self._journal_fails = True
                        problem = f"the agent cannot write its journal: {error.strerror}"
                        unwritten |= {e.task.task_id: problem for e in entries if isinstance(e, Known)}
                case LaunchProcess(spec):
                    if spec.task_id not in unwritten:
                        failpoints.hit("agent.after-checkpoint")
                        self._containerizer.launch(spec)
                        failpoints.hit("agent.after-launch")
                case KillProcess(task_id, grace):
                    self._containerizer.kill(task_id, grace)
                case WithdrawProcess(task_id):
                    self._containerizer.withdraw(task_id)
                case Forget(task_id):
                    self._containerizer.forget(task_id)
                case SaveTerm(term):
                    try:
                        self._journal.save(self.state.info.agent_id, term, self._options.boot_id)
                    except InvalidInput as error:
                        # This process keeps the term in memory; for the next process the session is a fence, too.
                        log.error("cannot save the highest term", error=str(error))
                case SaveReservations(reserved_resources, dropped_volumes):
                    try:
                        self._journal.save_reserved_resources(reserved_resources, dropped_volumes)
                    except InvalidInput as error:
                        # The cell sends the reservations to the next process, which deletes the volumes then.
                        log.error("cannot save the reservations", error=str(error))
                        unsaved = True
                case DropVolumes(volume_ids):
                    if not unsaved:
                        log.info("volumes are deleted", volumes=volume_ids)
                        self._containerizer.drop_volumes(volume_ids)
                case AskHello():
                    self._hello_wanted.set()
                case LeaveCommands(seconds, message):
                    log.warning("the cell refuses this agent for now", reason=message)
                    self._left_for = seconds
        if unwritten:
            failed = [StartFailed(task_id, problem, machine=True) for task_id, problem in unwritten.items()]
            self._perform(self.state.on_container_events(failed, self._now()))

    def _publish(self, out: Outgoing, message: Message | None) -> None:
        future = self._bus.publish(out)
        self._publishes.add(future)
        if isinstance(message, UpdateStatuses):
            self._unconfirmed = True

        def on_done(done: asyncio.Future[bool]) -> None:
            self._publishes.discard(done)
            if isinstance(message, UpdateStatuses):
                self._unconfirmed = False
            if done.cancelled():
                return
            if (done.exception() is not None or not done.result()) and message is not None:
                log.warning("could not publish", type=message.TYPE, error=str(done.exception() or "no queue"))
                self.state.on_unsent(message, self._now())
                self._arm(self.state.next_due())
            if not self._stop.is_set():
                self._flush_soon()

        future.add_done_callback(on_done)
