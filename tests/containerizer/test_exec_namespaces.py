"""Commands beside tasks that have namespaces of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from broker_mesos.ports.containerizer import LaunchSpec
from broker_mesos.ports.execution import ExecRefused
from tests.containerizer.cgroups.conftest import was_not_run
from tests.containerizer.conftest import GAMES, Runner
from tests.containerizer.exec_session import Session
from tests.containerizer.test_exec_limits import held

__all__ = ["held"]

BOX = (
    "exec bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --bind $BMESOS_SANDBOX $BMESOS_SANDBOX"
    " --unshare-pid --unshare-ipc --unshare-uts --hostname box sh -c 'touch /tmp/inside shown; exec sleep 100000'"
)


def sandboxed(limits_of: Callable[[LaunchSpec], Any]) -> Callable[[LaunchSpec], Any]:
    """Has the spawner take its tasks for ones that have a sandbox."""
    return lambda spec: {**limits_of(spec), "sandbox": {"network": "host"}}


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


async def test_a_command_beside_a_task_in_a_sandbox_is_in_the_sandbox_at_a_terminal_too(
    held: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() or shutil.which("bwrap") is None:
        was_not_run("sandboxes need root and bwrap")
    wish = held.containerizer._wish
    monkeypatch.setattr(wish, "limits_of", sandboxed(wish.limits_of))
    held.containerizer.launch(LaunchSpec("t", (BOX,), True, {"COLOUR": "blue"}, 1.0, group="f", user=GAMES))
    await held.until_file("t", "shown", lambda _: True)
    show = "id -un; hostname; basename /tmp/i*; echo $COLOUR; ls /proc | grep -c '^[0-9]'; pwd"
    for tty in (False, True):
        session = await Session.start(held.containerizer, "t", "sh", "-c", show, tty=tty)
        code, out, err = await session.output()
        assert (code, err) == (0, "") and out.split()[:4] == [GAMES, "box", "inside", "blue"], out
        assert int(out.split()[4]) < 10 and out.split()[5] == str(held.work_dir / "sandboxes" / "t")


async def test_a_command_never_runs_outside_of_a_sandbox_that_is_not_there(
    held: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = held.containerizer._wish
    monkeypatch.setattr(wish, "limits_of", sandboxed(wish.limits_of))
    held.containerizer.launch(LaunchSpec("t", ("exec sleep 100000",), True, {}, 1.0, group="f"))
    await held.started("t")
    with pytest.raises(ExecRefused, match=r"its sandbox is not there \(yet\)") as refused:
        await Session.start(held.containerizer, "t", "true")
    assert refused.value.code == "unavailable"
