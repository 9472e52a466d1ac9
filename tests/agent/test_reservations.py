"""What an agent holds for others: a level that it remembers, and volumes that outlive their tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.agent.checkpoint import FileCheckpoint, Journal, MemoryCheckpoint
from broker_mesos.agent.effects import LaunchProcess, SaveReservations
from broker_mesos.containerizer.volumes import Volumes
from broker_mesos.core.model.reservation import Reservation, ReservedResources, Volume, static_reservations
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskInfo, VolumeMount
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import AgentListed, ListTasks, RegisterAgent, SetReservations
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import Recovered
from broker_mesos.runtime.settings import load
from tests.agent.support import Agent, launch, messages, task

R = Resources.parse
TOTAL = R("cpus:4;mem:4096;disk:1000")


def held(version: int, *names: str, shared: bool = False) -> ReservedResources:
    return ReservedResources(
        version=version,
        reservations=(Reservation(role="eng", resources=R("cpus:1;disk:500")),),
        volumes=tuple(Volume(volume_id=name, role="eng", size=R("disk:100"), shared=shared) for name in names),
    )


def using(ident: str, name: str, resources: str = "cpus:1", path: str = "data") -> TaskInfo:
    mount = VolumeMount(volume_id=name, path=path)
    return task(ident, f"{resources};volumes:{{{name}}}", volumes=(mount,))


@pytest.fixture
def agent() -> Agent:
    return Agent(TOTAL)


def test_holdings_are_remembered_and_stand_in_the_list(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(3, "v1")))
    assert agent.journal.saved.reserved_resources == held(3, "v1")
    [listed] = messages(agent.command(ListTasks(session=session)), AgentListed)
    assert (listed.list.applied, listed.list.reserved_resources) == (1, held(3, "v1"))
    agent.restart()
    assert agent.registration().list.reserved_resources == held(3, "v1")


def test_an_agent_that_holds_nothing_says_nothing_of_it(agent: Agent) -> None:
    assert agent.registration().list.reserved_resources is None


def test_a_task_with_a_volume_is_started_with_it_and_listed_with_it(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1")))
    effects = agent.command(launch(session, 2, using("t1", "v1")))
    [started] = [each.spec for each in effects if isinstance(each, LaunchProcess)]
    assert started.volumes == (("data", "v1"),)
    [listed] = agent.state.task_list().tasks
    assert listed.volumes == ("v1",)


def test_a_volume_is_used_by_one_task_at_a_time(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1")))
    agent.command(launch(session, 2, using("t1", "v1"), using("t2", "v1")))
    assert agent.launched == ["t1"]
    [refused] = agent.statuses()
    assert (refused.state, refused.reason) == (TaskState.DROPPED, Reason.LAUNCH_REFUSED)
    assert "volumes:{v1}" in refused.message


def test_a_shared_volume_is_used_by_several(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1", shared=True)))
    mount = (VolumeMount(volume_id="v1", path="data"),)
    agent.command(launch(session, 2, task("t1", volumes=mount), task("t2", volumes=mount)))
    assert agent.launched == ["t1", "t2"]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (using("t1", "v9"), "short of volumes:{v9}"),
        (task("t1", volumes=(VolumeMount(volume_id="v9", path="x"),)), "has no volume v9"),
        (using("t1", "v1", path="../x"), "is not a path within the sandbox"),
        (using("t1", "v1", "disk:901"), "short of disk:1"),
    ],
)
def test_a_launch_that_does_not_fit_the_volumes_is_refused(agent: Agent, info: TaskInfo, words: str) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1")))
    agent.command(launch(session, 2, info))
    [refused] = agent.statuses()
    assert refused.state is TaskState.DROPPED and words in refused.message


def test_a_volume_that_is_not_held_any_more_is_deleted(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1", "v2")))
    agent.command(SetReservations(session=session, number=2, reserved_resources=held(2, "v2")))
    assert agent.dropped == ["v1"]
    agent.command(SetReservations(session=session, number=3, reserved_resources=held(3, "v1", "v2")))
    assert agent.dropped == ["v1"]


def test_a_volume_that_a_task_still_uses_is_deleted_after_it_even_after_a_restart(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(1, "v1")))
    agent.command(launch(session, 2, using("t1", "v1")))
    agent.started("t1")
    agent.command(SetReservations(session=session, number=3, reserved_resources=held(2)))
    assert agent.dropped == []
    agent.restart(Recovered("t1", True, 5.0, None))
    assert agent.dropped == []
    agent.exited("t1")
    assert agent.dropped == ["v1"]


def test_a_deletion_that_a_crash_prevented_is_made_up_for(agent: Agent) -> None:
    agent.journal.save_reserved_resources(held(2, "v2"), ("v1",))
    agent.restart()
    assert agent.dropped == ["v1"]


def test_a_lower_version_comes_from_a_cell_that_has_forgotten_and_changes_nothing(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(5, "v1")))
    effects = agent.command(SetReservations(session=session, number=2, reserved_resources=held(4)))
    effects += agent.after(5)
    assert messages(effects, RegisterAgent)[0].list.reserved_resources == held(5, "v1")
    assert agent.dropped == []


def test_the_same_version_again_changes_nothing(agent: Agent) -> None:
    session = agent.register()
    agent.command(SetReservations(session=session, number=1, reserved_resources=held(5, "v1")))
    effects = agent.command(SetReservations(session=session, number=2, reserved_resources=held(5, "v1")))
    assert not [each for each in effects if isinstance(each, SaveReservations)]
    assert agent.state.applied == 2


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return FileCheckpoint(tmp_path) if request.param == "file" else MemoryCheckpoint()


def test_a_journal_keeps_the_latest_holdings(journal: Journal) -> None:
    assert journal.open().reserved_resources is None
    journal.save_reserved_resources(held(1, "v1"), ())
    journal.save_reserved_resources(held(2, "v2"), ("v1",))
    journal.close()
    saved = journal.open()
    assert (saved.reserved_resources, saved.dropped_volumes) == (held(2, "v2"), ("v1",))
    journal.close()


def test_damaged_holdings_are_none_for_the_cell_knows_them_too(tmp_path: Path) -> None:
    journal = FileCheckpoint(tmp_path)
    journal.open()
    journal.close()
    (tmp_path / "meta" / "reserved_resources.json").write_text('{"reserved_resources": {"version": "x"')
    assert journal.open().reserved_resources is None
    journal.close()


# -- folders


def test_a_volume_appears_in_the_sandbox_and_keeps_its_data(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    volumes.mount(tmp_path / "s1", [("data", "v1"), ("deep/er", "v2")])
    (tmp_path / "s1" / "data" / "file").write_text("kept")
    volumes.mount(tmp_path / "s1", [("data", "v1")])  # a repeat
    volumes.mount(tmp_path / "s2", [("other", "v1")])
    assert (tmp_path / "s2" / "other" / "file").read_text() == "kept"
    assert (tmp_path / "s1" / "deep" / "er").resolve() == tmp_path / "volumes" / "v2"


def test_a_volume_takes_no_name_that_exists(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "data").write_text("mine")
    with pytest.raises(FileExistsError):
        volumes.mount(tmp_path / "s1", [("data", "v1")])


def test_a_dropped_volume_is_gone_at_once_and_its_id_is_free(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path / "volumes")
    for _ in range(2):
        volumes.mount(tmp_path / "s", [("data", "v1")])
        assert not (tmp_path / "volumes" / "v1" / "file").exists()
        (tmp_path / "volumes" / "v1" / "file").write_text("old")
        volumes.drop(["v1", "never-made"])
        assert not (tmp_path / "volumes" / "v1").exists()
    (tmp_path / "volumes" / ".dropped-0-v2").mkdir()  # by an earlier release
    volumes.drop([])
    Volumes(tmp_path / "volumes").sweep()  # of the next process
    assert [each for each in (tmp_path / "volumes").rglob("*") if each.name != ".dropped"] == []


# -- static reservations


def test_static_reservations_are_parts_of_what_is_lent() -> None:
    found = static_reservations({"eng": "cpus:2;mem:1024", "ops": "cpus:1"}, TOTAL)
    assert [(each.role, str(each.resources), each.static) for each in found] == [
        ("eng", "cpus:2;mem:1024", True),
        ("ops", "cpus:1", True),
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"eng": "cpus:3", "ops": "cpus:2"}, "ops is to have cpus:2, and the agent has cpus:1"),
        ({"*": "cpus:1"}, "the role \\* is everybody's"),
        ({"eng": ""}, "nothing is reserved for eng"),
        ({"-": "cpus:1"}, "is not a role"),
        ({"eng": "cpus:x"}, "cpus"),
    ],
)
def test_a_static_reservation_that_cannot_be_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        static_reservations(given, TOTAL)


def test_static_reservations_come_from_flags_variables_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = {"eng": "cpus:2;mem:1024", "ops": "cpus:1"}
    assert load(reserve=["eng=cpus:2;mem:1024", "ops=cpus:1"]).reserve == expected
    monkeypatch.setenv("BMESOS_RESERVE", "eng=cpus:2;mem:1024 ops=cpus:1")
    assert load().reserve == expected
    monkeypatch.delenv("BMESOS_RESERVE")
    (tmp_path / "bmesos.toml").write_text('[reserve]\neng = "cpus:2;mem:1024"\nops = "cpus:1"\n')
    assert load().reserve == expected
    with pytest.raises(InvalidInput, match="--reserve: 'eng': write ROLE=RESOURCES"):
        load(reserve=["eng"])
