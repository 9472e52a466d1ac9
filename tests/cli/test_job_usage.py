"""What the tasks of a job have used, as `bmesos status` shows it."""

from __future__ import annotations

from typing import Any

import pytest

from broker_mesos.cli.job_usage import advice, columns_of, has_usage, is_rough, limits_text, summary
from broker_mesos.core.api.jobs import JobTask
from broker_mesos.core.api.usage import TaskUsage
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.model.task_isolation import TaskIsolation

MB = 1 << 20


def task(index: int, **more: Any) -> JobTask:
    return JobTask(**{"task_id": f"j.{index}.1", "index": index, "attempt": 1, "state": "finished", **more})


def spec(**more: Any) -> JobSpec:
    return JobSpec(command=CommandInfo(arguments=("true",)), **more)


def test_a_running_task_shows_what_it_uses_now_and_an_ended_one_the_most_that_it_has_used() -> None:
    now = {"j.1.1": TaskUsage(cpu_seconds=3.21, memory=5 * MB + MB // 2)}
    running, ended = task(1, state="running"), task(2, cpu_seconds=0.04, memory_peak=310 * MB)
    assert columns_of(running, now) == ("3.2 s", "5.5 MB")
    assert columns_of(running, {}) == ("-", "-")
    assert columns_of(ended, now) == ("0.0 s", "310 MB")
    assert has_usage([running], now) and has_usage([ended], {}) and not has_usage([running], {})


def test_an_array_is_summed_up_by_its_least_its_middle_and_its_most() -> None:
    tasks = [task(at, cpu_seconds=at / 10, memory_peak=at * 10 * MB) for at in range(1, 6)]
    assert list(summary([*tasks, task(6, state="running")])) == [
        ("CPU time", "min 0.1 s, median 0.3 s, max 0.5 s, of 5 tasks"),
        ("Memory peak", "min 10 MB, median 30 MB, max 50 MB, of 5 tasks"),
    ]
    assert list(summary([task(1)])) == []


def test_figures_that_count_only_some_processes_are_marked() -> None:
    some = {"cpu_seconds": 1.0, "memory_peak": 20 * MB, "io_read": 0, "io_written": 5 * MB, "measured_by": "wait"}
    tasks = [task(1, **some), task(2, **{**some, "measured_by": "cgroup"}), task(3)]
    assert columns_of(tasks[0], {}) == ("~1.0 s", "~20 MB") and columns_of(tasks[1], {}) == ("1.0 s", "20 MB")
    assert is_rough(tasks, {}) and not is_rough(tasks[1:], {})
    assert list(summary(tasks)) == [
        ("CPU time", "min ~1.0 s, median ~1.0 s, max ~1.0 s, of 2 tasks"),
        ("Memory peak", "min ~20 MB, median ~20 MB, max ~20 MB, of 2 tasks"),
        ("Disk I/O", "read ~0.0 MB, written ~10 MB"),
    ]
    assert list(summary(tasks[1:2])) == [("Disk I/O", "read 0.0 MB, written 5.0 MB")]
    now = {"j.1.1": TaskUsage(cpu_seconds=2.0, memory=MB)}
    assert columns_of(tasks[0], now) == ("2.0 s", "1.0 MB") and not is_rough(tasks[:1], now)


@pytest.mark.parametrize(
    ("resources", "tasks", "lines"),
    [
        (
            "cpus:2;mem:4096",
            [
                task(at, memory_peak=(10 + at % 301) * MB, cpu_seconds=2.0, started_at=10.0, ended_at=20.0)
                for at in range(1_000)
            ],
            [
                "mem: asked 4096 MB, the largest of 1,000 used 310 MB, page cache included; --mem 384 would do",
                "cpus: asked 2, the largest of 1,000 used 0.20 on average; --cpus 0.3 would do",
            ],
        ),
        (
            "cpus:1;mem:64",
            [task(1, memory_peak=63 * MB, cpu_seconds=9.9, started_at=10.0, ended_at=20.0)],
            [
                "mem: asked 64 MB, its task used 63 MB, page cache included",
                "cpus: asked 1, its task used 0.99 on average",
            ],
        ),
        (  # a run of a moment says nothing about CPUs, and one that failed says nothing at all
            "cpus:1;mem:64",
            [
                task(1, memory_peak=5 * MB, cpu_seconds=0.1, started_at=10.0, ended_at=10.2),
                task(2, state="failed", memory_peak=64 * MB),
            ],
            ["mem: asked 64 MB, its task used 5 MB, page cache included; --mem 32 would do"],
        ),
        (
            "cpus:1;mem:64",
            [task(1)],
            ["nothing is known of what its tasks have used"],
        ),
        (  # figures that count only some of the processes are no advice
            "cpus:4;mem:4096",
            [task(1, memory_peak=63 * MB, cpu_seconds=1.0, started_at=10.0, ended_at=20.0, measured_by="wait")],
            [
                "mem: asked 4096 MB, its task used 63 MB, as far as its agents can count without cgroups",
                "cpus: asked 4, its task used 0.10 on average, as far as its agents can count without cgroups",
            ],
        ),
        (
            "cpus:1;mem:4096",
            [
                task(1, memory_peak=900 * MB, cpu_seconds=1.0, measured_by="wait"),
                task(2, memory_peak=63 * MB, cpu_seconds=1.0, measured_by="cgroup"),
            ],
            ["mem: asked 4096 MB, its task used 63 MB, page cache included; --mem 96 would do"],
        ),
    ],
)
def test_what_a_job_might_ask_for_follows_from_what_it_has_used(
    resources: str, tasks: list[JobTask], lines: list[str]
) -> None:
    assert list(advice(spec(resources=Resources.parse(resources)), tasks)) == lines


def test_limits_and_demands_are_one_line() -> None:
    assert limits_text(spec()) == ""
    isolation = TaskIsolation(level="limits", pids=64, pin=True, network="none", rlimits={"core": 0, "stack": -1})
    limits = Resources.parse("cpus:4;mem:2048")
    assert limits_text(spec(limits=limits, isolation=isolation)) == (
        "cpus 4, mem 2048, pids 64, pinned, network none, at least limits, core 0, stack inf"
    )
