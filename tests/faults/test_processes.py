"""Processes of the cluster are killed or frozen while a job runs: every task finishes, exactly once."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import until
from tests.faults.support import Runs, Victim

SHORT = "sleep 0.1"


@pytest.mark.parametrize(
    "point",
    [
        "term.before-commit",
        "term.after-commit",
        "term.after-acknowledge",
        "term.after-publish",
        "outbox.confirmed",
    ],
)
def test_a_master_killed_at_any_step_of_its_cycle_loses_nothing(victim: Victim, point: str):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    struck = victim.strike(point, 3)
    assert struck.kind == "master"
    runs.finished_exactly_once()


@pytest.mark.parametrize(
    "point",
    [
        "batch.before-claim",
        "batch.after-claim",
        "batch.after-accept",
        "batch.before-apply",
        "batch.after-apply",
    ],
)
def test_a_worker_killed_between_claim_and_acknowledgement_loses_no_index_and_doubles_none(
    victim: Victim, point: str
):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    struck = victim.strike(point, 2)
    assert struck.kind == "batch"
    runs.finished_exactly_once()


@pytest.mark.parametrize("point", ["agent.before-checkpoint", "agent.after-checkpoint", "agent.after-launch"])
def test_an_agent_killed_at_any_step_of_a_launch_finds_its_tasks_again(victim: Victim, point: str):
    runs = Runs(victim, 100, SHORT).submit().under_way()
    struck = victim.strike(point, 5)
    assert struck.kind == "agent"
    victim.heal()
    runs.finished_exactly_once()
