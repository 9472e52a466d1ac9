"""Many agents with simulated tasks in one process, to measure a cluster of a size for which there are no machines.

Each agent is an ``AgentMachine`` as in a real agent, and sends and receives what a real one does: sessions, command
numbers, terms, lists, heartbeats, outcomes that are sent again until they are acknowledged. The agents share the
shell around it: one connection, one queue that is bound to the commands of all of them, one timer. There is no work
folder, since no task outlives the process, and requests for a task's files are not answered.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from broker_mesos.agent.effects import AskHello, Effect, KillProcess, LaunchProcess, Publish
from broker_mesos.agent.state import AgentMachine
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.cluster import Hello, HelloAnswer
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_master
from broker_mesos.core.protocol.agent_messages import UpdateStatuses
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import BrokerMesosError, BusUnavailable, InvalidMessage
from broker_mesos.ports.bus import Bus, ConsumerClosed, Delivery, Outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.ports.containerizer import ContainerEvent, TaskExited, TaskStarted
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

HELLO_TIMEOUT_SECONDS = 5.0
LEAVE_TIMEOUT_SECONDS = 10.0
MAX_REGISTERING = 500
"""Maximum number of agents that wait for their first registration at the same time."""
TICK_SECONDS = 0.02
"""Minimum time between two checks for due timers, in seconds; timers that become due in between are handled together.
"""
MAX_PUBLISHING = 200
OUTCOME_RETENTION_SECONDS = 60.0
"""Time for which an acknowledged outcome is kept, in seconds: shorter than in a real agent, of which a machine has
one."""
MAX_SAMPLES = 100_000
COMMANDS_PREFIX = "agent."


@dataclass(frozen=True)
class FleetOptions:
    """The properties of the agents. ``seconds`` returns the run time of the next task, ``first`` that of a task that
    takes the place of no other one (None: like any task)."""

    resources: Resources
    seconds: Callable[[], float]
    attributes: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    boot_id: str = ""
    first: Callable[[], float] | None = None


class Counts(NamedTuple):
    """The current numbers of agents and tasks, and the numbers of events so far."""

    agents: int
    registered: int
    running: int
    launched: int
    ended: int
    registrations: int
    """Number of registrations sent, including repeats."""
    sent: int
    received: int
    """Number of messages received."""


class _Agent:
    __slots__ = ("due_at", "free_since", "registered", "state", "unconfirmed")

    def __init__(self, state: AgentMachine) -> None:
        self.state = state
        self.due_at = float("inf")
        self.unconfirmed = False
        self.registered = False
        self.free_since: deque[float] = deque()
        """The times at which tasks have ended in whose place none has started yet."""


class Fleet:
    """The simulated agents. The caller opens and closes the bus."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        new_id: NewId,
        rng: random.Random,
        agent_ids: Iterable[str],
        options: FleetOptions,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._options = options
        self._agents: dict[str, _Agent] = {}
        for ident in agent_ids:
            info = AgentInfo(
                agent_id=ident,
                hostname=ident,
                resources=options.resources,
                attributes=dict(options.attributes),
                version=options.version,
            )
            state = AgentMachine(info, boot_id=options.boot_id, new_id=new_id, rng=rng)
            state.outcomes.retention_seconds = OUTCOME_RETENTION_SECONDS
            self._agents[ident] = _Agent(state)
        self._due: list[tuple[float, str]] = []
        self._ends: list[tuple[float, str, str]] = []
        self._outbox: deque[tuple[Outgoing, Message, _Agent]] = deque()
        self._to_send = asyncio.Event()
        self._sending: set[asyncio.Future[bool]] = set()
        self._unregistered = len(self._agents)
        self._changed = asyncio.Event()
        self._greeted: dict[str, None] = {}
        self._hello_wanted = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._stop = asyncio.Event()
        self._launched = self._ended = self._registrations = self._sent = self._received = 0
        self._refills: list[float] = []

    def stop(self) -> None:
        """End ``run``; the tasks end with it."""
        self._stop.set()

    def counts(self) -> Counts:
        """The counts up to now."""
        return Counts(
            agents=len(self._agents),
            registered=len(self._agents) - self._unregistered,
            running=sum(len(agent.state.tasks) for agent in self._agents.values()),
            launched=self._launched,
            ended=self._ended,
            registrations=self._registrations,
            sent=self._sent,
            received=self._received,
        )

    def refills(self) -> list[float]:
        """The times from the end of a task to the start of the next one in its place, in seconds, since the last
        call."""
        refills, self._refills = self._refills, []
        return refills

    async def run(self) -> None:
        """Serve until ``stop``. Raises the error of the bus if it can never serve."""
        parts = [
            asyncio.create_task(self._hello(), name="fleet hello"),
            asyncio.create_task(self._commands(), name="fleet commands"),
            asyncio.create_task(self._publishing(), name="fleet publishing"),
        ]
        stopped = asyncio.create_task(self._stop.wait(), name="fleet stop")
        try:
            done, _ = await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
            await self._leave()
        finally:
            self._stop.set()
            for part in [stopped, *parts]:
                part.cancel()
            await asyncio.gather(stopped, *parts, return_exceptions=True)
            if self._timer is not None:
                self._timer.cancel()

    async def _leave(self) -> None:
        now = self._now()
        for agent in self._agents.values():
            effects = agent.state.table.kill_all(now)
            killed = [TaskExited(ident, None, signal.SIGKILL, now.wall) for ident in agent.state.tasks]
            effects += agent.state.on_container_events(killed, now) if killed else []
            self._perform(agent, [*effects, *agent.state.statuses(), *agent.state.leave()])
            agent.due_at = float("inf")
        try:
            async with within(LEAVE_TIMEOUT_SECONDS):
                while self._outbox:
                    await asyncio.sleep(TICK_SECONDS)
                if self._sending:
                    await asyncio.wait(set(self._sending))
        except TimeoutError:
            log.warning("not everything could be sent at the end", messages=len(self._outbox))

    # -- what happens -------------------------------------------------------------------------------------

    async def _hello(self) -> None:
        """Send agents the number of cells: at the start all of them, a wave at a time."""
        self._greeted = dict.fromkeys(self._agents)
        self._hello_wanted.set()
        while True:
            await self._hello_wanted.wait()
            self._hello_wanted.clear()
            cells = await self._ask_cells()
            first = len(self._greeted) == len(self._agents)
            while self._greeted:
                if first and self._unregistered - len(self._greeted) >= MAX_REGISTERING:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                ident = next(iter(self._greeted))
                del self._greeted[ident]
                agent = self._agents[ident]
                self._turn(agent, agent.state.on_hello(cells, self._now()))

    async def _ask_cells(self) -> int:
        requester = Requester(self._bus, self._clock, self._new_id)
        failures = 0
        try:
            while True:
                try:
                    answer = await requester.request(operator_master(), Hello(), HELLO_TIMEOUT_SECONDS)
                except BrokerMesosError as error:
                    failures += 1
                    if failures in (1, 10, 100, 1000):
                        log.warning("no master answers, trying again", error=str(error), tries=failures)
                    await self._clock.sleep(0.5)
                    continue
                assert isinstance(answer, HelloAnswer)
                return answer.cells
        finally:
            await requester.close()

    async def _commands(self) -> None:
        queue = Queue(QueueKind.FLEET_COMMANDS, " ".join(self._agents))
        while True:
            consumer = await self._bus.consume(queue, prefetch=5_000)
            try:
                for agent in self._agents.values():
                    self._turn(agent, agent.state.on_listening(self._now()))
                while True:
                    deliveries = await consumer.receive(1_000)
                    for delivery in deliveries:
                        self._on_delivery(delivery)
                    consumer.acknowledge(deliveries)
            except ConsumerClosed as error:
                log.warning("lost the queue of commands", error=str(error))
                for agent in self._agents.values():
                    agent.state.on_commands_lost()
                    self._turn(agent, ())
            finally:
                await consumer.close()

    def _on_delivery(self, delivery: Delivery) -> None:
        self._received += 1
        agent = self._agents.get(delivery.routing_key.removeprefix(COMMANDS_PREFIX))
        if agent is None or self._stop.is_set():
            return
        try:
            if delivery.problem:
                raise InvalidMessage(delivery.problem)
            effects = agent.state.on_command(decode(delivery.type, delivery.body), delivery.term, self._now())
        except InvalidMessage as error:
            log.warning("bad command dropped", agent_id=agent.state.info.agent_id, error=str(error))
            return
        self._turn(agent, effects)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._now()
        ended: dict[str, list[ContainerEvent]] = {}
        while self._ends and self._ends[0][0] <= now.mono:
            _, ident, task_id = heapq.heappop(self._ends)
            if task_id in self._agents[ident].state.tasks:
                ended.setdefault(ident, []).append(TaskExited(task_id, 0, None, now.wall))
        for ident, events in ended.items():
            self._exited(self._agents[ident], events, now)
        while self._due and self._due[0][0] <= now.mono:
            at, ident = heapq.heappop(self._due)
            agent = self._agents[ident]
            if agent.due_at == at:
                agent.due_at = float("inf")
                self._turn(agent, ())
        self._arm()

    def _exited(self, agent: _Agent, events: Sequence[ContainerEvent], now: Instant) -> None:
        self._ended += len(events)
        agent.free_since.extend([now.mono] * len(events))
        self._turn(agent, agent.state.on_container_events(events, now))

    # -- effects ------------------------------------------------------------------------------------------

    def _now(self) -> Instant:
        return Instant(self._clock.time(), self._clock.monotonic())

    def _turn(self, agent: _Agent, effects: Iterable[Effect]) -> None:
        """Carry out effects, handle the timers that are due, and set the next timer."""
        if self._stop.is_set():
            return
        state = agent.state
        self._perform(agent, effects)
        now = self._now()
        if state.next_due() <= now.mono:
            self._perform(agent, state.due(now))
        at = state.next_due()
        if state.table.pending and not agent.unconfirmed:
            flush_at = state.table.send_at(now.mono)
            if flush_at <= now.mono:
                self._perform(agent, state.statuses())
                at = min(at, state.next_due())
            else:
                at = min(at, flush_at)
        if at < agent.due_at:
            agent.due_at = at
            heapq.heappush(self._due, (at, state.info.agent_id))
            self._arm()
        if bool(state.session) != agent.registered:
            agent.registered = not agent.registered
            self._unregistered += -1 if agent.registered else 1
            self._changed.set()

    def _arm(self) -> None:
        at = min(self._due[0][0] if self._due else float("inf"), self._ends[0][0] if self._ends else float("inf"))
        now = self._clock.monotonic()
        at = max(at, now + TICK_SECONDS)
        if at >= self._timer_at or self._stop.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        if at != float("inf"):
            self._timer = asyncio.get_running_loop().call_later(at - now, self._on_timer)

    def _perform(self, agent: _Agent, effects: Iterable[Effect]) -> None:
        started: list[ContainerEvent] = []
        killed: list[ContainerEvent] = []
        now = self._now()
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(agent, effect)
                case LaunchProcess(spec):
                    self._launched += 1
                    seconds = self._options.seconds
                    if agent.free_since:
                        self._refilled(now.mono - agent.free_since.popleft())
                    elif self._options.first is not None:
                        seconds = self._options.first
                    started.append(TaskStarted(spec.task_id, 0, now.wall))
                    end = now.mono + seconds()
                    heapq.heappush(self._ends, (end, agent.state.info.agent_id, spec.task_id))
                case KillProcess(task_id, _):
                    killed.append(TaskExited(task_id, None, signal.SIGTERM, now.wall))
                case AskHello():
                    self._greeted[agent.state.info.agent_id] = None
                    self._hello_wanted.set()
                case _:  # there is no disk to write to
                    pass
        if started:
            self._perform(agent, agent.state.on_container_events(started, now))
            self._arm()
        if killed:
            self._exited(agent, killed, now)

    def _refilled(self, seconds: float) -> None:
        if len(self._refills) < MAX_SAMPLES:
            self._refills.append(seconds)

    def _publish(self, agent: _Agent, effect: Publish) -> None:
        message = effect.message
        out = effect.outgoing(self._new_id())
        if message.TYPE == "REGISTER_AGENT":
            self._registrations += 1
        if isinstance(message, UpdateStatuses):
            agent.unconfirmed = True
        self._outbox.append((out, message, agent))
        self._to_send.set()

    async def _publishing(self) -> None:
        """Publish in the order of the decisions, as fast as the broker confirms."""
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._outbox:
                try:
                    await self._bus.writable()
                except BusUnavailable:
                    pass  # what is published now fails, and each agent handles that as usual
                for _ in range(min(len(self._outbox), MAX_PUBLISHING)):
                    self._publish_now(*self._outbox.popleft())
                await asyncio.sleep(0)

    def _publish_now(self, out: Outgoing, message: Message, agent: _Agent) -> None:
        self._sent += 1
        future = self._bus.publish(out)
        self._sending.add(future)

        def on_done(done: asyncio.Future[bool]) -> None:
            self._sending.discard(done)
            statuses = isinstance(message, UpdateStatuses)
            if statuses:
                agent.unconfirmed = False
            if done.cancelled():
                return
            failed = done.exception() is not None or not done.result()
            if failed:
                agent.state.on_unsent(message, self._now())
            if failed or (statuses and agent.state.table.pending):
                self._turn(agent, ())

        future.add_done_callback(on_done)
