"""The agent's end of an exec session: the connection to the process that runs the command, as plain calls.

Output is kept until its receiver has acknowledged it, and no more than MAX_KEPT bytes of it are read: the command
waits when its output is not taken. Input is sent only as far as the command takes it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from broker_mesos.containerizer.process.exec_protocol import (
    BEGUN,
    END,
    ERR,
    INPUT,
    INPUT_WINDOW,
    MAX_REQUEST,
    OUT,
    PACKET,
    QUIT,
    REFUSED,
    SIGNAL,
    TAKEN,
    WINDOW,
    connect_address,
    send_waiting,
)
from broker_mesos.errors import InvalidInput, Unavailable
from broker_mesos.ports.execution import ExecEnd, ExecRefused
from broker_mesos.runtime.timeouts import within

START_SECONDS = 10.0
"""Time within which a command must have started, in seconds."""
MAX_KEPT = 256 << 10
"""The most output of one command that is kept here, in bytes."""
MAX_SIGNALS = 16
OLD_SPAWNER = (
    "the process that starts tasks on its agent is of an earlier release, without exec; it is replaced once its tasks "
    "have ended"
)


class ExecOutput:
    """A stream of output: its bytes from an offset on."""

    def __init__(self) -> None:
        self.start = 0
        self.data = bytearray()

    def forget(self, offset: int) -> None:
        """Forget what is before an offset, which has arrived. Raises InvalidInput for one that is not there yet."""
        if offset > self.start + len(self.data):
            raise InvalidInput(f"offset {offset} is beyond the output of this session")
        if offset > self.start:
            del self.data[: offset - self.start]
            self.start = offset


class ExecConnection:
    """A session of a command. ``on_change`` is called when there is output, room for input, or an end."""

    def __init__(self, connected: socket.socket, on_change: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._on_change = on_change
        self._reading = self._writing = False
        self._unsent: deque[bytes] = deque()
        self._under_way = 0  # bytes of input that the command has not taken
        self.out = ExecOutput()
        self.err = ExecOutput()
        self.ended: ExecEnd | None = None
        """How the session has ended, from then on."""
        self.begun: asyncio.Future[None] = self._loop.create_future()
        self._watch()

    @classmethod
    async def open(cls, meta: str, request: dict[str, Any], on_change: Callable[[], None]) -> ExecConnection:
        """Start a session by the spawner of a folder. Raises ExecRefused, Unavailable, InvalidInput."""
        first = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogateescape")
        if len(first) > MAX_REQUEST:
            raise InvalidInput("the command and its environment are too long")
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            fd, address = connect_address(meta)
            try:
                connected.connect(address)
            finally:
                os.close(fd)
            connected.send(first)
        except (FileNotFoundError, ConnectionRefusedError):
            connected.close()
            raise Unavailable(OLD_SPAWNER) from None
        except OSError as error:
            connected.close()
            raise Unavailable(f"the process that starts tasks does not answer: {error.strerror}") from None
        made = cls(connected, on_change)
        try:
            async with within(START_SECONDS):
                await asyncio.shield(made.begun)
        except TimeoutError:
            made.close()
            raise Unavailable(f"the command has not started within {START_SECONDS:g} s") from None
        except BaseException:
            made.close()
            raise
        return made

    # -- output --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Read as long as there is room."""
        wanted = self.ended is None and len(self.out.data) + len(self.err.data) < MAX_KEPT
        if wanted and not self._reading:
            self._loop.add_reader(self._socket, self._receive)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._socket)
        self._reading = wanted

    def forget(self, out: int, err: int) -> None:
        """Forget output that has arrived, by its offsets. Raises InvalidInput for offsets that are not there yet."""
        self.out.forget(out)
        self.err.forget(err)
        self._watch()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(2 * PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        kind, rest = data[:1], data[1:]
        if kind == OUT:
            self.out.data += rest
        elif kind == ERR:
            self.err.data += rest
        elif kind == TAKEN:
            self._under_way = max(0, self._under_way - int(rest))
        elif kind == BEGUN:
            if not self.begun.done():
                self.begun.set_result(None)
        elif kind == QUIT:
            self._end(ExecEnd(*json.loads(rest)))
        elif kind == REFUSED:
            self._refuse(json.loads(rest))
        elif not data:
            self._end(ExecEnd(None, None, lost=True))
        self._watch()
        self._on_change()

    def _refuse(self, reason: dict[str, str]) -> None:
        if not self.begun.done():
            self.begun.set_exception(ExecRefused(reason["code"], reason["text"]))
        self._end(ExecEnd(None, None, lost=True))

    def _end(self, end: ExecEnd) -> None:
        if self.ended is None:
            self.ended = end
        if not self.begun.done():
            self.begun.set_exception(ExecRefused("unavailable", "the process of the session has ended"))
        if not self.begun.cancelled():
            self.begun.exception()  # retrieved: no warning if nobody waits for it
        self._release()

    def _release(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._reading = self._writing = False
        self._unsent.clear()

    # -- input ---------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Number of bytes of input that can be taken now."""
        return max(0, INPUT_WINDOW - self._under_way)

    def write(self, data: bytes) -> int:
        """Send input; returns how much of it was taken. After the end of the command all is taken, and dropped."""
        if self.ended is not None:
            return len(data)
        taken = data[: self.room]
        self._under_way += len(taken)
        for at in range(0, len(taken), PACKET):
            self._send(INPUT + taken[at : at + PACKET])
        return len(taken)

    def end_input(self) -> None:
        """There is no more input."""
        self._send(END)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the command's terminal."""
        self._unsent = deque(each for each in self._unsent if each[:1] != WINDOW)
        self._send(WINDOW + json.dumps([rows, columns]).encode())

    def signal(self, number: int) -> None:
        """Send a signal to the command and its group; dropped if MAX_SIGNALS of them wait."""
        if sum(each[:1] == SIGNAL for each in self._unsent) < MAX_SIGNALS:
            self._send(SIGNAL + str(number).encode())

    def _send(self, packet: bytes) -> None:
        if self.ended is None:
            self._unsent.append(packet)
            self._flush()

    def _flush(self) -> None:
        if not send_waiting(self._socket, self._unsent):
            self._unsent.clear()  # what it has still written is read
        if bool(self._unsent) != self._writing:
            self._writing = bool(self._unsent)
            if self._writing:
                self._loop.add_writer(self._socket, self._flush)
            else:
                self._loop.remove_writer(self._socket)

    def close(self) -> None:
        """End the session, with all processes of its command. Idempotent."""
        self._end(ExecEnd(None, None, lost=True))
