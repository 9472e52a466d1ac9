"""A launcher: what it becomes, what its tasks find, and how it ends."""

from __future__ import annotations

import errno
import os
import resource
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.launchers.launcher import Exit, Failure, Launcher, LauncherEvent
from broker_mesos.containerizer.launchers.profile import Profile, profile_of
from tests.containerizer.launchers.conftest import UID, run_task, wait_for

USER = Profile(Ids(UID, UID))


@pytest.fixture
def launcher(driver: Driver) -> Iterator[Launcher]:
    made = Launcher(driver.take(Limits()))
    yield made
    finish(made)


def finish(launcher: Launcher) -> int:
    """End a launcher; how it has ended."""
    launcher.kill()
    return os.waitstatus_to_exitcode(os.waitpid(launcher.pid, 0)[1])


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is no child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], 60)[0]
    os.close(fd)


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process refer to."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass  # that of the folder that was listed
    return found


def output(sandbox: str) -> str:
    return Path(sandbox, "stdout").read_text()


def test_a_launcher_runs_one_task_after_another(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile())
    first = run_task(launcher, sandbox, "echo $WHO; pwd; exit 3", WHO="me")
    assert isinstance(first, Exit) and (first.code, first.signal) == (3, None)
    assert launcher.joined and launcher.idle and launcher.pid in launcher.group.members()
    assert output(sandbox) == f"me\n{sandbox}\n"
    second = run_task(launcher, sandbox, "kill -TERM $$")
    assert isinstance(second, Exit) and (second.code, second.signal) == (None, signal.SIGTERM)


def test_a_task_that_cannot_start_is_a_failure_and_the_launcher_goes_on(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile())
    launcher.start("t", sandbox, ["no-such-program"], {"PATH": "/bin"})
    found: list[LauncherEvent] = []
    wait_for(launcher, lambda: found, found)
    assert found == [Failure("t", "No such program in PATH", False)]
    launcher.start("t", sandbox + "/no/such", ["/bin/true"], {})
    found.clear()
    wait_for(launcher, lambda: found, found)
    assert found == [Failure("t", "its sandbox: No such file or directory", True)]
    assert isinstance(run_task(launcher, sandbox, "exit 0"), Exit)


@pytest.mark.usefixtures("as_root")
def test_a_task_is_another_user_without_any_privilege(launcher: Launcher, user_sandbox: str) -> None:
    launcher.become(Profile(Ids(UID, UID, (UID + 1,)), rlimits=(("core", 0), ("nofile", 100))))
    run_task(
        launcher,
        user_sandbox,
        "id -u; id -G; ulimit -c; ulimit -n; ulimit -Hn; umask; grep -E 'Cap|NoNew' /proc/self/status",
    )
    lines = output(user_sandbox).splitlines()
    assert lines[:6] == [str(UID), f"{UID} {UID + 1}", "0", "100", "100", "0022"]
    values = dict(line.split(":\t") for line in lines[6:])
    assert values.pop("NoNewPrivs") == "1"
    assert set(values.values()) == {"0" * 16}, values


@pytest.mark.usefixtures("as_root")
def test_a_task_of_root_has_no_capabilities_either(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile(Ids(0, 0)))
    run_task(launcher, sandbox, "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u")
    assert output(sandbox).split() == ["0" * 16]


@pytest.mark.usefixtures("as_root")
def test_a_task_cannot_look_into_its_launcher(launcher: Launcher, user_sandbox: str) -> None:
    launcher.become(USER)
    run_task(launcher, user_sandbox, "cat /proc/$PPID/environ; ls /proc/$PPID/fd; echo $PPID")
    assert output(user_sandbox) == f"{launcher.pid}\n"
    assert Path(user_sandbox, "stderr").read_text().count("ermission denied") == 2


@pytest.mark.usefixtures("as_root")
def test_a_launcher_inherits_no_descriptor_and_no_lock(driver: Driver, sandbox: str, tmp_path: Path) -> None:
    with open(tmp_path / "secret", "w") as secret:
        first, second = Launcher(driver.take(Limits())), Launcher(driver.take(Limits()))
        wait_for(second, lambda: second.joined)
        links, ours = descriptors(second.pid), descriptors(os.getpid())
        assert secret.name in ours and sum(link.startswith("socket:") for link in links) == 1
        assert set(links) & set(ours) <= {os.devnull}
    # Neither keeps the other from seeing that the spawner has closed its end.
    first.close()
    assert os.waitpid(first.pid, 0)[1] == 0
    finish(second)


def test_a_task_reads_its_input_and_fails_to_start_without_it(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile())
    launcher.start("t", sandbox, ["/bin/cat"], {}, stdin=True)
    found: list[LauncherEvent] = []
    wait_for(launcher, lambda: found, found)
    assert found == [Failure("t", "No such file or directory", False)]
    Path(sandbox, "stdin").write_text("given\n")
    found.clear()
    launcher.start("t", sandbox, ["/bin/cat"], {}, stdin=True)
    wait_for(launcher, lambda: len(found) == 2, found)
    assert output(sandbox) == "given\n"


@pytest.mark.parametrize("in_cgroup", [True, False])
def test_a_launcher_whose_spawner_is_gone_ends_and_its_task_runs_on(
    driver: Driver, sandbox: str, in_cgroup: bool
) -> None:
    launcher = Launcher(driver.take(Limits()) if in_cgroup else None)
    launcher.become(Profile())
    os.mkfifo(f"{sandbox}/go")
    launcher.start("t", sandbox, ["/bin/sh", "-c", "read line <go; echo $line"], {"PATH": "/bin"})
    wait_for(launcher, lambda: launcher.tasks.get("t"))
    main = os.pidfd_open(launcher.tasks["t"])
    launcher.close()
    assert os.waitpid(launcher.pid, 0)[1] == 0
    Path(sandbox, "go").write_text("late\n")
    assert select.select([main], [], [], 60)[0]
    os.close(main)
    assert output(sandbox) == "late\n"


def test_a_launcher_without_a_cgroup_starts_many_tasks_and_takes_their_groups_along(sandbox: str) -> None:
    launcher = Launcher()
    launcher.become(Profile())
    found: list[LauncherEvent] = []
    text = "sleep 1000 & echo $! >> left; exit $N"
    for number in range(20):
        launcher.start(f"t{number}", sandbox, ["/bin/sh", "-c", text], {"PATH": "/bin:/usr/bin", "N": str(number)})
    wait_for(launcher, lambda: not launcher.tasks, found)
    codes = {each.task_id: each.code for each in found if isinstance(each, Exit)}
    assert codes == {f"t{number}": number for number in range(20)}
    for pid in map(int, Path(sandbox, "left").read_text().split()):
        wait_until_gone(pid)
    assert finish(launcher) == -9


def test_the_group_of_a_task_that_is_spared_outlives_its_main_process(sandbox: str) -> None:
    launcher = Launcher()
    launcher.become(Profile())
    os.mkfifo(f"{sandbox}/go")
    launcher.start("t", sandbox, ["/bin/sh", "-c", "sleep 1000 & echo $! > left; read x < go"], {"PATH": "/bin"})
    wait_for(launcher, lambda: launcher.tasks.get("t"))
    launcher.spare(launcher.tasks["t"])
    Path(sandbox, "go").write_text("x\n")
    wait_for(launcher, lambda: launcher.idle)
    left = int(Path(sandbox, "left").read_text())
    os.kill(left, 0)
    os.kill(left, signal.SIGKILL)
    finish(launcher)


def test_a_launcher_that_is_killed_is_dead_for_the_spawner(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile())
    wait_for(launcher, lambda: launcher.ready)
    os.kill(launcher.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not launcher.dead and time.monotonic() < deadline:
        launcher.receive()
    assert launcher.dead and not launcher.idle
    with pytest.raises(OSError):
        launcher.start("t", sandbox, ["/bin/true"], {})


def test_a_launcher_that_cannot_join_its_cgroup_ends_and_names_the_reason(driver: Driver) -> None:
    group = driver.take(Limits())
    shutil.rmtree(group.paths[-1])
    launcher = Launcher(group)
    os.waitpid(launcher.pid, 0)
    launcher.receive()
    assert launcher.dead
    assert launcher.refused == f"cannot join {group.paths[0]}: No such file or directory"


def test_a_large_environment_reaches_the_task(launcher: Launcher, sandbox: str) -> None:
    launcher.become(Profile())
    many = {f"N{number}": "x" * 100_000 for number in range(15)}
    ended = run_task(launcher, sandbox, "printf %s $N0$N14 | wc -c", **many)
    assert isinstance(ended, Exit | Failure)
    if isinstance(ended, Exit):
        assert output(sandbox).strip() == "200000"


def test_a_command_that_is_too_large_to_be_passed_is_an_error_and_the_launcher_goes_on(
    launcher: Launcher, sandbox: str
) -> None:
    launcher.become(Profile())
    with pytest.raises(OSError, match="too large") as caught:
        launcher.start("t", sandbox, ["/bin/true", "x" * (40 << 20)], {})
    assert caught.value.errno == errno.EMSGSIZE and not launcher.tasks
    assert isinstance(run_task(launcher, sandbox, "true"), Exit)


def test_a_task_above_the_hard_limit_is_refused_in_one_line(launcher: Launcher) -> None:
    launcher.become(Profile(Ids(UID, UID)) if os.geteuid() != 0 else Profile(rlimits=(("nofile", 1 << 40),)))
    deadline = time.monotonic() + 20
    while not launcher.dead and time.monotonic() < deadline:
        launcher.receive()
    if os.geteuid() == 0:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert launcher.refused == f"rlimit nofile {1 << 40} is above the agent's hard limit {hard}"
    else:
        assert launcher.refused == f"this agent cannot run tasks as user {UID}: Operation not permitted"


def test_a_profile_survives_its_way_through_json() -> None:
    profile = Profile(Ids(1, 2, (3, 4)), rlimits=(("core", 0), ("nofile", 9)))
    assert profile_of([[1, 2, [3, 4]], [["core", 0], ["nofile", 9]], False, 0o022]) == profile
    with pytest.raises(ValueError, match="rlimit nofiles is not known here"):
        profile_of([None, [["nofiles", 1]]])
