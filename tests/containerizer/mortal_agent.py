"""Run by a test as a process of its own, to be killed: an agent with tasks that are held to limits.

``python -m tests.containerizer.mortal_agent WORK_DIR COUNT`` prints the pid of its spawner when all tasks run. They end
when nobody has the lock of the file ``lock`` in the work folder any more, each with its own code.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.containerizer.held import HeldRunner, start_waiting


async def run(folder: Path, count: int) -> None:
    runner = HeldRunner(folder)
    await runner.containerizer.start()
    for number in range(count):
        start_waiting(runner, number)
    for number in range(count):
        await runner.started(f"t{number}")
    print(runner.containerizer.spawner_pid, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
