"""Our own standard input as the input of a task."""

from __future__ import annotations

import os
import sys
from typing import Any

from broker_mesos.cli import show

NOTE_SECONDS = 2.0
"""Seconds without an end of stdin after which a note names what is waited for."""


def take_stdin(words: dict[str, Any], *, unasked: bool = False) -> None:
    """Put our stdin into the options of a job that ask for it with ``-``; with ``unasked`` also if they name no input,
    and something is piped or redirected to us. Raises InvalidInput if it is too large."""
    if words.get("stdin") == "-" or (unasked and "stdin" not in words and _is_redirected()):
        words["stdin"] = _read()


def _is_redirected() -> bool:
    """Whether stdin is a file, a pipe or a socket: neither a terminal, nor a device such as /dev/null, nor closed."""
    import stat

    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read() -> bytes:
    """All of stdin, as bytes."""
    from threading import Timer

    from broker_mesos.core.model.task_input import MAX_STDIN_BYTES, encode_stdin

    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        show.note("bmesos: reading the task's input from the terminal; end it with Ctrl-D")
    waiting = Timer(
        NOTE_SECONDS, show.note, ["bmesos: waiting for the end of stdin, which the task reads; without: < /dev/null"]
    )
    waiting.daemon = True
    waiting.start()
    try:
        data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    finally:
        waiting.cancel()
    encode_stdin(data, "stdin")
    return data
