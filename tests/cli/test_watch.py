"""``bmesos status --watch`` against a cluster of which each look shows another state."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from broker_mesos.cli import main, watch
from broker_mesos.core.api.jobs import JobSummary, WaitJob
from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.errors import Unavailable
from tests.operator.fakes import FakeCluster, Stage


class Advancing(FakeCluster):
    """A job that ends at the fourth look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def handle(self, request: Request, timeout: float = 5.0) -> Part:
        if isinstance(request, WaitJob):
            self.looks += 1
        return await super().handle(request, timeout)

    def summary(self, job_id: str) -> JobSummary:
        whole = super().summary(job_id)
        if self.looks >= 4:
            return whole.model_copy(update={"version": 4})
        counts = {"pending": 4 - self.looks, "finished": self.looks}
        running = {"state": "running", "counts": counts, "version": self.looks, "exit_code": None, "ended_at": None}
        return whole.model_copy(update=running)


@pytest.fixture
def cluster(stage: Stage, empty_place: Path, monkeypatch: pytest.MonkeyPatch) -> Advancing:
    monkeypatch.setenv("BMESOS_URL", stage.url)
    stage.cluster = cluster = Advancing()
    return cluster


Captured = pytest.CaptureFixture[str]


def test_a_job_is_a_block_for_each_change_in_a_pipe(cluster: Advancing, capsys: Captured) -> None:
    assert main(["submit", "--", "true"]) == 0
    (job_id,) = cluster.specs
    capsys.readouterr()
    assert main(["status", "--watch", job_id]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("State:")] == [
        "running",
        "running",
        "running",
        "finished,",
    ]


def test_on_a_terminal_it_is_drawn_in_place(
    cluster: Advancing, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["submit", "--", "true"]) == 0
    (job_id,) = cluster.specs
    capsys.readouterr()
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["status", "--watch", job_id]) == 0
    views = capsys.readouterr().out.split("\x1b[H\x1b[J")
    assert len(views) == 1 + 4 and views[0] == ""
    assert all(len(view.splitlines()) == 4 for view in views[1:])


def test_the_cluster_is_shown_again_only_if_something_has_happened(
    cluster: Advancing, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    def pause(seconds: float) -> None:
        nonlocal turns
        turns += 1
        cluster.unowned = 0 if turns >= 3 else 1
        if turns == 2:
            cluster.failing["GET_CLUSTER"] = Unavailable("nobody answers")
            cluster.failing_times["GET_CLUSTER"] = 1
        if turns == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", pause)
    assert main(["status", "--watch"]) == 130
    captured = capsys.readouterr()
    assert captured.out.count("Masters") == 2
    assert captured.err == "bmesos: nobody answers\n"


def test_what_is_not_there_ends_at_once(cluster: Advancing, capsys: Captured) -> None:
    assert main(["status", "--watch", "nope"]) == 3
    assert main(["status", "--watch", "-o", "json"]) == 2
    cluster.failing["GET_CLUSTER"] = Unavailable("nobody answers")
    assert main(["status", "--watch"]) == 4
