"""The driver on this machine's cgroups: v1 alone, v1 and v2 at once, v2 alone; what cannot be run is reported."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups import files, mounts
from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import MB, Limits
from broker_mesos.containerizer.cgroups.memory_end import memory_end
from broker_mesos.containerizer.cgroups.oom import Oom
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from tests.containerizer.cgroups.conftest import Started, was_not_run

Start = Callable[[TaskCgroup, str], Started]

SMALL = Limits(memory=64 * MB, pids=64)
EAT = "exec python3 -I -S -c 'x = bytearray(200 << 20)'"


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.002)


def killed(group: TaskCgroup) -> int:
    """Kill until nobody is left; how many rounds that took."""
    rounds = 0
    while group.kill():
        rounds += 1
        assert rounds < 5000, group.stuck()
        time.sleep(0.001)
    return rounds


def test_a_process_is_born_in_its_cgroup_and_so_are_its_children(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    first = start(group, "sleep 60 & sleep 60")
    wait_for(lambda: len(group.members()) == 3)
    assert first.pid in group.members()
    own = {line.split(":", 2)[2] for line in Path(f"/proc/{first.pid}/cgroup").read_text().splitlines()}
    assert sum(path.endswith(f"/{group.name}") for path in own) >= 1
    assert group.usage().pids == 3
    killed(group)
    assert first.wait() == -9


def test_a_daemon_with_an_emptied_environment_is_found_and_killed(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    main = start(group, "env -i setsid sh -c 'sleep 600 & exit' & exit 0")
    assert main.wait() == 0
    wait_for(lambda: any(is_sleep(pid) for pid in group.members()))
    killed(group)
    assert group.members() == []
    driver.free(group)
    wait_for(lambda: driver.retry() == 0)


def is_sleep(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    except OSError:
        return False


def test_a_signal_reaches_all_members_but_those_that_are_kept(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    kept, other = start(group, "exec sleep 60"), start(group, "exec sleep 60")
    wait_for(lambda: len(group.members()) == 2)
    assert group.send(15, keep={kept.pid}) == 1
    assert other.wait() == -15
    assert group.kill(keep={kept.pid}) == 0
    assert group.members() == [kept.pid]


def test_members_are_killed_though_no_descriptor_is_left(
    driver: Driver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = driver.take(SMALL)
    process, kept = start(group, "exec sleep 600"), start(group, "exec sleep 600")
    wait_for(lambda: len(group.members()) == 2)

    def no_more(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    assert group.kill(keep={kept.pid}) == 1
    assert process.wait() == -9


def test_a_fork_bomb_stays_in_its_limit_and_dies(driver: Driver, start: Start) -> None:
    group = driver.take(Limits(memory=64 * MB, pids=32))
    start(group, "bomb() { bomb | bomb & }; bomb; sleep 60")
    wait_for(lambda: group.usage().counted.fork_refusals or group.usage().pids >= 32)
    assert group.usage().pids <= 33
    killed(group)
    assert group.members() == []


def ended_by_memory(driver: Driver, group: TaskCgroup, main: Started) -> Oom:
    """Follow the watch as a spawner does, until the main process has ended."""
    watch = group.watch_oom()
    found = Oom.NONE
    with select.epoll() as epoll:
        epoll.register(watch.fd, watch.events)
        deadline = time.monotonic() + 40
        while found is not Oom.KILLED and time.monotonic() < deadline:
            if epoll.poll(0.001 if found is Oom.PENDING else 1.0):
                found = watch.notice(time.monotonic())
            else:
                found = watch.look(time.monotonic())
    killed(group)
    main.wait()
    return found


def test_a_task_above_its_memory_limit_is_killed_and_the_reason_known(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    group.watch_oom()
    main = start(group, EAT)
    assert ended_by_memory(driver, group, main) is Oom.KILLED and main.wait() == -9
    end = memory_end(group.limits, group.usage(), group.memory_version, "here")
    assert end is not None and end.own_limit
    assert end.text == "used more than its mem:64 MB (peak 64 MB) on here; killed by the kernel"


def test_the_kill_of_a_child_is_known_though_its_parent_exits_with_0(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    main = start(group, f"({EAT}); exit 0")
    main.wait()
    usage = group.usage()
    assert usage.counted.oom_kills >= 1
    end = memory_end(group.limits, usage, group.memory_version, "here")
    assert end is not None and end.own_limit


def test_a_task_that_is_killed_otherwise_was_not_killed_for_memory(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    assert start(group, "kill -9 $$").wait() == -9
    assert memory_end(group.limits, group.usage(), group.memory_version, "here") is None


def test_page_cache_kills_nobody_and_does_not_pass_to_the_next_task(
    driver: Driver, start: Start, folder_on_disk: Path
) -> None:
    group = driver.take(SMALL)
    file = folder_on_disk / "f"
    main = start(group, f"dd if=/dev/zero of={file} bs=1M count=150 2>/dev/null && cat {file} >/dev/null")
    assert main.wait() == 0
    usage = group.usage()
    assert usage.counted.oom_kills == 0 and usage.memory < 40 * MB
    driver.free(group)
    again = driver.take(SMALL)
    assert again.usage().memory_peak <= 3 * MB and again.usage().memory <= 3 * MB


def test_all_together_at_their_limit_is_another_reason_than_the_own_one(driver: Driver, start: Start) -> None:
    driver.limit_all(memory=48 * MB)
    try:
        group = driver.take(Limits(memory=512 * MB, pids=64))
        assert start(group, EAT).wait() == -9
        end = memory_end(group.limits, group.usage(), group.memory_version, "here")
        assert end == (False, "killed for memory on here: all tasks together reached what the agent lends")
    finally:
        driver.limit_all()


def cpu_usec(groups: list[TaskCgroup]) -> list[float]:
    """The CPU time of two cgroups at the same moment, however long each reading takes."""
    first, second, again = (each.usage().counted.cpu_usec for each in (groups[0], groups[1], groups[0]))
    return [(first + again) / 2, second]


def test_cpu_time_is_divided_by_shares(driver: Driver, start: Start) -> None:
    """Both are pinned to one CPU, and count as long as both run. Other load, and a machine that is itself stopped from
    time to time, take from both alike in the long run: so this waits for the ratio, and fails if it does not come."""
    driver.limit_all(cpus=40)  # beside what else this machine does
    cpu = min(os.sched_getaffinity(0))
    groups = [driver.take(Limits(cpus=each)) for each in (0.75, 0.25)]
    loops = [start(each, f"taskset -c {cpu} sh -c 'while :; do :; done'") for each in groups]
    wait_for(lambda: all(each.usage().counted.cpu_usec > 20_000 for each in groups))
    before = cpu_usec(groups)

    def is_divided() -> bool:
        used = [now - first for now, first in zip(cpu_usec(groups), before, strict=True)]
        return used[1] > 300_000 and 2.7 < used[0] / used[1] < 3.3

    wait_for(is_divided)
    for each in groups:
        killed(each)
    assert [loop.wait() for loop in loops] == [-9, -9]


def test_an_idle_task_gets_the_time_that_no_other_one_wants(driver: Driver, start: Start) -> None:
    driver.limit_all(cpus=40)
    cpu = min(os.sched_getaffinity(0))
    before_it = driver.take(Limits(idle=True))  # a cgroup that was idle serves another task as any other one does
    driver.free(before_it)
    groups = [driver.take(Limits(cpus=1)), driver.take(Limits(cpus=1, idle=True))]
    for each in groups:
        start(each, f"taskset -c {cpu} sh -c 'while :; do :; done'")
    wait_for(lambda: groups[0].usage().counted.cpu_usec > 20_000 and groups[1].members())
    before = cpu_usec(groups)

    def yields() -> bool:
        used = [now - first for now, first in zip(cpu_usec(groups), before, strict=True)]
        return used[0] > 200_000 and used[0] > 20 * used[1]

    wait_for(yields)
    for each in groups:
        killed(each)


def test_a_task_with_a_cpuset_runs_there_alone_and_the_next_one_everywhere(driver: Driver, start: Start) -> None:
    pinned = driver
    if pinned.pins is None:
        was_not_run("tasks cannot be pinned to CPUs here")
    cpus = os.sched_getaffinity(0)
    group = pinned.take(Limits(cpuset=str(min(cpus))))
    process = start(group, "exec sleep 600")
    wait_for(lambda: is_sleep(process.pid))
    assert os.sched_getaffinity(process.pid) == {min(cpus)}
    killed(group)
    process.wait()
    pinned.free(group)
    group = pinned.take(Limits())
    process = start(group, "exec sleep 600")
    wait_for(lambda: is_sleep(process.pid))
    assert os.sched_getaffinity(process.pid) == cpus
    killed(group)
    process.wait()
    pinned.free(group)
    with pytest.raises(OSError):
        pinned.take(Limits(cpuset="4000"))


def test_a_quota_stops_a_task_and_that_is_counted(driver: Driver, start: Start) -> None:
    group = driver.take(Limits(quota=0.1))
    start(group, "while :; do :; done")
    wait_for(lambda: group.usage().counted.throttled_usec > 100_000)
    killed(group)


def test_what_an_earlier_driver_left_is_swept_and_what_runs_is_adopted(driver: Driver, start: Start) -> None:
    stray, running = driver.take(SMALL), driver.take(SMALL)
    lost = start(stray, "sleep 600 & sleep 600")
    main = start(running, EAT)
    main.wait()
    later = Driver(driver._files, driver._layout, driver._kernel_files, reusable=driver.reusable)
    adopted = later.adopt(running.record(), SMALL)
    assert adopted is not None
    assert memory_end(adopted.limits, adopted.usage(), adopted.memory_version, "here") is not None
    assert len(later.sweep()) == len(stray.paths)
    assert lost.wait() == -9
    wait_for(lambda: later.retry() == 0)
    assert not any(os.path.exists(path) for path in stray.paths)
    assert all(os.path.exists(path) for path in running.paths)


def test_a_cgroup_is_removed_as_soon_as_its_last_process_has_gone(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    process = start(group, "sleep 600 & sleep 600")
    wait_for(lambda: len(group.members()) == 3)
    driver.free(group)
    assert driver.counts().idle == 0
    assert process.wait() == -9
    wait_for(lambda: driver.retry() == 0)
    assert not any(os.path.exists(path) for path in group.paths)


def test_a_task_of_root_that_makes_cgroups_of_its_own_leaves_none(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    folder = f"{group.folders['pids']}/mine"
    assert start(group, f"mkdir {folder} && echo 0 >{folder}/cgroup.procs && (sleep 600 & exit 0)").wait() == 0
    driver.free(group)
    wait_for(lambda: driver.retry() == 0)
    assert not any(os.path.exists(path) for path in group.paths)


def test_limits_of_a_cgroup_can_be_changed_many_times(driver: Driver) -> None:
    for limits in (SMALL, Limits(), Limits(memory=512 * MB, quota=2, burst=1), SMALL, Limits(quota=0.5, burst=0.5)):
        group = driver.take(limits)
        driver.free(group)
    if driver.reusable:
        assert driver.counts() == (0, 1, 0, 1)


@pytest.mark.slow
def test_a_thousand_tasks_leave_no_more_than_the_idle_ones(driver: Driver) -> None:
    for _ in range(50):
        taken = [driver.take(SMALL) for _ in range(20)]
        for group in taken:
            driver.free(group)
    assert driver.counts().idle <= 64 and driver.counts().made <= (20 if driver.reusable else 1000)


def test_files_that_stay_open_are_closed_with_their_cgroup(driver: Driver) -> None:
    before = set(os.listdir("/proc/self/fd"))
    driver.reusable = False
    for _ in range(3):
        group = driver.take(SMALL)
        group.watch_oom()
        assert group.usage(ended=True).counted.oom_kills == 0
        group.reset()
        assert set(os.listdir("/proc/self/fd")) - before, "some are open"
        driver.free(group)
    assert set(os.listdir("/proc/self/fd")) - before == set()


def test_more_cgroups_than_files_may_be_open_are_counted_as_well(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.setattr(files, "MAX_OPEN", 0)
    group = driver.take(SMALL)
    assert start(group, "exit 0").wait() == 0
    assert group.usage().counted.cpu_usec > 0 and group.usage().memory_peak > 0


def test_a_cgroup_that_somebody_has_removed_is_made_again_around_its_task(driver: Driver, start: Start) -> None:
    group = driver.take(SMALL)
    process = start(group, "sleep 600 & sleep 600")
    wait_for(lambda: len(group.members()) == 3)
    inside = group.members()
    for hierarchy in mounts.hierarchies():
        for pid in inside:
            Path(hierarchy.own, "cgroup.procs").write_text(str(pid))
    wait_for(lambda: gone(group.paths))
    assert group.vanished()
    driver.restore(group, [*inside, 1 << 22])
    assert not group.vanished() and set(group.members()) == set(inside)
    name = "memory.max" if group.memory_version == 2 else "memory.limit_in_bytes"
    assert Path(group.folders["memory"], name).read_text().strip() == str(SMALL.memory_bytes)
    killed(group)
    assert process.wait() == -9


def gone(paths: list[str]) -> bool:
    """Remove cgroups; whether all are removed."""
    for path in paths:
        try:
            os.rmdir(path)
        except OSError:
            pass
    return not any(os.path.exists(path) for path in paths)


def test_a_process_that_cannot_be_killed_is_named_with_what_it_waits_for(driver: Driver, start: Start) -> None:
    """A process whose child shares its memory sleeps uninterruptibly, as one that waits for a disk does."""
    group = driver.take(SMALL)
    code = "import ctypes; c = ctypes.PyDLL(None); c.vfork() or c.pause()"
    process = start(group, f"exec {sys.executable} -I -S -c '{code}'")
    expected = f"cannot be killed: 1 processes in uninterruptible sleep ({process.pid} in "
    wait_for(lambda: len(group.members()) == 2 and group.stuck().startswith(expected))
    killed(group)
    assert group.stuck() == ""
