"""A launcher of sandboxed tasks, as root and as a user without rights, whose cgroups hold nothing here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.launchers.launcher import Exit, Launcher, LauncherEvent, Started
from broker_mesos.containerizer.launchers.profile import Profile
from broker_mesos.containerizer.namespaces.probe import probe
from broker_mesos.containerizer.namespaces.view import View
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.launchers.conftest import wait_for
from tests.containerizer.launchers.test_launcher import finish

NOBODY = 65_534


def start(launcher: Launcher, task_id: str, sandbox: str, text: str) -> LauncherEvent:
    launcher.start(task_id, sandbox, ["/bin/sh", "-c", text], {"PATH": "/bin:/usr/bin"}, view=View())
    found: list[LauncherEvent] = []
    wait_for(launcher, lambda: found and not isinstance(found[-1], Started), found)
    return found[-1]


def test_a_launcher_starts_one_sandboxed_task_after_another_and_outlives_their_signals(
    driver: Driver, tmp_path: Path
) -> None:
    if missing := probe(str(tmp_path)).missing.get("fs"):
        was_not_run(missing)
    launcher = Launcher(driver.take(Limits()), sandboxed=True)
    try:
        launcher.become(Profile(sandboxed=True))
        ids = f"echo {os.geteuid()} | grep -qx $(id -u) && grep -q 'CapEff.*0000000000000000' /proc/self/status"
        assert start(launcher, "a", str(tmp_path / "a"), f"{ids}; exit $?") == Exit("a", 0, None)
        assert start(launcher, "b", str(tmp_path / "b"), "kill -9 1 -1; exit 7") in (
            Exit("b", 7, None),
            Exit("b", None, signal.SIGKILL),
        )
        assert start(launcher, "c", str(tmp_path / "c"), "kill -TERM $$") == Exit("c", None, signal.SIGTERM)
        assert start(launcher, "d", str(tmp_path / "d"), f"ls {tmp_path} | grep -v d; exit 5") == Exit("d", 5, None)
        assert (tmp_path / "d" / "stdout").read_text() == ""
    finally:
        finish(launcher)


def test_a_launcher_without_rights_does_the_same_in_a_user_namespace() -> None:
    if os.geteuid():
        pytest.skip("WAS NOT RUN: only root can become another user; the other test is this one")
    root = Path(__file__).parents[3]
    # The user may not enter the folders that this interpreter and the package are in: all is imported before.
    code = (
        f"import sys, os; sys.path.insert(0, {str(root)!r})\n"
        "import pytest, tests.containerizer.launchers.test_sandboxed_launcher\n"
        "from pathlib import Path\n"
        "from broker_mesos.containerizer.cgroups.driver import Driver\n"
        "from broker_mesos.containerizer.cgroups.limits import Limits\n"
        "from broker_mesos.containerizer.cgroups.probe import probe as probe_cgroups\n"
        "from tests.containerizer.cgroups.fake_kernel import FakeKernel\n"
        "from tests.containerizer.launchers.test_sandboxed_launcher import *\n"
        f"os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\n"
        "folder = Path(sys.argv[1]); (folder / 'work').mkdir()\n"
        "kernel = FakeKernel(folder / 'kernel')\n"
        "for each in ('cpu', 'memory', 'pids'): kernel.mount_v1(each)\n"
        "driver = probe_cgroups(str(folder / 'work'), files=kernel, proc=str(kernel.proc), root=str(kernel.root))\n"
        "assert isinstance(driver, Driver), driver\n"
        "test_a_launcher_starts_one_sandboxed_task_after_another_and_outlives_their_signals(driver, folder / 'work')\n"
    )
    with tempfile.TemporaryDirectory(prefix="bmesos-test-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        made = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120, check=False
        )
    if "Skipped" in made.stderr:
        was_not_run(made.stderr.splitlines()[-1])
    assert made.returncode == 0, made.stderr
