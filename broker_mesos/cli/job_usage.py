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
MAX_REQUESTED_AGENTS = 100
ROUGH = "wait"
"""The ``measured_by`` of a task whose agent has no cgroups."""
ROUGHLY = (
    "~: without cgroups an agent counts the main process and the children that it has waited for, and of their memory "
    "that of the largest one, if it is above that of the agent's own process"
)
"""The line below figures that are rough."""


def usage_now(client: Client, tasks: Iterable[JobTask]) -> dict[str, TaskUsage]:
    """What the running ones of these tasks use now, by task id; agents that do not answer are noted on stderr."""
    from broker_mesos.core.api.usage import MAX_TASKS, GetUsage, TaskUsages

    agents: dict[str, list[str]] = {}
    for task in tasks:
        if task.state == "running" and task.agent_id:
            agents.setdefault(task.agent_id, []).append(task.task_id)
    asked = {agent_id: tuple(ids[:MAX_TASKS]) for agent_id, ids in list(agents.items())[:MAX_REQUESTED_AGENTS]}
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
    about = _about([task] if task.task_id not in now else [])
    return "-" if cpu is None else f"{about}{cpu:.1f} s", "-" if memory is None else about + megabytes(memory)


def is_rough(tasks: Iterable[JobTask], now: Mapping[str, TaskUsage]) -> bool:
    """Whether what is shown of these tasks does not count all of their processes."""
    return bool(_about(task for task in tasks if task.task_id not in now))


def _about(tasks: Iterable[JobTask]) -> str:
    return "~" if any(task.measured_by == ROUGH for task in tasks) else ""


def megabytes(size: int) -> str:
    """An amount of memory for people: in MB."""
    return f"{size / MB:.0f} MB" if size >= 10 * MB else f"{size / MB:.1f} MB"


def limits_text(spec: JobSpec) -> str:
    """What the tasks of a job are held to, and what they demand, in one line; empty if nothing."""
    isolation = spec.isolation
    found = [f"{name} {value}" for name, value in ({} if spec.limits is None else spec.limits.as_numbers()).items()]
    if spec.max_output is not None:
        found.append(f"output files of {spec.max_output} MB")
    if isolation is not None:
        found += [
            text
            for text, stated in (
                (f"pids {isolation.pids}", isolation.pids),
                ("pinned", isolation.pin),
                (f"network {isolation.network}", isolation.network),
                (f"rootfs {isolation.rootfs}", isolation.rootfs),
                (f"image {isolation.image}", isolation.image),
                ("oom ignored", isolation.oom == "ignore"),
                (f"at least {isolation.level}", isolation.level),
            )
            if stated
        ]
        found += [f"{name} {'inf' if value < 0 else value}" for name, value in isolation.rlimits.items()]
    return ", ".join(found)


def summary(tasks: Sequence[JobTask]) -> Iterator[tuple[str, str]]:
    """Lines about what the ended tasks of a job have used: titles and texts."""
    cpus = [task.cpu_seconds for task in tasks if task.cpu_seconds is not None]
    peaks = [task.memory_peak for task in tasks if task.memory_peak is not None]
    about = _about(tasks)
    if len(tasks) < 2:
        cpus, peaks = [], []  # they are in the line of the task
    if cpus:
        yield "CPU time", _spread([f"{about}{each:.1f} s" for each in (min(cpus), median(cpus), max(cpus))], len(cpus))
    if peaks:
        texts = [about + megabytes(int(each)) for each in (min(peaks), median(peaks), max(peaks))]
        yield "Memory peak", _spread(texts, len(peaks))
    amounts = [(task.io_read, task.io_written) for task in tasks]
    read, written = (sum(each for each in column if each is not None) for column in zip(*amounts, strict=True))
    if read or written:
        yield "Disk I/O", f"read {about}{megabytes(read)}, written {about}{megabytes(written)}"


def _spread(texts: Sequence[str], count: int) -> str:
    """The least, the middle and the most; of a single task there is only one."""
    return texts[0] if count == 1 else "min {}, median {}, max {}, of {} tasks".format(*texts, count)


def advice(spec: JobSpec, tasks: Sequence[JobTask]) -> Iterator[str]:
    """What the job might ask for instead, by what its ended tasks have used."""
    finished = [task for task in tasks if task.state == "finished"]
    # What was not counted as a whole is no basis for advice; it is told only where nothing better is known.
    counted = [task for task in finished if task.measured_by != ROUGH]
    rough = bool(_about(finished)) and not any(task.cpu_seconds is not None for task in counted)
    basis = finished if rough else counted
    note = ", as far as its agents can count without cgroups" if rough else ", page cache included"
    peaks = [task.memory_peak for task in basis if task.memory_peak is not None]
    rates = [
        task.cpu_seconds / (task.ended_at - task.started_at)
        for task in basis
        if task.cpu_seconds is not None
        and task.started_at is not None
        and task.ended_at is not None
        and task.ended_at - task.started_at >= MIN_RUN_SECONDS
    ]
    if not peaks and not rates:
        yield "nothing is known of what its tasks have used"
    if peaks:
        asked, used = spec.resources.get("mem") / 1000, max(peaks) / MB
        advised = max(32, int(used * MEM_MARGIN / 32 + 1) * 32)
        better = f"; --mem {advised} would do" if advised < asked and not rough else ""
        yield f"mem: asked {asked:g} MB, {_largest(len(peaks))} used {used:.0f} MB{note}{better}"
    if rates:
        asked, used = spec.resources.get("cpus") / 1000, max(rates)
        better = (
            f"; --cpus {max(0.1, round(used * 1.1 + 0.05, 1)):g} would do" if used * 1.25 < asked and not rough else ""
        )
        suffix = note if rough else ""
        yield f"cpus: asked {asked:g}, {_largest(len(rates))} used {used:.2f} on average{suffix}{better}"


def _largest(count: int) -> str:
    return "its task" if count == 1 else f"the largest of {count:,}"


def _cpu(task: JobTask, now: Mapping[str, TaskUsage]) -> float | None:
    used = now.get(task.task_id)
    return task.cpu_seconds if used is None else used.cpu_seconds


def _memory(task: JobTask, now: Mapping[str, TaskUsage]) -> int | None:
    used = now.get(task.task_id)
    return task.memory_peak if used is None else used.memory
