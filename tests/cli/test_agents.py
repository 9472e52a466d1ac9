"""``bmesos agents show``: one agent, with what it holds tasks to."""

from __future__ import annotations

import json

import pytest

from broker_mesos.cli import main
from tests.operator.fakes import FakeCluster

pytestmark = pytest.mark.usefixtures("empty_place", "url")


def test_one_agent_is_shown_with_what_it_holds_tasks_to_and_why_not(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.agent = {"isolation": ("cpu", "mem", "pids", "oom", "kill"), "isolation_missing": {"cpuset": "it is on v2"}}
    assert main(["agents", "show", "a1"]) == 0
    shown = capsys.readouterr().out
    assert "isolation: limits" in shown
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert rows["mem"].split()[1] == "yes" and rows["cpuset"].split()[1] == "no"
    assert rows["cpuset"].endswith("it is on v2") and "namespaces" in rows["fs"]
    assert main(["agents", "show", "a1", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["isolation"] == ["cpu", "mem", "pids", "oom", "kill"]
    assert main(["agents"]) == 0
    assert "limits" in capsys.readouterr().out
    cluster.agent = {"not_isolated": "cgroup v2 is not delegated to us"}
    assert main(["agents", "show", "a1"]) == 0
    shown = capsys.readouterr().out
    assert "isolation: none: resources are accounted, not enforced" in shown and "is not delegated to us" in shown
    assert main(["agents", "show", "other"]) == 3
    assert "no agent other; `bmesos agents` lists them" in capsys.readouterr().err
