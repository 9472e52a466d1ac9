"""What one process of an agent holds of its machine: it changes nothing there after its death."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from broker_mesos.agent.checkpoint import Acknowledged, Entry, Saved
from broker_mesos.core.model.reservation import ReservedResources
from broker_mesos.ports.containerizer import (
    Chunk,
    Collected,
    Isolation,
    LaunchSpec,
    OnContainerEvents,
    Recovered,
    Retention,
    StartFailed,
)
from tests.simulation.loop import PROC, Proc

if TYPE_CHECKING:
    from tests.simulation.nodes import AgentNode


class CheckpointHandle:
    """A process's handle on the checkpoint: what it writes after its death is not written."""

    def __init__(self, node: AgentNode, proc: Proc) -> None:
        self._node, self._proc = node, proc

    def open(self) -> Saved:
        return self._node.checkpoint.open()

    def save(self, agent_id: str, highest_term: int, boot_id: str) -> None:
        if self._proc.effect():
            self._node.checkpoint.save(agent_id, highest_term, boot_id)
            self._node.world.monitor.term_saved(self._node, highest_term)

    def save_reserved_resources(self, reserved_resources: ReservedResources, dropped_volumes: tuple[str, ...]) -> None:
        if self._proc.effect():
            self._node.checkpoint.save_reserved_resources(reserved_resources, dropped_volumes)

    def append(self, entries: Sequence[Entry]) -> None:
        if self._proc.effect():
            self._node.checkpoint.append(entries)
            for entry in entries:
                if isinstance(entry, Acknowledged):
                    self._node.world.monitor.forgotten_by_agent(entry.task_id)

    def close(self) -> None:
        if self._proc.alive:
            self._node.checkpoint.close()


class ContainerHandle:
    """A process's handle on its machine's tasks."""

    def __init__(self, node: AgentNode, proc: Proc, on_events: OnContainerEvents) -> None:
        self._node, self._proc, self._on_events = node, proc, on_events
        self._inner = node.machine.for_agent(self._deliver)

    def _deliver(self, events: Any) -> None:
        if PROC.get() is self._proc:
            self._on_events(events)
        else:
            self._node.world.loop.call_soon(self._on_events, events, context=self._proc.context)

    @property
    def isolation(self) -> Isolation:
        return self._inner.isolation

    @property
    def problems(self) -> tuple[str, ...]:
        return self._inner.problems

    @property
    def queues_tasks(self) -> bool:
        return self._inner.queues_tasks

    async def start(self) -> list[Recovered]:
        return await self._inner.start()

    def launch(self, spec: LaunchSpec) -> None:
        if self._proc.effect():
            registered = self._node.daemon.state.info.isolation if self._node.daemon is not None else ()
            if set(registered) - set(self._inner.held.words):
                # As a spawner that has lost its cgroups since its agent has asked for them.
                failed = StartFailed(spec.task_id, "tasks cannot be held to limits here any more", machine=True)
                self._node.world.loop.call_soon(self._deliver, [failed], context=self._proc.context)
                return
            self._node.world.monitor.launching(self._node, spec)
            self._node.sandboxes.append(spec.task_id)
            self._node.kernel.context.run(self._inner.launch, spec)

    def kill(self, task_id: str, grace: float) -> None:
        if self._proc.effect():
            self._node.world.trace("kill", self._proc, task_id)
            self._node.kernel.context.run(self._inner.kill, task_id, grace)

    def forget(self, task_id: str) -> None:
        if self._proc.effect():
            self._inner.forget(task_id)

    def drop_volumes(self, volume_ids: Iterable[str]) -> None:
        if self._proc.effect():
            self._inner.drop_volumes(volume_ids)

    async def read(self, task_id: str, name: str, offset: int, length: int) -> Chunk:
        return await self._inner.read(task_id, name, offset, length)

    async def collect(self, retention: Retention, now: float, unacknowledged: Container[str]) -> Collected:
        """Every sandbox goes at once whose task does not run, unless its end is still to be acknowledged."""
        if self._node.world.profile != "disks":
            return Collected((), "", more=False)
        running = set(self._inner.running)
        gone = [each for each in self._node.sandboxes if each not in running and each not in unacknowledged]
        for task_id in gone:
            if self._proc.effect():
                self._node.sandboxes.remove(task_id)
                self._node.world.monitor.collected(self._node, task_id)
        return Collected(tuple(gone), "", more=False)

    def mark_failed(self, task_id: str) -> None:
        pass

    async def stop(self, *, kill_tasks: bool) -> None:
        if self._proc.alive:
            await self._inner.stop(kill_tasks=kill_tasks)
