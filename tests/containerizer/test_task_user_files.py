"""What tasks of other users put into their sandboxes, and what the agent reads, cuts and removes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker_mesos.containerizer.credentials import missing_capabilities
from broker_mesos.containerizer.process.output_limits import MIN_OUTPUT_BYTES, Limits
from broker_mesos.containerizer.task_users import TaskUsers
from broker_mesos.containerizer.volumes import Volumes
from broker_mesos.errors import InvalidInput, NotFound
from broker_mesos.ports.containerizer import LaunchSpec, StartFailed, TaskExited
from tests.containerizer.conftest import (
    GAMES,
    NOBODY,
    Runner,
    collected,
    output,
    runner_of,
)

pytestmark = pytest.mark.skipif(bool(missing_capabilities()), reason="needs the right to become another user")


async def test_links_to_files_of_the_agent_are_not_read(separate: Runner, secret: Path) -> None:
    await output(separate, "a", f"ln -s {secret} link; ln -s {secret.parent} up; rm stdout; ln -s {secret} stdout")
    sandboxes = separate.containerizer.sandboxes
    for name in ("link", "up/secret", "stdout", "../../secret"):
        with pytest.raises((InvalidInput, NotFound)):
            sandboxes.read("a", name, 0, 100)


async def test_a_hard_link_shows_no_more_than_its_maker_can_see(separate: Runner, secret: Path) -> None:
    await output(separate, "a", "true")
    # A kernel without fs.protected_hardlinks lets the task do this.
    os.link(secret, separate.file("a", "link"))
    with pytest.raises(InvalidInput):
        separate.containerizer.sandboxes.read("a", "link", 0, 100)


async def test_pipes_and_devices_neither_hang_a_reader_nor_show_anything(separate: Runner) -> None:
    await output(separate, "a", "mkfifo pipe; mkfifo stderr2")
    os.mknod(separate.file("a", "device"), 0o600 | 0o020000, os.makedev(1, 9))  # a task could not
    for name in ("pipe", "device"):
        with pytest.raises(InvalidInput):
            separate.containerizer.sandboxes.read("a", name, 0, 100)


async def test_input_and_second_names_are_not_written_through_links(separate: Runner, secret: Path) -> None:
    await output(
        separate, "a", f"rm -f stdin out; ln -s {secret} stdin; ln -s {secret.parent} out; ln -f {secret} s; true"
    )
    separate.containerizer.forget("a")
    separate.events.clear()
    spec = LaunchSpec("a", ("true",), False, {}, 1.0, stdin=b"overwritten")
    separate.containerizer.launch(spec)
    end = await separate.outcome("a")
    assert isinstance(end, StartFailed), end
    assert secret.read_text() == "secret"


async def test_output_is_cut_and_files_of_others_are_not(open_dir: Path, users: TaskUsers, secret: Path) -> None:
    secret.write_bytes(b"x" * 4 * MIN_OUTPUT_BYTES)
    runner = runner_of(open_dir, users, Limits(MIN_OUTPUT_BYTES, 0))
    await runner.containerizer.start()
    runner.launch("a", "sleep", "1000")
    await runner.started("a")
    runner.file("a", "stderr").unlink()
    os.link(secret, runner.file("a", "stderr"))
    runner.launch("b", "head -c 8M /dev/zero; sleep 1000", shell=True)
    await runner.until_file("b", "stdout", lambda found: found.st_size == 8 << 20 and found.st_blocks * 512 < 4 << 20)
    assert secret.stat().st_blocks * 512 >= 4 * MIN_OUTPUT_BYTES
    await runner.containerizer.stop(kill_tasks=True, grace=0.0)


async def test_the_disk_of_a_task_of_another_user_is_measured(separate: Runner) -> None:
    text = "mkdir a; head -c 30M /dev/zero >a/big; sleep 1000"
    separate.containerizer.launch(LaunchSpec("a", (text,), True, {}, 1.0, disk=20 << 20))
    end = await separate.outcome("a")
    assert isinstance(end, TaskExited) and end.limit.endswith("more than its disk:20"), end


async def test_folders_that_a_task_has_closed_are_removed(separate: Runner, secret: Path) -> None:
    text = f"mkdir -p a/b; touch a/b/c; ln -s {secret.parent} a/out; chmod 0 a/b; chmod 0500 a; touch x; chmod 0 ."
    await output(separate, "a", text)
    separate.containerizer.forget("a")
    assert await collected(separate.containerizer) == ["a"]
    assert secret.exists()


async def test_the_sandbox_of_another_user_is_not_taken_over(separate: Runner) -> None:
    await output(separate, "a", "echo mine > file")
    separate.containerizer.forget("a")
    separate.events.clear()
    separate.containerizer.launch(LaunchSpec("a", ("cat", "file"), False, {}, 1.0, user=GAMES))
    end = await separate.outcome("a")
    assert isinstance(end, StartFailed) and "it belongs to user 65534, not 5" in end.message and not end.machine


async def test_a_volume_belongs_to_the_user_that_first_used_it(separate: Runner, open_dir: Path) -> None:
    await output(separate, "a", "echo kept > data/file", volumes=(("data", "v1"),))
    assert (open_dir / "volumes" / "v1").owner() == NOBODY
    assert await output(separate, "b", "cat data/file", volumes=(("data", "v1"),)) == "kept\n"
    spec = LaunchSpec("c", ("cat", "data/file"), False, {}, 1.0, volumes=(("data", "v1"),), user=GAMES)
    separate.containerizer.launch(spec)
    end = await separate.outcome("c")
    assert isinstance(end, StartFailed) and "its volumes: it belongs to user 65534, not 5" in end.message
    volumes = Volumes(open_dir / "volumes")
    volumes.drop(["v1"])
    volumes.sweep()
    assert [each.name for each in (open_dir / "volumes").rglob("*")] == [".dropped"]
