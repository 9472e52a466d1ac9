"""Helpers for the agent's tests: commands, and a pure agent that is driven by hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from broker_mesos.agent.checkpoint import MemoryCheckpoint
from broker_mesos.agent.effects import (
    Checkpoint,
    DropVolumes,
    Effect,
    KillProcess,
    LaunchProcess,
    Publish,
    SaveReservations,
    SaveTerm,
)
from broker_mesos.agent.state import AgentMachine
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.protocol.agent_messages import (
    AgentRegistered,
    KillTasks,
    LaunchItem,
    LaunchTasks,
    RegisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.containerizer import Recovered, TaskExited, TaskStarted

TOTAL = Resources.parse("cpus:4;mem:4096;ports:[31000-31009]")
TERM = 100


def task(task_id: str, resources: str = "cpus:1;mem:100", *argv: str, **more: Any) -> TaskInfo:
    command = CommandInfo(arguments=argv or ("/bin/true",), shell=more.pop("shell", False))
    return TaskInfo(task_id=task_id, resources=Resources.parse(resources), command=command, **more)


def launch(session: str, number: int, *tasks: TaskInfo | str, offer: str = "o1") -> LaunchTasks:
    infos = [each if isinstance(each, TaskInfo) else task(each) for each in tasks]
    return LaunchTasks(
        session=session,
        number=number,
        launches=tuple(LaunchItem(task=info, framework_id="f1", offer_id=offer) for info in infos),
    )


def kill(session: str, number: int, *task_ids: str) -> KillTasks:
    return KillTasks(session=session, number=number, task_ids=task_ids)


class Agent:
    """An AgentState with a clock that is set by hand, and a memory of its effects. Its journal is kept in
    memory and survives ``restart``."""

    def __init__(self, total: Resources = TOTAL, boot_id: str = "boot-1", isolation: tuple[str, ...] = ()) -> None:
        self.total = total
        self.boot_id = boot_id
        self.isolation = isolation
        self.now = 1000.0
        self.journal = MemoryCheckpoint()
        self.launched: list[str] = []
        self.killed: list[str] = []
        self.dropped: list[str] = []
        self._ids = itertools.count(1)
        self._sessions = itertools.count(1)
        self._start()

    def _start(self) -> None:
        self.state = AgentMachine(
            AgentInfo(agent_id="a1", hostname="h1", resources=self.total, isolation=self.isolation),
            boot_id=self.boot_id,
            new_id=lambda: f"id{next(self._ids)}",
            rng=random.Random(1),
            highest_term=self.journal.saved.highest_term,
        )

    def restart(self, *recovered: Recovered, boot_id: str = "") -> list[Effect]:
        saved = self.journal.open()
        saved.boot_id = self.boot_id
        self.boot_id = boot_id or self.boot_id
        self._start()
        self.journal.close()
        return self.carry(self.state.recover(saved, recovered, (), self.instant))

    @property
    def instant(self) -> Instant:
        return Instant(1_700_000_000.0 + self.now, self.now)

    def carry(self, effects: Sequence[Effect]) -> list[Effect]:
        """As the shell does; whatever is launched must be in the journal."""
        for effect in effects:
            match effect:
                case Checkpoint(entries):
                    self.journal.append(entries)
                case LaunchProcess(spec):
                    assert spec.task_id in self.journal.saved.tasks
                    self.launched.append(spec.task_id)
                case KillProcess(task_id, _):
                    self.killed.append(task_id)
                case SaveReservations(reserved_resources, dropped_volumes):
                    self.journal.save_reserved_resources(reserved_resources, dropped_volumes)
                case DropVolumes(volume_ids):
                    self.dropped.extend(volume_ids)
                case SaveTerm(term):
                    self.journal.saved.highest_term = term
        return list(effects)

    def command(self, message: Message, term: int = TERM) -> list[Effect]:
        return self.carry(self.state.on_command(message, term, self.instant))

    def due(self) -> list[Effect]:
        return self.carry(self.state.due(self.instant))

    def after(self, seconds: float) -> list[Effect]:
        """Time passes, step by step, as the timer would."""
        until = self.now + seconds
        effects: list[Effect] = []
        while self.state.next_due() <= until:
            self.now = max(self.now, self.state.next_due())
            effects += self.due()
            effects += self.carry(self.state.statuses())
        self.now = until
        return effects

    def registration(self) -> RegisterAgent:
        """Begin to register."""
        effects = self.state.on_hello(1, self.instant) if not self.state.cells else []
        effects = self.state.on_listening(self.instant) or effects
        [message] = messages(self.carry(effects), RegisterAgent)
        return message

    def registered(self, attempt: str, session: str = "", term: int = TERM) -> str:
        session = session or f"s{next(self._sessions)}"
        self.command(AgentRegistered(session=session, attempt=attempt, cell=0), term)
        return session

    def register(self, term: int = TERM) -> str:
        """Register; returns the session."""
        session = self.registered(self.registration().attempt, term=term)
        assert self.state.session == session
        return session

    def started(self, *task_ids: str) -> list[Effect]:
        events = [TaskStarted(task_id, 1, 5.0) for task_id in task_ids]
        return self.carry(self.state.on_container_events(events, self.instant))

    def exited(self, task_id: str, code: int | None = 0, signal: int | None = None) -> list[Effect]:
        event = TaskExited(task_id, code, signal, 9.0)
        return self.carry(self.state.on_container_events([event], self.instant))

    def statuses(self) -> list[TaskStatus]:
        """What would be sent now."""
        return all_statuses(self.carry(self.state.statuses()))

    @property
    def used(self) -> Resources:
        return Resources.sum(each.info.resources for each in self.state.tasks.values())


M = TypeVar("M", bound=Message)


def messages(effects: Sequence[Effect], kind: type[M]) -> list[M]:
    return [e.message for e in effects if isinstance(e, Publish) and isinstance(e.message, kind)]


def all_statuses(effects: Sequence[Effect]) -> list[TaskStatus]:
    return [status for update in messages(effects, UpdateStatuses) for status in update.statuses]
