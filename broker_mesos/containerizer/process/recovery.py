"""Finds the tasks of an earlier spawner by its journal, when a spawner begins. Standard library only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

from broker_mesos.containerizer.credentials import owner_of
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.journal import Entry, load
from broker_mesos.containerizer.process.proctree import Process


def recover(
    path: str,
    boot: str,
    sandboxes: str,
    adopt: Callable[[Entry], bool],
    note_end: Callable[[Entry], None],
    log: Callable[[str], None],
) -> dict[str, Entry]:
    """The tasks in the journal at ``path``, by id. ``adopt`` is called with each one whose process was started since
    this ``boot`` and may run, and returns whether it does. All the others have ended; ``note_end`` is called with
    those of this boot. Raises OSError."""
    journal_boot, tasks, bad = load(path)
    if bad:
        log(f"{bad} lines of the journal could not be read")
    processes = proctree.scan()
    prefix = marker_prefix(sandboxes)
    for entry in tasks.values():
        if entry.ended is not None or entry.failed is not None:
            continue
        entry.owner = owner_of(sandboxes + entry.task_id)
        if journal_boot == boot:
            if not entry.ticks:
                entry.pid = 0
                _find_intended(entry, processes, prefix)
            if entry.pid and adopt(entry):
                continue
            note_end(entry)
        if entry.ended is None:
            entry.ended = (None, None, time.time())
    return tasks


def marker_prefix(sandboxes: str) -> bytes:
    """What precedes the task id in the environment of each process of a task. ``sandboxes`` ends with a slash."""
    return b"BMESOS_SANDBOX=" + os.fsencode(sandboxes)


def _find_intended(entry: Entry, processes: Mapping[int, Process], prefix: bytes) -> None:
    """Find the process of a task if the last spawner was killed between its start and the journal record."""
    for process in sorted(processes.values(), key=lambda p: p.ticks):
        leads = process.alive and process.session == process.pid
        if leads and proctree.marker(process.pid, prefix) == entry.task_id:
            entry.pid, entry.ticks, entry.started_at = process.pid, process.ticks, time.time()
            return


def kill_strays(mains: Mapping[int, str], prefix: bytes, log: Callable[[str], None]) -> None:
    """Kill the processes left by ended or unknown tasks: they use resources that are not counted. ``mains`` are the
    tasks that run, by the pid of the main process."""
    _, others = proctree.owners(proctree.scan(), mains, prefix, reaper=os.getpid(), everywhere=True)
    for task_id, left in others.items():
        log(f"killing {len(left)} processes left of task {task_id}")
        for process in left:
            proctree.send(process, signal.SIGKILL)
