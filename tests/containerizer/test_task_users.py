"""Tasks that run as users of their own, started by an agent that may become them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.containerizer.credentials import Ids, acting_as, missing_capabilities
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.task_users import TaskUsers, find_task_users
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed, TaskExited
from tests.containerizer.conftest import (
    GAMES,
    NOBODY,
    TIMEOUT,
    Runner,
    gone,
    output,
    runner_of,
)

pytestmark = pytest.mark.skipif(bool(missing_capabilities()), reason="needs the right to become another user")


def seats(runner: Runner) -> list[int]:
    """The children of the spawner that are not tasks."""
    found = proctree.children(runner.containerizer.spawner_pid)
    assert found is not None
    return [pid for pid in found if os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe")]


async def test_a_task_has_the_ids_of_its_user_and_no_right_to_more(separate: Runner) -> None:
    text = "id -u; id -G; grep -E '^(CapPrm|CapEff|CapAmb|CapInh|NoNewPrivs)' /proc/self/status | cut -f2; umask"
    shown = (await output(separate, "a", text)).split()
    assert shown[:2] == ["65534", "65534"]
    assert shown[2:7] == ["0" * 16] * 4 + ["1"]
    assert (await output(separate, "b", "id -un", GAMES)).strip() == GAMES


async def test_a_task_leads_a_session_and_has_no_descriptor_of_ours(separate: Runner) -> None:
    shown = await output(separate, "a", "exec ls /proc/self/fd")
    assert shown.split() == ["0", "1", "2", "3"], shown  # ls itself has opened the last one
    pid, session = (await output(separate, "b", "cut -d' ' -f1,6 /proc/$$/stat")).split()
    assert pid == session


async def test_the_environment_is_a_list(separate: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {line.partition("=")[0] for line in (await output(separate, "a", "env")).splitlines()}
    allowed = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "BMESOS_TASK_ID", "BMESOS_SANDBOX", "PWD"}
    assert names <= allowed | {"OLDPWD", "SHLVL", "_"}, names
    assert (await output(separate, "b", "echo $USER $LOGNAME $HOME", GAMES)).split()[:2] == [GAMES, GAMES]


async def test_a_sandbox_is_closed_to_other_users(separate: Runner) -> None:
    await output(separate, "a", "echo secret > file")
    folder = separate.file("a", "file").parent
    assert folder.stat().st_mode & 0o7777 == 0o700 and folder.owner() == NOBODY
    assert "denied" in await output(separate, "b", f"cat {folder}/file 2>&1; ls {folder} 2>&1; true", GAMES)
    assert "secret" not in await output(separate, "c", f"cat {folder}/file 2>&1; true", GAMES)
    assert await output(separate, "d", f"cat {folder}/file") == "secret\n"


async def test_the_work_folder_is_not_listed_and_the_agents_data_not_read(separate: Runner, open_dir: Path) -> None:
    text = (
        f"ls {open_dir} {open_dir}/sandboxes {open_dir}/volumes {open_dir}/meta 2>&1; cat {open_dir}/meta/* 2>&1; true"
    )
    shown = await output(separate, "a", text)
    assert shown.count("denied") == 5 and len(shown.splitlines()) == 5, shown


async def test_input_folder_and_second_names_belong_to_the_user(separate: Runner) -> None:
    shown = await output(
        separate, "a", "cat; pwd; stat -c %U .", stdin=b"hello\n", directory="sub", outputs=(("stdout", "out/result"),)
    )
    assert shown.splitlines() == ["hello", str(separate.file("a", "sub")), NOBODY]
    assert os.path.samefile(separate.file("a", "stdout"), separate.file("a", "out/result"))
    assert separate.file("a", "out").owner() == NOBODY


async def test_a_user_that_is_not_allowed_is_refused(separate: Runner) -> None:
    separate.containerizer.launch(LaunchSpec("a", ("true",), False, {}, 1.0, user="root"))
    end = await separate.outcome("a")
    assert isinstance(end, StartFailed) and not end.machine
    assert end.message == "its agent runs no tasks as 'root': its task_users are nobody, games"


async def test_an_agent_that_runs_tasks_as_itself_refuses_other_users(open_dir: Path) -> None:
    runner = runner_of(open_dir, None)
    await runner.containerizer.start()
    runner.containerizer.launch(LaunchSpec("a", ("true",), False, {}, 1.0, user=NOBODY))
    end = await runner.outcome("a")
    assert isinstance(end, StartFailed) and "as 'root' alone, not as 'nobody'" in end.message and not end.machine
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_starts_that_fail_are_reported_as_for_other_tasks(separate: Runner) -> None:
    separate.launch("a", "no-such-program")
    separate.launch("b", "/etc/passwd")
    separate.launch("c", "echo here; kill -9 $$", shell=True)
    end = await separate.outcome("a")
    assert end == StartFailed("a", "cannot start 'no-such-program': No such program in PATH", False)
    assert await separate.outcome("b") == StartFailed("b", "cannot start '/etc/passwd': Permission denied", False)
    killed = await separate.outcome("c")
    assert isinstance(killed, TaskExited) and (killed.exit_code, killed.signal) == (None, 9)


async def test_many_tasks_of_two_users_end_once_each(separate: Runner) -> None:
    for at in range(200):
        user = (NOBODY, GAMES)[at % 2]
        separate.containerizer.launch(LaunchSpec(f"t{at}", (f"exit {at % 5}",), True, {}, 1.0, user=user))
    ends = [await separate.outcome(f"t{at}") for at in range(200)]
    assert [end.exit_code if isinstance(end, TaskExited) else end for end in ends] == [at % 5 for at in range(200)]
    assert len(separate.events) == 400


async def test_a_kill_ends_the_whole_tree_with_those_that_have_left_the_session(separate: Runner) -> None:
    text = "setsid sleep 1000 & echo $!; env -i /usr/bin/setsid sleep 1000 & sleep 1000 & echo $!; wait"
    separate.launch("a", text, shell=True)
    inside = [int(line) for line in await separate.lines("a", 2)]
    separate.containerizer.kill("a", 1.0)
    end = await separate.outcome("a")
    assert isinstance(end, TaskExited) and end.signal == signal.SIGTERM
    await gone(*inside)


async def test_a_kill_that_comes_with_the_launch_is_not_lost(separate: Runner) -> None:
    for at in range(20):
        separate.launch(f"t{at}", "sleep", "1000")
        separate.containerizer.kill(f"t{at}", 0.0)
    for at in range(20):
        end = await separate.outcome(f"t{at}")
        assert isinstance(end, TaskExited) and end.signal == signal.SIGKILL


async def test_what_outlives_a_task_is_killed(separate: Runner) -> None:
    separate.launch("a", "setsid sleep 1000 & echo $!; exit 0", shell=True)
    (left,) = await separate.lines("a", 1)
    await separate.outcome("a")
    await gone(int(left))


async def test_children_in_the_group_have_the_grace_of_a_kill(separate: Runner) -> None:
    separate.launch("a", "(trap 'echo saved; exit' TERM; echo up; while :; do sleep 0.05; done) & wait", shell=True)
    assert await separate.lines("a", 1) == ["up"]
    separate.containerizer.kill("a", 20.0)
    await separate.outcome("a")
    assert await separate.lines("a", 2) == ["up", "saved"]


async def test_queued_tasks_start_in_turn(separate: Runner) -> None:
    for at in range(6):
        spec = LaunchSpec(f"t{at}", (f"echo {at}",), True, {}, 1.0, queue="q", width=1, user=(NOBODY, GAMES)[at % 2])
        separate.containerizer.launch(spec)
    for at in range(6):
        assert isinstance(await separate.outcome(f"t{at}"), TaskExited)


# -- seats that their own tasks attack ----------------------------------------------------------------------


async def test_the_end_of_a_task_is_known_although_its_seat_was_killed(separate: Runner) -> None:
    separate.launch("b", "sleep", "1000")
    await separate.started("b")
    (seat,) = seats(separate)
    os.kill(seat, signal.SIGKILL)
    await gone(seat)
    separate.launch("c", "python3 -I -S -c 'bytearray(150 << 20)'; exit 5", shell=True)
    end = await separate.outcome("c")
    assert isinstance(end, TaskExited) and end.exit_code == 5
    assert end.measured_by == "wait" and (end.memory_peak or 0) > 150 << 20
    separate.containerizer.kill("b", 0.0)
    end = await separate.outcome("b")
    assert isinstance(end, TaskExited) and end.signal == signal.SIGKILL and end.measured_by == "wait"


async def test_a_task_that_kills_its_seat_ends_with_its_own_code(separate: Runner) -> None:
    await output(separate, "first", "true")
    (seat,) = seats(separate)
    separate.launch("a", f"kill -9 {seat}; while [ -e /proc/{seat} ]; do sleep 0.01; done; exit 7", shell=True)
    end = await separate.outcome("a")
    assert isinstance(end, TaskExited) and end.exit_code == 7


async def test_a_seat_that_a_task_has_stopped_is_replaced(separate: Runner) -> None:
    await output(separate, "first", "true")
    (seat,) = seats(separate)
    separate.launch("a", f"kill -STOP {seat}; while [ -e /proc/{seat} ]; do sleep 0.01; done; exit 7", shell=True)
    end = await separate.outcome("a")
    assert isinstance(end, TaskExited) and end.exit_code == 7
    await gone(seat)
    await output(separate, "b", "true")


async def test_a_seat_whose_limits_a_task_has_lowered_is_replaced(separate: Runner) -> None:
    await output(separate, "first", "true")
    (seat,) = seats(separate)
    await output(separate, "a", f"prlimit --pid {seat} --nofile=3:3")
    await output(separate, "b", "true")
    separate.launch("c", "sleep", "1000")
    await gone(seat)  # it has no tasks any more, which is looked at while others run


async def test_a_seat_cannot_be_read_or_traced_by_its_tasks(separate: Runner) -> None:
    await output(separate, "first", "true")
    (seat,) = seats(separate)
    shown = await output(
        separate,
        "a",
        f"for f in environ mem maps; do head -c1 /proc/{seat}/$f 2>&1; done; ls /proc/{seat}/fd 2>&1; true",
    )
    assert shown.count("denied") == 4 and len(shown.splitlines()) == 4, shown


async def test_nothing_of_the_seats_is_left_when_the_agent_ends_its_tasks(open_dir: Path, users: TaskUsers) -> None:
    runner = runner_of(open_dir, users)
    await runner.containerizer.start()
    await output(runner, "a", "true")
    await output(runner, "b", "true", GAMES)
    pids = [runner.containerizer.spawner_pid, *seats(runner)]
    assert len(pids) == 3
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
    await gone(*pids)


# -- restarts ---------------------------------------------------------------------------------------------


async def test_the_next_agent_finds_running_and_ended_tasks(open_dir: Path, users: TaskUsers) -> None:
    first = runner_of(open_dir, users)
    await first.containerizer.start()
    first.launch("a", "while [ ! -e go ]; do sleep 0.02; done; exit 4", shell=True)
    await first.started("a")
    await first.containerizer.stop(kill_tasks=False)
    second = runner_of(open_dir, users)
    (found,) = await second.containerizer.start()
    assert found.running
    second.file("a", "go").touch()
    end = await second.outcome("a")
    assert isinstance(end, TaskExited) and end.exit_code == 4
    await second.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_tasks_outlive_the_spawner_and_are_killed_by_the_next(separate: Runner) -> None:
    separate.launch("a", "sleep", "1000")
    started = await separate.started("a")
    before = separate.containerizer.spawner_pid
    old_seats = seats(separate)
    os.kill(before, signal.SIGKILL)
    await gone(*old_seats)
    async with asyncio.timeout(TIMEOUT):
        while separate.containerizer.spawner_pid == before:
            await asyncio.sleep(0.01)
    assert proctree.look(started.pid) is not None
    separate.containerizer.kill("a", 0.0)
    end = await separate.outcome("a")
    assert isinstance(end, TaskExited) and end.exit_code is None
    assert [event for event in separate.of("a") if isinstance(event, TaskExited)] == [end]


async def test_an_older_spawner_is_not_asked_to_start_tasks_of_users(
    separate: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(separate.containerizer, "_version", 3)
    separate.launch("a", "true")
    end = await separate.outcome("a")
    assert isinstance(end, StartFailed) and end.machine and "earlier release" in end.message
    async with asyncio.timeout(TIMEOUT):
        while separate.containerizer._version == 3:
            await asyncio.sleep(0.01)
    await output(separate, "b", "true")  # nothing ran on the older one, and so it was replaced


# -- rights ---------------------------------------------------------------------------------------------------


def test_acting_as_a_user_ends_with_the_block(secret: Path) -> None:
    with pytest.raises(PermissionError), acting_as(Ids(65534, 65534)):
        secret.read_text()
    assert secret.read_text() == "secret"


def test_groups_of_this_process_give_no_rights_to_whom_it_acts_as(secret: Path) -> None:
    os.chown(secret, -1, 60)
    secret.chmod(0o640)
    own = os.getgroups()
    os.setgroups([*own, 60])
    try:
        with pytest.raises(PermissionError), acting_as(Ids(65534, 65534)):
            secret.read_text()
        assert 60 in os.getgroups()
    finally:
        os.setgroups(own)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no-such-user", "there is no user 'no-such-user' on this machine for tasks to run as: useradd --system"),
        ("root", "tasks do not run as 'root', which is root: name another user, or give --allow-root"),
    ],
)
def test_a_user_that_cannot_be_used_is_one_line(name: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_task_users(NOBODY, [name], allow_root=False)
    assert str(caught.value).startswith(problem) and "\n" not in str(caught.value)


def test_root_is_allowed_on_demand() -> None:
    assert find_task_users("root", [], allow_root=True).default.ids.uid == 0


def test_a_folder_that_keeps_users_out_is_one_line(users: TaskUsers, open_dir: Path) -> None:
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(InvalidInput, match=r"user 'nobody' cannot enter \S+/closed, .* chmod o\+x") as caught:
        users.open_folder(closed / "work")
    assert "\n" not in str(caught.value)
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "rights",
    [
        ["--bounding-set=-all,+chown,+kill,+setgid,+setuid", "--inh-caps=-all"],
        # It needs no right to read what is closed to it; the interpreter of the tests may be in a closed folder.
        [
            "--reuid=1",
            "--regid=1",
            "--clear-groups",
            "--inh-caps=-all,+chown,+kill,+setgid,+setuid,+dac_read_search",
            "--ambient-caps=-all,+chown,+kill,+setgid,+setuid,+dac_read_search",
        ],
    ],
    ids=["root", "a user"],
)
def test_four_capabilities_are_enough(open_dir: Path, rights: list[str]) -> None:
    if "--reuid=1" in rights:
        os.chown(open_dir, 1, 1)
    command = ["setpriv", *rights, sys.executable, "-m", "tests.containerizer.limited_agent", str(open_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert seen["end"] == [0, None] and seen["killed"] == [None, 9]
    assert seen["ids"] == ["65534", *["0" * 16] * 4]
    assert seen["exec"] == [0, ["65534", *["0" * 16] * 4, "nobody"]]
    assert seen["code"] in (
        [9, None],
        [None, None],
    )  # the next spawner is not told by every kernel, but never a wrong one
    assert seen["spawners"]
    assert seen["swept"] == ["a", "code", "left", "long", "tree", "z"]
    assert seen["volumes"] == []


async def test_an_agent_that_has_lost_its_capabilities_goes_on_with_its_own_tasks(
    open_dir: Path, users: TaskUsers
) -> None:
    runner = runner_of(open_dir, users)
    await runner.containerizer.start()
    runner.launch("a", "sleep", "1000")
    await runner.started("a")
    async with asyncio.timeout(TIMEOUT):
        # The second record has the start time, by which a process is found again.
        while (open_dir / "meta" / "tasks.journal").read_text().count('["started","a"') < 2:
            await asyncio.sleep(0.01)
    os.kill(runner.containerizer.spawner_pid, signal.SIGKILL)  # the next one is started without them, too
    await runner.containerizer.stop(kill_tasks=False)
    command = ["setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all", sys.executable]
    command += ["-m", "tests.containerizer.limited_agent", str(open_dir), "without"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert seen["running"] and seen["own"] == 0 and seen["swept"] == ["own"], seen
    assert "may not act as that user any more" in seen["read"]
