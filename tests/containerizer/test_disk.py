"""Limits on what tasks write to their disk, on small file systems that are really full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.disk_space import DiskSpace, measure
from broker_mesos.containerizer.process import disk_quotas
from broker_mesos.containerizer.process.disk_floor import RECENT_SECONDS, FloorWatch
from broker_mesos.containerizer.process.disk_quotas import DiskQuotas
from broker_mesos.containerizer.process.folder_size import FolderSize, measure_folder
from broker_mesos.containerizer.process.journal import Entry, Journal, load
from broker_mesos.containerizer.process.stops import Stop
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited
from tests.containerizer.conftest import Runner, gone, processes_of
from tests.faults.namespace import not_here

MB = 1 << 20
GB = 1 << 30
Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts small file systems: in memory, or ext4 in a file."""
    mounted: list[Path] = []

    def make(name: str, *options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True)
        if done.returncode != 0:
            not_here(f"{name} cannot be mounted here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        for pid in processes_of(folder):  # those of a test that has failed keep the file system in use
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def memory(mount: Mount) -> Path:
    """64 MB in memory, of which 3.2 MB are to stay free."""
    return mount("memory", "-t", "tmpfs", "-o", "size=64m,nr_inodes=20000", "bmesos-test")


@pytest.fixture
def ext4(mount: Mount, tmp_path: Path) -> Path:
    """400 MB of ext4, of which some 20 MB are to stay free."""
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 400 * MB)
    done = subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no ext4 can be made here: {done.stderr.decode().strip()}")
    return mount("ext4", "-o", "loop", str(image))


def space(folder: Path) -> DiskSpace:
    found = measure(str(folder))
    assert found is not None
    return found


async def least_free(folder: Path, until: asyncio.Future[object]) -> int:
    """The least free space that is seen until something is done, in bytes."""
    least = space(folder).free
    while not until.done():
        least = min(least, space(folder).free)
        await asyncio.sleep(0.002)
    return least


def launch(runner: Runner, task_id: str, command: str, **more: object) -> None:
    runner.containerizer.launch(LaunchSpec(task_id, (command,), True, {}, 1.0, **more))  # type: ignore[arg-type]


async def ended_for_disk(runner: Runner, task_id: str) -> str:
    """The reason in words for which a task was ended."""
    outcome = await runner.outcome(task_id)
    assert isinstance(outcome, TaskExited) and outcome.signal == signal.SIGKILL and outcome.limit, outcome
    return outcome.limit


# -- the floor ---------------------------------------------------------------------------------------------

FILLS = f"""exec {sys.executable} -c '
import os, time
file = os.open("big", os.O_WRONLY | os.O_CREAT)
while True:
    os.write(file, bytes(1 << 16))
    time.sleep(0.005)
'"""
"""Writes some 10 MB a second, without end."""


@pytest.mark.parametrize("place", ["memory", "ext4"])
async def test_a_task_that_fills_the_disk_is_ended_before_the_floor_and_others_finish(
    place: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(place)
    with (folder / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, space(folder).free - 40 * MB)
    runner = Runner(folder / "work")
    await runner.containerizer.start()
    launch(runner, "slow", "for i in $(seq 40); do echo line; sleep 0.05; done")
    launch(runner, "silent", "until test -e go; do sleep 0.05; done")
    await runner.started("silent")
    launch(runner, "writer", FILLS)
    writer = asyncio.ensure_future(ended_for_disk(runner, "writer"))
    least = await least_free(folder, writer)
    reason = await writer
    assert reason.startswith("the disk of its agent was nearly full (") and "more than any other task" in reason
    assert least >= space(folder).floor(GB)
    (folder / "work" / "sandboxes" / "silent" / "go").touch()
    for other in ("slow", "silent"):
        outcome = await runner.outcome(other)
        assert isinstance(outcome, TaskExited) and outcome.exit_code == 0, outcome
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


MAKES_FILES = f"""exec {sys.executable} -c '
import itertools, time
for number in itertools.count():
    open(str(number), "w").close()
    if number % 20 == 0:
        time.sleep(0.005)
'"""
"""Makes some 3,000 files a second, without end."""


async def test_a_task_that_makes_files_without_end_is_ended_before_none_can_be_made(memory: Path) -> None:
    runner = Runner(memory / "work")
    await runner.containerizer.start()
    launch(runner, "other", "until test -e go; do sleep 0.05; done")
    await runner.started("other")
    launch(runner, "files", MAKES_FILES)
    reason = await ended_for_disk(runner, "files")
    assert reason.startswith("the disk of its agent could take hardly any more files (")
    assert space(memory).free_files > 8
    (memory / "work" / "sandboxes" / "other" / "go").touch()
    outcome = await runner.outcome("other")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


@pytest.fixture
def few_files(mount: Mount, tmp_path: Path) -> Path:
    """An ext4 that takes some 12,000 files, of which a 20th is kept free."""
    image = tmp_path / "image-few"
    image.touch()
    os.truncate(image, 400 * MB)
    done = subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "12000", str(image)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no ext4 can be made here: {done.stderr.decode().strip()}")
    return mount("few-files", "-o", "loop", str(image))


HAS_FILES = f"""exec {sys.executable} -c '
import os, time
for number in range(6_500):
    open(str(number), "w").close()
    if number % 20 == 0:
        time.sleep(0.01)
open("made", "w").close()
while not os.path.exists("go"):
    time.sleep(0.05)
'"""
"""Makes 6,500 files, slowly enough that the disk is not in danger, and then no more."""


async def test_the_one_that_makes_files_is_ended_and_not_the_one_that_has_the_most(few_files: Path) -> None:
    runner = Runner(few_files / "work")
    await runner.containerizer.start()
    launch(runner, "owner", HAS_FILES)
    await runner.until_file("owner", "made", lambda found: True)
    made = runner.file("owner", "made").stat().st_ctime
    await runner.until_file("owner", "stdout", lambda found: time.time() > made + RECENT_SECONDS)
    launch(runner, "maker", MAKES_FILES)
    reason = await ended_for_disk(runner, "maker")
    assert reason.startswith("the disk of its agent could take hardly any more files (") and "of late" in reason
    assert space(few_files).free_files > 8
    runner.file("owner", "go").touch()
    outcome = await runner.outcome("owner")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


def test_the_fastest_writer_is_chosen_once_and_the_next_one_by_what_is_written_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = {"fast": 0, "slow": 0}
    monkeypatch.setattr("broker_mesos.containerizer.process.disk_floor.bytes_written", lambda name: written[name])
    entries = {name: Entry(name) for name in written}
    groups = {name: [type("P", (), {"pid": name})()] for name in written}
    watch = FloorWatch("/nowhere/")

    def look(now: float, free: int) -> list[Stop]:
        watch.measured(DiskSpace(100 * GB, free, 0, 0, 0), now)
        return watch.find(entries, lambda: groups, GB, now) if watch.is_close(GB) else []

    assert look(0.0, 20 * GB) == [] and not watch.is_close(GB)
    written |= {"fast": 900 * MB, "slow": 100 * MB}
    assert look(0.1, 4 * GB) == []  # a first look at who writes
    written |= {"fast": 1000 * MB, "slow": 105 * MB}
    [stop] = look(0.2, 2 * GB)
    assert stop.entry.task_id == "fast"
    assert "it wrote 1,000 MB a second" in stop.reason
    del entries["fast"]
    written["slow"] = 110 * MB
    assert look(0.3, 2 * GB) == []  # what it wrote beside the other one does not count


def test_far_from_the_floor_the_disk_is_looked_at_less_often() -> None:
    watch = FloorWatch("/nowhere/")
    for free, files, seconds in ((1, 10**7, 0.0), (17, 10**7, 1.0), (161, 10**7, 10.0), (161, 210_000, 0.25)):
        watch.measured(DiskSpace(1000 * GB, free * GB, 0, 10**8, files), 0.0)
        assert watch.rest_seconds(GB) == pytest.approx(seconds)


# -- the disk of a task ------------------------------------------------------------------------------------


async def test_a_task_that_writes_more_than_its_disk_is_ended_and_the_figures_are_said(ext4: Path) -> None:
    runner = Runner(ext4 / "work")
    await runner.containerizer.start()
    launch(runner, "neighbour", "until test -e go; do sleep 0.05; done", disk=20 * MB)
    launch(
        runner, "greedy", "for i in $(seq 99); do head -c 2M /dev/zero >f$i; sleep 0.02; done; sleep 600", disk=20 * MB
    )
    reason = await ended_for_disk(runner, "greedy")
    assert reason.startswith("its sandbox holds ") and reason.endswith(" more than its disk:20")
    assert space(ext4).free > 250 * MB
    (ext4 / "work" / "sandboxes" / "neighbour" / "go").touch()
    outcome = await runner.outcome("neighbour")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_output_without_end_is_cut_and_does_not_end_a_task_that_holds_disk(ext4: Path) -> None:
    runner = Runner(ext4 / "work")
    await runner.containerizer.start()
    launch(runner, "t1", "yes 'a line of output' | head -c 100M; exit 0", disk=40 * MB)
    outcome = await runner.outcome("t1")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0, outcome
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_task_that_exceeds_its_disk_while_no_spawner_lives_is_ended_by_the_next_one(work_dir: Path) -> None:
    runner = Runner(work_dir)
    await runner.containerizer.start()
    wait = "until test -e go; do sleep 0.02; done; head -c 30M /dev/zero >big; touch done; sleep 600"
    launch(runner, "t1", wait, disk=20 * MB)
    await runner.started("t1")
    await runner.until_file("t1", "stdout", lambda found: True)
    await asyncio.sleep(0.1)  # so that the start time of the process is in the journal
    spawner = runner.containerizer.spawner_pid
    os.kill(spawner, signal.SIGSTOP)
    runner.file("t1", "go").touch()
    await runner.until_file("t1", "done", lambda found: True)
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    outcome = await runner.outcome("t1")
    assert isinstance(outcome, TaskExited) and outcome.limit.endswith("more than its disk:20")
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_volume_that_grows_beyond_its_size_ends_its_task_and_keeps_its_data(work_dir: Path) -> None:
    runner = Runner(work_dir)
    await runner.containerizer.start()
    volume = work_dir / "volumes" / "v1"
    volume.mkdir(parents=True)
    (volume / "old").write_bytes(bytes(12 * MB))
    mounts = {"volumes": (("data", "v1"),), "volume_sizes": (("v1", 10 * MB),)}
    # It holds too much already: who does not make it worse may go on.
    launch(runner, "cleaner", "sleep 1; rm data/old; echo kept >data/new", **mounts)
    outcome = await runner.outcome("cleaner")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0
    launch(runner, "grower", "sleep 1; head -c 15M /dev/zero >data/big; sleep 600", **mounts)
    reason = await ended_for_disk(runner, "grower")
    assert reason.startswith("its volume v1 holds ") and reason.endswith(" more than its size:10")
    assert (volume / "new").read_text() == "kept\n"
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


# -- how a folder is measured ------------------------------------------------------------------------------


def measured(path: Path, most: int = 0, since: float | None = None) -> FolderSize:
    steps = measure_folder(str(path), most=most, since=since)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_a_folder_is_measured_with_hard_links_once_and_no_link_followed(tmp_path: Path) -> None:
    folder = tmp_path / "t1"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(bytes(9 * MB))
    (folder / "file").write_bytes(bytes(2 * MB))
    (folder / "deep" / "again").hardlink_to(folder / "file")
    (folder / "deep" / "other").write_bytes(bytes(1 * MB))
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "up").symlink_to(tmp_path)
    size = measured(folder)
    assert 3 * MB <= size.bytes < 4 * MB and size.entries == 7
    assert measured(tmp_path / "none") == (0, 0, 0) == measured(folder / "up")


def test_files_that_were_made_of_late_are_counted_and_older_folders_only_looked_through(tmp_path: Path) -> None:
    for name in ("old", "old/new"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / str(number)).touch()
    os.utime(tmp_path / "old", (0, 0))
    os.utime(tmp_path, (0, 0))
    found = measured(tmp_path, since=(tmp_path / "old" / "new" / "0").stat().st_ctime)
    assert (found.entries, found.recent) == (9, 3)


def test_a_sparse_file_counts_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "t1").mkdir()
    (tmp_path / "t1" / "sparse").touch()
    os.truncate(tmp_path / "t1" / "sparse", 100 * GB)
    assert measured(tmp_path / "t1").bytes < MB


def test_another_file_system_in_a_folder_is_not_measured(memory: Path, tmp_path: Path) -> None:
    (memory / "big").write_bytes(bytes(9 * MB))
    (tmp_path / "small").write_bytes(bytes(MB))
    assert MB <= measured(tmp_path).bytes < 8 * MB


def test_a_folder_of_any_depth_is_measured_with_two_descriptors(tmp_path: Path) -> None:
    top = tmp_path / "t1"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=folder)
    os.write(file, bytes(MB))
    os.close(file)
    os.close(folder)
    before = len(os.listdir("/proc/self/fd"))
    steps, most = measure_folder(str(top)), 0
    for _ in steps:
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert most <= before + 2 and len(os.listdir("/proc/self/fd")) == before
    size = measured(top)
    assert size.bytes >= MB and size.entries == 202
    subprocess.run(["rm", "-r", str(top)], check=True)


def test_walks_use_their_share_of_a_core_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a walk alone moves: each step takes 2 ms."""
    spent, clock = [0.0], [1000.0]
    monkeypatch.setattr(disk_quotas, "thread_time", lambda: spent[0])
    monkeypatch.setattr(disk_quotas, "monotonic", lambda: clock[0])

    def endless(path: str, owner: object) -> Iterator[None]:
        while True:
            spent[0] += 0.002
            yield

    monkeypatch.setattr(disk_quotas, "measure_folder", endless)
    quotas = DiskQuotas("/s/", "/v/")
    quotas.add(Entry("t1", {"disk": MB}))
    clock[0] += 31.0
    began = clock[0]
    while clock[0] < began + 100.0:
        before = spent[0]
        quotas.work(clock[0], lambda entry: None, dict)
        delay = quotas.delay(clock[0])
        assert delay is not None
        clock[0] += spent[0] - before + max(delay, 0.001)
    assert spent[0] <= 0.5 + 0.02 * 100 + 0.01
    assert spent[0] > 1.5


def test_a_task_with_so_many_files_that_it_is_measured_rarely_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(disk_quotas, "monotonic", lambda: clock[0])
    (tmp_path / "t1").mkdir()
    quotas, entry = DiskQuotas(f"{tmp_path}/", "/v/"), Entry("t1", {"disk": MB})
    quotas.add(entry)
    clock[0] += 31.0
    assert quotas.work(clock[0], lambda entry: None, dict) == [] and not quotas.noted
    clock[0] += 125.0
    assert quotas.work(clock[0], lambda entry: None, dict) == [] and quotas.noted == [entry]
    assert entry.note == "its disk was not measured for 125 s, since there are many files"


def test_limits_are_in_the_journal_from_before_the_process_exists_and_after_it_is_rewritten(tmp_path: Path) -> None:
    entry = Entry("t1", {"disk": 5, "volumes": [["v1", 7]]})
    path = str(tmp_path / "journal")
    journal = Journal(path, "boot")
    journal.compact([])
    journal.append([entry.intent_record()])
    assert (load(path)[1]["t1"].disk, load(path)[1]["t1"].volumes) == (5, [("v1", 7)])
    entry.pid, entry.ticks, entry.started_at = 12, 34, 56.0
    journal.append([entry.start_record()])
    journal.compact(load(path)[1].values())
    found = load(path)[1]["t1"]
    assert (found.pid, found.disk, found.volumes) == (12, 5, [("v1", 7)])
