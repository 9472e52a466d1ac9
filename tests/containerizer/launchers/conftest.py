"""Launchers for tests, in fake cgroups or in those of this machine; their sandboxes belong to the user of the task."""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.probe import probe
from broker_mesos.containerizer.launchers.launcher import Launcher, LauncherEvent, Started
from tests.containerizer.cgroups.conftest import emptied, was_not_run
from tests.containerizer.cgroups.fake_kernel import FakeKernel

UID = 61_001


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path / "kernel")


@pytest.fixture
def driver(tmp_path: Path, kernel: FakeKernel) -> Driver:
    """A driver of fake cgroups, which hold nothing: launchers are the same in them."""
    (tmp_path / "work").mkdir()
    for each in ("cpu", "memory", "pids"):
        kernel.mount_v1(each)
    made = probe(str(tmp_path / "work"), files=kernel, proc=str(kernel.proc), root=str(kernel.root))
    assert isinstance(made, Driver), made
    return made


@pytest.fixture
def real_driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver of this machine's cgroups."""
    (tmp_path / "real").mkdir()
    made = probe(str(tmp_path / "real"))
    if isinstance(made, str):
        was_not_run(made)
    assert isinstance(made, Driver)
    yield made
    assert emptied(made), "cgroups were left behind"


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("WAS NOT RUN: only root can start tasks as another user")


@pytest.fixture
def sandbox(tmp_path: Path) -> str:
    """A sandbox of our own."""
    path = tmp_path / "sandbox"
    path.mkdir(mode=0o700)
    return str(path)


@pytest.fixture
def user_sandbox() -> Iterator[str]:
    """A sandbox of the user UID, if we are root; else of ourselves. It is not below the folder of pytest, which other
    users may not enter."""
    with tempfile.TemporaryDirectory(prefix="bmesos-test-") as folder:
        os.chmod(folder, 0o711)
        path = Path(folder, "sandbox")
        path.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(path, UID, UID)
        yield str(path)


def wait_for(
    launcher: Launcher, condition: Callable[[], object], found: list[LauncherEvent] | None = None
) -> list[LauncherEvent]:
    """Receive from a launcher until something is true; its events."""
    found = [] if found is None else found
    deadline = time.monotonic() + 40
    while True:
        if condition():
            return found
        assert time.monotonic() < deadline and not launcher.dead, (found, launcher.dead, launcher.refused)
        if select.select([launcher], [launcher] if launcher.unsent else [], [], 1.0)[0]:
            found.extend(launcher.receive())
        launcher.flush()


def run_task(launcher: Launcher, sandbox: str, text: str, **env: str) -> LauncherEvent:
    """Run `sh -c TEXT`, and return how it ended, or why it did not start."""
    launcher.start("t", sandbox, ["/bin/sh", "-c", text], {"PATH": "/bin:/usr/bin", **env})
    found: list[LauncherEvent] = []
    wait_for(launcher, lambda: found and not isinstance(found[-1], Started), found)
    return found[-1]
