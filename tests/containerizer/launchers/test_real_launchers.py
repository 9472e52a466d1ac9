"""Launchers in this machine's cgroups."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import MB, Limits
from broker_mesos.containerizer.cgroups.memory_end import memory_end
from broker_mesos.containerizer.cgroups.oom import Oom
from broker_mesos.containerizer.cgroups.probe import probe
from broker_mesos.containerizer.cgroups.task_cgroup import record_of
from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.launchers.launcher import Exit, Launcher
from broker_mesos.containerizer.launchers.launcher_pool import Key, LauncherPool
from broker_mesos.containerizer.launchers.profile import Profile
from tests.containerizer.cgroups.conftest import emptied
from tests.containerizer.launchers.conftest import UID, run_task, wait_for
from tests.containerizer.launchers.test_launcher_pool import Spawner

EAT = "python3 -I -S -c 'x = bytearray(200 << 20)'"


@pytest.fixture
def spawner(real_driver: Driver) -> Iterator[Spawner]:
    made = Spawner(real_driver)
    yield made
    made.end()


def key() -> Key:
    profile = Profile(Ids(UID, UID)) if os.geteuid() == 0 else Profile()
    return Key("f", profile, Limits(memory=64 * MB, pids=32))


def reap(launcher: Launcher) -> None:
    """Wait until init has waited for what was killed, as the spawner does, which is the reaper of its tasks."""
    deadline = time.monotonic() + 40
    while launcher.group.usage().pids > 1:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_task_is_in_the_cgroup_of_its_launcher_and_counted_there(spawner: Spawner, user_sandbox: str) -> None:
    launcher = spawner.pool.take(key(), 0.0)
    launcher.start("t", user_sandbox, ["/bin/sleep", "60"], {})
    wait_for(launcher, lambda: launcher.tasks.get("t"))
    assert set(launcher.group.members()) == {launcher.pid, launcher.tasks["t"]}
    assert launcher.group.kill(keep={launcher.pid}) == 1
    wait_for(launcher, lambda: launcher.idle)
    assert launcher.group.usage().memory_peak > 0


def test_a_task_that_its_memory_limit_ends_leaves_the_launcher_or_takes_it_along(
    spawner: Spawner, user_sandbox: str
) -> None:
    launcher = spawner.pool.take(key(), 0.0)
    launcher.start("t", user_sandbox, ["/bin/sh", "-c", f"{EAT}; exit 0"], {"PATH": "/usr/bin:/bin"})
    found: list[object] = []
    deadline = time.monotonic() + 40
    while not launcher.dead and not any(isinstance(each, Exit) for each in found) and time.monotonic() < deadline:
        found.extend(launcher.receive())
        time.sleep(0.002)
    end = memory_end(launcher.group.limits, launcher.group.usage(), launcher.group.memory_version, "n1")
    assert end is not None and end.own_limit


def test_what_a_task_leaves_is_gone_before_the_next_one_starts(spawner: Spawner, user_sandbox: str) -> None:
    launcher = spawner.pool.take(key(), 0.0)
    run_task(launcher, user_sandbox, "env -i setsid sleep 600 & exit 0")
    while launcher.group.kill(keep={launcher.pid}):
        time.sleep(0.001)
    reap(launcher)
    spawner.pool.put(launcher, key())
    assert not launcher.dead or not spawner.pool._driver.reusable
    if not launcher.dead:
        assert spawner.pool.take(key(), 1.0) is launcher
        assert launcher.group.members() == [launcher.pid]
        assert launcher.group.usage().counted.oom_kills == 0


def test_a_fork_bomb_of_a_user_leaves_its_launcher_alone(spawner: Spawner, user_sandbox: str) -> None:
    launcher = spawner.pool.take(key(), 0.0)
    launcher.start("t", user_sandbox, ["/bin/sh", "-c", "b() { b | b & }; b; sleep 600"], {"PATH": "/bin"})
    deadline = time.monotonic() + 40
    while launcher.group.usage().pids < 32 and time.monotonic() < deadline:
        launcher.receive()
        time.sleep(0.002)
    while launcher.group.kill(keep={launcher.pid}) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert launcher.group.members() == [launcher.pid]
    wait_for(launcher, lambda: launcher.idle)
    reap(launcher)
    assert isinstance(run_task(launcher, user_sandbox, "true"), Exit)


def test_a_kill_for_memory_is_known_to_the_next_spawner(tmp_path: Path, real_driver: Driver, sandbox: str) -> None:
    """The first one is killed while its task runs; the task then exceeds its limit."""
    work_dir = str(tmp_path / "real")
    os.mkfifo(f"{sandbox}/go")
    passed, pass_on = os.pipe()
    first = os.fork()
    if first == 0:
        try:
            _first_spawner(work_dir, sandbox, pass_on)
        finally:
            os._exit(1)
    os.close(pass_on)
    with open(passed) as file:
        record, main = json.loads(file.readline())
        os.kill(first, 9)
        os.waitpid(first, 0)
        later = probe(work_dir)
        assert isinstance(later, Driver)
        found = record_of(record)
        assert found is not None
        group = later.adopt(found, Limits(memory=64 * MB))
        assert group is not None and later.sweep() == []
        assert main in group.members()
        watch = group.watch_oom()
        Path(sandbox, "go").write_text("go\n")
        wait_until(lambda: watch.look(time.monotonic()) is Oom.KILLED)
        wait_until(lambda: not group.members())
    end = memory_end(group.limits, group.usage(), group.memory_version, "n1")
    assert end is not None and end.own_limit
    later.free(group)
    assert emptied(later)


def _first_spawner(work_dir: str, sandbox: str, pass_on: int) -> None:
    driver = probe(work_dir)
    assert isinstance(driver, Driver)
    launcher = LauncherPool(driver=driver).take(Key("f", Profile(), Limits(memory=64 * MB)), 0.0)
    launcher.start("t", sandbox, ["/bin/sh", "-c", f"read line <go; {EAT}"], {"PATH": "/usr/bin:/bin"})
    wait_for(launcher, lambda: launcher.tasks.get("t"))
    text = json.dumps([launcher.group.record(), launcher.tasks["t"]])
    os.write(pass_on, f"{text}\n".encode())
    time.sleep(600)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.002)
