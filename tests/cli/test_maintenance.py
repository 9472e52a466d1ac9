"""`bmesos agents` and `bmesos maintenance` on an embedded cluster, over HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from broker_mesos.cli import main
from broker_mesos.cli.maintenance import moment
from broker_mesos.cli.options import seconds
from broker_mesos.errors import InvalidInput
from tests.cli.embedded import Embedded, embedded

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def running() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


@pytest.fixture
def agent(running: Embedded, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> str:
    """The cluster's agent, active and with nothing planned."""
    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BMESOS_URL", running.url)
    assert main(["agents", "-o", "json"]) == 0
    ident: str = json.loads(capsys.readouterr().out)[0]["agent_id"]
    main(["maintenance", "cancel", ident])
    main(["agents", "activate", ident])
    capsys.readouterr()
    return ident


def state(capsys: Captured) -> str:
    """What `bmesos agents` says of the one agent."""
    capsys.readouterr()
    assert main(["agents"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    at = head.index("STATE")
    return row[at:].split("  ")[0].strip()


def test_an_agent_is_drained_and_taken_back(agent: str, capsys: Captured) -> None:
    assert state(capsys) == "registered"
    assert main(["agents", "drain", agent, "--grace", "0:01"]) == 0
    assert capsys.readouterr().out == f"agent {agent} is drained, with 0 tasks\n"
    assert state(capsys) == "drained"
    assert main(["-o", "json", "agents", "drain", agent]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["agent_id"], found["maintenance"], found["tasks"]) == (agent, "drained", 0)
    assert main(["agents", "activate", agent, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["maintenance"] == ""
    assert state(capsys) == "registered"


def test_an_agent_is_deactivated(agent: str, capsys: Captured) -> None:
    assert main(["agents", "deactivate", agent]) == 0
    assert "is deactivated" in capsys.readouterr().out
    assert state(capsys) == "deactivated"
    assert main(["agents", "activate", agent]) == 0
    assert capsys.readouterr().out == f"agent {agent} is active, with 0 tasks\n"


def test_an_absence_is_planned_shown_and_cancelled(agent: str, capsys: Captured) -> None:
    assert main(["maintenance", "show"]) == 0
    assert capsys.readouterr().out == "nothing is planned: every agent is offered\n"
    before = time.time()
    words = ["maintenance", "schedule", agent, "--start", "+10m", "--duration", "1h", "-o", "json"]
    assert main(words) == 0
    (found,) = json.loads(capsys.readouterr().out)
    window = found["unavailability"]
    assert before + 600 <= window["start"] <= time.time() + 600 and window["duration"] == 3_600
    assert main(["maintenance", "show"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["AGENT", "HOST", "STATE", "TASKS", "START", "FOR"]
    assert row.startswith(agent) and "1 h" in row and "registered" in row
    assert main(["maintenance", "cancel", agent]) == 0
    capsys.readouterr()
    assert main(["maintenance", "show", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "words",
    [
        ["agents", "drain", "nobody"],
        ["agents", "activate", "nobody"],
        ["agents", "deactivate", "nobody"],
        ["maintenance", "schedule", "nobody"],
        ["maintenance", "cancel", "nobody"],
    ],
    ids=" ".join,
)
def test_an_unknown_agent_is_one_line_and_nothing_happens_to_the_others(
    words: list[str], agent: str, capsys: Captured
) -> None:
    assert main([*words, agent]) == 3
    told = capsys.readouterr()
    assert told.err == "bmesos: no agent nobody; `bmesos agents` lists them\n" and told.out == ""
    assert state(capsys) == "registered"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["agents", "drain"], "AGENT"),
        (["agents", "drain", "a b"], "agent_ids"),
        (["agents", "drain", "a", "--grace", "-1"], "grace"),
        (["agents", "retire", "a"], "retire"),
        (["maintenance", "schedule", "a", "--start", "soon"], "'soon' is no start"),
        (["maintenance", "schedule", "a", "--duration", "long"], "'long' is no time"),
        (["maintenance", "schedule", "a", "--duration", "0"], "duration"),
        (["maintenance", "schedule", "a", "--start", "2001-01-01", "--duration", "1d"], "over already"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_bad_input_is_one_line(words: list[str], why: str, agent: str, capsys: Captured) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == "" and why in told.err and told.err.count("\n") == 1


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds(each) for each in ("90", "90s", "1.5h", "2 d", "10m")] == [90, 90, 5_400, 172_800, 600]
    assert moment("+10m", 1_000.0) == 1_600 and moment("2031-05-04T22:00+00:00", 0.0) == 1_935_698_400
    with pytest.raises(InvalidInput):
        moment("+", 0.0)
