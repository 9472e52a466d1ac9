"""The file that a daemon touches for probes. That each daemon does so is in test_service_manager."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.errors import InvalidInput
from broker_mesos.runtime import health_file
from broker_mesos.runtime.health_file import HealthFile


async def test_the_file_exists_from_when_the_daemon_works_until_it_begins_to_end(tmp_path: Path) -> None:
    path = tmp_path / "health"
    path.write_text("of a process that was killed\n")
    health, working = HealthFile(path), asyncio.Event()
    assert not path.exists()
    touching = asyncio.create_task(health.touch(working, lambda: "owns 2 of 4 cells"))
    await asyncio.sleep(0)
    assert not path.exists(), "it does not work yet"
    working.set()
    while not path.exists():
        await asyncio.sleep(0)
    assert path.read_text() == "owns 2 of 4 cells\n"
    health.close()
    assert not path.exists()
    await asyncio.sleep(0)
    assert not path.exists()
    touching.cancel()


async def test_the_loop_touches_the_file_again_and_a_failure_to_do_so_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_file, "TOUCH_SECONDS", 0.001)
    folder = tmp_path / "run"
    folder.mkdir()
    health, working = HealthFile(folder / "health"), asyncio.Event()
    working.set()
    touching = asyncio.create_task(health.touch(working, lambda: "works"))
    for _ in range(2):
        while not (folder / "health").exists():
            await asyncio.sleep(0.001)
        (folder / "health").unlink()
    folder.rmdir()
    await asyncio.sleep(0.01)
    assert not touching.done()
    folder.mkdir()
    while not (folder / "health").exists():
        await asyncio.sleep(0.001)
    touching.cancel()
    health.close()


def test_a_path_that_cannot_be_written_is_one_line_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"health_file .*/none/health: No such file or directory; name a file"):
        HealthFile(tmp_path / "none" / "health")
    env = dict(os.environ) | {
        "BMESOS_BROKER_URL": "amqp://127.0.0.1:1/",
        "BMESOS_HEALTH_FILE": str(tmp_path),
    }
    words = [sys.executable, "-m", "broker_mesos", "web", "--port", "0"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"bmesos: health_file {tmp_path}: Is a directory; name a file in a folder that this daemon may write to\n"
    )
