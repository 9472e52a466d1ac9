"""Run by a test with few capabilities, in a process of its own: what an agent does with tasks of another user.

``python -m tests.containerizer.limited_agent WORK_DIR`` prints one JSON object with what it has seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from broker_mesos.containerizer.credentials import hide
from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.containerizer.process.output_limits import MIN_OUTPUT_BYTES, Limits
from broker_mesos.containerizer.task_users import find_task_users
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.containerizer import LaunchSpec, TaskExited
from tests.containerizer.conftest import Runner, collected, gone
from tests.containerizer.exec_session import Session

IDS = "id -u; grep -E '^(CapPrm|CapEff|CapAmb|CapInh)' /proc/self/status | cut -f2"
TREE = "setsid sleep 1000 & echo $!; (setsid sleep 1000 & echo $!) ; sleep 1000"


async def run(folder: Path) -> dict[str, Any]:
    hide()
    users = find_task_users("nobody", [], allow_root=False)
    users.open_folder(folder)
    runner = Runner(folder)
    limits = Limits(MIN_OUTPUT_BYTES, 0)
    containerizer = ProcessContainerizer(folder, runner._on_events, users=users, limits=limits, protect=True)
    runner.containerizer = containerizer
    await containerizer.start()

    def shown(task_id: str) -> list[str]:
        return containerizer.sandboxes.read(task_id, "stdout", 0, 65536).data.decode().split()

    async def printed(task_id: str, count: int) -> list[int]:
        while True:
            if len(shown(task_id)) >= count:
                return [int(each) for each in shown(task_id)]
            await asyncio.sleep(0.01)

    async def ended(task_id: str) -> Any:
        end = await runner.outcome(task_id)
        return [end.exit_code, end.signal] if isinstance(end, TaskExited) else end.message

    seen: dict[str, Any] = {}
    containerizer.launch(
        LaunchSpec("a", (IDS,), True, {}, 1.0, stdin=b"x", outputs=(("stdout", "o/p"),), volumes=(("v", "v1"),))
    )
    seen["end"] = await ended("a")
    seen["ids"] = shown("a")
    containerizer.launch(LaunchSpec("tree", (TREE,), True, {}, 1.0))
    started = await runner.started("tree")
    inside = await printed("tree", 2)
    session = await Session.start(containerizer, "tree", "sh", "-c", IDS + "; stat -c %U $(tty)", tty=True)
    seen["exec"] = [(await session.output())[0], bytes(session.execution.out.data).decode().split()]
    containerizer.kill("tree", 0.0)
    seen["killed"] = await ended("tree")
    await gone(started.pid, *inside)
    containerizer.launch(LaunchSpec("long", ("head -c 8M /dev/zero; sleep 1000",), True, {}, 1.0))
    await runner.started("long")
    while containerizer.sandboxes.read("long", "stdout", 4 << 20, 1).offset == 4 << 20:
        await asyncio.sleep(0.05)  # until the middle is cut out
    containerizer.kill("long", 0.0)
    # What the next spawner knows of the tasks of one that was killed
    for task_id, text in (("code", "while kill -0 $SPAWNER; do sleep 0.05; done; sleep 0.5; exit 9"), ("left", TREE)):
        text = text.replace("kill -0 $SPAWNER", f"[ -e /proc/{containerizer.spawner_pid} ]")
        containerizer.launch(LaunchSpec(task_id, (text,), True, {}, 1.0))
        await runner.started(task_id)
    inside = await printed("left", 2)
    before = containerizer.spawner_pid
    os.kill(before, signal.SIGKILL)
    seen["code"] = await ended("code")
    containerizer.kill("left", 0.0)
    await ended("left")
    await gone(*inside)
    seen["spawners"] = before != containerizer.spawner_pid
    for task_id in ("a", "tree", "long", "code", "left"):
        containerizer.forget(task_id)
    containerizer.launch(LaunchSpec("z", ("mkdir a; touch a/b; chmod 0 a",), True, {}, 1.0))
    await ended("z")
    containerizer.forget("z")
    await containerizer.stop(kill_tasks=True, grace=0.0)
    seen["swept"] = await collected(containerizer)
    containerizer._volumes.drop(["v1"])
    containerizer._volumes.sweep()
    seen["volumes"] = [each.name for each in (folder / "volumes").rglob("*") if each.name != ".dropped"]
    return seen


async def run_without(folder: Path) -> dict[str, Any]:
    """The same for a later agent that cannot act as other users, beside a running task of one."""
    runner = Runner(folder)
    containerizer = runner.containerizer
    (found,) = await containerizer.start()
    seen: dict[str, Any] = {"running": found.running, "own": ""}
    try:
        containerizer.sandboxes.read(found.task_id, "stdout", 0, 10)
    except InvalidInput as error:
        seen["read"] = str(error)
    runner.launch("own", "true")
    end = await runner.outcome("own")
    seen["own"] = end.exit_code if isinstance(end, TaskExited) else end.message
    containerizer.forget("own")
    await asyncio.sleep(0.6)  # it looks at the output of tasks meanwhile
    seen["swept"] = await collected(containerizer)
    await containerizer.stop(kill_tasks=False)
    return seen


if __name__ == "__main__":
    main = run_without if sys.argv[2:] else run
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
