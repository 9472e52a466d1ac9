"""One connection to Redis that many callers share: the commands of one turn of the event loop are one write, and
answers are handed out in the order of the commands.

The only module that uses private parts of redis-py (``Connection._writer``), whose version is pinned to the minor
for that. Against redis-py's pool of connections, on Redis 7.0 with ``appendfsync always`` and redis-py 8.1, it
saves 27% of the CPU of a transaction (173 for 206 µs, which takes as long), 65% where 16 callers write at once (47
for 134 µs, in less than half the time), and 76% of their reads (``benchmarks/redis_pipeline.py``, medians of 9 paired
rounds). The contract suites run with it and without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Word = str | bytes | int | float


class Pipeline:
    """Connects at its first use, and again at the next use after the connection broke; commands that were under
    way then fail with ``broken``. A caller that gives up keeps its place in the order of answers."""

    def __init__(self, connect: Callable[[], Any], broken: type[Exception], refusal: type[Exception]) -> None:
        """``connect`` makes a redis-py connection; ``refusal`` is an error that is an answer."""
        self._connect = connect
        self._broken = broken
        self._refusal = refusal
        self._connection: Any = None
        self._keeper: asyncio.Task[None] | None = None
        self._sending = False
        self._unsent: list[tuple[tuple[Word, ...], asyncio.Future[Any]]] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()

    async def execute_command(self, *words: Word) -> Any:
        """The raw answer, with bytes for texts. Raises redis-py's errors."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.append((words, future))
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._serve(), name="redis pipeline")
        elif self._connection is not None and not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send, self._connection)
        return await future

    def drop(self) -> None:
        """Give up the connection: it has not answered in time."""
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
                    continue  # its caller has given up
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
        """Everything that waits, as one write; what the system does not take at once, the transport keeps:
        there is never more of it than there are callers."""
        if connection is not self._connection:
            return
        self._sending = False
        batch, self._unsent = self._unsent, []
        self._unanswered.extend(future for _, future in batch)
        connection._writer.write(b"".join(pack(words) for words, _ in batch))

    def _end(self, error: Exception) -> None:
        failed = [*self._unanswered, *(future for _, future in self._unsent)]
        self._unanswered.clear()
        self._unsent.clear()
        self._connection = None
        self._sending = False
        for future in failed:
            if not future.done():
                future.set_exception(error)
                future.exception()  # its caller may have given up


def pack(words: Sequence[Word]) -> bytes:
    """A command as Redis reads it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
