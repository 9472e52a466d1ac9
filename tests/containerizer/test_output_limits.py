"""Bounds on what tasks write."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.output_limits import Limits, OutputWatch, cut
from broker_mesos.containerizer.sandbox import Sandboxes
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited, TaskNote
from tests.containerizer.conftest import TIMEOUT, Runner, gone
from tests.faults.namespace import not_here

MB = 1 << 20
LIMIT = 2 * MB
WRITES = (
    f"{sys.executable} -c '"
    + """
import os, sys, time
for part in range(int(sys.argv[1]) * 64):
    os.write(1, b"".join(b"%015d\\n" % (1024 * part + number) for number in range(1024)))
    time.sleep(float((*sys.argv[2:], 0)[0]))
"""
    + "'"
)
"""A task that writes so many MB of numbered lines of 16 bytes, with a pause after each 16 KB."""


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
    OutputWatch(f"{tmp_path}/", print).cut([Entry("t1")], LIMIT)
    assert allocated(victim) >= 6 * MB


def test_the_output_of_a_task_that_holds_disk_takes_a_part_of_that(output: Path, tmp_path: Path) -> None:
    OutputWatch(f"{tmp_path}/", print).cut([Entry("t1", {"disk": 8 * MB})], 1 << 30)
    assert allocated(output) <= 2 * MB


def test_a_task_may_name_the_size_of_its_output_files_up_to_that_of_its_agent(output: Path, tmp_path: Path) -> None:
    watch = OutputWatch(f"{tmp_path}/", print)
    watch.cut([Entry("t1", {"output": 8 * MB})], LIMIT)
    assert allocated(output) >= 6 * MB
    watch.cut([Entry("t1", {"output": 3 * MB})], 1 << 30)
    assert allocated(output) <= 3 * MB
    limits = Limits(output=4 * MB, most_output=8 * MB)
    assert limits.output_of(0) == (0, "") and limits.output_of(6 * MB) == (6 * MB, "")
    assert limits.output_of(9 * MB) == (8 * MB, "its output is held to 8 MB, the most on its agent")


async def test_the_size_that_a_task_has_named_is_kept_by_the_next_spawner(work_dir: Path) -> None:
    runner = Runner(work_dir, limits=Limits(1 << 30, most_output=LIMIT))
    await runner.containerizer.start()
    wait = "until test -e go; do sleep 0.02; done; head -c 6M /dev/zero; until test -e end; do sleep 0.02; done"
    runner.containerizer.launch(LaunchSpec("t1", (wait,), True, {}, 1.0, max_output=5 * MB))
    await runner.started("t1")
    assert [each.text for each in runner.of("t1") if isinstance(each, TaskNote)] == [
        "its output is held to 2 MB, the most on its agent"
    ]
    spawner = runner.containerizer.spawner_pid
    os.kill(spawner, signal.SIGKILL)
    await gone(spawner)
    runner.file("t1", "go").touch()
    await runner.until_file("t1", "stdout", lambda found: found.st_size == 6 * MB and found.st_blocks * 512 <= LIMIT)
    runner.file("t1", "end").touch()
    await runner.outcome("t1")
    await runner.containerizer.stop(kill_tasks=True)


@pytest.mark.parametrize("last", [False, True])
async def test_the_output_of_a_task_that_ends_before_it_is_looked_at_is_cut_as_well(work_dir: Path, last: bool) -> None:
    runner = Runner(work_dir, limits=Limits(LIMIT))
    await runner.containerizer.start()
    runner.launch("t1", "head -c 9M /dev/zero", shell=True)
    await runner.outcome("t1")
    if last:
        await runner.containerizer.stop(kill_tasks=True)  # and the spawner with them
        assert allocated(runner.file("t1", "stdout")) <= LIMIT
    await runner.until_file("t1", "stdout", lambda found: found.st_size == 9 * MB and found.st_blocks * 512 <= LIMIT)
    if not last:
        await runner.containerizer.stop(kill_tasks=True)


def test_the_output_of_a_short_task_that_has_written_little_is_not_looked_at_again(tmp_path: Path) -> None:
    watch, short, long, many = OutputWatch(f"{tmp_path}/", print), Entry("a"), Entry("b"), Entry("c")
    for entry, seconds, written in ((short, 0.1, MB), (long, 9.0, MB), (many, 0.1, 3 * MB)):
        entry.ended, entry.used, entry.used_by = (0, None, seconds), [0.1, None, 0, written], "wait"
    watch.ended(short, LIMIT)
    assert not watch
    for entry in (long, many):
        watch.ended(entry, LIMIT)
        assert watch
        watch.cut_ended(LIMIT)
        assert not watch


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
    outcome = await runner.outcome("t1")
    assert isinstance(outcome, TaskExited) and outcome.exit_code == 0 and not outcome.limit, outcome
    assert followed(runner.containerizer.sandboxes, "t1", offset)[0] == b"the end\n"
    await runner.containerizer.stop(kill_tasks=True)


@pytest.fixture
def without_holes(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot release a part of a file."""
    folder = tmp_path / "plain"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "ramfs", "bmesos-test", str(folder)], capture_output=True)
    if done.returncode != 0:
        not_here(f"no ramfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_where_a_file_system_keeps_no_holes_output_is_truncated_which_its_status_says_and_its_followers_go_on(
    without_holes: Path,
) -> None:
    runner = Runner(without_holes, limits=Limits(LIMIT, free=0))
    await runner.containerizer.start()
    runner.launch("t1", f"{WRITES} 6; touch done; until test -e go; do sleep 0.02; done; echo the end", shell=True)
    await runner.until(lambda: any(isinstance(each, TaskNote) for each in runner.of("t1")))
    [note] = [each for each in runner.of("t1") if isinstance(each, TaskNote)]
    assert note.text == "its stdout was truncated at 2 MB, since its file system keeps no holes"
    stdout = runner.file("t1", "stdout")
    async with asyncio.timeout(TIMEOUT):
        while allocated(stdout) > LIMIT or not (stdout.parent / "done").exists():
            await asyncio.sleep(0.01)  # files send no signals
    # One that had read all of it is behind the end now, and goes on behind the head.
    (stdout.parent / "go").touch()
    await runner.outcome("t1")
    sandboxes = runner.containerizer.sandboxes
    data, end = followed(sandboxes, "t1")
    assert data.startswith(b"%015d\n" % 0) and data.count(b"[bmesos: output was dropped here") == 1
    assert end == stdout.stat().st_size
    late, _ = followed(sandboxes, "t1", offset=6 * MB)
    assert late.endswith(b"the end\n") and len(late) < len(data) and b"[bmesos" not in late
    await runner.containerizer.stop(kill_tasks=True)


async def test_a_follower_that_has_caught_up_loses_no_line_of_a_file_that_is_cut_again_and_again(
    work_dir: Path,
) -> None:
    runner = Runner(work_dir, limits=Limits(LIMIT))
    await runner.containerizer.start()
    runner.launch("t1", f"{WRITES} 12 0.002", shell=True)
    await runner.started("t1")
    sandboxes, data, offset = runner.containerizer.sandboxes, b"", 0
    async with asyncio.timeout(TIMEOUT):
        while len(runner.of("t1")) < 2 or offset < runner.file("t1", "stdout").stat().st_size:
            part, offset = await asyncio.to_thread(followed, sandboxes, "t1", offset)
            data += part
            await asyncio.sleep(0)
    lines = [line for line in data.split(b"\n") if line and not line.startswith(b"[bmesos")]
    assert lines == [b"%015d" % number for number in range(12 * MB // 16)]
    assert allocated(runner.file("t1", "stdout")) <= 2 * LIMIT  # it was cut
    await runner.containerizer.stop(kill_tasks=True)
