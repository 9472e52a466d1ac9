"""The trunk of it all: many processes of every kind, and every task exactly once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until


def counted(folder: Path) -> Counter[str]:
    """How often each index ran, as the tasks wrote it down themselves."""
    return Counter(path.name for path in folder.iterdir() for _ in path.read_text().splitlines())


def test_500_tasks_run_exactly_once_on_2_masters_4_cells_3_agents_and_2_workers(new_cluster: NewCluster):
    cluster = new_cluster()
    for _ in range(2):
        cluster.master(cells=4)
    for _ in range(3):
        cluster.agent(resources="cpus:8;mem:8192")
    for _ in range(2):
        cluster.batch()
    cluster.ready()
    runs = cluster.tmp / "runs"
    runs.mkdir()

    job = cluster.client().submit(
        f'echo "$BMESOS_TASK_ID $BMESOS_ATTEMPT" >> {runs}/$BMESOS_ARRAY_INDEX', array=500, mem=16
    )
    summary = job.wait(45)

    assert (summary.state, summary.exit_code) == ("finished", 0)
    assert summary.counts["finished"] == 500
    assert counted(runs) == {str(index): 1 for index in range(1, 501)}
    tasks = list(job.tasks())
    assert {task.attempt for task in tasks} == {1}
    assert len({task.agent_id for task in tasks}) == 3
    # The masters share the cells within seconds, which the job may not have taken.
    until(
        "both masters own cells",
        lambda: len({each.owner for each in cluster.client().cluster().cells if each.owner}) == 2,
    )
