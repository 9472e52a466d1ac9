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
    offset: int = Field(default=0, ge=-(2**53))
    """Where to begin, in bytes; a negative number counts from the end of what there is."""
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


class SandboxEntry(Part):
    """An entry of a folder in a sandbox."""

    name: str
    kind: Literal["file", "folder", "link", "other"]
    """Links, pipes and devices are listed, and cannot be read."""
    size: int = 0
    modified: float = 0.0
    """Seconds since the epoch by the clock of the agent."""


class FolderView(Part):
    """A page of a folder in a sandbox, in the order of the names."""

    task_id: str = ""
    agent_id: str = ""
    path: str = ""
    files: tuple[SandboxEntry, ...] = ()
    truncated: bool = False
    """Whether there are more entries behind the last one."""
    after: str = ""
    """The ``after`` for the next page; empty if there is none."""


class FolderRequest(Request):
    """The base class of requests for a folder in a sandbox."""

    RIGHT = Right.FILES
    ANSWER = FolderView
    task_id: TaskId
    path: str = Field(default="", max_length=4_096)
    """The folder, relative to the sandbox; empty for the sandbox itself."""
    after: str = Field(default="", max_length=255)
    limit: int = Field(default=500, ge=1, le=1_000)


@register
class ListSandbox(FolderRequest):
    """List a folder in a task's sandbox on this agent."""

    TYPE = "LIST_SANDBOX"
    ROUTE = Route.AGENT


@register
class ListFiles(FolderRequest):
    """List a folder in the sandbox of a task, by its task id, or by ``JOB.INDEX`` or ``JOB`` for its latest attempt."""

    TYPE = "LIST_FILES"
    ROUTE = Route.GATEWAY
    FOR_USERS = True


@register
class ReadSandboxFile(Request):
    """Read up to 64 KiB of any plain file in the sandbox of a task. At the end of the file of a running task the answer
    is delayed for up to ``wait`` seconds until there is more."""

    TYPE = "READ_SANDBOX_FILE"
    RIGHT = Right.FILES
    ANSWER = LogChunk
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    task_id: TaskId
    name: str = Field(min_length=1, max_length=4_096)
    """The name relative to the sandbox, such as ``results/part-1``."""
    offset: int = Field(default=0, ge=-(2**53))
    """Where to begin, in bytes; a negative number counts from the end of what there is."""
    length: int = Field(default=65_536, ge=1, le=65_536)
    wait: float = Field(default=0.0, ge=0, le=10)

    @property
    def wait_seconds(self) -> float:
        return self.wait
