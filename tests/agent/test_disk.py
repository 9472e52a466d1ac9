"""What an agent does as its disk fills: it lends less, says why, and has old sandboxes deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Container

import pytest

from broker_mesos.agent.checkpoint import MemoryCheckpoint
from broker_mesos.agent.effects import LaunchProcess
from broker_mesos.agent.lending import Lending
from broker_mesos.containerizer.disk_space import DiskSpace
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.reservation import Reservation, ReservedResources, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import VolumeMount
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import AcknowledgeStatuses, RegisterAgent, SetReservations
from broker_mesos.ports.containerizer import Collected, Retention, TaskNote
from tests.agent.support import Agent, launch, messages, task
from tests.agent.world import TIMEOUT, World, fake, killed

GB = 1 << 30
R = Resources.parse


def disk(free: float, size: float = 100.0) -> DiskSpace:
    """A disk of so many GB."""
    return DiskSpace(int(size * GB), int(free * GB), int((size - free) * GB), 0, 0)


def agent_options(space: list[DiskSpace]) -> dict[str, object]:
    return {"disk_space": lambda: space[0], "min_free_disk": GB, "resources": R("cpus:4;mem:4096;disk:5000")}


# -- what is lent ------------------------------------------------------------------------------------------


async def test_below_the_floor_of_free_disk_an_agent_lends_nothing_and_says_so_until_there_is_room(
    world: World, machine: FakeContainerizer
) -> None:
    space = [disk(50)]
    world.start(fake(machine), MemoryCheckpoint(), collect_interval=0.001, **agent_options(space))
    assert (await world.register()).agent.resources == R("cpus:4;mem:4096;disk:5000")
    space[0] = disk(0.5)
    registration = await world.register()
    assert not registration.agent.resources
    while not (reason := (await world.beat()).usage.lends_less):
        pass
    assert reason == "no task is started, since the disk is short: 512 MB are free, and 1,024 MB are kept free"
    space[0] = disk(50)
    assert (await world.register()).agent.resources == R("cpus:4;mem:4096;disk:5000")
    while (await world.beat()).usage.lends_less:
        pass


async def test_the_next_process_of_an_agent_on_a_short_disk_lends_nothing_either(
    world: World, machine: FakeContainerizer
) -> None:
    space, checkpoint = [disk(50)], MemoryCheckpoint()
    agent = world.start(fake(machine), checkpoint, **agent_options(space))
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    space[0] = disk(0.5)
    await killed(agent, world)
    world.start(fake(machine), checkpoint, **agent_options(space))
    assert (await world.register()).agent.resources == R("cpus:1;mem:100")
    assert machine.running == ["t1"]


def test_a_disk_that_is_nearly_full_lends_no_disk_beyond_what_tasks_have() -> None:
    lending = Lending(GB)
    info = AgentInfo(
        agent_id="a1",
        resources=R("cpus:4;disk:5000"),
        reservations=(
            Reservation(role="eng", resources=R("cpus:1;disk:500"), static=True),
            Reservation(role="ops", resources=R("disk:500"), static=True),
        ),
    )
    used = R("cpus:1;disk:700")
    assert not lending.measured(disk(5.1), used)
    assert lending.registration(info, used, backing_off=False) == info and not lending.reason
    assert lending.measured(disk(4.9), used)
    less = lending.registration(info, used, backing_off=False)
    assert less.resources == R("cpus:4;disk:700") and lending.reason == "no disk is lent, since it is 95% full"
    assert [(each.role, each.resources) for each in less.reservations] == [("eng", R("cpus:1"))]
    assert not lending.measured(disk(5.9), used)  # not yet again
    assert lending.measured(disk(6.1), used)
    assert lending.registration(info, used, backing_off=False) == info
    assert lending.registration(info, used, backing_off=True).resources == used


def test_a_disk_that_takes_hardly_more_files_is_short() -> None:
    lending = Lending(GB)
    assert lending.measured(DiskSpace(100 * GB, 50 * GB, 50 * GB, 1_000_000, 9_000), Resources.EMPTY)
    assert lending.reason == (
        "no task is started, since the disk is short: it takes 9,000 more files, and room for 10,000 is kept free"
    )


def test_on_a_short_disk_the_room_of_ended_tasks_is_not_lent_and_what_is_launched_there_is_dropped(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1", "t2"))
    agent.started("t1", "t2")
    [registration] = messages(agent.carry(agent.state.on_disk_space(disk(0.00001), agent.instant)), RegisterAgent)
    assert registration.agent.resources == R("cpus:2;mem:200")
    session = agent.registered(registration.attempt)
    assert agent.carry(agent.state.on_disk_space(disk(0.00001), agent.instant)) == []
    agent.exited("t1")
    agent.command(launch(session, 1, "t3"))
    [dropped] = [each for each in agent.statuses() if each.task_id == "t3"]
    assert dropped.state is TaskState.DROPPED and "the disk is short" in dropped.message
    assert agent.launched == ["t1", "t2"]
    [again] = messages(agent.carry(agent.state.on_disk_space(disk(0.00001), agent.instant)), RegisterAgent)
    assert again.agent.resources == R("cpus:1;mem:100")


# -- what tasks are given ----------------------------------------------------------------------------------


def test_a_task_is_started_with_the_disk_that_it_holds_and_the_sizes_of_its_volumes() -> None:
    agent = Agent(R("cpus:4;mem:4096;disk:1000"))
    session = agent.register()
    volume = Volume(volume_id="v1", role="*", size=R("disk:500"), shared=True)
    agent.command(
        SetReservations(session=session, number=1, reserved_resources=ReservedResources(version=1, volumes=(volume,)))
    )
    mount = VolumeMount(volume_id="v1", path="data")
    first, second = task("t1", "cpus:1;disk:0.5", volumes=(mount,)), task("t2", "cpus:1")
    effects = agent.command(launch(session, 2, first, second))
    limited, free = [each.spec for each in effects if isinstance(each, LaunchProcess)]
    assert (limited.disk, limited.volume_sizes) == (1 << 19, (("v1", 500 << 20),))
    assert (free.disk, free.volume_sizes) == (0, ())


def test_what_is_worth_knowing_about_a_task_is_in_its_status_while_it_runs_and_at_its_end(
    agent: Agent, session: str
) -> None:
    agent.command(launch(session, 1, "t1"))
    agent.started("t1")
    agent.carry(agent.state.statuses())
    note = "its stdout was truncated at 2 MB"
    agent.carry(agent.state.on_container_events([TaskNote("t1", note), TaskNote("unknown", note)], agent.instant))
    [running] = agent.statuses()
    assert (running.state, running.message) == (TaskState.RUNNING, note)
    agent.exited("t1", 3)
    [ended] = agent.statuses()
    assert ended.message == f"exited with code 3; {note}"


# -- what is deleted ---------------------------------------------------------------------------------------


class Collecting(FakeContainerizer):
    """A machine whose collections the test sees, and whose steps it plays."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.calls: asyncio.Queue[tuple[Retention, float, Container[str]]] = asyncio.Queue()
        self.more = 0
        self.failed: list[str] = []

    async def collect(self, retention: Retention, now: float, unacknowledged: Container[str]) -> Collected:
        self.calls.put_nowait((retention, now, unacknowledged))
        self.more = max(0, self.more - 1)
        return Collected(("t1",), "it is old", self.more > 0)

    def mark_failed(self, task_id: str) -> None:
        self.failed.append(task_id)


async def test_sandboxes_are_collected_on_and_on_while_there_are_old_ones(world: World) -> None:
    machine = Collecting(world)
    machine.more = 4
    world.start(fake(machine), MemoryCheckpoint(), collect_interval=0.001, retention=Retention(60.0))
    async with asyncio.timeout(TIMEOUT):
        for _ in range(6):
            retention, now, _ = await machine.calls.get()
            assert retention == Retention(60.0) and now > 1e9


async def test_a_full_disk_is_collected_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_mesos.agent.disk_keeper.FULL_SECONDS", 0.0)
    machine = Collecting(world)
    world.start(fake(machine), MemoryCheckpoint(), collect_interval=3600.0, disk_space=lambda: disk(1))
    async with asyncio.timeout(TIMEOUT):
        await machine.calls.get()


async def test_the_sandbox_of_a_task_whose_outcome_is_not_acknowledged_is_not_collected(world: World) -> None:
    machine, checkpoint = Collecting(world), MemoryCheckpoint()
    agent = world.start(fake(machine), checkpoint, collect_interval=0.001)
    await world.register()
    await world.send(launch(world.session, 1, "t1"))
    await world.status("t1", TaskState.RUNNING)
    machine.end("t1")
    status = await world.status("t1", TaskState.FINISHED)

    async def kept() -> bool:
        while not machine.calls.empty():
            machine.calls.get_nowait()
        async with asyncio.timeout(TIMEOUT):
            return "t1" in (await machine.calls.get())[2]

    assert await kept()
    # Nor by the next process, even if the containerizer has lost the task.
    await killed(agent, world)
    machine.forget("t1")
    world.start(fake(machine), checkpoint, collect_interval=0.001)
    await world.register()
    assert await kept()
    await world.send(AcknowledgeStatuses(uuids=(status.uuid,)))
    while await kept():
        pass


async def test_failed_tasks_alone_are_marked_and_only_where_they_are_kept(world: World) -> None:
    machine = Collecting(world)
    world.start(fake(machine), MemoryCheckpoint(), retention=Retention(keep_failed=True))
    await world.register()
    for number, (task_id, code) in enumerate({"bad": 1, "good": 0}.items(), 1):
        await world.send(launch(world.session, number, task_id))
        await world.status(task_id, TaskState.RUNNING)
        machine.end(task_id, code)
        await world.status(task_id, TaskState.FINISHED, TaskState.FAILED)
    assert machine.failed == ["bad"]
