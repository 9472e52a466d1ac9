"""Which sandboxes are deleted, and how."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.collection import Collector, InUse, kept_for
from broker_mesos.containerizer.disk_space import DiskSpace, measure
from broker_mesos.containerizer.folder_removal import MAX_DEPTH, Removal
from broker_mesos.ports.containerizer import DEFAULT_RETENTION, Retention
from tests.faults.namespace import not_here

NOW = 1_000_000.0
HOUR = 3_600.0
DAY = 24 * HOUR


def space(percent: float) -> DiskSpace:
    return DiskSpace(10_000, int(100 * (100 - percent)), int(100 * percent), 0, 0)


class Place:
    """Sandboxes whose age is set, on a disk whose fullness is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandboxes = folder / "sandboxes"
        self.sandboxes.mkdir()
        self.percent = 50.0
        self.per_sandbox = 0.0
        """How much each sandbox fills, in per cent."""

    def full(self) -> float:
        return self.percent + self.per_sandbox * len(self.names)

    def collector(self) -> Collector:
        return Collector(
            self.sandboxes, Removal(self.folder / "removed"), self.folder / "failed", lambda folder: space(self.full())
        )

    def make(self, task_id: str, age: float) -> Path:
        sandbox = self.sandboxes / task_id
        sandbox.mkdir()
        (sandbox / "stdout").write_text("x")
        for path in (sandbox / "stdout", sandbox):
            os.utime(path, (NOW - age, NOW - age))
        return sandbox

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.sandboxes))

    def collect(
        self, retention: Retention = DEFAULT_RETENTION, in_use: Container[str] = (), collector: Collector | None = None
    ) -> list[str]:
        """All that is deleted, in steps as short as they can be."""
        collector = collector or self.collector()
        deleted: list[str] = []
        while True:
            step = collector.step(retention, NOW, in_use, seconds=0.0)
            deleted += step.task_ids
            if not step.more:
                return deleted


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_old_sandboxes_are_deleted_the_oldest_first_and_used_or_fresh_ones_kept(place: Place) -> None:
    for task_id, age in (("b", 9 * DAY), ("a", 8 * DAY), ("used", 9 * DAY), ("fresh", 6 * DAY)):
        place.make(task_id, age)
    written = place.make("written", 9 * DAY)
    os.utime(written / "stdout", (NOW - 10, NOW - 10))
    (place.folder / "secret").write_text("secret")
    (place.sandboxes / "a" / "out").symlink_to(place.folder)
    os.utime(place.sandboxes / "a", (NOW - 8 * DAY, NOW - 8 * DAY))
    (place.sandboxes / "link").symlink_to(place.folder)
    assert place.collect(in_use={"used"}) == ["b", "a"]
    assert place.names == ["fresh", "link", "used", "written"]
    assert (place.folder / "secret").read_text() == "secret"
    assert os.listdir(place.folder / "removed") == []


def test_before_the_first_task_there_is_nothing_to_delete(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "none", Removal(tmp_path / "removed"), tmp_path / "failed")
    assert collector.step(Retention(), NOW, ()) == ((), "", False)


def test_the_fuller_the_disk_the_shorter_sandboxes_are_kept() -> None:
    retention = Retention(7 * DAY)
    assert [kept_for(retention, percent) / DAY for percent in (0, 75, 85, 95, 100)] == [7, 7, 3.5, 0, 0]


def test_a_full_disk_is_relieved_by_the_oldest_sandboxes_and_no_more_than_needed(place: Place) -> None:
    place.per_sandbox = 1.0
    place.percent = 80.0
    for number in range(10):
        place.make(f"t{number}", (10 - number) * HOUR)
    # At 90% they are kept for 1.75 days, and at 95% for no time: the last ones bring it above that.
    assert place.collect() == []
    place.percent = 88.0
    assert place.collect() == ["t0", "t1", "t2", "t3"]


def test_of_too_many_sandboxes_the_oldest_are_deleted(place: Place) -> None:
    for number in range(10):
        place.make(f"t{number}", (10 - number) * HOUR)
    assert place.collect(Retention(max_count=7), in_use={"t1"}) == ["t0", "t2", "t3"]


def test_a_disk_that_takes_few_more_files_is_relieved_as_one_that_is_full(place: Place) -> None:
    for number in range(4):
        place.make(f"t{number}", (10 - number) * HOUR)
    collector = place.collector()
    # 98% of its files while three are there, and 94% afterwards; hardly a byte is used.
    collector._space = lambda folder: DiskSpace(10_000, 9_990, 10, 1_000, 20 if len(place.names) > 2 else 60)
    assert place.collect(collector=collector) == ["t0", "t1"]


def test_sandboxes_of_failed_tasks_outlive_a_full_disk_and_not_their_time(place: Place) -> None:
    place.percent = 99.0
    place.make("bad", 2 * HOUR)
    place.make("good", HOUR)
    place.make("old", 8 * DAY)
    keep = Retention(keep_failed=True)
    collector = place.collector()
    for task_id in ("bad", "old"):
        collector.mark_failed(task_id)
    assert place.collect(keep, collector=collector) == ["old", "good"]
    assert os.listdir(place.folder / "failed") == ["bad"]
    # Without the setting a mark says nothing.
    assert place.collect(Retention()) == ["bad"]
    assert os.listdir(place.folder / "failed") == []


def test_a_task_that_comes_into_use_during_a_collection_is_kept(place: Place) -> None:
    for number in range(5):
        place.make(f"t{number}", 9 * DAY - number)
    collector, live = place.collector(), set[str]()
    deleted: list[str] = []
    while not deleted:
        deleted += collector.step(Retention(), NOW, InUse(live), seconds=0.0).task_ids
    live.add("t3")
    assert deleted + place.collect(in_use=InUse(live), collector=collector) == ["t0", "t1", "t2", "t4"]


def test_what_a_killed_agent_has_left_half_deleted_is_deleted_by_the_next_one(place: Place) -> None:
    sandbox = place.make("t1", 9 * DAY)
    for number in range(50):
        (sandbox / f"f{number}").touch()
    os.utime(sandbox, (NOW - 9 * DAY, NOW - 9 * DAY))
    collector = place.collector()
    while place.names:
        assert collector.step(Retention(), NOW, (), seconds=0.0).more
    [rest] = (place.folder / "removed").iterdir()
    assert len(os.listdir(rest)) > 0
    del collector
    place.make("t1", HOUR)  # the id is free
    assert place.collect() == []
    assert list((place.folder / "removed").iterdir()) == [] and place.names == ["t1"]


# -- what tasks leave --------------------------------------------------------------------------------------


def removed(folder: Path, path: Path) -> Removal:
    removal = Removal(folder / "removed")
    assert removal.put(path)
    while removal.work(0.0):
        pass
    return removal


def test_a_chain_of_folders_of_any_depth_is_deleted_with_few_descriptors(tmp_path: Path) -> None:
    top = tmp_path / "t1"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(300):  # with names so long that the path is far longer than one may be
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    gc.collect()  # what other tests have left open is not closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    removal = Removal(tmp_path / "removed")
    removal.put(top)
    while removal.work(0.0):
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert most <= before + 3 * MAX_DEPTH + 3 and len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path / "removed") == []


def test_links_pipes_and_folders_without_rights_are_deleted_and_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    sandbox = tmp_path / "t1"
    (sandbox / "closed" / "inner").mkdir(parents=True)
    (sandbox / "closed" / "inner" / "file").touch()
    (sandbox / "out").symlink_to(outside)
    (sandbox / "hard").hardlink_to(outside / "kept")
    os.mkfifo(sandbox / "pipe")
    (sandbox / "closed" / "inner").chmod(0)
    (sandbox / "closed").chmod(0)
    outside.chmod(0o755)
    removed(tmp_path, sandbox)
    assert os.listdir(tmp_path / "removed") == []
    assert (outside / "kept").read_text() == "kept" and outside.stat().st_mode & 0o777 == 0o755


AS_ANOTHER = """
import ctypes, os, sys
from pathlib import Path
from broker_mesos.containerizer.folder_removal import Removal
# A user that may give files away, and has no other right of root.
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(8, 1, 0, 0, 0)
os.setgroups([])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
chown = 1 << 0
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(chown, chown, 0, 0, 0, 0)
assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())
folder = Path(sys.argv[1])
removal = Removal(folder / "removed")
assert removal.put(folder / "t1")
while removal.work(1.0):
    pass
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of others")
def test_folders_of_other_users_are_deleted_by_an_agent_that_may_give_files_away(tmp_path: Path) -> None:
    (tmp_path / "t1" / "inner").mkdir(parents=True)
    (tmp_path / "t1" / "inner" / "file").touch()
    for path, user, mode in (
        (tmp_path, 54321, 0o755),
        (tmp_path / "t1", 54322, 0o700),
        (tmp_path / "t1" / "inner", 54322, 0),
    ):
        os.chown(path, user, user)
        path.chmod(mode)
    for above in tmp_path.parents:
        if above.stat().st_mode & 0o005 != 0o005 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o005)
    done = subprocess.run([sys.executable, "-c", AS_ANOTHER, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path / "removed") == []


def test_a_removal_that_is_closed_halfway_leaves_no_descriptor_open(tmp_path: Path) -> None:
    sandbox = tmp_path / "t1"
    sandbox.mkdir()
    for number in range(100):
        (sandbox / str(number)).touch()
    before = len(os.listdir("/proc/self/fd"))
    removal = Removal(tmp_path / "removed")
    removal.put(sandbox)
    assert removal.work(0.0)
    assert len(os.listdir("/proc/self/fd")) > before
    removal.close()
    assert len(os.listdir("/proc/self/fd")) == before
    while removal.work(1.0):
        pass
    assert os.listdir(tmp_path / "removed") == []


def test_folders_are_deleted_on_a_disk_that_takes_not_one_more_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ("-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "bmesos-test")
    done = subprocess.run(["mount", *options, str(disk)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    try:
        (disk / "t1").mkdir()
        number = 0
        while measure(str(disk)).free_files:  # type: ignore[union-attr]
            number += 1
            (disk / "t1" / str(number)).touch()
        removed(disk, disk / "t1")
        assert [each.name for each in disk.rglob("*")] == ["removed"]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A sandbox in which another file system is mounted."""
    folder = tmp_path / "t1" / "mounted"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "bmesos-test", str(folder)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file if str(tmp_path) in line]
    subprocess.run(["umount", "--lazy", *points], check=True)


def test_another_file_system_in_a_sandbox_is_not_entered(mounted: Path, tmp_path: Path) -> None:
    (mounted / "precious").write_text("kept")
    (tmp_path / "t2").mkdir()
    removal = removed(tmp_path, tmp_path / "t1")
    [left] = (tmp_path / "removed").iterdir()
    assert (left / "mounted" / "precious").read_text() == "kept"
    # It does not keep others from being deleted.
    removal.put(tmp_path / "t2")
    while removal.work(0.0):
        pass
    assert list((tmp_path / "removed").iterdir()) == [left]
