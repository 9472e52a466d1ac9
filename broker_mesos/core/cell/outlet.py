"""Collects the effects of the handlers. One outlet serves one batch of messages; the daemon commits its ``decision``
and then publishes it.

Statuses, launches, kills and acknowledgements of a whole batch are collected, so that each framework and each agent
receives one message, and each record is encoded once, independent of the number of messages that changed it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from broker_mesos.core.cell.changes import Change, agent_change, framework_change
from broker_mesos.core.cell.decision import Decision, Hint
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.agent_messages import (
    AcknowledgeStatuses,
    KillTasks,
    LaunchTasks,
    SetReservations,
)
from broker_mesos.core.protocol.events import Update
from broker_mesos.core.protocol.records import OutboxEntry, RecordKind, Write
from broker_mesos.core.protocol.wire import Message

MAX_CHUNK_BYTES = 512 * 1024
"""The size at which a message is split, in bytes; a single item may be larger, but at most 1 MiB."""


MAX_CHUNK_STATUSES = 500
"""The largest number of statuses in one message."""


MAX_CHUNK_IDS = 500
"""The largest number of ids in one message."""


MAX_PIGGYBACKED_IDS = 200
"""The largest number of acknowledgements in a launch command."""


MAX_PIGGYBACKED_BYTES = 16 * 1024
"""The largest size of the acknowledgements in a launch command, in bytes: a message that is too long could never be
sent."""


class Outlet:
    """Collects the effects of one batch of messages."""

    def __init__(self, state: CellState, next_number: int, term: int) -> None:
        self._state = state
        self._log = state.log
        self._next = next_number
        self._term = term
        self._touched: dict[tuple[RecordKind, str], None] = {}
        self._updates: dict[str, dict[str, TaskStatus]] = {}
        self._reservations: dict[str, None] = {}
        self._launches: dict[str, dict[str, str]] = {}
        self._kills: dict[str, dict[str, float | None]] = {}
        self.decision = Decision()

    # -- called by the handlers -------------------------------------------------------------------------

    def touch(self, kind: RecordKind, ident: str) -> None:
        """Write a record that has changed, or delete it if it does not exist any more."""
        self._touched[kind, ident] = None

    def update(self, framework_id: str, status: TaskStatus) -> None:
        """Send a status to a framework. Of several statuses of one task in a batch, only the last one is sent."""
        self._updates.setdefault(framework_id, {})[status.task_id] = status
        self._log.record(status.state, status.task_id, framework_id)

    def send_reservations(self, agent: Agent) -> None:
        """Send an agent its reservations and volumes, before the launches of the batch, since they have changed or
        the agent does not have them."""
        self.touch(RecordKind.AGENTS, agent.ident)
        self._reservations[agent.ident] = None
        self._log.record("reservations", agent.ident)

    def launch(self, agent: Agent, task_id: str, launch: str) -> None:
        """Send a launch to an agent; a repeat within a batch has no effect."""
        self._state.tasks[task_id].number = agent.number + 1  # a list that arrives before cannot contain it
        self._launches.setdefault(agent.ident, {})[task_id] = launch
        self._log.record("launch", task_id, agent.ident)

    def kill(self, agent: Agent, task_id: str, grace: float | None = None) -> None:
        """Send a kill to an agent; of several in a batch, the shortest ``grace`` (in seconds) applies."""
        self._log.record("kill", task_id, agent.ident)
        kills = self._kills.setdefault(agent.ident, {})
        before = kills.get(task_id)
        kills[task_id] = before if grace is None else grace if before is None else min(before, grace)

    def acknowledge(self, agent_id: str, uuid: str) -> None:
        """Acknowledge a terminal status of an agent, which is about to be committed. Nothing waits for it, so that it
        is sent with the next launch, which soon follows under full load, or by the second ``send_acknowledged``."""
        if uuid:
            self._state.acknowledged.setdefault(agent_id, {})[uuid] = None

    def send_acknowledged(self) -> None:
        """Send the acknowledgements that were already waiting at the last call."""
        state = self._state
        for agent_id in state.acknowledged_before:
            uuids = state.acknowledged.pop(agent_id, None)
            if uuids:
                for ids in batched(tuple(uuids)):
                    self.hint(addresses.commands(agent_id), AcknowledgeStatuses(uuids=ids))
        state.acknowledged_before = list(state.acknowledged)

    def send(self, to: Address, message: Message) -> None:
        """Send a message that must not be lost, through the outbox."""
        self._log.record(message.TYPE, _ident_in(to))
        self._post_message(to, message)

    def hint(self, to: Address, message: Message, *, expiration: float | None = None, mandatory: bool = False) -> None:
        """Send a message that may be lost."""
        self._log.record(message.TYPE, _ident_in(to))
        self.decision.hints.append(Hint(to, message, expiration, mandatory))

    # -- the end of the batch ---------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        """The number of the next outbox entry."""
        return self._next

    def close(self) -> Decision:
        """Turn the collected effects into messages and writes. Reservations and volumes are sent before the launches
        that use them, and launches before kills: a kill in the same batch always applies to the launch."""
        for agent_id in self._reservations:
            agent = self._state.agents.get(agent_id)
            if agent is not None and agent.session:
                number = self._number(agent)
                held = SetReservations(
                    session=agent.session, number=number, reserved_resources=agent.reserved_resources
                )
                self._post_message(addresses.commands(agent_id), held)
        for agent_id, launches in self._launches.items():
            # Later in the batch its agent may have left, or the task may have ended.
            agent = self._state.agents.get(agent_id)
            if agent is not None and agent.session:
                self._send_launches(agent, launches)
        for agent_id, kills in self._kills.items():
            agent = self._state.agents.get(agent_id)
            if agent is not None and agent.session:
                for grace in dict.fromkeys(kills.values()):
                    for ids in batched(tuple(each for each, given in kills.items() if given == grace)):
                        number = self._number(agent)
                        command = KillTasks(session=agent.session, number=number, task_ids=ids, grace=grace)
                        self._post_message(addresses.commands(agent_id), command)
        for framework_id, statuses in self._updates.items():
            for values in in_messages(statuses.values()):
                self._post_message(addresses.events(framework_id), Update(cell=self._state.cell, statuses=values))
        for kind, ident in self._touched:
            self.decision.writes.append(Write(kind, ident, self._encoded(kind, ident)))
            if kind is not RecordKind.TASKS and (change := self._change(kind, ident)) is not None:
                self.decision.changes.append(change)
        return self.decision

    def _send_launches(self, agent: Agent, launches: dict[str, str]) -> None:
        tasks = self._state.tasks
        living = [
            each for each in launches.items() if (task := tasks.get(each[0])) is not None and not task.state.terminal
        ]
        for chunk in _chunks(living):
            number = self._number(agent)
            for task_id, _ in chunk:
                tasks[task_id].number = number
            # The launches are JSON already, stored as such; joining them spares decoding and encoding.
            head = f'{{"session":"{agent.session}","number":{number},"launches":['
            body = head + ",".join(launch for _, launch in chunk) + "]" + self._acknowledged(agent) + "}"
            self._post(addresses.commands(agent.ident), LaunchTasks.TYPE, body.encode())

    def _acknowledged(self, agent: Agent) -> str:
        """The waiting acknowledgements of an agent as JSON, as many as certainly fit beside the largest launch."""
        waiting = self._state.acknowledged.get(agent.ident)
        if not waiting:
            return ""
        uuids = list(waiting)[:MAX_PIGGYBACKED_IDS]
        text = ',"acknowledged":' + json.dumps(uuids)
        if len(text) > MAX_PIGGYBACKED_BYTES:
            return ""
        for uuid in uuids:
            del waiting[uuid]
        return text

    def _number(self, agent: Agent) -> int:
        agent.number += 1
        self.touch(RecordKind.AGENTS, agent.ident)
        return agent.number

    def _post_message(self, to: Address, message: Message) -> None:
        self._post(to, message.TYPE, message.encode())

    def _post(self, to: Address, type_name: str, body: bytes) -> None:
        number = self._next
        self._next += 1
        message_id = f"{self._state.cell}.{self._term}.{number}"
        self.decision.outbox.append(OutboxEntry(number, to.exchange, to.key, type_name, body, message_id))

    def _change(self, kind: RecordKind, ident: str) -> Change | None:
        """The change of state of an agent or a framework that operators have not been informed of."""
        if kind is RecordKind.AGENTS:
            agent = self._state.agents.get(ident)
            return Change("agent.removed", ident) if agent is None else agent_change(agent)
        framework = self._state.frameworks.get(ident)
        return Change("framework.removed", ident) if framework is None else framework_change(framework)

    def _encoded(self, kind: RecordKind, ident: str) -> bytes | None:
        state = self._state
        if kind is RecordKind.TASKS:
            task = state.tasks.get(ident)
            return None if task is None else task.encode()
        known: Mapping[str, Agent | Framework] = state.agents if kind is RecordKind.AGENTS else state.frameworks
        found = known.get(ident)
        return None if found is None else found.record(state.seconds).encode()


def _ident_in(to: Address) -> str:
    """The id of the agent or framework at an address; its whole key if it is for several."""
    return to.key.partition(".")[2] or to.key


def batched(ids: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Groups of ids that certainly fit into one message each."""
    return (ids[at : at + MAX_CHUNK_IDS] for at in range(0, len(ids), MAX_CHUNK_IDS))


def in_messages(statuses: Iterable[TaskStatus]) -> Iterator[tuple[TaskStatus, ...]]:
    """Groups of statuses that certainly fit into one message each. A message that is too large could never be sent,
    and would block the outbox for ever."""
    part: list[TaskStatus] = []
    size = 0
    for status in statuses:
        prose = len(status.message) + len(status.uuid) + len(status.agent_id) + len(status.framework_id)
        length = 600 + 6 * prose  # JSON writes some characters as six
        if part and (size + length > MAX_CHUNK_BYTES or len(part) >= MAX_CHUNK_STATUSES):
            yield tuple(part)
            part, size = [], 0
        part.append(status)
        size += length
    if part:
        yield tuple(part)


def _chunks(items: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    chunk: list[tuple[str, str]] = []
    size = 0
    for task_id, launch in items:
        if chunk and size + len(launch) > MAX_CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append((task_id, launch))
        size += len(launch)
    if chunk:
        yield chunk
