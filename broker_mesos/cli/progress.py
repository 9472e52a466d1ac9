"""The progress of a job, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker_mesos.client import Job
    from broker_mesos.core.api.jobs import JobSummary


def with_progress(job: Job, timeout: float | None) -> JobSummary:
    """Waits for a job's end, with a bar on stderr if it is an array."""
    first = job.status()
    if first.total == 1:
        return job.wait(timeout)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    last = first
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        bar = progress.add_task(job.id, total=first.total)
        for last in job.watch(timeout):
            counts = last.counts
            ended = sum(counts.get(state, 0) for state in ("finished", "failed", "killed"))
            failed = counts.get("failed", 0)
            text = f"{job.id}: {counts.get('running', 0)} running" + (f", {failed} failed" if failed else "")
            progress.update(bar, completed=ended, description=text)
    return last
