"""Sandboxed tasks: each has its own view of files, processes and the network, on this machine's kernel."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.containerizer.namespaces import landlock
from broker_mesos.containerizer.task_users import find_task_users
from broker_mesos.containerizer.task_views import TaskViews
from broker_mesos.ports.containerizer import LaunchSpec, Retention, StartFailed
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import gone
from tests.containerizer.held import EAT, WAIT, HeldRunner, ended_while_nobody_is_there

PYTHON = "python3 -I -S -c"
BIND = PYTHON + ' "import socket,sys; socket.socket().bind((\\"127.0.0.1\\", int(sys.argv[1])))"'


@pytest.fixture
def held(held: HeldRunner) -> HeldRunner:
    if "fs" not in held.containerizer.isolation.words:
        was_not_run(str(held.containerizer.isolation.missing))
    return held


async def run(held: HeldRunner, task_id: str, command: str, *, ports: Any = None, **sandbox: Any) -> tuple[int, str]:
    """The exit code of a sandboxed shell command, and what it printed."""
    more = {} if ports is None else {"ports": ports}
    held.start_task(task_id, f"exec 2>&1; {command}", sandbox=sandbox, **more)
    end = await held.exited(task_id)
    assert end.signal is None and end.exit_code is not None, end
    return end.exit_code, held.file(task_id, "stdout").read_text()


async def lines(held: HeldRunner, task_id: str, command: str, **more: Any) -> list[str]:
    """What a sandboxed shell command printed, which ended well."""
    code, text = await run(held, task_id, command, **more)
    assert code == 0, text
    return text.splitlines()


async def test_a_task_sees_its_own_processes_alone_and_cannot_reach_its_launcher(held: HeldRunner) -> None:
    found = await lines(
        held, "a", "ls -d /proc/[0-9]* | wc -l; cat /proc/1/environ; kill -KILL 1; kill -STOP 1; echo $PPID; true"
    )
    assert int(found[0]) <= 6 and "Permission denied" in found[1] and found[-1] == "1"
    assert (await lines(held, "b", "echo $$"))[0].isdigit()  # the launcher is still there


async def test_a_task_finds_the_machine_read_only_and_an_empty_tmp_and_no_file_of_others(held: HeldRunner) -> None:
    other = held.work_dir / "sandboxes" / "other"
    await lines(held, "other", "echo secret > file")
    command = f"touch /usr/x; touch /etc/x; touch /x; touch /dev/x; cat {other}/file; ls {held.work_dir}/meta; touch ok"
    found = await lines(held, "a", command)
    assert [line.count("Read-only file system") for line in found] == [1, 1, 1, 1, 0, 0]
    assert [line.count("No such file") for line in found[4:]] == [1, 1]
    assert held.file("a", "ok").exists()
    found = await lines(held, "b", "stat -c %a /tmp; echo x > /tmp/x; echo y > /dev/null; head -c 4 /dev/zero | wc -c")
    assert found == ["1777", "4"]
    assert (await lines(held, "c", "ls /tmp | grep -v pytest; ls -d /home /root /sys/kernel; true"))[0].startswith(
        "ls:"
    )


async def test_a_task_has_no_capability_and_no_way_to_one(held: HeldRunner) -> None:
    found = await lines(held, "a", "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2")
    assert [int(each, 16) for each in found] == [0, 0, 0, 0, 0, 1, 2]
    for task_id, command in (
        ("b", "unshare --user true"),
        ("c", "mount -t tmpfs x /tmp"),
        ("d", "echo x > /proc/sys/kernel/hostname"),
        ("e", "echo h > /proc/sysrq-trigger"),
        ("f", "mknod sda b 8 0"),
    ):
        code, text = await run(held, task_id, command)
        assert code != 0, (command, text)


async def test_a_handler_of_sigterm_has_its_time_and_the_end_by_a_signal_is_told_as_one(held: HeldRunner) -> None:
    held.start_task("a", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done", grace=30, sandbox={})
    await held.lines("a", 1)
    held.containerizer.kill("a", 30.0)
    assert (await held.exited("a")).exit_code == 3
    assert await held.lines("a", 2) == ["ready", "bye"]
    held.start_task("b", "kill -KILL $$", sandbox={})
    assert (await held.exited("b"))[1:3] == (None, signal.SIGKILL)
    held.start_task("c", "kill -SEGV $$", sandbox={})
    assert (await held.exited("c"))[1:3] == (None, signal.SIGSEGV)
    held.start_task("d", "exit 137", sandbox={})
    assert (await held.exited("d"))[1:3] == (137, None)
    held.start_task("e", "echo ready; exec sleep 1000", sandbox={})
    await held.lines("e", 1)
    held.containerizer.kill("e", 30.0)
    assert (await held.exited("e")).signal == signal.SIGTERM


async def test_nothing_of_a_task_is_left_and_its_orphans_are_waited_for(held: HeldRunner) -> None:
    command = "for i in 1 2 3 4 5 6 7 8; do (setsid sleep 0.01 &); done; env -i setsid sleep 999 & sleep 0.1; exit 0"
    held.start_task("a", command, sandbox={}, pids=64)
    main = (await held.started("a")).pid
    own = {int(each) for each in Path(f"/proc/{main}/task/{main}/children").read_text().split()}
    assert (await held.exited("a")).exit_code == 0
    assert [pid for pid in own if os.path.exists(f"/proc/{pid}")] == []
    held.start_task("b", "ps -eo stat | grep -c Z; ipcs -m | grep -c 0x; exit 0", sandbox={})
    await held.exited("b")
    assert await held.lines("b", 2) == ["0", "0"]


async def test_what_a_task_leaves_in_shared_memory_is_not_there_for_the_next(held: HeldRunner) -> None:
    assert len(await lines(held, "a", "ipcmk -M 4096 > /dev/null; echo x > /dev/shm/x; ipcs -m | grep 0x")) == 1
    assert await lines(held, "b", "ipcs -m | grep 0x; ls /dev/shm; true") == []


async def test_a_task_without_network_has_a_loopback_of_its_own(held: HeldRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        talk = (
            f"import socket; a = socket.create_server(('127.0.0.1', {port})); "
            "socket.create_connection(a.getsockname());"
            " print(*[n for _, n in socket.if_nameindex()])"
        )
        assert await lines(held, "a", f'{PYTHON} "{talk}"', network="none", ports=[]) == ["lo"]
        code, text = await run(
            held, "b", f"{PYTHON} \"import socket; socket.create_connection(('192.0.2.1', 80))\"", network="none"
        )
        assert code and "Network is unreachable" in text
        call = f"{PYTHON} \"import socket; socket.create_connection(('127.0.0.1', {port}))\""
        assert await lines(held, "c", call) == []  # the network of the machine


async def test_a_task_listens_on_ports_that_it_holds_and_on_any_free_one_alone(held: HeldRunner) -> None:
    if landlock.abi() < landlock.PORTS_ABI:
        was_not_run("this kernel has no Landlock for ports")
    assert "ports" in held.containerizer.isolation.words
    command = f"{BIND} 31007; echo $?; {BIND} 31008; echo $?; {BIND} 0; echo $?"
    for task_id, sandbox in (("a", {"sandbox": {}}), ("b", {})):
        held.start_task(task_id, command, ports=[[31007, 31007]], **sandbox)
        await held.exited(task_id)
        assert await held.lines(task_id, 3) == ["0", "1", "0"]
        assert "Permission denied" in held.file(task_id, "stderr").read_text()
    held.start_task("c", command)
    await held.exited("c")
    assert await held.lines("c", 3) == ["0", "0", "0"]


async def test_a_task_does_not_reach_sockets_without_a_path_of_the_machine(held: HeldRunner) -> None:
    if landlock.abi() < landlock.SCOPES_ABI:
        was_not_run("this kernel has no Landlock for sockets")
    name = f"bmesos-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind("\0" + name)
        outside.listen()
        code, text = await run(
            held, "a", f"{PYTHON} \"import socket; socket.socket(socket.AF_UNIX).connect('\\\\0{name}')\""
        )
    assert code and "not permitted" in text


async def test_volumes_and_paths_of_the_machine_are_seen_as_the_settings_say(held: HeldRunner) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("read", "write"):
            Path(folder, name).mkdir()
            Path(folder, name, "file").write_text(name)
        mounts = [[f"{folder}/read", "/data", "ro"], [f"{folder}/write", "/more/data", "rw"]]
        mounts.append([f"{folder}/read/file", "/more/file", "ro"])
        command = "cat /data/file /more/data/file /more/file; echo x > /more/data/new; touch /data/new"
        code, text = await run(held, "a", command, mounts=mounts)
        assert code and text.startswith("readwriteread") and "Read-only" in text
        assert Path(folder, "write", "new").read_text() == "x\n"


async def test_the_work_folder_and_files_of_the_agent_are_hidden_where_a_folder_above_them_is_seen(
    held: HeldRunner,
) -> None:
    above = held.work_dir.parent
    (above / "settings").write_text("password")
    (held.work_dir / "key").write_text("secret")
    sandbox = {
        "mounts": [[str(above), "/machine", "ro"], [str(above), str(above), "ro"]],
        "hidden": [str(held.work_dir), str(above / "settings")],
    }
    work = held.work_dir.name
    command = f"cat /machine/settings {above}/settings; ls /machine/{work}; cat {held.work_dir}/key; pwd; echo x > y"
    found = await lines(held, "a", command, **sandbox)
    assert len(found) == 2 and "No such file" in found[0] and found[1] == str(held.file("a", "y").parent)
    assert held.file("a", "y").read_text() == "x\n"


async def test_a_path_that_is_not_there_fails_the_start_for_the_machine_in_one_line(held: HeldRunner) -> None:
    held.start_task("a", "true", sandbox={"mounts": [["/nowhere", "/data", "ro"]]})
    end = await held.outcome("a")
    assert isinstance(end, StartFailed) and end.machine and "/nowhere: there is no such file" in end.message
    held.start_task("b", "true", sandbox={"network": "tor"})
    end = await held.outcome("b")
    assert isinstance(end, StartFailed) and "network is 'tor', and not host or none" in end.message
    assert (await run(held, "c", "exit 4"))[0] == 4


async def test_a_command_that_cannot_be_started_says_why(held: HeldRunner) -> None:
    held._more["a"] = {"sandbox": {}}
    held.containerizer.launch(LaunchSpec("a", ("no-such-program",), False, {}, 1.0, group="f"))
    end = await held.outcome("a")
    assert isinstance(end, StartFailed) and "No such program in PATH" in end.message and not end.machine


async def test_a_spawner_that_is_killed_is_followed_by_one_that_tells_the_ends(held: HeldRunner) -> None:
    held.start_task("large", WAIT + EAT, sandbox={})
    held.start_task("small", WAIT + "exit 7", sandbox={})
    mains = [(await held.started(each)).pid for each in ("large", "small")]
    before = held.containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    await gone(before)
    assert (await run(held, "new", "exit 9"))[0] == 9
    assert all(os.path.exists(f"/proc/{main}") for main in mains)
    held.go("large")
    held.go("small")
    assert (await held.exited("large")).limit_kind == "memory"
    assert (await held.exited("small")).exit_code in (7, None)  # None on Linux before 6.15


async def test_a_task_that_exceeds_its_memory_while_neither_agent_nor_spawner_is_there_ends_for_its_memory(
    held: HeldRunner,
) -> None:
    held.start_task("large", WAIT + EAT, sandbox={})
    assert (await ended_while_nobody_is_there(held, "large")).limit_kind == "memory"


async def test_a_task_ends_with_its_launcher_and_the_next_one_gets_another(held: HeldRunner) -> None:
    held.start_task("a", "echo ready; exec sleep 1000", sandbox={})
    await held.lines("a", 1)
    main = (await held.started("a")).pid
    launcher = int(Path(f"/proc/{main}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(launcher, signal.SIGKILL)
    await held.exited("a")
    assert not os.path.exists(f"/proc/{main}")
    assert (await run(held, "b", "exit 5"))[0] == 5


async def test_a_sandboxed_task_of_another_user_is_that_user_and_opens_its_files_as_it() -> None:
    if os.geteuid():
        pytest.skip("WAS NOT RUN: only root can start tasks as another user")
    with tempfile.TemporaryDirectory(prefix="bmesos-test-", dir="/tmp") as name:
        folder = Path(name)
        users = find_task_users("nobody", ["games"], allow_root=False)
        users.open_folder(folder)
        held = HeldRunner(folder, users)
        await held.containerizer.start()
        try:
            identity = await lines(
                held, "a", "id -u; id -G; grep -c . /etc/shadow; grep Cap /proc/self/status | cut -f2"
            )
            ids = users.default.ids
            assert identity[0] == str(ids.uid) and set(identity[1].split()) == {str(each) for each in ids.groups}
            assert "Permission denied" in identity[2] and {int(each, 16) for each in identity[3:]} == {0}
            assert held.file("a", "stdout").stat().st_uid == ids.uid
            # A link that is there in place of the output leads nowhere that the user could not go.
            aim = folder / "aim"
            sandbox = folder / "sandboxes" / "b"
            sandbox.mkdir(mode=0o700)
            os.symlink(aim, sandbox / "stdout")
            os.chown(sandbox, ids.uid, ids.gid)
            held.start_task("b", "true", sandbox={"mounts": [[str(folder), str(folder), "rw"]]})
            end = await held.outcome("b")
            assert isinstance(end, StartFailed) and not aim.exists()
        finally:
            await held.containerizer.stop(kill_tasks=True, grace=0.0)


# -- root file systems ---------------------------------------------------------------------------------------


def small_root(folder: Path) -> Path:
    """A root file system with few programs and nothing else: no folder for mounts, no other program."""
    for program in ("/bin/sh", "/bin/cat", "/bin/ls", "/bin/touch", "/bin/pwd"):
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=True).stdout
        for path in (program, *(word for word in linked.split() if word.startswith("/"))):
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (folder / "etc").mkdir()
    (folder / "etc" / "name").write_text("small")
    (folder / "var").symlink_to("/etc")
    return folder


async def rootfs_runner(folder: Path, roots: Path) -> HeldRunner:
    held = HeldRunner(folder, views=TaskViews(folder, rootfs_roots=(str(roots),)))
    await held.containerizer.start()
    if "rootfs" not in held.containerizer.isolation.words:
        await held.containerizer.stop(kill_tasks=True, grace=0.0)
        was_not_run(str(held.containerizer.isolation.missing))
    return held


@pytest.mark.parametrize("kind", ["folder", "archive"])
async def test_a_task_has_a_root_file_system_of_its_own_read_only(held_folder: Path, tmp_path: Path, kind: str) -> None:
    roots = tmp_path / "roots"
    root = small_root(roots / "small")
    if kind == "archive":
        with tarfile.open(roots / "small.tar.gz", "w:gz") as made:
            made.add(root, ".")
        root = roots / "small.tar.gz"
    held = await rootfs_runner(held_folder, roots)
    try:
        command = "cat /etc/name; pwd; ls /; touch ok /tmp/x || exit 2; touch /etc/x /x"
        spec = LaunchSpec("a", (command,), True, {}, 1.0, level="sandboxed", rootfs=str(root))
        held.containerizer.launch(spec)
        end = await held.exited("a")
        errors = held.file("a", "stderr").read_text()
        assert end.exit_code == 1 and errors.count("Read-only file system") == 2, errors
        found = await held.lines("a", 3)
        assert found[0] == f"small{held.file('a', 'ok').parent}" and {"etc", "proc", "dev", "tmp"} <= set(found)
        assert "home" not in found and held.file("a", "ok").exists()
        held.containerizer.launch(replace(spec, task_id="b", argv=("exit 4",)))
        assert (await held.exited("b")).exit_code == 4
        unpacked = os.listdir(held_folder / "rootfs") if kind == "archive" else []
        assert len(unpacked) == (kind == "archive")
        held.containerizer.launch(replace(spec, task_id="c", argv=("echo ready; while :; do :; done",)))
        await held.lines("c", 1)
        await held.containerizer.collect(Retention(0.0), 2**40, ())
        assert len(os.listdir(held_folder / "rootfs") if unpacked else []) == len(unpacked)
        held.containerizer.kill("c", 0.0)
        await held.exited("c")
        await held.containerizer.collect(Retention(0.0), 2**40, ())
        assert not unpacked or os.listdir(held_folder / "rootfs") == []
    finally:
        await held.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_a_root_file_system_that_is_none_fails_the_start_in_one_line(held_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "text").write_text("x")
    held = await rootfs_runner(held_folder, tmp_path / "roots")
    try:
        for task_id, path, text in (
            ("a", str(tmp_path / "roots" / "text"), "cannot be unpacked"),
            ("b", "/etc", "is not below the rootfs_roots of its agent"),
        ):
            spec = LaunchSpec(task_id, ("true",), True, {}, 1.0, level="sandboxed", rootfs=path)
            held.containerizer.launch(spec)
            end = await held.outcome(task_id)
            assert isinstance(end, StartFailed) and not end.machine and text in end.message
        held.containerizer.launch(replace(spec, task_id="c"))
        held.containerizer.kill("c", 0.0)
        end = await held.outcome("c")
        assert isinstance(end, StartFailed) and end.message == "killed before it was started"
    finally:
        await held.containerizer.stop(kill_tasks=True, grace=0.0)
