"""The socket of an exec session: between the agent and the process that runs a command beside a task.

It is a socket of packets at ``<work_dir>/meta/exec.sock``, a connection for each session. The agent's first packet is a
JSON object (``task_id``, ``argv``, ``env`` for a task whose own cannot be read, ``set`` with more variables, ``tty``,
``stdin``, ``rows``, ``columns``, and ``uids`` of the users as which it may run, or null). The others have one byte that
says what they are, and the rest::

    to the command                                  to the agent
    i  input                                        x  JSON: why it is not started: {"code": …, "text": …}
    e  the end of the input                         b  it has started
    w  JSON: rows and columns                       o  output to stdout or to its terminal
    s  the number of a signal, in digits            r  output to stderr
                                                    c  number of bytes of input that it has taken, in digits
                                                    q  JSON: how it ended: [exit code, signal]

At most INPUT_WINDOW bytes of input are under way, so that a signal never waits behind input that nobody reads. Output
waits in the command while the agent takes none. If either side closes the connection, all processes of the command
end. Standard library only.
"""

from __future__ import annotations

import os
import socket
from collections import deque

EXEC_SOCKET = "exec.sock"
MAX_REQUEST = 160 << 10
"""The longest first packet, in bytes: less than the buffer of a socket."""
PACKET = 32 << 10
"""The most data in one packet, in bytes."""
INPUT_WINDOW = 64 << 10

INPUT, END, WINDOW, SIGNAL = b"i", b"e", b"w", b"s"
REFUSED, BEGUN, OUT, ERR, TAKEN, QUIT = b"x", b"b", b"o", b"r", b"c", b"q"


def exec_address(folder_fd: int) -> str:
    """The socket's address by a descriptor of its folder, since a path may be longer than an address."""
    return f"/proc/self/fd/{folder_fd}/{EXEC_SOCKET}"


def connect_address(folder: str) -> tuple[int, str]:
    """A descriptor of a folder, which is to be closed, and the address of the socket in it. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd, exec_address(fd)


def send_waiting(link: socket.socket, packets: deque[bytes]) -> bool:
    """Send the packets that wait, as far as the other end takes them now. Returns False if it has gone."""
    try:
        while packets:
            link.send(packets[0])
            packets.popleft()
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True
