"""The scope of systemd that the spawner of tasks with limits is started in, with a systemd-run of the test."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker_mesos.containerizer.cgroups.mounts import hierarchies
from broker_mesos.containerizer.process import spawner_connector, spawner_scope
from broker_mesos.containerizer.process.spawner_scope import SpawnerScope
from broker_mesos.errors import Unavailable
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import Runner, gone
from tests.containerizer.held import EAT, WAIT, HeldRunner, cgroups_of

SCOPE = '#!/bin/sh\nfor word in "$@"; do echo "$word"; done > {log}\n'
RUNS = SCOPE + 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
HANGS = SCOPE + "exec sleep 1000\n"
FAILS = SCOPE + "echo 'Failed to start transient scope unit: Access denied' >&2; exit 1\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "words"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with systemd, and a folder for programs."""
    folder = tmp_path / "bin"
    (tmp_path / "systemd").mkdir()
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setitem(SpawnerScope.__init__.__kwdefaults__, "systemd", str(tmp_path / "systemd"))
    return folder


def install(folder: Path, text: str) -> None:
    (folder / "systemd-run").write_text(text)
    (folder / "systemd-run").chmod(0o755)


@pytest_asyncio.fixture
async def scoped(held_folder: Path, systemd: Path) -> AsyncIterator[HeldRunner]:
    """An agent that is not started yet."""
    made = HeldRunner(held_folder)
    yield made
    await made.containerizer.stop(kill_tasks=True, grace=0.0)


async def start(runner: HeldRunner) -> None:
    try:
        await runner.containerizer.start()
    except Unavailable as error:
        if "cannot start the helper process" in str(error):
            raise
        was_not_run(str(error))


async def test_the_spawner_of_tasks_with_limits_is_started_in_a_scope_that_is_delegated_to_it(
    scoped: HeldRunner, systemd: Path, log: Path
) -> None:
    install(systemd, RUNS.format(log=log))
    await start(scoped)
    scoped.start_task("a", "exit 3")
    assert (await scoped.exited("a")).exit_code == 3
    options, rest = log.read_text().split("--\n", 1)[0].splitlines(), log.read_text().splitlines()
    unit = next(word for word in rest if word.startswith("--unit="))
    assert unit.startswith(f"--unit=bmesos-tasks-{scoped.work_dir.stat().st_ino:x}-{os.getpid()}-")
    user = [] if os.geteuid() == 0 else ["--user"]
    # Not the share of one CPU, nor the default part of the machine's processes.
    held = [f"--property={each}" for each in ("Delegate=yes", "CPUWeight=100", "TasksMax=infinity")]
    assert rest[: rest.index("--")] == [*user, "--scope", "--collect", "--quiet", *held, unit], options
    assert rest[rest.index("--") + 2 : rest.index("--") + 4] == ["-I", "-S"]


async def test_each_spawner_has_a_scope_of_its_own(scoped: HeldRunner, systemd: Path, log: Path) -> None:
    install(systemd, RUNS.format(log=log))
    await start(scoped)
    first = log.read_text()
    before = scoped.containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    await gone(before)
    scoped.start_task("a", "exit 4")
    assert (await scoped.exited("a")).exit_code == 4
    assert log.read_text() != first and log.read_text().count("--unit=") == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [(FAILS, "systemd-run did not start it (it ended without a message; see "), ("", "there is no systemd-run")],
)
async def test_without_a_scope_the_spawner_is_started_all_the_same_with_one_warning(
    scoped: HeldRunner,
    systemd: Path,
    log: Path,
    text: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if text:
        install(systemd, text.format(log=log))
    else:
        monkeypatch.setattr(spawner_scope.shutil, "which", lambda name, path: None)
    with caplog.at_level(logging.WARNING):
        await start(scoped)
        before = scoped.containerizer.spawner_pid
        os.kill(before, signal.SIGKILL)
        await gone(before)
        scoped.start_task("a", "exit 4")
        assert (await scoped.exited("a")).exit_code == 4
    warnings = [each.getMessage() for each in caplog.records if "scope" in each.getMessage()]
    assert len(warnings) == 1 and reason in warnings[0], warnings
    if text:
        assert "Access denied" in (scoped.work_dir / "meta" / "spawner.log").read_text()


async def test_a_service_manager_that_hangs_takes_none_of_the_time_of_the_start_without_a_scope(
    scoped: HeldRunner, systemd: Path, log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(systemd, HANGS.format(log=log))
    connector = scoped.containerizer._connector
    run = connector._run

    def shortly(command: list[str], env: dict[str, str]) -> str:
        """The time for a start in a scope is over soon; after it there is time as usual."""
        monkeypatch.setattr(spawner_connector, "START_TIMEOUT_SECONDS", 0.5 if "--scope" in command else 60.0)
        return run(command, env)

    monkeypatch.setattr(spawner_connector, "START_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(connector, "_run", shortly)
    with caplog.at_level(logging.WARNING):
        await start(scoped)
    scoped.start_task("a", "exit 4")
    assert (await scoped.exited("a")).exit_code == 4
    assert len([each for each in caplog.records if "scope" in each.getMessage()]) == 1


async def test_without_limits_without_systemd_and_in_a_task_there_is_no_scope(
    work_dir: Path, systemd: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(systemd, RUNS.format(log=log))
    plain = Runner(work_dir)
    await plain.containerizer.start()
    await plain.containerizer.stop(kill_tasks=True, grace=0.0)
    assert not log.exists()
    warnings: list[str] = []
    path = os.environ["PATH"]
    assert SpawnerScope(tmp_path, warnings.append, systemd=str(tmp_path / "none")).command(["x"], path) is None
    monkeypatch.setenv("BMESOS_SANDBOX", "/x")
    assert SpawnerScope(tmp_path, warnings.append).command(["x"], path) is None
    assert warnings == []


def test_a_user_is_asked_for_a_service_manager_of_its_own(
    systemd: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(systemd, RUNS.format(log=log))
    monkeypatch.setattr(spawner_scope.os, "geteuid", lambda: 1000)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    warnings: list[str] = []
    assert SpawnerScope(tmp_path, warnings.append).command(["x"], os.environ["PATH"]) is None
    assert len(warnings) == 1 and "loginctl enable-linger" in warnings[0]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    scope = SpawnerScope(tmp_path, warnings.append)
    command = scope.command(["x"], os.environ["PATH"])
    assert command is not None and command[1:3] == ["--user", "--scope"] and command[-2:] == ["--", "x"]
    assert scope.env({"PATH": "/bin"}) == {"PATH": "/bin", "XDG_RUNTIME_DIR": "/run/user/1000"}


async def test_a_spawner_that_is_started_in_another_cgroup_goes_to_where_its_tasks_are(
    scoped: HeldRunner, systemd: Path, log: Path, tmp_path: Path
) -> None:
    """As when the scope of the first one lasts for its tasks, and the next one gets a scope of its own."""
    folders = [each for each in hierarchies() if each.version == 1 and each.controllers & {"memory", "pids", "cpu"}]
    if not folders or os.geteuid() != 0:
        pytest.skip("WAS NOT RUN: needs root and cgroup v1")
    other = [Path(each.own, f"bmesos-test-scope-{os.getpid()}") for each in folders]
    joins = "".join(f"echo $$ > {each}/cgroup.procs\n" for each in other)
    for each in other:
        each.mkdir()
    try:
        install(systemd, RUNS.format(log=log))
        await start(scoped)
        scoped.start_task("a", WAIT + EAT)
        scoped.start_task("b", WAIT + "exit 6")
        for name in ("a", "b"):
            await scoped.started(name)
        bases = cgroups_of(scoped.work_dir)
        install(systemd, RUNS.format(log=log).replace("exec", joins + "exec"))
        before = scoped.containerizer.spawner_pid
        os.kill(before, signal.SIGKILL)
        await gone(before)
        scoped.start_task("c", "exit 7")
        assert (await scoped.exited("c")).exit_code == 7
        assert cgroups_of(scoped.work_dir) == bases
        for name in ("a", "b"):
            scoped.go(name)
        assert (await scoped.exited("a")).limit_kind == "memory"
        assert (await scoped.exited("b")).limit == ""
        await scoped.containerizer.stop(kill_tasks=True, grace=0.0)
    finally:
        for each in other:
            each.rmdir()
