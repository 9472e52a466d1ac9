"""GPUs of tasks: which there are, who has which, and that nobody else can use them. The devices are stand-ins."""

from __future__ import annotations

import os
import random
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker_mesos.containerizer import gpu_devices
from broker_mesos.containerizer.gpu_devices import NO_GPUS, Gpu, GpuDevices, find_gpus, parse_gpus
from broker_mesos.containerizer.process import journal
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.process.gpus import Gpus, GpusNotFree, gpu_wish, visible
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.launch_requests import new_entry
from broker_mesos.core.model.resources import Resources
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed
from broker_mesos.wiring.agent import lent_gpus
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import Runner, gone, running
from tests.containerizer.exec_session import Session

UUIDS = tuple(f"GPU-0000000{number}-1111-2222-3333-444444444444" for number in range(2))


# -- which there are -------------------------------------------------------------------------------------------


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A folder of devices like /dev of a machine with two GPUs: copies of /dev/full and /dev/random."""
    folder = tmp_path / "dev"
    folder.mkdir()
    try:
        for name, minor in (("nvidia0", 7), ("nvidia1", 8), ("nvidiactl", 3)):
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            (folder / name).chmod(0o666)
        os.close(os.open(folder / "nvidia0", os.O_RDONLY))
    except OSError as error:
        was_not_run(f"no device files can be made: {error.strerror}")
    return folder


def tool(folder: Path, text: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def listing(folder: Path) -> str:
    return tool(folder, "; ".join(f"echo 'GPU {i}: NVIDIA X (UUID: {uuid})'" for i, uuid in enumerate(UUIDS)))


def test_gpus_are_found_with_their_uuids_by_the_driver_or_else_by_its_tool(tmp_path: Path, dev: Path) -> None:
    (dev / "nvidia9").touch()  # no device
    shared = (f"{dev}/nvidiactl",)
    found = find_gpus("auto", dev=str(dev), driver=str(tmp_path / "no"), tool=str(tmp_path / "no"))
    assert found == GpuDevices((Gpu("0", f"{dev}/nvidia0"), Gpu("1", f"{dev}/nvidia1")), shared)
    by_tool = find_gpus("auto", dev=str(dev), driver=str(tmp_path / "no"), tool=listing(tmp_path))
    assert [gpu.ident for gpu in by_tool.gpus] == list(UUIDS)
    for bus, minor in (("0000:01:00.0", 1), ("0000:02:00.0", 0)):  # the order of the bus is the other one
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        text = f"Model: \t\t X\nGPU UUID: \t {UUIDS[minor]}\nDevice Minor: \t {minor}\n"
        (tmp_path / "gpus" / bus / "information").write_text(text)
    by_driver = find_gpus("auto", dev=str(dev), driver=str(tmp_path / "gpus"), tool=str(tmp_path / "no"))
    assert by_driver == by_tool
    assert find_gpus("none", dev=str(dev)) == find_gpus("auto", dev=str(tmp_path)) == NO_GPUS


def test_a_tool_that_says_too_much_or_nothing_or_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_devices, "TOOL_SECONDS", 0.2)
    for text in ("exec yes", "exit 9", "exec sleep 1000", "echo 'GPU x: (UUID: 1)'"):
        assert gpu_devices.uuids_of_tool(tool(tmp_path, text)) == {}


def test_gpus_that_a_setting_names_are_those_and_a_wrong_setting_says_what_to_write(dev: Path) -> None:
    found = find_gpus(f"a=/dev/full  GPU-1={dev}/nvidia1", dev=str(dev))
    assert found.gpus == (Gpu("a", "/dev/full"), Gpu("GPU-1", f"{dev}/nvidia1"))
    for text, problem in (
        ("0", "write auto, none, or ID=PATH"),
        ("a=b", "write auto, none, or ID=PATH"),
        ("a,b=/dev/full", "write auto, none, or ID=PATH"),
        ("a=/dev/full a=/dev/zero", "named twice"),
        ("a=/dev/full b=/dev/full", "named twice"),
        (" ".join(f"{i}=/dev/x{i}" for i in range(300)), "300 are too many"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            parse_gpus(text)
    with pytest.raises(InvalidInput, match="/etc/passwd is no character device"):
        find_gpus("a=/etc/passwd")


def test_an_agent_gives_out_as_many_gpus_as_it_lends_and_lends_no_more_than_there_are() -> None:
    both = GpuDevices((Gpu("0", "/a"), Gpu("1", "/b")))
    assert lent_gpus(both, Resources.parse("cpus:1;gpus:1")).gpus == both.gpus[:1]
    assert lent_gpus(both, Resources.parse("cpus:1")).gpus == ()
    assert lent_gpus(NO_GPUS, Resources.parse("gpus:4")).gpus == ()
    with pytest.raises(InvalidInput, match="gpus:3, and this machine has 2"):
        lent_gpus(both, Resources.parse("gpus:3"))


# -- who has which ---------------------------------------------------------------------------------------------


def launch_of(task_id: str, number: int, known: int = 4) -> list[Any]:
    wish = {"count": number, "known": [[f"g{i}", f"/dev/g{i}"] for i in range(known)], "shared": ["/dev/ctl"]}
    return ["launch", task_id, ["true"], {}, "", 0, {"limits": {"gpus": wish}}]


class World:
    """Spawners, one after the other, that start and end tasks with GPUs and are killed at any time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.gpus = Gpus()
        self.journal: list[list[Any]] = []
        self.running: dict[str, list[str]] = {}
        self.refused = 0

    def start(self, task_id: str) -> None:
        entry = new_entry(launch_of(task_id, self.random.randint(0, 3)))
        assert entry.gpu_wish is not None
        try:
            entry.gpus = self.gpus.take(task_id, entry.gpu_wish)
        except GpusNotFree:
            self.refused += 1
            self.gpus.release(task_id)
            return
        self.journal.append(entry.intent_record())
        if self.random.random() < 0.8:  # else the record of the start is lost with the spawner
            entry.pid, entry.ticks = 7, 9
            self.journal.append(entry.start_record())
        self.running[task_id] = entry.gpus
        if self.random.random() < 0.2:
            self.restart()

    def end(self) -> None:
        if self.running:
            task_id = self.random.choice(sorted(self.running))
            del self.running[task_id]
            self.gpus.release(task_id)
            self.journal.append(["exited", task_id, 0, None, 1.0])

    def restart(self) -> None:
        entries: dict[str, Entry] = {}
        for record in self.journal:
            journal._apply(entries, record)
        self.gpus = Gpus()
        for entry in entries.values():
            if entry.ended is None:
                self.gpus.hold(entry.task_id, entry.gpus)

    def run(self) -> str:
        """What is wrong; empty if nothing is."""
        for number in range(60):
            self.start(f"t{number}") if self.random.random() < 0.6 else self.end()
            held = [ident for idents in self.running.values() for ident in idents]
            if len(held) > len(set(held)):
                return f"a GPU is given to two tasks: {self.running}"
        for _ in range(len(self.running)):
            self.end()
        self.start("last")
        return ""


def test_no_gpu_is_given_to_two_tasks_however_often_spawners_are_killed() -> None:
    worlds = [World(seed) for seed in range(50)]
    assert [world.run() for world in worlds] == [""] * 50
    assert sum(world.refused for world in worlds) > 50
    assert all(len(world.gpus.take("all", gpu_wish({"count": 1, "known": [["g9", "/x"]]}))) == 1 for world in worlds)


@pytest.mark.parametrize("bug", ["not held again", "not in the journal", "released at once"])
def test_planted_bugs_give_a_gpu_to_two_tasks(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    if bug == "not held again":
        monkeypatch.setattr(Gpus, "hold", lambda *_: None)
    elif bug == "not in the journal":
        monkeypatch.setattr(Entry, "_limits", lambda _: [])
    else:
        take = Gpus.take
        monkeypatch.setattr(Gpus, "take", lambda self, *args: [take(self, *args), self.release(args[0])][0])
    assert any("two tasks" in World(seed).run() for seed in range(20))


@pytest.mark.parametrize(
    "value", [{}, {"count": -1, "known": []}, {"count": 1, "known": [["a"]]}, {"count": 1, "known": 5}, 7]
)
def test_a_wish_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        gpu_wish(value)


def test_a_task_without_a_gpu_is_told_that_it_has_none() -> None:
    assert visible(()) == {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    assert visible(("a", "b")) == {"CUDA_VISIBLE_DEVICES": "a,b", "NVIDIA_VISIBLE_DEVICES": "a,b"}


# -- that nobody else can use them -------------------------------------------------------------------------------


class GpuRunner(Runner):
    """A runner with two stand-ins for GPUs."""

    def __init__(self, work_dir: Path, dev: Path, isolation: str) -> None:
        super().__init__(work_dir)
        self.dev = dev
        gpus = GpuDevices(tuple(Gpu(uuid, f"{dev}/nvidia{i}") for i, uuid in enumerate(UUIDS)), (f"{dev}/nvidiactl",))
        self.containerizer = ProcessContainerizer(
            work_dir, self._on_events, isolation=isolation, lent=(1.0, 1 << 32), gpus=gpus
        )

    def run(self, task_id: str, gpus: int, command: str, **more: Any) -> None:
        text = f"D={self.dev}; echo $CUDA_VISIBLE_DEVICES; {command}"
        self.containerizer.launch(LaunchSpec(task_id, (text,), True, {}, 1.0, group="f", gpus=gpus, **more))


TRY = 'for i in 0 1; do (: <$D/nvidia$i) 2>/dev/null && echo "uses $i"; done; '
WAIT = "while [ ! -e go ]; do sleep 0.02; done"


@pytest.fixture
def folder(held_folder: Path) -> Iterator[Path]:
    yield held_folder
    left = [path for path in Path("/sys/fs/cgroup/devices").rglob("bmesos-*-gpus") if path.is_dir()]
    assert [path for path in left if f"-{held_folder.stat().st_ino:x}-" in path.name] == []


@pytest_asyncio.fixture
async def limited(folder: Path, dev: Path) -> AsyncIterator[GpuRunner]:
    async with running(GpuRunner(folder, dev, "limits")) as made:
        if "gpus" not in made.containerizer.isolation.words:
            was_not_run(made.containerizer.isolation.missing["gpus"])
        yield made


async def test_a_task_can_use_its_gpus_and_not_those_of_others(limited: GpuRunner) -> None:
    limited.run("one", 1, TRY + WAIT)
    assert await limited.lines("one", 2) == [UUIDS[0], "uses 0"]
    limited.run("other", 1, TRY + WAIT)
    assert await limited.lines("other", 2) == [UUIDS[1], "uses 1"]
    limited.run("none", 0, TRY + "echo done")
    assert await limited.lines("none", 2) == ["", "done"]
    limited.run("third", 1, "true")
    assert await limited.outcome("third") == StartFailed("third", "gpus: 0 are free here, the task wants 1", True)
    for name in ("one", "other"):
        limited.file(name, "go").touch()
        await limited.outcome(name)
    limited.run("both", 2, TRY)
    assert await limited.lines("both", 3) == [",".join(UUIDS), "uses 0", "uses 1"]


async def test_a_command_beside_a_task_can_use_its_gpus_alone(limited: GpuRunner) -> None:
    limited.run("one", 1, WAIT)
    await limited.started("one")
    text = f"D={limited.dev}; {TRY} echo $CUDA_VISIBLE_DEVICES"
    session = await Session.start(limited.containerizer, "one", "/bin/sh", "-c", text)
    assert await session.output() == (0, f"uses 0\n{UUIDS[0]}\n", "")
    limited.file("one", "go").touch()
    await limited.outcome("one")


async def test_gpus_stay_with_a_task_that_outlives_its_agent_and_spawner(
    limited: GpuRunner, folder: Path, dev: Path
) -> None:
    limited.run("one", 1, WAIT)
    await limited.lines("one", 1)
    await limited.containerizer.stop(kill_tasks=False)
    os.kill(limited.containerizer.spawner_pid, signal.SIGKILL)
    await gone(limited.containerizer.spawner_pid)
    second = GpuRunner(folder, dev, "limits")
    async with running(second):
        second.run("two", 1, "true")
        assert (await second.lines("two", 1)) == [UUIDS[1]]
        second.run("both", 2, "true")
        failed = await second.outcome("both")
        assert isinstance(failed, StartFailed) and failed.machine and "the task wants 2" in failed.message
        second.file("one", "go").touch()
        await second.outcome("one")
        await second.outcome("two")
        second.run("again", 2, "true")
        assert (await second.lines("again", 1)) == [",".join(UUIDS)]


async def test_without_isolation_tasks_are_told_their_gpus_and_the_agent_says_that_this_is_not_enforced(
    work_dir: Path, dev: Path
) -> None:
    runner = GpuRunner(work_dir, dev, "none")
    await runner.containerizer.start()
    found = runner.containerizer.isolation
    assert found.words == ()
    assert found.missing["gpus"] == "gpus are told by CUDA_VISIBLE_DEVICES only: not enforced"
    runner.run("one", 1, WAIT)
    runner.run("other", 1, WAIT)
    assert {(await runner.lines(name, 1))[0] for name in ("one", "other")} == set(UUIDS)
    for name in ("one", "other"):
        runner.file(name, "go").touch()
        await runner.outcome(name)
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_sandboxed_task_sees_its_gpus_in_dev_and_no_others(limited: GpuRunner) -> None:
    if "fs" not in limited.containerizer.isolation.words:
        was_not_run(str(limited.containerizer.isolation.missing))
    limited.run("one", 1, "ls /dev | grep nvidia; : </dev/nvidia0 && echo uses", level="sandboxed")
    assert await limited.lines("one", 4) == [UUIDS[0], "nvidia0", "nvidiactl", "uses"]
