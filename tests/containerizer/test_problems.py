"""What an operator has to know of the spawner, on its way to the agent."""

from __future__ import annotations

import pytest

from broker_mesos.containerizer.process.problems import MAX_CHARS, MAX_PROBLEMS, Problems
from broker_mesos.containerizer.process.spawner_isolation import SpawnerIsolation


def test_a_problem_is_logged_once_and_reported_when_it_changes() -> None:
    logged: list[str] = []
    problems = Problems(logged.append)
    assert problems.changed() is None
    for _ in range(3):
        problems.note("leak", ["cgroup leak: 40"])
    assert problems.changed() == ["cgroup leak: 40"] and problems.changed() is None
    problems.note("leak", [])
    assert problems.changed() == [] and not problems
    assert logged == ["cgroup leak: 40"]


def test_problems_are_bounded() -> None:
    problems = Problems(lambda text: None)
    problems.note("many", ["x" * 10_000 + f"\n{number}" for number in range(100)])
    lines = problems.lines
    assert len(lines) == MAX_PROBLEMS and max(map(len, lines)) <= MAX_CHARS
    assert lines[-1] == "and 93 more problems: see the spawner's log"


@pytest.mark.parametrize("end", [["hello", 5, 1, "boot"], ["problems", []]])
def test_the_agent_has_the_problems_of_its_spawner_until_they_end_or_another_one_is_there(
    end: list[object],
) -> None:
    isolation = SpawnerIsolation("auto", 1.0, 0)
    isolation.on_record(["problems", ["cgroup leak: 40"]])
    assert isolation.problems == ("cgroup leak: 40",)
    isolation.on_record(end)
    assert isolation.problems == ()
