"""What the tasks of a job have used, and what they may use: as columns, as a summary, and as advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from broker_mesos.cli import show

if TYPE_CHECKING:
    from broker_mesos.client import Client
    from broker_mesos.core.api.jobs import JobTask
    from broker_mesos.core.api.usage import TaskUsage
    from broker_mesos.core.model.job import JobSpec

MB = 1 << 20
MIN_RUN_SECONDS = 1.0
"""The shortest run that says something about the CPUs that a task needs, in seconds."""
MEM_MARGIN = 1.2
"""Factor between the largest memory that was used and the one that is advised."""
MAX_ASKED_AGENTS = 100


def usage_now(client: Client, tasks: Iterable[JobTask]) -> dict[str, TaskUsage]:
    """What the running ones of these tasks use now, by task id; agents that do not answer are noted on stderr."""
    from broker_mesos.core.api.usage import MAX_TASKS, GetUsage, TaskUsages

    agents: dict[str, list[str]] = {}
    for task in tasks:
        if task.state == "running" and task.agent_id:
            agents.setdefault(task.agent_id, []).append(task.task_id)
    asked = {agent_id: tuple(ids[:MAX_TASKS]) for agent_id, ids in list(agents.items())[:MAX_ASKED_AGENTS]}
    if not asked:
        return {}
    found = client.ask(GetUsage(agents=asked), TaskUsages)
    if found.missing:
        show.note(f"bmesos: agents {', '.join(found.missing)} did not say what their tasks use")
    return found.tasks


def has_usage(tasks: Iterable[JobTask], now: Mapping[str, TaskUsage]) -> bool:
    """Whether anything is known of what these tasks use."""
    return any(_cpu(task, now) is not None or _memory(task, now) is not None for task in tasks)


def columns_of(task: JobTask, now: Mapping[str, TaskUsage]) -> tuple[str, str]:
    """The CPU time and the memory of a task: the most of one that has ended, and that of now of one that runs."""
    cpu, memory = _cpu(task, now), _memory(task, now)
    return "-" if cpu is None else f"{cpu:.1f} s", "-" if memory is None else megabytes(memory)


def megabytes(size: int) -> str:
    """An amount of memory for people: in MB."""
    return f"{size / MB:.0f} MB" if size >= 10 * MB else f"{size / MB:.1f} MB"


def limits_text(spec: JobSpec) -> str:
    """What the tasks of a job are held to, and what they demand, in one line; empty if nothing."""
    isolation = spec.isolation
    found = [f"{name} {value}" for name, value in ({} if spec.limits is None else spec.limits.as_numbers()).items()]
    if isolation is not None:
        found += [
            text
            for text, stated in (
                (f"pids {isolation.pids}", isolation.pids),
                ("pinned", isolation.pin),
                (f"network {isolation.network}", isolation.network),
                (f"rootfs {isolation.rootfs}", isolation.rootfs),
                ("oom ignored", isolation.oom == "ignore"),
                (f"at least {isolation.level}", isolation.level),
            )
            if stated
        ]
        found += [f"{name} {'inf' if value < 0 else value}" for name, value in isolation.rlimits.items()]
    return ", ".join(found)


def summary(tasks: Sequence[JobTask]) -> Iterator[tuple[str, str]]:
    """Lines about what the tasks of an array have used: titles and texts."""
    cpus = [task.cpu_seconds for task in tasks if task.cpu_seconds is not None]
    peaks = [task.memory_peak for task in tasks if task.memory_peak is not None]
    if cpus:
        low, middle, high = min(cpus), median(cpus), max(cpus)
        yield "CPU time", f"min {low:.1f} s, median {middle:.1f} s, max {high:.1f} s, of {len(cpus)} tasks"
    if peaks:
        low, middle, high = min(peaks), median(peaks), max(peaks)
        texts = f"min {megabytes(low)}, median {megabytes(int(middle))}, max {megabytes(high)}"
        yield "Memory peak", f"{texts}, of {len(peaks)} tasks"


def advice(spec: JobSpec, tasks: Sequence[JobTask]) -> Iterator[str]:
    """What the job might ask for instead, by what its ended tasks have used."""
    peaks = [task.memory_peak for task in tasks if task.memory_peak is not None and task.state == "finished"]
    rates = [
        task.cpu_seconds / (task.ended_at - task.started_at)
        for task in tasks
        if task.state == "finished"
        and task.cpu_seconds is not None
        and task.started_at is not None
        and task.ended_at is not None
        and task.ended_at - task.started_at >= MIN_RUN_SECONDS
    ]
    if not peaks and not rates:
        yield "nothing is known of what its tasks have used: only agents with isolation measure it"
    if peaks:
        asked, used = spec.resources.get("mem") / 1000, max(peaks) / MB
        advised = max(32, int(used * MEM_MARGIN / 32 + 1) * 32)
        better = f"; --mem {advised} would do" if advised < asked else ""
        yield f"mem: asked {asked:g} MB, {_largest(len(peaks))} used {used:.0f} MB, page cache included{better}"
    if rates:
        asked, used = spec.resources.get("cpus") / 1000, max(rates)
        better = f"; --cpus {max(0.1, round(used * 1.1 + 0.05, 1)):g} would do" if used * 1.25 < asked else ""
        yield f"cpus: asked {asked:g}, {_largest(len(rates))} used {used:.2f} on average{better}"


def _largest(count: int) -> str:
    return "its task" if count == 1 else f"the largest of {count:,}"


def _cpu(task: JobTask, now: Mapping[str, TaskUsage]) -> float | None:
    used = now.get(task.task_id)
    return task.cpu_seconds if used is None else used.cpu_seconds


def _memory(task: JobTask, now: Mapping[str, TaskUsage]) -> int | None:
    used = now.get(task.task_id)
    return task.memory_peak if used is None else used.memory
