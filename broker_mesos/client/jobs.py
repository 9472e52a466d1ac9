"""Submitting, following and reading jobs, in JSON.

A command lives for a twentieth of a second, and pydantic with all that is built on it takes as long to load:
nothing here imports the models. :class:`broker_mesos.client.client.Client` adds them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Unpack

from broker_mesos.client.connect import Security, connect
from broker_mesos.client.names import not_an_id
from broker_mesos.client.transport import Transport, Unreachable
from broker_mesos.errors import InvalidInput, TimedOut, Unavailable

UNAVAILABLE_AFTER_SECONDS = 60.0
"""Seconds without any answer after which waiting and following end with Unavailable."""

ENDED = ("finished", "failed", "killed")
"""States of a job that has ended."""
TASK_ENDED = (*ENDED, "lost")
"""States of a task of a job that is not run again."""
_WAIT_TURN_SECONDS = 10.0
"""Seconds that one request of a longer wait may take."""

Stream = Literal["stdout", "stderr"]
Json = dict[str, Any]


def job_of(task: Mapping[str, Any]) -> str:
    """The id of the job of a task."""
    job_id: str = task.get("job_id") or task["task_id"].rsplit(".", 2)[0]
    return job_id


class JobClient:
    """Sends requests about jobs. ``timeout`` is the time limit of one answer in seconds."""

    def __init__(
        self,
        url: str | None = None,
        *,
        cluster: str | None = None,
        timeout: float = 5.0,
        **security: Unpack[Security],
    ) -> None:
        self.timeout = timeout
        self._transport: Transport = connect(url, cluster, **security)
        self._contacted = False

    def __enter__(self) -> JobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        self._transport.close()

    def call(self, kind: str, fields: Mapping[str, Any], timeout: float | None = None, held: float = 0.0) -> Json:
        """The data of the answer to any request of the operator API."""
        try:
            answer: Json = self._transport.call(kind, fields, self.timeout if timeout is None else timeout, held)
        except InvalidInput as error:
            # What is wrong has the name of the request and of its field before it: a caller has written neither.
            said = str(error).removeprefix(f"{kind}: ")
            if f"type {kind!r}" in said and "unknown" in said:
                raise InvalidInput(f"the cluster is of an earlier release, which has no {kind}: upgrade it") from None
            ident = next((name for name in ("job_id", "task_id", "id") if said.startswith(f"{name}: write")), None)
            raise InvalidInput(said if ident is None else not_an_id(str(fields[ident]))) from None
        self._contacted = True
        return answer

    def store(self, job_id: str, spec: Mapping[str, Any], wait: float = 0.0) -> Json:
        """Submit a job, and return its summary once it is stored, or after up to ``wait`` seconds once it has
        ended. Sent again within the time limit when the cluster is briefly away: the id makes one job of it."""
        deadline = time.monotonic() + self.timeout
        pause = 0.1
        fields = {"job_id": job_id, "spec": spec, **({"wait": wait} if wait else {})}
        while True:
            try:
                return self.call("SUBMIT_JOB", fields, max(deadline - time.monotonic(), 0.1), wait)
            except InvalidInput as error:
                text = str(error).removeprefix("SUBMIT_JOB: ")
                raise InvalidInput(text.removeprefix("spec.").removeprefix("spec: ")) from None
            except Unavailable as error:
                # Nothing there from the start is a wrong address rather than a failover.
                hopeless = isinstance(error, Unreachable) and not self._contacted
                if hopeless or deadline - time.monotonic() <= pause:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def follow(
        self, job_id: str, timeout: float | None = None, *, pending_turn: float = _WAIT_TURN_SECONDS
    ) -> Iterator[Json]:
        """A job's summary every 10 seconds, every ``pending_turn`` seconds as long as none of its tasks runs,
        and last once it has ended.

        Rides out lost connections. Raises TimedOut after ``timeout`` seconds.
        """
        return self._follow(job_id, timeout, pending_turn, every_change=False)

    def end_of(self, job_id: str, timeout: float | None = None) -> Json:
        """A job's summary once it has ended; see :meth:`follow`."""
        *_, last = self.follow(job_id, timeout)
        return last

    def end_of_task(
        self, task_id: str, timeout: float | None = None, seen_as: Callable[[Json], None] = lambda task: None
    ) -> Json:
        """One task of a job, given as ``JOB.INDEX``, once it has ended and is not run again. ``seen_as`` is called with
        the task as it is seen meanwhile.

        Rides out lost connections. Raises NotFound, and TimedOut after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        patience = _UnavailableTimer(self)
        seen = -1
        while True:
            try:
                task = self.call("GET_TASK", {"task_id": task_id})
                if task["state"] in TASK_ENDED:
                    return task
                seen_as(task)
                left = _WAIT_TURN_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
                seconds = min(_WAIT_TURN_SECONDS, left)
                summary = self.call(
                    "WAIT_JOB", {"job_id": job_of(task), "seconds": seconds, "seen": seen}, held=seconds
                )
                patience.renew()
                seen = summary.get("version", 0)
                if summary["state"] in ENDED:
                    return self.call("GET_TASK", {"task_id": task_id})
            except Unavailable as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                patience.bear(error)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(
                    f"task {task_id} has not ended within {timeout:g} s; it goes on: `bmesos wait {task_id}`"
                )

    def changes(self, job_id: str, timeout: float | None = None, *, pending_turn: float = 0.0) -> Iterator[Json]:
        """A job's summary now, after every change, and last once it has ended. With ``pending_turn`` also every 10
        seconds without a change, and every ``pending_turn`` seconds as long as none of its tasks runs."""
        turn = pending_turn or _WAIT_TURN_SECONDS
        return self._follow(job_id, timeout, turn, every_change=True, unchanged=bool(pending_turn))

    def _follow(
        self, job_id: str, timeout: float | None, pending_turn: float, *, every_change: bool, unchanged: bool = False
    ) -> Iterator[Json]:
        deadline = None if timeout is None else time.monotonic() + timeout
        patience = _UnavailableTimer(self)
        # Version -1: the first answer comes at once.
        seen: int | None = -1 if every_change else None
        turn = pending_turn
        while True:
            left = turn if deadline is None else max(0.0, deadline - time.monotonic())
            seconds = min(turn, left)
            fields = {"job_id": job_id, "seconds": seconds, "seen": seen}
            try:
                summary = self.call("WAIT_JOB", fields, held=seconds)
            except Unavailable as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                patience.bear(error)
                continue
            patience.renew()
            turn = pending_turn if summary["state"] == "pending" else _WAIT_TURN_SECONDS
            if summary["state"] in ENDED:
                yield summary
                return
            if not every_change or unchanged or summary.get("version") != seen:
                yield summary
            if every_change:
                seen = summary.get("version", 0)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(f"job {job_id} has not ended within {timeout:g} s; it goes on: `bmesos wait {job_id}`")

    def matching_killed(self, which: Mapping[str, Any], only_list: bool = False) -> list[str]:
        """End the jobs that match a ``JobFilter`` and have not ended, and return their ids; with ``only_list`` nothing
        is ended."""
        kind = "KILL_JOBS_OF_ROLE" if which.get("role") else "KILL_JOBS"
        found: list[str] = []
        after: int | None = None
        while True:
            page = self.call(kind, {"which": {**which, "after": after}, "only_list": only_list})
            found += page["job_ids"]
            after = page.get("after")
            if after is None:
                return found

    def read(self, task_id: str, stream: Stream = "stdout", follow: bool = False) -> Iterator[bytes]:
        """A task's output so far; with ``follow``, what comes until its end.

        ``task_id`` is a task's full id, ``JOB`` or ``JOB.INDEX``; these follow from attempt to attempt. In place of
        output that its agent has cut out there is one line that says so.
        """
        from base64 import b64decode

        offset, current, latest = 0, "", b""
        patience = _UnavailableTimer(self)
        wait = _WAIT_TURN_SECONDS if follow else 0.0
        while True:
            fields = {"task_id": current or task_id, "name": stream, "offset": offset, "wait": wait}
            try:
                chunk = self.call("READ_LOG", fields, held=wait)
                patience.renew()
                if chunk.get("agent_id"):
                    current = chunk["task_id"]
                data = b64decode(chunk.get("data", ""))
                if data:
                    begins = chunk.get("offset", 0)
                    if begins != offset and not latest.endswith(_LINE_ENDS):
                        yield _gap(begins - offset)
                    yield data
                    offset, latest = begins + len(data), data[-len(_LINE_ENDS) :]
                if chunk.get("ended") and offset >= chunk.get("size", 0):
                    if not follow or not self._attempt_after(task_id, current):
                        return
                    offset, current, latest = 0, "", b""
                elif not data and not follow:
                    return
            except Unavailable as error:
                if not follow:
                    raise
                patience.bear(error)

    def _attempt_after(self, task_id: str, current: str) -> bool:
        """Whether another attempt follows one whose output has ended."""
        if not current or current == task_id:
            return False
        from broker_mesos.core.model.task_states import TaskState

        ended = {state.short for state in TaskState if state.terminal}
        pause = 0.05
        while True:
            task = self.call("GET_TASK", {"task_id": task_id})
            if task["task_id"] != current:
                return task["state"] not in ended or bool(task.get("agent_id"))
            if task["state"] in ended:
                return False
            # The agent's end of file is ahead of the status that says how the task ended.
            time.sleep(pause)
            pause = min(2 * pause, 1.0)


_LINE_ENDS = b" in all]\n"
"""The end of the line that an agent puts into output before what it has cut out."""


def _gap(count: int) -> bytes:
    """A line in place of output that was cut out, for a reader that has not seen the agent's own line about it; a
    negative ``count`` if the file was truncated, and begins anew."""
    what = f"{count:,} bytes of output were" if count > 0 else "output was"
    return f"\n[bmesos: {what} dropped here: the output exceeded its limit]\n".encode()


class _UnavailableTimer:
    """Bears lost connections, until nobody has answered for too long."""

    def __init__(self, client: JobClient) -> None:
        self._client = client
        self.renew()

    def renew(self) -> None:
        """There was an answer."""
        self._since = time.monotonic()
        self._pause = 0.1

    def bear(self, error: Unavailable) -> None:
        """Waits a little, or raises the error."""
        if isinstance(error, Unreachable) and not self._client._contacted:
            raise error
        if time.monotonic() - self._since > UNAVAILABLE_AFTER_SECONDS:
            raise error
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 2.0)
