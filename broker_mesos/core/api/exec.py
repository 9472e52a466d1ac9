"""Operator requests that run a command beside a task, in the task's own view: exec sessions.

A session is at one agent, under an id that its client has chosen. The client sends USE_EXEC again and again: each one
says up to which offset it has the output, so that nothing is lost or doubled when a message is, and an agent keeps
little. A session whose client is silent for SILENCE_SECONDS ends, with all processes of its command.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from broker_mesos.core.api.access import Caller
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part, Short, TaskId
from broker_mesos.core.protocol.wire import register

MAX_ARGV_BYTES = 64 << 10
"""The longest command of a session, in bytes of UTF-8."""
MAX_CHUNK = 128 << 10
"""The most output of both streams together in one answer, in bytes."""
MAX_INPUT = 32 << 10
"""The most input in one request, in bytes."""
MAX_WAIT_SECONDS = 10.0
SILENCE_SECONDS = 25.0
"""Time after the last request of its client at which an agent ends a session, in seconds."""
Signal = Literal["", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "TSTP", "ALRM"]
"""The signals that a client may have sent to its command; empty for none."""

ExecId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""The id of a session: 128 random bits, since whoever knows it may use the session as its principal."""
Size = Annotated[int, Field(ge=0, le=65_535)]


class ExecState(Part):
    """The state of a session. Chunks of output are base64."""

    exec_id: str
    task_id: str
    """The full id of the task."""
    agent_id: str = ""
    out: str = ""
    out_offset: int = 0
    """The offset of ``out`` in all that the command has written to stdout, or to its terminal."""
    err: str = ""
    err_offset: int = 0
    accepted: int = 0
    """Number of bytes of input that the agent has taken in all."""
    ended: bool = False
    """Whether the session has ended, and there is no output after this."""
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that ended the command; None if no signal did."""
    message: str = ""
    """Why the session has ended before its command did, in one line; else empty."""

    def stdout(self) -> bytes:
        """The bytes of ``out``."""
        return base64.b64decode(self.out)

    def stderr(self) -> bytes:
        """The bytes of ``err``."""
        return base64.b64decode(self.err)


@register
class StartExec(Request):
    """Start a command beside a task that runs. A repeat with the same ``exec_id`` starts nothing."""

    TYPE = "START_EXEC"
    RIGHT = Right.EXEC
    ANSWER = ExecState
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    task_id: TaskId
    """A task id, ``JOB.INDEX``, or ``JOB`` if one task of it runs."""
    exec_id: ExecId
    argv: tuple[str, ...] = Field(min_length=1, max_length=4_096)
    stdin: bool = False
    """Whether the command reads input; else its stdin is empty."""
    tty: bool = False
    """Whether it runs on a terminal of its own, of ``rows`` and ``columns``."""
    rows: Size = 0
    columns: Size = 0
    term: Short = ""
    """The type of the client's terminal, for the variable TERM."""

    @field_validator("argv")
    @classmethod
    def _argv(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if sum(len(word.encode("utf-8", "surrogatepass")) + 1 for word in argv) > MAX_ARGV_BYTES:
            raise ValueError(f"the command is longer than {MAX_ARGV_BYTES} bytes: put it into a file of the task")
        if any("\0" in word for word in argv) or not argv[0]:
            raise ValueError("the command is empty, or has a NUL character")
        return argv

    @field_validator("term")
    @classmethod
    def _term(cls, term: str) -> str:
        if not term.isprintable():
            raise ValueError("a terminal's type has no control characters")
        return term


@register
class UseExec(Request):
    """Exchange input and output with a session. Without new output the answer is delayed for up to ``wait`` seconds."""

    TYPE = "USE_EXEC"
    RIGHT = Right.EXEC
    ANSWER = ExecState
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    AUDITED = False
    exec_id: ExecId
    agent_id: Ident
    out: int | None = Field(default=None, ge=0)
    """The offset in stdout from which on output is wanted: what is before it has arrived, and is forgotten. None: no
    output is wanted now."""
    err: int = Field(default=0, ge=0)
    """The same of stderr."""
    input: str = Field(default="", max_length=4 * (MAX_INPUT // 3 + 1))
    """Input, in base64."""
    input_offset: int = Field(default=0, ge=0)
    """The offset of the input in all input; what the agent has taken already is skipped."""
    input_end: bool = False
    """Whether there is no input after this."""
    rows: Size = 0
    columns: Size = 0
    """The new size of the terminal; 0 for no change."""
    signal: Signal = ""
    """A signal for the command and the processes of its group."""
    signal_number: int = Field(default=0, ge=0)
    """Number of the signal in the session, from 1 on, by which a repeat is known."""
    close: bool = False
    """Whether to end the session now, with all processes of its command."""
    wait: float = Field(default=0.0, ge=0, le=MAX_WAIT_SECONDS)

    @property
    def wait_seconds(self) -> float:
        return self.wait

    @field_validator("input")
    @classmethod
    def _input(cls, text: str) -> str:
        try:
            size = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("this is not base64") from None
        if size > MAX_INPUT:
            raise ValueError(f"{size} bytes of input: at most {MAX_INPUT} at once")
        return text

    def stdin(self) -> bytes:
        """The bytes of ``input``."""
        return base64.b64decode(self.input)


class _Passed(Request):
    """A request about a session that is passed on: the one or the other."""

    start: StartExec | None = None
    use: UseExec | None = None

    @property
    def wait_seconds(self) -> float:
        return 0.0 if self.use is None else self.use.wait

    @property
    def audited(self) -> bool:
        return self.start is not None

    @property
    def task_id(self) -> str:
        """The task, for the log of actions; empty if none is started."""
        return "" if self.start is None else self.start.task_id


@register
class PassExec(_Passed):
    """Pass a request on to an agent, which answers masters and the web server alone where senders are checked."""

    TYPE = "PASS_EXEC"
    RIGHT = Right.EXEC
    ANSWER = ExecState
    ROUTE = Route.MASTER
    agent_id: Ident


@register
class AgentExec(_Passed):
    """A request about a session, for the agent that has it, with the rights of its principal."""

    TYPE = "AGENT_EXEC"
    RIGHT = Right.EXEC
    ANSWER = ExecState
    ROUTE = Route.AGENT
    principal: str = Field(default="", max_length=200)
    """Who has sent it; empty if that is not checked in this cluster."""
    any_task: bool = True
    """Whether it may do so for tasks of everybody; otherwise for those of its own jobs."""
    task_users: tuple[str, ...] = ("*",)
    """The users of machines as which it may run commands, besides the one that an agent chooses; ``*`` for any."""

    @classmethod
    def of(cls, caller: Caller | None, start: StartExec | None, use: UseExec | None) -> AgentExec:
        """The request of a principal; ``caller`` is None if rights are not checked."""
        if caller is None:
            return cls(start=start, use=use)
        return cls(
            start=start,
            use=use,
            principal=caller.name,
            any_task=caller.enters_any,
            task_users=caller.rights.task_users,
        )
