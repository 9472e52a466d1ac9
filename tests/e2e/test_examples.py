"""The frameworks of the guide, run as they stand, as programs on a cluster of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster import Cluster

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

STAYS = """
import sys
from broker_mesos import FrameworkInfo, Scheduler, SchedulerDriver

class Stays(Scheduler):
    def registered(self, driver, framework_id):
        print("registered", flush=True)
        {then}

sys.exit(SchedulerDriver(Stays(), FrameworkInfo(framework_id={ident!r}, name="Stays")).main())
"""


def run(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cluster.tmp, env=cluster.env, capture_output=True, text=True, timeout=50
    )


def test_the_first_example_runs_again_on_the_same_cluster(cluster: Cluster):
    for _ in range(2):
        done = run(cluster, str(EXAMPLES / "hello_framework.py"))
        assert done.returncode == 0, done.stderr
        finished = sorted(line.split()[0] for line in done.stdout.splitlines() if " finished on " in line)
        assert finished == ["hello-1", "hello-2", "hello-3"]


def test_the_gang_of_the_guide_runs_whole(cluster: Cluster):
    done = run(cluster, str(EXAMPLES / "gang_framework.py"))
    assert done.returncode == 0, done.stderr
    finished = [line.split()[0] for line in done.stdout.splitlines() if " finished on " in line]
    assert len(set(finished)) == len(finished) == 4


def test_a_framework_whose_id_has_ended_fails_with_one_line_that_says_so(cluster: Cluster):
    program = STAYS.format(ident=f"{cluster.name}-once", then="driver.stop()")
    assert run(cluster, "-c", program).returncode == 0
    again = run(cluster, "-c", program)
    assert again.returncode == 1 and "registered" not in again.stdout
    assert "Traceback" not in again.stderr
    assert "was torn down; subscribe with a new id" in again.stderr.splitlines()[-1]


def test_ctrl_c_ends_a_framework_with_130_and_without_a_traceback(cluster: Cluster):
    program = STAYS.format(ident=f"{cluster.name}-interrupted", then="pass")
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=cluster.tmp,
        env=cluster.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "registered\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
