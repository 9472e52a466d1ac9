"""What a wait for preferred agents brings, on a small simulated cluster with a real cell and planner."""

from __future__ import annotations

import pytest

from benchmarks import locality
from benchmarks.locality import Case, World


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"NODES": 16, "SLOTS": 2, "FRAMEWORKS": 4, "JOBS": 1, "TASKS": 20}
    for name, value in sizes.items():
        monkeypatch.setattr(locality, name, value)


def test_a_short_wait_makes_more_tasks_local_and_jobs_quicker() -> None:
    split = World(Case("static partition", partitioned=True), 1).run()
    none, second = (World(Case("", wait=wait), 1).run() for wait in (0.0, 1.0))
    assert split.local < none.local < second.local and second.local > 0.8
    assert second.job_time < split.job_time


def test_the_same_seed_gives_the_same_figures() -> None:
    first, second = (World(Case("", wait=1.0), 7).run() for _ in range(2))
    assert first == second
