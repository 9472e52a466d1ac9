"""Gangs on a cluster of real processes."""

from __future__ import annotations

from tests.e2e.conftest import NewCluster


def test_two_gangs_of_which_only_one_fits_run_one_after_the_other(new_cluster: NewCluster):
    cluster = new_cluster(gang_patience=1, gang_hold=10)
    cluster.master(cells=2)
    # One agent for each cell: no gang fits a single one.
    for _ in range(2):
        cluster.agent(resources="cpus:2;mem:1024")
    cluster.batch()
    cluster.batch()
    client = cluster.ready().client()
    # Every task waits until all of its gang have begun; a part of a gang would wait for ever.
    meet = (
        "touch $MEETING/$BMESOS_JOB_ID.$BMESOS_ARRAY_INDEX; "
        'while [ "$(ls $MEETING | grep -c $BMESOS_JOB_ID)" -lt "$BMESOS_GANG_SIZE" ]; do sleep 0.1; done'
    )
    env = {"MEETING": str(cluster.tmp / "meeting")}
    (cluster.tmp / "meeting").mkdir()
    jobs = [client.submit(meet, array=3, gang=True, mem=64, env=env) for _ in range(2)]
    assert [job.wait(60).state for job in jobs] == ["finished", "finished"]
    for job in jobs:
        assert {task.attempt for task in job.tasks()} == {1}
    spans = sorted(
        (sorted(task.started_at for task in job.tasks()), sorted(task.ended_at for task in job.tasks())) for job in jobs
    )
    # One CPU is free beside the first gang: with two of its tasks gone there is room for the second.
    assert spans[0][1][1] <= spans[1][0][0]


def test_a_gang_is_submitted_by_command_and_refused_in_one_line(cluster):
    job_id = cluster.cli("submit", "--gang", "--array", "2", "--wait", "--", "true").stdout.split()[0]
    assert {task.state for task in cluster.client().job(job_id).tasks()} == {"finished"}
    refused = cluster.cli("submit", "--gang", "--", "true")
    assert refused.returncode == 2 and "give --array" in refused.stderr
