"""Launchers that are forked ahead and used again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import MB, Limits
from broker_mesos.containerizer.cgroups.probe import probe
from broker_mesos.containerizer.launchers import launcher_pool
from broker_mesos.containerizer.launchers.launcher import Exit, Launcher
from broker_mesos.containerizer.launchers.launcher_pool import Key, LauncherPool
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.namespaces.probe import Found
from broker_mesos.containerizer.process import isolation
from tests.containerizer.cgroups.fake_kernel import FakeKernel
from tests.containerizer.launchers.conftest import run_task, wait_for

KEY = Key("f1", Profile(), Limits(memory=64 * MB))


class Spawner:
    """What the spawner does for a pool: it knows all launchers, and waits for those that end."""

    def __init__(self, driver: Driver) -> None:
        self.living: list[Launcher] = []
        self.pool = LauncherPool(created=self.living.append, driver=driver)

    def reap(self, launcher: Launcher) -> None:
        os.waitpid(launcher.pid, 0)
        self.living.remove(launcher)
        self.pool.ended(launcher)

    def end(self) -> None:
        self.pool.close()
        for launcher in list(self.living):
            launcher.kill()
            self.reap(launcher)


@pytest.fixture
def spawner(driver: Driver) -> Iterator[Spawner]:
    made = Spawner(driver)
    yield made
    made.end()


def test_a_launcher_starts_the_next_task_of_the_same_key(spawner: Spawner, sandbox: str) -> None:
    first = spawner.pool.take(KEY, 0.0)
    assert isinstance(run_task(first, sandbox, "true"), Exit)
    spawner.pool.put(first, KEY)
    assert spawner.pool.take(KEY, 0.1) is first
    assert isinstance(run_task(first, sandbox, "true"), Exit)


@pytest.mark.parametrize(
    "other", [KEY._replace(group="f2"), KEY._replace(limits=Limits()), KEY._replace(profile=Profile(umask=0o077))]
)
def test_tasks_of_another_key_get_another_launcher(spawner: Spawner, sandbox: str, other: Key) -> None:
    first = spawner.pool.take(KEY, 0.0)
    run_task(first, sandbox, "true")
    spawner.pool.put(first, KEY)
    second = spawner.pool.take(other, 0.1)
    assert second is not first and second.group is not first.group
    assert second.group.limits == other.limits


def test_blank_launchers_are_forked_ahead_as_many_as_are_needed(spawner: Spawner) -> None:
    assert spawner.pool.lacking(0.0) == launcher_pool.MIN_BLANK
    while spawner.pool.lacking(0.0):
        spawner.pool.fork_ahead(0.0)
    spawner.pool.fork_ahead(0.0)
    assert len(spawner.living) == launcher_pool.MIN_BLANK
    blank = list(spawner.living)
    assert spawner.pool.take(KEY, 5.0) is blank[0]
    assert spawner.pool.lacking(5.0) == 2, "one was taken, and one start was counted"
    assert spawner.pool.lacking(7.0) == 1
    for number in range(40):
        spawner.pool._starts.append(8.0 + number / 100)
    assert spawner.pool.lacking(8.5) == launcher_pool.MAX_BLANK - 1


def test_a_launcher_that_died_while_it_was_idle_is_replaced(spawner: Spawner, sandbox: str) -> None:
    spawner.pool.fork_ahead(0.0)
    (blank,) = spawner.living
    os.kill(blank.pid, 9)
    os.waitid(os.P_PID, blank.pid, os.WEXITED | os.WNOWAIT)
    taken = spawner.pool.take(KEY, 0.0)
    assert taken is not blank
    assert isinstance(run_task(taken, sandbox, "true"), Exit)


def test_a_launcher_with_a_process_left_in_its_cgroup_goes(spawner: Spawner, sandbox: str) -> None:
    launcher = spawner.pool.take(KEY, 0.0)
    for path in launcher.group.paths:  # as if its task had left one
        launcher.group._files.write(f"{path}/cgroup.procs", str(os.getpid()))
    assert isinstance(run_task(launcher, sandbox, "true"), Exit)
    spawner.pool.put(launcher, KEY)
    assert launcher.dead and len(spawner.pool) == 0
    for path in launcher.group.paths:
        os.truncate(f"{path}/cgroup.procs", 0)


def test_only_some_are_kept_idle(spawner: Spawner, sandbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_pool, "MAX_IDLE", 1)
    keys = [KEY._replace(group=name) for name in ("a", "b")]
    taken = [spawner.pool.take(key, 0.0) for key in keys]
    for key, launcher in zip(keys, taken, strict=True):
        wait_for(launcher, lambda launcher=launcher: launcher.ready)
        spawner.pool.put(launcher, key)
    assert taken[0].dead and not taken[1].dead


def test_limits_that_cannot_be_set_are_an_error_and_end_the_launcher(spawner: Spawner, kernel: FakeKernel) -> None:
    spawner.pool.fork_ahead(0.0)
    kernel.refused.add("pids.max")
    with pytest.raises(OSError, match="Invalid argument"):
        spawner.pool.take(KEY._replace(limits=Limits(pids=5)), 0.0)
    assert [launcher.dead for launcher in spawner.living] == [True]


def test_the_cgroup_of_a_launcher_is_freed_when_it_has_ended(spawner: Spawner, driver: Driver, sandbox: str) -> None:
    launcher = spawner.pool.take(KEY, 0.0)
    run_task(launcher, sandbox, "true")
    launcher.kill()
    spawner.reap(launcher)
    assert driver.counts().used == 1, "its task may still be in it"
    spawner.pool.put(launcher, KEY)
    assert driver.counts()[:2] == (0, 1)


def test_tasks_of_one_profile_without_a_cgroup_have_one_launcher(spawner: Spawner, sandbox: str) -> None:
    first, other = spawner.pool.share(Profile()), spawner.pool.share(Profile(umask=0o077))
    assert spawner.pool.share(Profile()) is first is not other and spawner.pool.shares(first)
    assert isinstance(run_task(first, sandbox, "true"), Exit)
    spawner.pool.replace(first)
    second = spawner.pool.share(Profile())
    assert second is not first and not spawner.pool.shares(first) and spawner.pool.shares(second)
    second.kill()
    assert spawner.pool.share(Profile()) not in (first, second)


def test_a_launcher_without_a_cgroup_moves_along_with_the_spawner_on_v2(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent asks for it before it asks for limits, if its tasks have a user of their own."""
    monkeypatch.setattr(isolation, "probe", partial(probe, files=kernel, proc=str(kernel.proc), root=str(kernel.root)))
    monkeypatch.setattr(isolation, "probe_views", lambda folder: Found())
    (tmp_path / "v2").mkdir()
    pool = LauncherPool()
    launcher = pool.share(Profile())
    try:
        kernel.mount_v2("cpu memory pids", "/s.scope", inside=(launcher.pid,))
        found = isolation.Isolation(pool, lambda text: None)
        found.open(str(tmp_path / "v2"))
        assert found.reason == ""
        leaf = Path(kernel.root, "cg/unified/s.scope/bmesos-service/cgroup.procs")
        assert leaf.read_text().split() == [str(os.getpid()), str(launcher.pid)]
    finally:
        launcher.kill()
        os.waitpid(launcher.pid, 0)
        pool.close()
