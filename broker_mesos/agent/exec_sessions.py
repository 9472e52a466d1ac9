"""The exec sessions of an agent: commands beside its tasks, for clients that poll for output and send input.

The command itself is the containerizer's (``ports/execution.py``). Here is who may use it, how much of it a client has,
and when it ends: with its task, with the agent, or when its client is silent.
"""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Callable

from broker_mesos.core.api.exec import MAX_CHUNK, SILENCE_SECONDS, AgentExec, ExecState, StartExec, UseExec
from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.task import OWNER_LABEL
from broker_mesos.errors import BrokerMesosError, Conflict, Denied, InvalidInput, NotFound, Unavailable
from broker_mesos.ports.clock import Clock
from broker_mesos.ports.containerizer import Containerizer
from broker_mesos.ports.execution import ExecEnd, ExecRefused, ExecSpec, Execution, Output
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.timeouts import within

log = get_logger(__name__)

MAX_PER_TASK = 4
MAX_PER_AGENT = 32
END_WAIT_SECONDS = 2.0
"""Time for which a session whose command was killed waits to learn whether its task has ended, in seconds."""


class _Session:
    """A session. ``requested_at`` is the monotonic time of the last request of its client."""

    def __init__(self, start: StartExec, agent_id: str, principal: str, requested_at: float) -> None:
        self.start = start
        self.agent_id = agent_id
        self.principal = principal
        self.requested_at = requested_at
        self.execution: Execution | None = None
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()
        self.accepted = 0
        self.input_ended = False
        self.signals = 0
        self.reason = ""
        """Why the agent has ended it; empty if it has not."""
        self.task_ended = False

    def on_change(self) -> None:
        self.changed.set()

    def state(self, use: UseExec | None = None) -> ExecState:
        """The answer to its client, with output from the offsets of its request on."""
        execution = self.execution
        found = ExecState(
            exec_id=self.start.exec_id, task_id=self.start.task_id, agent_id=self.agent_id, accepted=self.accepted
        )
        if execution is None or use is None or use.out is None:
            return found
        out, err = _chunk(execution.out, MAX_CHUNK), b""
        err = _chunk(execution.err, MAX_CHUNK - len(out))
        known = {
            "out": base64.b64encode(out).decode(),
            "out_offset": execution.out.start,
            "err": base64.b64encode(err).decode(),
            "err_offset": execution.err.start,
        }
        whole = len(out) == len(execution.out.data) and len(err) == len(execution.err.data)
        if execution.ended is not None and whole:
            known |= self._end(execution.ended)
        return found.model_copy(update=known)

    def _end(self, end: ExecEnd) -> dict[str, object]:
        if not end.lost:
            return {"ended": True, "exit_code": end.exit_code, "signal": end.signal}
        reason = self.reason
        if not reason and self.task_ended:
            reason = f"task {self.start.task_id} has ended, and its sessions with it"
        elif not reason:
            reason = "the command was killed together with the process that served its session"
        return {"ended": True, "message": reason}

    @property
    def over(self) -> bool:
        """Whether its command has ended."""
        return self.execution is not None and self.execution.ended is not None

    def has_changes(self) -> bool:
        """Whether there is something that its client waits for."""
        execution = self.execution
        return execution is None or bool(execution.out.data or execution.err.data) or execution.ended is not None


def _chunk(output: Output, limit: int) -> bytes:
    return bytes(output.data[:limit])


class ExecSessions:
    """Answers AGENT_EXEC requests. ``task_of`` returns a task that the agent runs; None for any other id."""

    def __init__(
        self,
        containerizer: Containerizer,
        clock: Clock,
        task_of: Callable[[str], AgentTask | None],
        *,
        enabled: bool = True,
    ) -> None:
        self._containerizer = containerizer
        self._clock = clock
        self._task_of = task_of
        self._enabled = enabled
        self._sessions: dict[str, _Session] = {}
        self._watcher: asyncio.Task[None] | None = None
        self.agent_id = ""

    async def answer(self, request: AgentExec) -> ExecState:
        """Answer a request. Raises Denied, NotFound, Conflict, InvalidInput, Unavailable."""
        if request.start is not None:
            return await self._start(request, request.start)
        if request.use is not None:
            return await self._use(request, request.use)
        raise InvalidInput("AGENT_EXEC: give start or use")

    def task_ended(self, task_id: str) -> None:
        """Note that a task has ended, whose sessions end with it."""
        for session in self._sessions.values():
            if session.start.task_id == task_id:
                session.task_ended = True
                self._close(session)

    def close(self) -> None:
        """End all sessions."""
        if self._watcher is not None:
            self._watcher.cancel()
        for session in list(self._sessions.values()):
            session.reason = session.reason or "its agent was stopped"
            self._close(session)
        self._sessions.clear()

    # -- starting ------------------------------------------------------------------------------------------

    async def _start(self, request: AgentExec, start: StartExec) -> ExecState:
        session = self._sessions.get(start.exec_id)
        if session is None:
            self._check(request, start)
            session = _Session(start, self.agent_id, request.principal, self._clock.monotonic())
            self._sessions[start.exec_id] = session
            try:
                await self._execute(session, request)
            except BaseException:
                del self._sessions[start.exec_id]
                if not session.started.done():
                    session.started.cancel()
                raise
            self._watch()
        elif session.principal != request.principal or session.start.argv != start.argv:
            raise Conflict("there is another session with this id")
        else:
            try:
                await asyncio.shield(session.started)
            except asyncio.CancelledError:
                raise Unavailable("the command was not started; try again") from None
        return session.state()

    def _check(self, request: AgentExec, start: StartExec) -> None:
        if not self._enabled:
            raise Denied("its agent runs no commands beside tasks: exec_enabled is false there")
        task = self._task_of(start.task_id)
        if task is None:
            raise Conflict(
                f"task {start.task_id} does not run on agent {self.agent_id} now: `bmesos tasks` lists those"
            )
        owner = task.labels.get(OWNER_LABEL, "")
        if not request.any_task and owner != request.principal:
            raise Denied(
                f"{request.principal or 'nobody'!r} has no right to exec:any (the task belongs to "
                f"{owner or 'nobody'!r}): see `bmesos whoami`"
            )
        beside = sum(each.start.task_id == start.task_id and not each.over for each in self._sessions.values())
        if beside >= MAX_PER_TASK:
            raise Conflict(f"task {start.task_id} has {MAX_PER_TASK} sessions already: end one of them")
        if len(self._sessions) >= MAX_PER_AGENT:
            raise Conflict(f"agent {self.agent_id} has {MAX_PER_AGENT} sessions already: try again later")

    async def _execute(self, session: _Session, request: AgentExec) -> None:
        start = session.start
        spec = ExecSpec(
            start.task_id,
            start.exec_id,
            start.argv,
            stdin=start.stdin,
            tty=start.tty,
            rows=start.rows,
            columns=start.columns,
            term=start.term,
            task_users=request.task_users,
        )
        try:
            session.execution = await self._containerizer.execute(spec, session.on_change)
        except ExecRefused as error:
            raise self._error(error, session, request) from None
        session.started.set_result(None)
        # The program alone: arguments may be secrets.
        log.info("exec begins", task_id=start.task_id, principal=request.principal, program=start.argv[0][:200])

    def _error(self, refused: ExecRefused, session: _Session, request: AgentExec) -> BrokerMesosError:
        if refused.code == "denied":
            who, user = request.principal or "nobody", refused.text
            return Denied(f"{who!r} has no right to exec tasks of user {user} of the machine: see `bmesos whoami`")
        if refused.code == "conflict":
            return Conflict(f"task {session.start.task_id} has no process now: it has ended, or has not started yet")
        return InvalidInput(refused.text) if refused.code == "invalid" else Unavailable(refused.text)

    # -- use -----------------------------------------------------------------------------------------------

    async def _use(self, request: AgentExec, use: UseExec) -> ExecState:
        session = self._sessions.get(use.exec_id)
        if session is None or session.principal != request.principal:
            raise NotFound(f"agent {self.agent_id} has no such session: it has ended, or the agent was restarted")
        session.requested_at = self._clock.monotonic()
        execution = session.execution
        if execution is None:
            raise Unavailable("the command of this session has not started yet")
        if use.close:
            session.reason = "it was closed"
            self._close(session)
            del self._sessions[use.exec_id]
            return session.state()
        if use.rows or use.columns:
            execution.resize(use.rows, use.columns)
        if use.signal and use.signal_number > session.signals:
            session.signals = use.signal_number
            execution.signal(signal.Signals[f"SIG{use.signal}"])
        self._take_input(session, execution, use)
        if use.out is None:
            return session.state()
        execution.forget(use.out, use.err)
        await self._wait_for_changes(session, use.wait)
        if execution.ended is not None and execution.ended.lost and not session.reason and not session.task_ended:
            await self._wait(session, END_WAIT_SECONDS, lambda: session.task_ended)
        return session.state(use)

    def _take_input(self, session: _Session, execution: Execution, use: UseExec) -> None:
        data = use.stdin()
        skipped = session.accepted - use.input_offset
        if skipped < 0:
            raise InvalidInput(f"input from offset {use.input_offset} on: the next one is {session.accepted}")
        session.accepted += execution.write(data[skipped:])
        if use.input_end and not session.input_ended and session.accepted >= use.input_offset + len(data):
            session.input_ended = True
            execution.end_input()

    async def _wait_for_changes(self, session: _Session, seconds: float) -> None:
        await self._wait(session, seconds, session.has_changes)

    async def _wait(self, session: _Session, seconds: float, condition: Callable[[], bool]) -> None:
        deadline = self._clock.monotonic() + seconds
        while not condition():
            session.changed.clear()
            try:
                async with within(max(0.0, deadline - self._clock.monotonic())):
                    await session.changed.wait()
            except TimeoutError:
                return

    # -- ends ----------------------------------------------------------------------------------------------

    def _close(self, session: _Session) -> None:
        if session.execution is not None:
            session.execution.close()
        session.changed.set()

    def _watch(self) -> None:
        """Have sessions ended whose clients are silent, as long as there are any."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._end_silent(), name="exec sessions")

    async def _end_silent(self) -> None:
        while self._sessions:
            now = self._clock.monotonic()
            for exec_id, session in list(self._sessions.items()):
                if session.execution is not None and now - session.requested_at >= SILENCE_SECONDS:
                    log.info("exec ends: its client is silent", task_id=session.start.task_id)
                    self._close(session)
                    del self._sessions[exec_id]
            await self._clock.sleep(1.0)
