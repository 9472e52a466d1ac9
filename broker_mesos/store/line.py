"""One connection to Redis that many callers share: what is asked in one turn of the loop is one write, and
answers are handed out in their order. Knows redis-py only by what it is given."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

Word = str | bytes | int | float


class Line:
    """Connects at its first use, and anew at the next use after it broke; what was under way then fails with
    ``broken``. A caller that gives up leaves its place in the order of answers."""

    def __init__(self, connect: Callable[[], Any], broken: type[Exception], refusal: type[Exception]) -> None:
        """``connect`` makes a redis-py connection; ``refusal`` is an error that is an answer."""
        self._connect = connect
        self._broken = broken
        self._refusal = refusal
        self._connection: Any = None
        self._keeper: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._unsent: list[tuple[tuple[Word, ...], asyncio.Future[Any]]] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()

    async def execute_command(self, *words: Word) -> Any:
        """The raw answer, with bytes for texts. Raises redis-py's errors."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.append((words, future))
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._serve(), name="redis line")
        elif self._connection is not None and self._sender is None:
            self._sender = asyncio.create_task(self._send(self._connection), name="redis send")
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
        connection.socket_timeout = None  # it listens for answers even while there are no questions
        try:
            await connection.connect()
            self._connection = connection
            self._sender = asyncio.create_task(self._send(connection), name="redis send")
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

    async def _send(self, connection: Any) -> None:
        try:
            while self._unsent:
                batch, self._unsent = self._unsent, []
                self._unanswered.extend(future for _, future in batch)
                packed = connection.pack_commands([words for words, _ in batch])
                await connection.send_packed_command(packed, check_health=False)
        except Exception as error:
            if connection is self._connection:
                self._end(error)
                if self._keeper is not None:
                    self._keeper.cancel()
                    self._keeper = None
        finally:
            if connection is self._connection:
                self._sender = None

    def _end(self, error: Exception) -> None:
        failed = [*self._unanswered, *(future for _, future in self._unsent)]
        self._unanswered.clear()
        self._unsent.clear()
        self._connection = None
        if self._sender is not None and self._sender is not asyncio.current_task():
            self._sender.cancel()
        self._sender = None
        for future in failed:
            if not future.done():
                future.set_exception(error)
                future.exception()  # its caller may have given up
