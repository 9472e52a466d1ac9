"""One connection to Redis that many callers share: the commands of one turn of the event loop are one write, and
answers are returned in the order of the commands.

This is the only module that uses private parts of redis-py (``Connection._writer``), whose version is pinned to the
minor because of it. Compared with redis-py's pool of connections, on Redis 7.0 with ``appendfsync always`` and
redis-py 8.1, it saves 27% of the CPU of a transaction (173 for 206 µs, which takes as long), 65% where 16 callers
write at once (47 for 134 µs, in less than half the time), and 76% of their reads (``benchmarks/redis_pipeline.py``,
medians of 9 paired rounds). The contract suites run with it and without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Argument = str | bytes | int | float


class Pipeline:
    """A connection that is made at its first use, and again at the next use after it broke. Commands that were under
    way then fail with ``broken``. The answer to a caller that was cancelled keeps its place in the order of answers."""

    def __init__(self, connect: Callable[[], Any], broken: type[Exception], refusal: type[Exception]) -> None:
        """``connect`` makes a redis-py connection; ``refusal`` is the class of the errors that the server answers
        with."""
        self._connect = connect
        self._broken = broken
        self._refusal = refusal
        self._connection: Any = None
        self._keeper: asyncio.Task[None] | None = None
        self._sending = False
        self._unsent: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()

    async def execute_command(self, *arguments: Argument) -> Any:
        """Send a command. Returns the raw answer, with bytes for texts. Raises redis-py's errors."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.append((arguments, future))
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._serve(), name="redis pipeline")
        elif self._connection is not None and not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send, self._connection)
        return await future

    def drop(self) -> None:
        """Drop the connection, since it has not answered in time."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        self._end(self._broken("no answer in time"))

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        keeper = self._keeper
        self.drop()
        if keeper is not None:
            await asyncio.gather(keeper, return_exceptions=True)

    async def _serve(self) -> None:
        connection = self._connect()
        connection.socket_timeout = None  # it reads answers even while no command is under way
        try:
            await connection.connect()
            self._connection = connection
            self._send(connection)
            while True:
                try:
                    answer = await connection.read_response(disable_decoding=True)
                except self._refusal as error:
                    answer = error
                future = self._unanswered.popleft()
                if future.done():
                    continue  # its caller was cancelled
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except Exception as error:
            if self._keeper is asyncio.current_task():
                self._keeper = None
                self._end(error)
        finally:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    def _send(self, connection: Any) -> None:
        """Send all waiting commands as one write. The transport keeps what the system does not accept at once; there
        are never more commands than callers."""
        if connection is not self._connection:
            return
        self._sending = False
        batch, self._unsent = self._unsent, []
        self._unanswered.extend(future for _, future in batch)
        connection._writer.write(b"".join(pack(arguments) for arguments, _ in batch))

    def _end(self, error: Exception) -> None:
        failed = [*self._unanswered, *(future for _, future in self._unsent)]
        self._unanswered.clear()
        self._unsent.clear()
        self._connection = None
        self._sending = False
        for future in failed:
            if not future.done():
                future.set_exception(error)
                future.exception()  # its caller may have been cancelled


def pack(arguments: Sequence[Argument]) -> bytes:
    """A command in the protocol of Redis."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
