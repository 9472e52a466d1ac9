"""Bounds on what tasks write."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker_mesos.containerizer.process import output_limits
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.output_limits import Limits, OutputWatch, cut
from broker_mesos.containerizer.sandbox import Sandboxes
from broker_mesos.ports.containerizer import TaskExited
from tests.containerizer.conftest import TIMEOUT, Runner
from tests.faults.namespace import not_here

MB = 1 << 20
LIMIT = 2 * MB


def allocated(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512


def followed(sandboxes: Sandboxes, task_id: str, offset: int = 0) -> tuple[bytes, int]:
    """All that a reader gets who begins at an offset, and the offset that it has reached."""
    data = b""
    while (chunk := sandboxes.read(task_id, "stdout", offset, 65536)).data:
        data += chunk.data
        offset = chunk.offset + len(chunk.data)
    return data, offset


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A task's stdout of 6 MB, of numbered lines of 16 bytes."""
    path = tmp_path / "t1" / "stdout"
    path.parent.mkdir()
    path.write_bytes(b"".join(b"%015d\n" % number for number in range(6 * MB // 16)))
    return path


def test_output_beyond_the_limit_keeps_its_head_and_its_latest_part(output: Path) -> None:
    cut(str(output), LIMIT)
    assert allocated(output) <= LIMIT
    assert output.stat().st_size == 6 * MB
    data, end = followed(Sandboxes(output.parent.parent), "t1")
    assert end == 6 * MB
    assert data.startswith(b"%015d\n" % 0) and data.endswith(b"%015d\n" % (6 * MB // 16 - 1))
    assert data.count(b"[bmesos: output was cut out here") == 1
    assert b"\0" not in data and len(data) <= LIMIT


def test_output_that_is_cut_again_keeps_one_head_and_one_line_about_it(output: Path) -> None:
    cut(str(output), LIMIT)
    with output.open("ab") as file:
        file.write(b"later line here\n" * (3 * MB // 16))
    cut(str(output), LIMIT)
    assert allocated(output) <= LIMIT
    data, end = followed(Sandboxes(output.parent.parent), "t1")
    assert end == 9 * MB
    assert data.count(b"[bmesos: output was cut out here") == 1 and data.startswith(b"%015d\n" % 0)


def test_a_reader_whose_place_was_cut_out_goes_on_behind_the_gap(output: Path) -> None:
    cut(str(output), LIMIT)
    chunk = Sandboxes(output.parent.parent).read("t1", "stdout", 2 * MB, 65536)
    assert chunk.offset == 5 * MB and chunk.data.startswith(b"%015d\n" % (5 * MB // 16))


def test_a_link_in_the_place_of_an_output_file_is_not_cut(output: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    os.rename(output, victim)
    output.symlink_to(victim)
    watch = OutputWatch(f"{tmp_path}/", print)
    watch.limits = Limits(LIMIT)
    assert watch.cut([Entry("t1")]) == []
    assert allocated(victim) >= 6 * MB


def test_a_task_is_ended_whose_output_cannot_be_cut(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every file system can release blocks of a file."""

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(output_limits, "_punch", refuse)
    watch = OutputWatch(f"{output.parent.parent}/", print)
    watch.limits = Limits(LIMIT)
    [stop] = watch.cut([Entry("t1")])
    assert stop.reason == "its stdout grew beyond 2 MB, and cannot be cut on this file system"


def test_on_a_short_disk_the_fastest_writer_is_ended_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = OutputWatch("/anywhere/", print)
    free = [400]
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_blocks=10_000, f_bavail=free[0], f_frsize=MB))
    entries = {name: Entry(name) for name in ("fast", "slow", "silent")}
    assert watch.is_short()
    assert watch.fastest_of(entries, {"fast": 0, "slow": 90 * MB, "silent": 5}, 10.0) == []
    [stop] = watch.fastest_of(entries, {"fast": 8 * MB, "slow": 92 * MB, "silent": 5}, 12.0)
    assert stop.entry.task_id == "fast" and "it wrote 4 MB a second" in stop.reason
    assert watch.fastest_of(entries, {"slow": 92 * MB, "silent": 6}, 14.0) == []
    free[0] = 600
    assert not watch.is_short()


async def test_a_running_task_keeps_writing_and_is_followed_across_the_cut(work_dir: Path) -> None:
    runner = Runner(work_dir, limits=Limits(LIMIT))
    await runner.containerizer.start()
    script = "yes 'a line of output' | head -c 24M; echo; until test -e go; do sleep 0.02; done; echo the end"
    runner.launch("t1", script, shell=True)
    await runner.started("t1")
    stdout = runner.file("t1", "stdout")
    async with asyncio.timeout(TIMEOUT):
        while not (stdout.exists() and stdout.stat().st_size > 24 * MB and allocated(stdout) <= LIMIT):
            await asyncio.sleep(0.01)  # files send no signals
    data, offset = followed(runner.containerizer.sandboxes, "t1")
    assert b"[bmesos: output was cut out here" in data and offset == 24 * MB + 1
    (stdout.parent / "go").touch()
    assert await runner.outcome("t1") == TaskExited("t1", 0, None, runner.of("t1")[-1].at)  # type: ignore[union-attr]
    assert followed(runner.containerizer.sandboxes, "t1", offset)[0] == b"the end\n"
    await runner.containerizer.stop(kill_tasks=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB, of which 3.2 MB are to stay free."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "bmesos-test", str(folder)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_below_the_floor_of_free_disk_writers_are_ended_and_others_run_on(small_disk: Path) -> None:
    runner = Runner(small_disk / "work")
    await runner.containerizer.start()
    runner.launch("silent", "sleep", "600")
    await runner.started("silent")
    (small_disk / "filler").write_bytes(b"x" * (54 * MB))
    runner.launch("writer", "while head -c 100000 /dev/zero; do sleep 0.05; done; sleep 600", shell=True)
    outcome = await runner.outcome("writer")
    assert isinstance(outcome, TaskExited) and outcome.signal == 9
    assert outcome.limit.startswith("the disk of its agent was nearly full, and it wrote")
    assert len(runner.of("silent")) == 1
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)
