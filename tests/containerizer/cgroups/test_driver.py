"""Giving out task cgroups, taking them back, and removing what is left, on a fake kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups import driver as module
from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import MB, Limits
from broker_mesos.containerizer.cgroups.oom import Oom
from broker_mesos.containerizer.cgroups.probe import probe
from broker_mesos.containerizer.cgroups.task_cgroup import record_of
from tests.containerizer.cgroups.fake_kernel import FakeKernel

SMALL = Limits(memory=64 * MB)


def probed(kernel: FakeKernel, work_dir: str) -> Driver:
    driver = probe(work_dir, files=kernel, proc=str(kernel.proc), root=str(kernel.root))
    assert isinstance(driver, Driver), driver
    return driver


@pytest.fixture(params=["v1", "v2", "hybrid"])
def driver(request: pytest.FixtureRequest, kernel: FakeKernel, work_dir: str) -> Driver:
    if request.param != "v2":
        for each in ("cpu", "memory", "pids", "cpuacct", "blkio"):
            kernel.mount_v1(each)
    if request.param != "v1":
        kernel.mount_v2("cpu memory pids io" if request.param == "v2" else "")
    return probed(kernel, work_dir)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def folders(driver: Driver) -> set[str]:
    return {path.name for base in driver._layout.bases() for path in Path(base).iterdir() if path.is_dir()}


def test_a_cgroup_is_used_again_with_other_limits(driver: Driver, kernel: FakeKernel) -> None:
    first = driver.take(SMALL)
    driver.free(first)
    assert driver.counts() == (0, 1, 0, 1)
    kernel.written.clear()
    again = driver.take(Limits(memory=64 * MB, pids=7))
    assert again is first and driver.counts() == (1, 0, 0, 1)
    assert [text for path, text in kernel.written if path.startswith(again.folders["pids"])] == ["8"]
    assert len(kernel.written) == 1, "what has not changed is not written again"


def test_tasks_at_the_same_time_have_cgroups_of_their_own(driver: Driver) -> None:
    taken = [driver.take(SMALL) for _ in range(3)]
    assert len({each.name for each in taken}) == 3 == len(folders(driver))


def test_no_more_than_a_bounded_number_is_kept_idle(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 2)
    taken = [driver.take(SMALL) for _ in range(5)]
    for each in taken:
        driver.free(each)
    assert driver.counts() == (0, 2, 0, 5) and len(folders(driver)) == 2


def test_freeing_twice_frees_once(driver: Driver) -> None:
    group = driver.take(SMALL)
    driver.free(group)
    driver.free(group)
    assert driver.counts().idle == 1


def test_a_cgroup_whose_limits_cannot_be_set_is_replaced(driver: Driver, kernel: FakeKernel) -> None:
    first = driver.take(SMALL)
    driver.free(first)
    kernel.denied.add(first.folders["pids"])
    second = driver.take(Limits(memory=64 * MB, pids=7))
    assert second.name != first.name
    kernel.denied.clear()


def test_a_new_cgroup_whose_limits_cannot_be_set_is_an_error_and_leaves_nothing(
    driver: Driver, kernel: FakeKernel
) -> None:
    kernel.refused.add("pids.max")
    with pytest.raises(OSError, match="Invalid argument"):
        driver.take(SMALL)
    assert folders(driver) == set() and driver.counts()[:3] == (0, 0, 0)


def test_on_a_kernel_that_cannot_reset_the_peak_each_task_gets_a_new_cgroup(kernel: FakeKernel, work_dir: str) -> None:
    kernel.mount_v2("cpu memory pids")
    kernel.refused.add("memory.peak")
    driver = probed(kernel, work_dir)
    assert not driver.reusable
    group = driver.take(SMALL)
    driver.free(group)
    assert driver.counts() == (0, 0, 0, 1) and folders(driver) == set()


def test_what_is_busy_is_removed_at_a_later_try(driver: Driver, kernel: FakeKernel) -> None:
    group = driver.take(SMALL)
    kernel.busy[group.paths[-1]] = 2
    driver.reusable = False
    driver.free(group)
    assert driver.counts().removing == 1
    assert (driver.retry(), driver.retry()) == (1, 0)
    assert folders(driver) == set() and driver.close()


def test_many_that_cannot_be_removed_are_reported(
    driver: Driver, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_LEAKS", 3)
    driver.reusable = False
    for number in range(3):
        assert driver.problems() == []
        group = driver.take(SMALL)
        kernel.busy[group.paths[0]] = 1 if number else 2
        driver.free(group)
    (line,) = driver.problems()
    assert line.startswith("cgroup leak: 3 cgroups cannot be removed, such as /")
    assert (driver.retry(), driver.problems()) == (1, [])
    assert driver.retry() == 0


def test_a_cgroup_with_a_living_process_is_not_given_to_another_task(
    driver: Driver, kernel: FakeKernel, sleeper: subprocess.Popen[bytes]
) -> None:
    group = driver.take(SMALL)
    for path in group.paths:
        kernel.write(f"{path}/cgroup.procs", str(sleeper.pid))
    assert group.members() == [sleeper.pid]
    driver.free(group)
    assert driver.counts()[:3] == (0, 0, 1)
    assert sleeper.wait(30) == -9
    assert driver.retry() == 0


def test_a_cgroup_in_which_a_task_has_made_others_is_removed_with_them(driver: Driver, kernel: FakeKernel) -> None:
    group = driver.take(SMALL)
    kernel.make(f"{group.paths[0]}/own")
    kernel.make(f"{group.paths[0]}/own/deeper")
    driver.free(group)
    assert driver.counts() == (0, 0, 0, 1) and folders(driver) == set()


def test_a_cgroup_in_which_ended_processes_were_not_waited_for_is_not_used_again(driver: Driver) -> None:
    group = driver.take(SMALL)
    Path(group.folders["pids"], "pids.current").write_text("1")
    driver.free(group)
    assert driver.counts().idle == 0


def rest(driver: Driver, group_folder: str) -> Path:
    version = driver._layout.versions["memory"]
    return Path(group_folder, "memory.current" if version == 2 else "memory.usage_in_bytes")


def test_a_cgroup_that_still_has_memory_of_its_last_task_is_not_used_again(driver: Driver) -> None:
    group = driver.take(SMALL)
    rest(driver, group.folders["memory"]).write_text(str(3 * MB))
    driver.free(group)
    assert driver.counts().idle == 0 and folders(driver) == set()


def test_cgroups_that_nobody_names_are_swept_with_their_processes(
    driver: Driver, kernel: FakeKernel, work_dir: str, sleeper: subprocess.Popen[bytes]
) -> None:
    stray, kept, other = (driver.take(SMALL) for _ in range(3))
    for path in stray.paths:
        kernel.write(f"{path}/cgroup.procs", str(sleeper.pid))
    lines: list[str] = []
    later = Driver(kernel, driver._layout, driver._kernel_files, reusable=True, log=lines.append)
    adopted = later.adopt(kept.record(), SMALL)
    swept = later.sweep(keep=[other.name])
    assert set(swept) == set(stray.paths) and len(lines) == 1
    assert sleeper.wait(30) == -9
    while later.retry():
        pass
    assert adopted is not None and folders(later) == {kept.name, other.name}
    assert later.sweep([other.name]) == []
    assert later.take(SMALL).name not in {kept.name, other.name}


def test_cgroups_below_another_cgroup_of_an_earlier_spawner_are_swept_too(kernel: FakeKernel, work_dir: str) -> None:
    for each in ("cpu", "memory", "pids"):
        kernel.mount_v1(each, "/first")
    first = probed(kernel, work_dir)
    stray = first.take(SMALL)
    text = (kernel.proc / "cgroup").read_text()
    (kernel.proc / "cgroup").write_text(text.replace("/first", "/"))
    second = probed(kernel, work_dir)
    assert set(second.sweep()) == set(stray.paths)
    assert second.close() and not any(Path(base).exists() for base in first._layout.bases())
    third = probed(kernel, work_dir)
    assert third.sweep() == [] and third.close()


def set_oom_kills(driver: Driver, folder: str, count: int) -> None:
    if driver._layout.versions["memory"] == 2:
        Path(folder, "memory.events").write_text(f"oom_kill {count}\n")
    else:
        Path(folder, "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n")


def test_a_later_spawner_counts_from_where_the_task_began(driver: Driver, kernel: FakeKernel) -> None:
    group = driver.take(SMALL)
    set_oom_kills(driver, group.folders["memory"], 2)
    driver.free(group)
    group = driver.take(SMALL)
    record = record_of([group.record().name, group.record().before])
    assert record is not None and group.usage().counted.oom_kills == 0
    set_oom_kills(driver, group.folders["memory"], 3)
    later = Driver(kernel, driver._layout, driver._kernel_files, reusable=True)
    adopted = later.adopt(record, SMALL)
    assert adopted is not None and adopted.usage().counted.oom_kills == 1
    assert later.adopt(record, SMALL) is None, "it is given to one task only"


@pytest.mark.parametrize("name", ["t99", "../x", "probe", ""])
def test_a_cgroup_that_is_gone_or_was_never_one_is_not_adopted(driver: Driver, name: str) -> None:
    record = record_of([name, []])
    assert record is not None and driver.adopt(record, SMALL) is None


@pytest.mark.parametrize("value", [None, [], ["t1"], [1, []], ["t1", None], {"name": "t1"}])
def test_a_damaged_record_is_none(value: object) -> None:
    assert record_of(value) is None


def test_an_event_comes_before_its_counter(driver: Driver) -> None:
    group = driver.take(SMALL)
    watch = group.watch_oom()
    notify(driver, watch.fd)
    assert watch.notice(now=5.0) is Oom.PENDING
    assert watch.look(now=5.01) is Oom.PENDING
    set_oom_kills(driver, group.folders["memory"], 1)
    assert watch.look(now=5.015) is Oom.KILLED and watch.kills() == 1
    group.close()


def test_an_event_of_another_cgroup_ends_nothing(driver: Driver) -> None:
    group = driver.take(SMALL)
    watch = group.watch_oom()
    notify(driver, watch.fd)
    assert watch.notice(now=5.0) is Oom.PENDING
    assert (watch.look(now=5.03), watch.look(now=9.0)) == (Oom.NONE, Oom.NONE)
    group.close()


def test_a_kill_of_the_last_task_is_not_one_of_the_next(driver: Driver) -> None:
    group = driver.take(SMALL)
    watch = group.watch_oom()
    set_oom_kills(driver, group.folders["memory"], 1)
    assert watch.look(now=1.0) is Oom.KILLED
    driver.free(group)
    assert driver.take(SMALL) is group
    assert group.watch_oom() is watch and watch.look(now=2.0) is Oom.NONE
    group.close()


def notify(driver: Driver, fd: int) -> None:
    if driver._layout.versions["memory"] == 1:
        os.eventfd_write(fd, 1)


def test_all_tasks_together_are_limited(driver: Driver, kernel: FakeKernel) -> None:
    driver.limit_all(cpus=8, memory=100 * MB)
    base = {each: place.base for place in driver._layout.places for each in place.controllers}
    name = "memory.max" if driver._layout.versions["memory"] == 2 else "memory.limit_in_bytes"
    assert Path(base["memory"], name).read_text() == str(100 * MB)
    assert Path(base["pids"], "pids.max").read_text() == "32768"
    shares = "cpu.weight" if driver._layout.versions["cpu"] == 2 else "cpu.shares"
    assert Path(base["cpu"], shares).read_text() == ("800" if shares == "cpu.weight" else "8192")


def test_usage_is_that_of_this_task_alone(driver: Driver) -> None:
    group = driver.take(SMALL)
    folder = group.folders

    def use(cpu_usec: int, io: int) -> None:
        if "core" in folder:
            Path(folder["core"], "cpu.stat").write_text(f"usage_usec {cpu_usec}\nthrottled_usec 0\n")
        else:
            Path(folder["cpuacct"], "cpuacct.usage").write_text(f"{cpu_usec}000\n")
        if driver._layout.versions["io"] == 2:
            Path(folder["io"], "io.stat").write_text(f"8:0 rbytes={io} wbytes={io * 2} rios=1 wios=1\n")
        else:
            lines = f"8:0 Read {io}\n8:0 Write {io * 2}\nTotal {io * 3}\n"
            Path(folder["io"], "blkio.throttle.io_service_bytes_recursive").write_text(lines)

    use(1_000_000, 100)
    assert group.usage().counted[:3] == (1_000_000, 100, 200)
    driver.free(group)
    assert driver.take(SMALL) is group
    use(1_500_000, 140)
    assert group.usage().counted[:3] == (500_000, 40, 80)
