"""A cell without any shell: messages in, the decoded messages of its decisions out."""

from __future__ import annotations

from broker_mesos.core.cell.cell import Cell
from broker_mesos.core.cell.decision import Decision
from broker_mesos.core.cell.inputs import Input
from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import Source, TaskState
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentRegistered,
    LaunchTasks,
    RegisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.events import Offers, Update
from broker_mesos.core.protocol.framework_messages import Accept, FrameworkHeartbeat, Subscribe
from broker_mesos.core.protocol.limits import Instant, Limits
from broker_mesos.core.protocol.records import FrameworkStatus, Lease, OutboxEntry, RecordKind, Snapshot
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import Message

NOTHING = AgentList()
ANY = Demand()


class Bench:
    """A cell, a clock, and what the cell has said. ``stored`` is what a store would hold."""

    def __init__(self, cells: int = 1, cell: int = 0, limits: Limits | None = None, **options) -> None:
        self.cells = cells
        self.number = cell
        self.limits = limits or Limits()
        self.options = options
        self.now = Instant(1_000_000.0, 100.0)
        self.term = 7
        self.stored: dict[RecordKind, dict[str, bytes]] = {kind: {} for kind in RecordKind}
        self.said: list[tuple[str, Message]] = []
        self.decisions: list[Decision] = []
        self.uuid = 0
        self.take_over(term=self.term)

    def take_over(self, term: int, recovering: bool = False, recovered: bool = True, **more) -> None:
        """A new owner loads what is stored."""
        self.term = term
        outbox: list[OutboxEntry] = []
        snapshot = Snapshot(
            Lease(self.number, term, "nonce", "owner", 0, 0.0),
            dict(self.stored[RecordKind.AGENTS]),
            dict(self.stored[RecordKind.FRAMEWORKS]),
            dict(self.stored[RecordKind.TASKS]),
            outbox,
            recovering,
            recovered,
            **more,
        )
        self.cell = Cell(snapshot, self.cells, self.limits, self.now, **self.options)
        self._take(self.cell.begin())

    @property
    def state(self):
        return self.cell.state

    def decide(self, *inputs: Input) -> list[tuple[str, Message]]:
        """One batch; returns what was said to whom by it."""
        before = len(self.said)
        self._take(self.cell.decide(inputs, self.now))
        assert list(self.state.breaches()) == []
        return self.said[before:]

    def _take(self, decision: Decision) -> None:
        self.decisions.append(decision)
        for write in decision.writes:
            if write.value is None:
                self.stored[write.kind].pop(write.ident, None)
            else:
                self.stored[write.kind][write.ident] = write.value
        for entry in decision.outbox:
            self.said.append((f"{entry.exchange}:{entry.key}", decode(entry.type, entry.body)))
        for hint in decision.hints:
            message = decode(hint.message.TYPE, hint.message.encode())
            self.said.append((f"{hint.to.exchange}:{hint.to.key}", message))

    def wait(self, seconds: float, *, beating: bool = True, agents: bool = False) -> list[tuple[str, Message]]:
        """Time passes, in the steps in which the cell wants to be woken; frameworks beat unless told not
        to, agents only if told to."""
        before = len(self.said)
        end = self.now.mono + seconds
        while self.now.mono < end:
            step = min(max(self.cell.wake_at(self.now) - self.now.mono, 0.01), end - self.now.mono)
            self.now = Instant(self.now.wall + step, self.now.mono + step)
            beats = []
            if beating:
                for each in self.state.frameworks.values():
                    if each.state is FrameworkStatus.SUBSCRIBED and not each.muted:
                        ident = each.ident
                        beats.append(FrameworkHeartbeat(framework_id=ident, framework=each.info))
            for each in self.state.agents.values() if agents else ():
                running = sum(1 for task in each.tasks.values() if not task.state.terminal)
                beats.append(
                    AgentHeartbeat(agent_id=each.ident, session=each.session, applied=each.number, running=running)
                )
            self.decide(*beats)
        return self.said[before:]

    # -- who takes part ---------------------------------------------------------------------------------

    def agent(self, ident: str, resources: str, attempt: str = "1", listing: AgentList = NOTHING, **more):
        """An agent registers; returns what was said."""
        info = AgentInfo(agent_id=ident, hostname=ident, resources=Resources.parse(resources))
        call = RegisterAgent(agent=info, attempt=attempt, cells=self.cells, list=listing, **more)
        return self.decide(call)

    def framework(self, ident: str, demand: Demand = ANY, **info):
        """A framework subscribes; returns what was said."""
        framework = FrameworkInfo(framework_id=ident, **info)
        return self.decide(Subscribe(framework_id=ident, framework=framework, demand=demand))

    def session(self, agent_id: str) -> str:
        return self.state.agents[agent_id].session

    def accept(self, offer: Offer, *tasks: TaskInfo, refuse: float | None = None):
        return self.decide(
            Accept(
                framework_id=offer.framework_id,
                offer_ids=(offer.offer_id,),
                tasks=tasks,
                refuse_seconds=refuse,
            )
        )

    def status(self, agent_id: str, task_id: str, to: TaskState, uuid: str = "", framework_id: str = "f1"):
        """A status as the agent would send it."""
        self.uuid += 1
        return TaskStatus(
            task_id=task_id,
            state=to,
            uuid=uuid or f"u{self.uuid}",
            agent_id=agent_id,
            framework_id=framework_id,
            source=Source.AGENT,
            exit_code=0 if to is TaskState.FINISHED else None,
        )

    def report(self, agent_id: str, task_id: str, to: TaskState, **more):
        """The agent reports a state."""
        status = self.status(agent_id, task_id, to, **more)
        return self.decide(UpdateStatuses(agent_id=agent_id, session=self.session(agent_id), statuses=(status,)))


def task(ident: str, resources: str) -> TaskInfo:
    return TaskInfo(task_id=ident, resources=Resources.parse(resources), command=CommandInfo(arguments=("true",)))


def shape(text: str, count: int = 1, *constraints: str, role: str = "*") -> Shape:
    """So many tasks of a kind, as a framework states them."""
    return Shape(
        resources=Resources.parse(text),
        count=count,
        constraints=tuple(Constraint.parse(each) for each in constraints),
        role=role,
    )


def offers_in(said: list[tuple[str, Message]]) -> list[Offer]:
    return [offer for _, each in said if isinstance(each, Offers) for offer in each.offers]


def updates_in(said: list[tuple[str, Message]]) -> list[TaskStatus]:
    return [status for _, each in said if isinstance(each, Update) for status in each.statuses]


def of(said: list[tuple[str, Message]], kind: type) -> list:
    return [each for _, each in said if isinstance(each, kind)]


__all__ = ["AgentRegistered", "Bench", "LaunchTasks", "of", "offers_in", "shape", "task", "updates_in"]
