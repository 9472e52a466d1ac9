"""The records of the spawner, as the values of the containerizer's port."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from broker_mesos.ports.containerizer import Recovered, StartFailed, TaskExited


class Usage(NamedTuple):
    """The use of a task's processes: CPU seconds so far, and resident memory now, in bytes."""

    cpu_seconds: float
    rss_bytes: int


def tasks_of(greeting: Iterable[list[Any]]) -> dict[str, Recovered | StartFailed]:
    """The tasks that the spawner knows, by id, from its records in their order."""
    tasks: dict[str, Recovered | StartFailed] = {}
    for record in greeting:
        if record[0] == "started":
            tasks[record[1]] = Recovered(record[1], True, record[4], None)
        elif record[0] == "exited":
            before = tasks.get(record[1])
            began = before.started_at if isinstance(before, Recovered) else record[4]
            tasks[record[1]] = Recovered(record[1], False, began, exit_of(record))
        elif record[0] == "failed":
            tasks[record[1]] = failure_of(record)
    return tasks


def exit_of(record: list[Any]) -> TaskExited:
    """The end of a task, from its record."""
    found = TaskExited(*record[1:6])
    if len(record) > 6:
        found = found._replace(limit_kind=record[6].get("kind", ""))
        if used := record[6].get("used"):
            # A spawner of an earlier release counts CPU time and memory alone, and those of cgroups.
            read, written = (*used[2:4], None, None)[:2]
            found = found._replace(
                cpu_seconds=used[0],
                memory_peak=used[1],
                io_read=read,
                io_written=written,
                measured_by=record[6].get("by", "cgroup"),
            )
    return found


def failure_of(record: list[Any]) -> StartFailed:
    """Why a task could not be started, from its record."""
    # A spawner of an earlier release does not report whether the machine caused the failure.
    return StartFailed(record[1], record[2], len(record) > 3 and bool(record[3]))


def usage_of(record: list[Any]) -> dict[str, Usage]:
    """The use of running tasks by their ids, as the spawner tells it."""
    return {task_id: Usage(*values) for task_id, values in record[1].items()}
