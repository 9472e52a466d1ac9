"""Demands of tasks on the agent: they reach its containerizer, and one that it cannot meet starts nothing."""

from __future__ import annotations

import pytest

from broker_mesos.agent.checkpoint import MemoryCheckpoint
from broker_mesos.agent.effects import LaunchProcess
from broker_mesos.agent.isolation import with_isolation, with_problems
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.containerizer.process.spawner_isolation import SpawnerIsolation
from broker_mesos.core.api.usage import ReadUsage, TaskUsage, TaskUsages
from broker_mesos.core.model.agent import AgentInfo, Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import TaskIsolation
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.ports.containerizer import Isolation, LaunchSpec
from tests.agent.support import Agent, all_statuses, launch, task
from tests.agent.world import World, fake

LIMITS = ("cpu", "mem", "pids", "oom", "kill")


def session_of(agent: Agent) -> str:
    return agent.registered(agent.registration().attempt)


@pytest.mark.parametrize(
    ("words", "missing"),
    [((), "kill, mem, net, fs"), (LIMITS, "net, fs, pid"), ((*LIMITS, "fs", "pid"), "net")],
)
def test_a_task_whose_demand_is_not_met_is_dropped_and_starts_nowhere(words: tuple[str, ...], missing: str) -> None:
    agent = Agent(isolation=words)
    session = session_of(agent)
    demanding = task("t1", isolation=TaskIsolation(level="limits", network="none"))
    agent.command(launch(session, 1, demanding, "t2"))
    assert agent.launched == ["t2"]
    (dropped,) = [each for each in all_statuses(agent.state.statuses()) if each.task_id == "t1"]
    assert (dropped.state, dropped.reason) == (TaskState.DROPPED, Reason.LAUNCH_REFUSED)
    assert dropped.message.startswith("this agent does not hold tasks to what it demands: ")
    assert set(missing.split(", ")) <= set(dropped.message.partition(": ")[2].split(", "))


def test_demands_that_are_met_are_in_the_launch() -> None:
    agent = Agent(isolation=(*LIMITS, "quota", "cpuset", "rlimits", "fs", "pid", "net", "rootfs"))
    demand = TaskIsolation(
        level="limits", pids=7, rlimits={"nofile": 64, "core": 0}, pin=True, network="none", rootfs="/r", oom="ignore"
    )
    resources = "cpus:2;mem:100;ports:[31000-31001]"
    effects = agent.command(
        launch(
            session_of(agent), 1, task("t1", resources, isolation=demand, limits=Resources.parse("mem:200;cpus:3.5"))
        )
    )
    (spec,) = [each.spec for each in effects if isinstance(each, LaunchProcess)]
    assert (spec.level, spec.pids, spec.cpu_limit, spec.pin) == ("sandboxed", 7, 3.5, True)
    assert (spec.memory, spec.cpus, spec.rlimits) == (200 << 20, 2.0, (("core", 0), ("nofile", 64)))
    assert (spec.network, spec.rootfs, spec.image, spec.oom) == ("none", "/r", "", "ignore")
    assert spec.ports == ((31000, 31001),)


def test_the_request_to_the_spawner_has_what_is_demanded_and_no_more() -> None:
    isolation = SpawnerIsolation("limits", 4.0, 0)
    plain = LaunchSpec("t", ("true",), False, {}, 3.0)
    assert isolation.limits_of(plain) is None
    isolation.found = Isolation(LIMITS)
    assert isolation.limits_of(plain) == {"group": "", "cpus": 1.0, "memory": 0, "idle": False}
    full = LaunchSpec(
        "t",
        ("true",),
        False,
        {},
        3.0,
        cpus=2.0,
        level="sandboxed",
        pids=7,
        cpu_limit=3.5,
        pin=True,
        rlimits=(("core", 0),),
        rootfs="/r",
        oom="ignore",
        ports=((31000, 31001),),
    )
    assert isolation.limits_of(full) == {
        "group": "",
        "cpus": 2.0,
        "memory": 0,
        "idle": False,
        "pids": 7,
        "cpu_limit": 3.5,
        "pin": 2,
        "rlimits": {"core": 0},
        "oom": "ignore",
        "sandbox": {"network": "host", "rootfs": "", "mounts": [], "hidden": ["/"]},
        "ports": [[31000, 31001]],
    }


@pytest.mark.parametrize(
    ("attributes", "words", "attribute"),
    [({}, LIMITS, "limits"), ({}, (), None), ({"isolation": "mine"}, LIMITS, "mine"), ({}, ("mem",), None)],
)
def test_the_level_of_an_agent_is_an_attribute_for_constraints(
    attributes: dict[str, str], words: tuple[str, ...], attribute: str | None
) -> None:
    info = AgentInfo(agent_id="a1", resources=Resources.parse("cpus:1"), attributes=attributes)
    found = with_isolation(info, Isolation(words, "", {"net": "x" * 1_000}))
    assert (found.isolation, found.attributes.get("isolation")) == (words, attribute)
    assert len(found.isolation_missing["net"]) <= 255
    assert AgentInfo.model_validate_json(found.encode()) == found


def test_problems_of_what_starts_tasks_are_in_the_heartbeat_until_they_end() -> None:
    assert with_problems(Usage(load=1.0), ("a", "b")).problems == ("a", "b")
    assert with_problems(Usage(load=1.0), ()) == Usage(load=1.0)
    assert len(with_problems(Usage(), tuple("x" for _ in range(100))).problems) == 20


async def test_an_agent_says_what_its_running_tasks_use_and_no_others(world: World, machine: FakeContainerizer) -> None:
    world.start(fake(machine), MemoryCheckpoint())
    await world.register()
    await world.send(launch(world.session, 1, "t1", "t2"))
    await world.status("t2", TaskState.RUNNING)
    machine.used = {"t1": (1.5, 100), "t2": (2.5, 200)}
    found = await world.ask(ReadUsage(task_ids=("t1", "t9")))
    assert found == TaskUsages(tasks={"t1": TaskUsage(cpu_seconds=1.5, memory=100)})
