"""Waits on an event loop for the end of a process that need not be a child."""

from __future__ import annotations

import asyncio
import os


def open_pid(pid: int) -> int:
    """A descriptor of a process, which becomes readable when it ends; -1 if it is gone."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


async def readable(fd: int) -> None:
    """Wait until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def on_readable() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, on_readable)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
