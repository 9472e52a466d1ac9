"""What is requested of an engine for a task."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.images.description import describe, folder_key
from broker_mesos.containerizer.images.engine import Engine, NoEngine, find, find_socket
from broker_mesos.containerizer.images.host_shell import HostShell, find_host_shell, parse_libraries
from broker_mesos.ports.containerizer import LaunchSpec

SHELL = HostShell(("/.bmesos/sh",), (("/bin/busybox", "/.bmesos/sh"),))
ENGINE = Engine("/s", rootless=False, cpus=4)


def described(user: Ids | None = None, engine: Engine = ENGINE, **more: object) -> dict[str, object]:
    fields = {"task_id": "a", "argv": ("prog", "x y"), "shell": False, "env": {"A": "b c"}, "kill_grace": 1.0, **more}
    spec = LaunchSpec(image="i:1", **fields)  # type: ignore[arg-type]
    return describe(spec, engine, SHELL, sandbox="/w/sandboxes/a", volumes="/w/volumes", user=user, labels={"l": "m"})


def test_a_container_has_the_command_the_sandbox_and_the_volumes_of_its_task() -> None:
    found = described(volumes=(("data", "v1"),), stdin=b"x")
    assert found["Image"] == "i:1" and found["WorkingDir"] == "/w/sandboxes/a" and found["Labels"] == {"l": "m"}
    assert found["Entrypoint"][-4:] == ["sh", "stdin", "prog", "x y"]  # type: ignore[index]
    assert found["Env"] == ["HOME=/w/sandboxes/a", "BMESOS_TASK_ID=a", "A=b c"]
    host = found["HostConfig"]
    binds = [(each["Source"], each["Target"], each["ReadOnly"]) for each in host["Mounts"]]  # type: ignore[index]
    assert binds == [
        ("/w/sandboxes/a", "/w/sandboxes/a", False),
        ("/w/volumes/v1", "/w/volumes/v1", False),
        ("/bin/busybox", "/.bmesos/sh", True),
    ]
    assert described(argv=("a | b",), shell=True)["Entrypoint"][-3:] == ["/bin/sh", "-c", "a | b"]  # type: ignore[index]


def test_a_container_has_the_limits_of_its_task() -> None:
    host = described(memory=100 << 20, cpus=0.5, cpu_limit=1.5, pids=7, rlimits=(("core", 0),), network="none")[
        "HostConfig"
    ]
    assert (host["Memory"], host["MemorySwap"]) == (100 << 20, 100 << 20)  # type: ignore[index]
    assert (host["CpuShares"], host["NanoCpus"], host["PidsLimit"]) == (512, 1_500_000_000, 7)  # type: ignore[index]
    assert host["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}]  # type: ignore[index]
    assert (host["NetworkMode"], host["Init"]) == ("none", True)  # type: ignore[index]


def test_limits_that_an_engine_would_refuse_are_those_that_it_takes() -> None:
    host = described(memory=1 << 20, cpu_limit=8.0, cpus=0.0)["HostConfig"]
    assert host["Memory"] == 6 << 20 and "NanoCpus" not in host and host["CpuShares"] == 2  # type: ignore[index,operator]
    assert "Memory" not in described()["HostConfig"]  # type: ignore[operator]
    assert described(revocable=True)["HostConfig"]["CpuShares"] == 2  # type: ignore[index]


def test_a_task_of_another_user_has_no_capabilities_and_nobody_gains_rights() -> None:
    found = described(Ids(1001, 1002, (5, 6)))
    assert found["User"] == "1001:1002"
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and host["GroupAdd"] == ["5", "6"]  # type: ignore[index]
    assert host["SecurityOpt"] == ["no-new-privileges"]  # type: ignore[index]
    own = described()
    assert own["User"] == f"{os.geteuid()}:{os.getegid()}" and own["HostConfig"]["SecurityOpt"]  # type: ignore[index]
    assert described(engine=ENGINE._replace(rootless=True))["User"] == "0:0"


def test_the_shell_opens_the_files_of_the_sandbox_and_becomes_the_program(tmp_path: Path) -> None:
    (tmp_path / "stdin").write_text("in\n")
    (tmp_path / "d").mkdir()
    for directory, inside in (("", str(tmp_path)), ("d", str(tmp_path / "d")), ("/", "/")):
        shell = HostShell(("/bin/sh",), ())
        command = shell.run(("/bin/sh", "-c", "cat; pwd; echo e >&2; exit 3"), stdin=True, directory=directory)
        assert subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 3
        assert (tmp_path / "stdout").read_text() == f"in\n{inside}\n" and (tmp_path / "stderr").read_text() == "e\n"
        (tmp_path / "stdout").unlink()
        (tmp_path / "stderr").unlink()
    command = shell.run(("true",), stdin=False, directory="gone")
    assert subprocess.run(command, cwd=tmp_path).returncode == 127
    assert "gone" in (tmp_path / "stderr").read_text()


def test_the_shell_of_this_machine_runs_with_its_own_libraries_from_elsewhere(tmp_path: Path) -> None:
    shell = find_host_shell()
    moved = {target: tmp_path / target.lstrip("/") for _, target in shell.files}
    for source, target in shell.files:
        moved[target].parent.mkdir(parents=True, exist_ok=True)
        moved[target].write_bytes(Path(source).read_bytes())
        moved[target].chmod(0o755)
    argv = [str(tmp_path) + each if each.startswith("/.bmesos") else each for each in shell.argv]
    done = subprocess.run([*argv, "-c", "echo $((6 * 7))"], capture_output=True, text=True)
    assert done.stdout == "42\n"


def test_a_list_of_libraries_is_read_and_one_without_a_loader_is_refused() -> None:
    listed = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x7f01)\n"
    found = parse_libraries("/bin/dash", listed)
    assert [target for _, target in found.files] == ["/.bmesos/sh", "/.bmesos/loader", "/.bmesos/lib/libc.so.6"]
    assert found.argv == ("/.bmesos/loader", "--library-path", "/.bmesos/lib", "/.bmesos/sh")
    assert parse_libraries("/bin/busybox", "\tnot a dynamic executable\n").argv == ("/.bmesos/sh",)
    with pytest.raises(NoEngine, match="names no loader"):
        parse_libraries("/bin/dash", "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n")


def test_a_work_folder_that_was_replaced_is_another_agents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    key = folder_key(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    assert folder_key(tmp_path / "c") == key != folder_key(tmp_path / "a")


def test_an_engine_that_cannot_be_used_is_explained_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for wanted, text in (
        ("none", "its setting container_engine is none"),
        (str(tmp_path / "no"), f"there is no container engine at {tmp_path / 'no'}, which its setting"),
        (str(tmp_path / "file"), f"there is no container engine at {tmp_path / 'file'}, which its setting"),
    ):
        with pytest.raises(NoEngine, match=text):
            find_socket(wanted)
    import socket

    dead = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(dead)
        with pytest.raises(NoEngine, match=f"no container engine answers at {dead}: .*[Rr]efused"):
            find(dead)
    monkeypatch.setitem(__import__("sys").modules, "docker", None)
    with pytest.raises(NoEngine, match=r"install broker_mesos\[images\]"):
        find(dead)
