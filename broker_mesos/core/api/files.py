"""Operator requests about files of sandboxes. Answered by the agent that has the sandbox."""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Part, TaskId
from broker_mesos.core.protocol.wire import register


class LogChunk(Part):
    """Part of a task's output; ``data`` is base64."""

    task_id: str
    """The full id, whatever short form was asked for."""
    agent_id: str = ""
    data: str = ""
    offset: int = 0
    size: int = 0
    ended: bool = False
    """The task is over and nothing follows."""

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadLog(Request):
    """Read a task's output: at most 64 KiB. At its end, or before the task runs, the answer waits up to
    ``wait`` seconds for something to come."""

    TYPE = "READ_LOG"
    ANSWER = LogChunk
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    task_id: TaskId
    """A task id, ``JOB.INDEX`` (its latest attempt) or ``JOB``."""
    name: Literal["stdout", "stderr"] = "stdout"
    offset: int = Field(default=0, ge=0)
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)

    @property
    def wait_seconds(self) -> float:
        return self.wait


class FileChunk(Part):
    """Part of a file of a sandbox; ``data`` is base64. ``ended``: the task is over and nothing follows."""

    data: str
    offset: int
    size: int
    ended: bool

    @classmethod
    def of(cls, data: bytes, offset: int, size: int, ended: bool) -> FileChunk:
        """Encodes the bytes."""
        return cls(data=base64.b64encode(data).decode(), offset=offset, size=size, ended=ended)

    def bytes(self) -> bytes:
        """The bytes of the chunk."""
        return base64.b64decode(self.data)


@register
class ReadFile(Request):
    """Read from a task's sandbox: at most 64 KiB. At the end of the file of a running task the answer
    waits up to ``wait`` seconds (at most 10) for more."""

    TYPE = "READ_FILE"
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
