"""Fake and real cgroups for tests. Real ones are removed after each test, whatever happened in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups import mounts, probe
from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.forking import fork_into
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from tests.containerizer.cgroups.fake_kernel import FakeKernel

REQUIRED = "BMESOS_REQUIRE_CGROUPS"
"""With this variable a machine without cgroups fails the tests on real ones, instead of reporting that they were not
run."""


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "kernel")


@pytest.fixture
def work_dir(tmp_path: Path) -> str:
    (tmp_path / "work").mkdir()
    return str(tmp_path / "work")


def was_not_run(reason: str) -> None:
    """Report plainly that a test on real cgroups was not run, or fail if they are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, and there are no cgroups: {reason}")
    pytest.skip(f"WAS NOT RUN on real cgroups: {reason}")


def emptied(driver: Driver) -> bool:
    """Whether all cgroups of a driver could be removed, within 20 seconds."""
    deadline = time.monotonic() + 20
    for name in list(driver._used):
        driver.free(driver._used[name])
    while not driver.close():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(params=["v1", "hybrid", "v2"])
def driver(request: pytest.FixtureRequest, work_dir: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A driver on this machine's cgroups: with v1 alone, with all that is mounted, with v2 alone."""
    found = mounts.hierarchies()
    if request.param == "v1":
        found = [each for each in found if each.version == 1]
    elif request.param == "v2":
        found = [each for each in found if each.version == 2]
    elif len({each.version for each in found}) < 2:
        pytest.skip("not a machine with v1 and v2 at once")
    monkeypatch.setattr(probe, "hierarchies", lambda proc, root: found)
    made = probe.probe(work_dir)
    if isinstance(made, str):
        was_not_run(f"{request.param}: {made}")
    assert isinstance(made, Driver)
    yield made
    assert emptied(made), "cgroups were left behind"


class Started:
    """A process that a test has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def wait(self) -> int:
        """Wait until it has ended; its exit code, or the negative number of the signal."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def end(self) -> None:
        if self._status is None:
            os.kill(self.pid, 9)
            self.wait()


@pytest.fixture
def start() -> Iterator[Callable[[TaskCgroup, str], Started]]:
    """Starts `sh -c TEXT` in a cgroup."""
    all_started: list[Started] = []

    def begin(group: TaskCgroup, text: str) -> Started:
        pid = fork_into(group)
        if pid == 0:
            try:
                os.execv("/bin/sh", ["sh", "-c", text])
            finally:
                os._exit(127)
        all_started.append(Started(pid))
        return all_started[-1]

    yield begin
    for each in all_started:
        each.end()
