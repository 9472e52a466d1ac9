"""The bare limit of the machine: processes that are started and waited for, and nothing else."""

from __future__ import annotations

import os
import subprocess
import time

TRUE = "/bin/true"
SLOTS = 8


def spawn_and_wait(count: int) -> float:
    """Tasks a second, of one loop that starts a process and waits for it."""
    started = time.perf_counter()
    for _ in range(count):
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
    return count / (time.perf_counter() - started)


def run_and_wait(count: int) -> float:
    """The same with ``subprocess.run``, as Python programs do it."""
    started = time.perf_counter()
    for _ in range(count):
        subprocess.run([TRUE], check=False)
    return count / (time.perf_counter() - started)


def spawn_many(count: int, slots: int = SLOTS) -> float:
    """Tasks a second, with ``slots`` of them at once."""
    started = time.perf_counter()
    running: set[int] = set()
    for _ in range(count):
        if len(running) == slots:
            running.discard(os.wait()[0])
        running.add(os.posix_spawn(TRUE, [TRUE], {}))
    for pid in running:
        os.waitpid(pid, 0)
    return count / (time.perf_counter() - started)
