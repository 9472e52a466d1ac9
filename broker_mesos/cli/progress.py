"""The progress of a job, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_mesos.cli import show
from broker_mesos.client.jobs import JobClient


def with_progress(client: JobClient, job_id: str, timeout: float | None) -> Mapping[str, Any]:
    """Waits for a job's end, with a bar on stderr if it is an array."""
    last: Mapping[str, Any] = client.call("GET_JOB", {"job_id": job_id, "limit": 0})["summary"]
    total = last["total"]
    notes = show.WaitingNotes(client)
    if total == 1:
        for last in client.follow(job_id, timeout, pending_turn=2.0):
            notes.check(last)
        return last
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        bar = progress.add_task(job_id, total=total)
        for last in client.changes(job_id, timeout, pending_turn=2.0):
            notes.check(last)
            counts = last["counts"]
            ended = sum(counts.get(state, 0) for state in ("finished", "failed", "killed"))
            failed = counts.get("failed", 0)
            text = f"{job_id}: {counts.get('running', 0)} running" + (f", {failed} failed" if failed else "")
            progress.update(bar, completed=ended, description=text)
    return last
