"""The demo, as ``make demo`` runs it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos import demo


def run_demo(folder: Path, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BMESOS_")}
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "broker_mesos.demo"])],
        cwd=folder,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=55,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The demo, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("demo")
    return run_demo(folder, TMPDIR=str(folder)), folder


def test_the_demo_shows_every_number_of_the_worked_example_in_order(
    ran: tuple[subprocess.CompletedProcess[str], Path],
):
    done, _ = ran
    assert (done.returncode, done.stderr) == (0, "")
    story = [
        "agent-1 reports cpus:4;mem:4096",
        "framework-1 is offered cpus:4;mem:4096",
        "framework-1 launches task-1 cpus:2;mem:1024",
        "framework-1 launches task-2 cpus:1;mem:2048",
        "framework-2 is offered cpus:1;mem:1024",
        "agent-1 in use cpus:3;mem:3072",
        "agent-1 offered cpus:1;mem:1024",
        "agent-1 reports task-1 TASK_FINISHED, exit code 0",
        "is offered cpus:2;mem:1024",
        "agent-1 reports task-2 TASK_FINISHED, exit code 0",
        "is offered cpus:1;mem:2048",
    ]
    told = re.sub(r" +", " ", done.stdout)
    at = 0
    for line in story:
        found = told.find(line, at)
        assert found >= 0, f"{line!r} is not told, or not in its place:\n{told}"
        at = found + len(line)
    squares = re.findall(r"finished +(\d+) squared is (\d+) +exit code 0", done.stdout)
    assert squares == [(str(index), str(index**2)) for index in range(1, 9)]
    assert "\x1b" not in done.stdout


def test_the_demo_leaves_nothing_behind(ran: tuple[subprocess.CompletedProcess[str], Path]):
    done, folder = ran
    assert done.returncode == 0
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_the_demo_fails_in_one_line_when_something_differs(tmp_path: Path):
    done = run_demo(
        tmp_path,
        code="from broker_mesos import demo; from broker_mesos.core.model.resources import Resources\n"
        "demo.LEFT = Resources.parse('cpus:2;mem:1024'); raise SystemExit(demo.main())",
    )
    assert done.returncode == 1
    assert done.stderr == "demo: the offer to framework 2: promised cpus:2;mem:1024, got cpus:1;mem:1024\n"


async def test_a_step_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "STEP_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(demo.Differs, match="in vain until pigs fly"):
        await demo.in_time(asyncio.Event().wait(), "pigs fly")
