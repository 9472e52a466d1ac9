"""Operator requests about files of sandboxes. Answered by the agent that has the sandbox."""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part, TaskId
from broker_mesos.core.protocol.wire import register


class LogChunk(Part):
    """Part of a task's output; ``data`` is base64."""

    task_id: str
    """The full task id, even if a short form was requested."""
    agent_id: str = ""
    data: str = ""
    offset: int = 0
    size: int = 0
    ended: bool = False
    """Whether the task has ended and there is no more output."""

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadLog(Request):
    """Read up to 64 KiB of a task's output. At the end of the output, or before the task runs, the answer is
    delayed for up to ``wait`` seconds until there is more."""

    TYPE = "READ_LOG"
    RIGHT = Right.VIEW
    ANSWER = LogChunk
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    task_id: TaskId
    """A task id, ``JOB.INDEX`` (for its latest attempt) or ``JOB``."""
    name: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(default=0, ge=0)
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)

    @property
    def wait_seconds(self) -> float:
        return self.wait


class FileChunk(Part):
    """Part of a file of a sandbox. ``data`` is base64; ``ended`` is set if the task has ended and there is no more
    data."""

    data: str
    offset: int
    size: int
    ended: bool

    @classmethod
    def of(cls, data: bytes, offset: int, size: int, ended: bool) -> FileChunk:
        """A chunk with these bytes, which are encoded as base64."""
        return cls(data=base64.b64encode(data).decode(), offset=offset, size=size, ended=ended)

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadFile(Request):
    """Read up to 64 KiB of a file in a task's sandbox. At the end of the file of a running task the answer is
    delayed for up to ``wait`` seconds (at most 10) until there is more."""

    TYPE = "READ_FILE"
    RIGHT = Right.VIEW
    ANSWER = FileChunk
    ROUTE = Route.AGENT
    task_id: TaskId
    name: str = "stdout"
    offset: int = Field(default=0, ge=0)
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)

    @property
    def wait_seconds(self) -> float:
        return self.wait
