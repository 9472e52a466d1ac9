"""An embedded cluster that is asked to keep its jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.client import Client, Job
from broker_mesos.errors import BrokerMesosError
from tests.e2e.waiting import until
from tests.wiring.daemon import BMESOS, Local, cleaned, environment

pytestmark = pytest.mark.slow

AGENT = ("--resources", "cpus:8;mem:4096")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with cleaned(tmp_path):
        yield tmp_path


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


POINTS = [
    "term.after-commit",
    "term.before-publish",
    "batch.after-claim",
    "batch.after-accept",
    "batch.after-apply",
    "agent.before-checkpoint",
    "agent.after-launch",
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
def test_accepted_jobs_end_once_though_the_cluster_is_killed_in_the_middle(folder: Path, point: str) -> None:
    ran, accepted = folder / "ran", list[str]()
    command = f"echo $BMESOS_JOB_ID $BMESOS_ARRAY_INDEX >> {ran}"
    local = Local(folder, "--data", "data", *AGENT, env={"BMESOS_FAILPOINTS": f"{point}=kill@4"})

    def submit() -> None:
        try:
            while True:
                accepted.append(local.client.submit(command, array=5, cpus=0.5).id)
        except BrokerMesosError:
            pass  # it was killed meanwhile

    submitting = threading.Thread(target=submit)
    submitting.start()
    assert local.process.wait(60) == -signal.SIGKILL
    submitting.join()

    local = Local(folder, "--data", "data", *AGENT)
    for job_id in accepted:
        found = local.client.job(job_id).wait(120)
        assert (found.state, found.counts["finished"]) == ("finished", 5), found
    counts = Counter(lines(ran))
    assert set(counts.values()) <= {1}
    expected = {f"{job_id} {index}" for job_id in accepted for index in range(1, 6)}
    assert expected <= set(counts)
    # A job whose submitter was not answered may have been stored: whole, or not at all.
    until("the last job has ended, too", lambda: not local.client.jobs(active=True))
    counts = Counter(lines(ran))
    assert set(counts.values()) <= {1} and len(counts) in (len(expected), len(expected) + 5)
    assert local.stop() == 0


def test_tasks_go_on_without_the_cluster_and_are_found_again(folder: Path) -> None:
    ran, gates = folder / "ran", [folder / "meanwhile", folder / "after"]
    for gate in gates:
        os.mkfifo(gate)

    def waiting(client: Client, gate: Path) -> Job:
        job = client.submit(f"echo $BMESOS_ATTEMPT >> {ran}; cat {gate}", retries=3)
        until("it runs", lambda: list(job.tasks("running")))
        return job

    local = Local(folder, "--data", "data", *AGENT)
    jobs = [waiting(local.client, gate) for gate in gates]
    local.kill()
    gates[0].write_text("go")  # one ends while there is no cluster
    local = Local(folder, "--data", "data", *AGENT)
    assert local.client.job(jobs[0].id).wait(30).state == "finished"
    # The same after an orderly end.
    assert local.stop() == 0
    assert "1 task goes on" in local.log.read_text()
    local = Local(folder, "--data", "data", *AGENT)
    until("it is found", lambda: [task.state for task in local.client.job(jobs[1].id).tasks()] == ["running"])
    gates[1].write_text("go")
    assert local.client.job(jobs[1].id).wait(30).state == "finished"
    assert lines(ran) == ["1", "1"]
    assert local.stop() == 0


def refusal(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [BMESOS, "local", "--port", "0", *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def test_two_clusters_on_one_folder_are_refused_and_the_first_one_goes_on(folder: Path) -> None:
    local = Local(folder, "--data", "data")
    code, line = refusal(folder, "--data", "data")
    assert (code, "in use by another bmesos" in line) == (1, True), line
    assert local.client.submit("true").wait(30).state == "finished"
    assert local.stop() == 0


def test_a_folder_that_cannot_be_used_ends_the_command_in_one_line(folder: Path) -> None:
    (folder / "file").write_text("")
    code, line = refusal(folder, "--data", "file")
    assert (code, "cannot be used" in line) == (2, True), line
    (folder / "store.sqlite").write_text("no database\n" * 1_000)
    code, line = refusal(folder, "--data", ".")
    assert (code, "is damaged" in line) == (2, True), line


def test_the_number_of_cells_is_the_folders(folder: Path) -> None:
    local = Local(folder, "--data", "data", "--agents", "3")
    assert local.stop() == 0
    local = Local(folder, "--data", "data", "--agents", "2")
    until("agents have come", lambda: len(local.client.agents()) >= 2)
    assert len(local.client.cluster().cells) == 3
    assert local.stop() == 0
