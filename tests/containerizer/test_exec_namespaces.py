"""Commands beside tasks that have namespaces of their own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from broker_mesos.containerizer.process.exec_target import Box, CannotEnter, find_view
from broker_mesos.ports.containerizer import LaunchSpec
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import GAMES, Runner
from tests.containerizer.exec_session import Session
from tests.containerizer.test_exec_limits import held

__all__ = ["held"]

BIND = 'python3 -I -S -c "import socket; socket.socket().bind((\\"127.0.0.1\\", 31008))"'


async def test_a_command_has_the_namespaces_of_the_main_process_of_its_task(runner: Runner) -> None:
    if os.geteuid():
        was_not_run("namespaces need root")
    runner.launch(
        "t",
        "unshare",
        "--mount",
        "--uts",
        "sh",
        "-c",
        "hostname box; mount -t tmpfs none /mnt; touch /mnt/in shown; exec sleep 9999",
    )
    await runner.until_file("t", "shown", lambda _: True)
    session = await Session.start(runner.containerizer, "t", "sh", "-c", "hostname; ls /mnt; pwd")
    assert await session.output() == (0, f"box\nin\n{runner.work_dir}/sandboxes/t\n", "")
    assert not os.path.exists("/mnt/in") and os.uname().nodename != "box"


async def test_a_command_beside_a_sandboxed_task_is_in_its_sandbox_and_may_do_no_more_than_it(held: Runner) -> None:
    if "fs" not in held.containerizer.isolation.words:
        was_not_run(str(held.containerizer.isolation.missing))
    spec = LaunchSpec("t", ("touch /tmp/inside shown; exec sleep 100000",), True, {"COLOUR": "blue"}, 1.0, group="f")
    held.containerizer.launch(replace(spec, level="sandboxed", user=GAMES, ports=((31007, 31007),)))
    await held.until_file("t", "shown", lambda _: True)
    await held.started("t")  # the spawner may know of the start later than the task makes the file
    show = "id -un; basename /tmp/i*; echo $COLOUR; ls /proc | grep -c '^[0-9]'; pwd; touch /usr/x"
    limits = f"grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; unshare -U true; {BIND}"
    for tty in (False, True):
        session = await Session.start(held.containerizer, "t", "sh", "-c", f"exec 2>&1; {show}; {limits}", tty=tty)
        code, out, _ = await session.output()
        found = out.splitlines()
        assert code == 1 and found[:3] == [GAMES, "inside", "blue"], out
        assert int(found[3]) < 10 and found[4] == str(held.work_dir / "sandboxes" / "t")
        assert "Read-only file system" in found[5]
        assert [line.split()[1] for line in found[6:9]] == ["0" * 16, "1", "2"]
        assert found[9].startswith("unshare:")
        assert "Permission denied" in found[-1] or "ports" not in held.containerizer.isolation.words


def test_a_task_whose_sandbox_is_not_there_is_not_entered(tmp_path: Path) -> None:
    box = Box("t", os.getpid(), str(tmp_path), None, held=True, sandboxed=True, ports=None, umask=0o022)
    with pytest.raises(CannotEnter) as refused:
        find_view(box)
    assert refused.value.strerror == "its sandbox is not there (yet): try again in a moment"
