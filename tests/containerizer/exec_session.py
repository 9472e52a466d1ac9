"""A command beside a task, for tests: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from broker_mesos.containerizer.process.containerizer import ProcessContainerizer
from broker_mesos.ports.execution import ExecEnd, ExecSpec, Execution

TIMEOUT = 60.0


class Session:
    """A command that runs beside a task."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.execution: Execution

    @classmethod
    async def start(cls, containerizer: ProcessContainerizer, task_id: str, *argv: str, **options: Any) -> Session:
        made = cls()
        spec = ExecSpec(task_id, uuid.uuid4().hex, argv, **options)
        made.execution = await containerizer.execute(spec, made._changed.set)
        return made

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def printed(self, text: str) -> None:
        """Wait until a text is in what it has printed."""
        await self.until(lambda: text.encode() in self.execution.out.data)

    async def end(self) -> ExecEnd:
        await self.until(lambda: self.execution.ended is not None)
        assert self.execution.ended is not None
        return self.execution.ended

    async def output(self) -> tuple[int | None, str, str]:
        """Exit code, stdout and stderr of a command that ends by itself."""
        end = await self.end()
        assert not end.lost, end
        out, err = (bytes(each.data).decode() for each in (self.execution.out, self.execution.err))
        return end.exit_code, out, err
