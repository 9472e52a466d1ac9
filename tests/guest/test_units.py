"""An agent as a service of systemd on cgroup v2 alone: what its tasks have, and whether they outlive its restart.

`make test-cgroup2` runs these tests in a guest machine, as root; the masters of their cluster are outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.client import Client
from broker_mesos.client.job import Job
from broker_mesos.core.api.agents import AgentView
from tests.e2e.waiting import until
from tests.guest.machine import (
    ALICE,
    BMESOS,
    CGROUPS,
    LONG,
    SEEN,
    Task,
    Unit,
    cgroups_left,
    command,
    ran,
    release,
    seen,
    task,
)

pytestmark = pytest.mark.skipif(
    SEEN not in os.environ, reason="WAS NOT RUN: these are for the guest of make test-cgroup2"
)

EAT = "python3 -I -S -c 'bytearray(200 << 20)'"
CODES = {"a": 3, "b": 4, "c": 5}
# An emulated machine is slow.
PATIENT = f"TimeoutStartSec={LONG:g}\nTimeoutStopSec={LONG:g}\nWatchdogSec={LONG:g}\n"
# The drop-in of docs/running-agents.md.
HELD = "User=root\nEnvironment=BMESOS_ISOLATION=limits\n"
USER_UNIT = Path("/home/alice/.config/systemd/user/bmesos-agent.service")


def broker() -> str:
    return Path("/etc/bmesos/broker-url").read_text()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(broker(), cluster="guest", timeout=120, insecure_plaintext=True) as made:
        yield made


def only_on(name: str) -> dict[str, object]:
    """Options of a job that runs on one agent."""
    return {"constraints": f"who=={name}", "mem": 64, "cpus": 0.25, "pids": 32}


def submit(client: Client, where: str, names: dict[str, int]) -> dict[str, Job]:
    """A job of one task for each name, with its exit code."""
    return {
        name: client.submit(command(f"{where}-{name}", code), **only_on(where))  # type: ignore[arg-type]
        for name, code in names.items()
    }


def agent(client: Client, name: str) -> AgentView:
    """The agent with this attribute, once it is registered."""

    def look() -> AgentView | None:
        return next(
            (each for each in client.agents() if each.attributes.get("who") == name and each.state == "registered"),
            None,
        )

    return until(f"agent {name} is registered", look, LONG)


def ends(jobs: dict[str, Job]) -> dict[str, tuple[str, int | None, int]]:
    """How the tasks of jobs have ended: state, code, and number of attempts."""
    found = {}
    for name, job in jobs.items():
        job.wait(timeout=LONG)
        (one,) = job.view().tasks
        found[name] = (one.state, one.exit_code, one.attempt)
    return found


def drop_in(name: str, text: str) -> Unit:
    """The unit of deploy/systemd with a drop-in."""
    folder = Path("/etc/systemd/system/bmesos-agent.service.d")
    folder.mkdir(exist_ok=True)
    (folder / "guest.conf").write_text(f"[Service]\nEnvironment=BMESOS_ATTRIBUTES=who:{name}\n{PATIENT}{text}")
    return Unit("bmesos-agent")


def survive(tasks: list[Task], unit: Unit, where: str) -> None:
    """Restart a service beside tasks, and have systemd read its units anew."""
    unit.restart()
    assert [task(f"{where}-{name}") for name in CODES] == tasks
    unit.call("daemon-reload")
    assert unit.is_active() and [task(f"{where}-{name}") for name in CODES] == tasks


def end_once(jobs: dict[str, Job], where: str) -> None:
    """Let tasks end, and assert that each has ended once, with its code."""
    for name in CODES:
        release(f"{where}-{name}")
    assert ends(jobs) == {name: ("failed", code, 1) for name, code in CODES.items()}


def is_held(one: Task) -> None:
    """Assert that a task of ``only_on`` has its limits; those of its launcher are added."""
    assert one.limits == {
        "memory.max": str(65 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "33",
        "cpu.weight": "25",
    }


def ends_for_memory(client: Client, where: str) -> None:
    job = client.submit(EAT, **only_on(where))  # type: ignore[arg-type]
    assert job.wait(timeout=LONG).exit_code == 137
    (one,) = job.view().tasks
    assert "used more than its mem:64 MB (peak 64 MB)" in one.message
    seen(f"{where}: {one.message}")


@pytest.mark.timeout(4 * LONG)
def test_tasks_with_limits_outlive_restarts_of_the_unit_in_both_kill_modes_and_keep_their_limits(
    client: Client,
) -> None:
    where = "root"
    unit = drop_in(where, f"{HELD}KillMode=process\n")
    try:
        unit.start()
        found = agent(client, where)
        assert {"cpu", "mem", "pids", "oom", "kill", "users"} <= set(found.isolation), found
        jobs = submit(client, where, CODES)
        tasks = [task(f"{where}-{name}") for name in CODES]
        for each in tasks:
            is_held(each)
            assert each.cgroup.startswith("/system.slice/bmesos-tasks-") and ".scope/bmesos-" in each.cgroup
        scope = CGROUPS / tasks[0].cgroup.split(".scope/")[0][1:]
        assert Path(f"{scope}.scope/pids.max").read_text() == "max\n"
        assert Path(f"{scope}.scope/cpu.weight").read_text() == f"{found.total.get('cpus') // 10}\n"  # of thousandths
        for kill_mode in ("process", "control-group"):
            drop_in(where, f"{HELD}KillMode={kill_mode}\n").call("daemon-reload")
            assert unit.show("KillMode") == kill_mode
            survive(tasks, unit, where)
        end_once(jobs, where)
        ends_for_memory(client, where)
        seen(f"{where}: {' '.join(found.isolation)}; {tasks[0].cgroup} {dict(tasks[0].limits)}")
    finally:
        unit.stop()
    until("the scope of the tasks has ended", lambda: cgroups_left() == [], LONG)


@pytest.mark.timeout(3 * LONG)
def test_tasks_without_limits_outlive_a_restart_of_the_unit_as_it_is_shipped(client: Client) -> None:
    unit = drop_in("shipped", "")
    try:
        unit.start()
        assert (unit.show("User"), unit.show("KillMode")) == ("bmesos", "process")
        job = client.submit(command("shipped-a", 6), constraints="who==shipped")
        runs = until("it runs", lambda: ran("pgrep", "-f", "/run/guest/shipped-[a] ") or None, LONG)
        assert ran("stat", "-c", "%U", f"/proc/{runs.split()[0]}") == "bmesos-task"
        unit.restart()
        assert ran("pgrep", "-f", "/run/guest/shipped-[a] ") == runs
        release("shipped-a")
        assert ends({"a": job}) == {"a": ("failed", 6, 1)}
    finally:
        unit.stop()


@pytest.fixture
def manager_of_alice() -> Iterator[None]:
    """A service manager of the ordinary user, which goes on when nobody is logged in."""
    ran("loginctl", "enable-linger", "alice")
    until("it runs", lambda: Unit(f"user@{ALICE}").is_active(), LONG)
    yield
    ran("loginctl", "disable-linger", "alice")


@pytest.mark.timeout(3 * LONG)
def test_an_ordinary_user_holds_tasks_to_limits_in_a_scope_of_the_own_service_manager(
    client: Client, manager_of_alice: None
) -> None:
    USER_UNIT.parent.mkdir(parents=True)
    USER_UNIT.write_text(
        "[Service]\nType=notify\nNotifyAccess=main\nKillMode=process\nWorkingDirectory=/etc/bmesos\n"
        f"ExecStart={BMESOS} agent --work-dir %S/bmesos --isolation limits --attributes who:alice\n"
        f"Environment=BMESOS_BROKER_URL={broker()}\nStateDirectory=bmesos\n{PATIENT}"
    )
    ran("chown", "-R", "alice:", "/home/alice")
    unit = Unit("bmesos-agent", of_user=True)
    try:
        unit.start()
        words = agent(client, "alice").isolation
        assert {"cpu", "mem", "pids", "oom", "kill"} <= set(words) and "users" not in words
        jobs = submit(client, "alice", CODES)
        tasks = [task(f"alice-{name}") for name in CODES]
        for each in tasks:
            is_held(each)
            assert each.cgroup.startswith(f"/user.slice/user-{ALICE}.slice/user@{ALICE}.service/")
        survive(tasks, unit, "alice")
        end_once(jobs, "alice")
        ends_for_memory(client, "alice")
        seen(f"alice: {' '.join(words)}; {tasks[0].cgroup} {dict(tasks[0].limits)}")
    finally:
        unit.stop()
    until("the scope of the tasks has ended", lambda: cgroups_left() == [], LONG)


def warnings_of(client: Client, where: str, tmp_path: Path, *start: str, **options: str) -> tuple[str, list[str]]:
    """Start an agent that holds tasks to limits where that is possible. Returns why it does not, and its warnings."""
    log = tmp_path / "log"
    words = ["agent", "--isolation", "auto", "--work-dir", options["work_dir"], "--attributes", f"who:{where}"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*start, BMESOS, *words], stdout=file, stderr=file, cwd="/etc/bmesos", env=environment()
        )
    try:
        reason = agent(client, where).not_isolated
    finally:
        process.terminate()
        process.wait(LONG)
    return reason, [each for each in log.read_text().splitlines() if "warning" in each]


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "BMESOS_BROKER_URL": broker(), "NO_COLOR": "1"}


@pytest.mark.timeout(3 * LONG)
def test_an_ordinary_user_without_delegation_gets_one_warning_with_the_reason(client: Client, tmp_path: Path) -> None:
    start = ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups"]
    folder = Path("/home/alice/plain")
    reason, warnings = warnings_of(client, "plain", tmp_path, *start, work_dir=str(folder))
    assert "is not delegated to us: run under systemd with a scope, or as root" in reason
    assert len(warnings) == 1 and reason in warnings[0], warnings
    seen(f"ordinary user without delegation: {warnings[0]}")
    words = ["agent", "--isolation", "limits", "--work-dir", str(folder)]
    done = subprocess.run(
        [*start, BMESOS, *words],
        cwd="/etc/bmesos",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 1 and reason in done.stderr, done
    seen(f"the same with --isolation limits: exit code {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    shutil.rmtree(folder)


@pytest.mark.timeout(3 * LONG)
def test_in_a_container_whose_cgroups_are_read_only_there_is_one_warning_with_the_reason(
    client: Client, tmp_path: Path
) -> None:
    enter = 'mount -o remount,bind,ro /sys/fs/cgroup && mount -t tmpfs none /run/systemd && exec "$@"'
    start = ["unshare", "--mount", "sh", "-c", enter, "sh"]
    reason, warnings = warnings_of(client, "container", tmp_path, *start, work_dir=str(tmp_path / "work"))
    assert "is mounted read-only, as in most containers" in reason
    assert len(warnings) == 1 and reason in warnings[0], warnings
    seen(f"container: {warnings[0]}")
