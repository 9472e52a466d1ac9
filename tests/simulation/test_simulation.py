"""A few seeds with every quick run, a few hundred with `make test`; `make simulate SEEDS=10000` runs more.
See docs/simulation.md.

Each batch of seeds is a process of its own: with a fixed hash seed it goes the way that a replay goes, and
its silenced log stays its own.
"""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.protocol.task_record import TaskRecord
from tests.simulation.planting import mutants, planted

LIMIT = 280
pytestmark = pytest.mark.timeout(LIMIT + 20)


async def simulate(*options: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.simulation",
        *options,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    ("profile", "start", "seeds"),
    [
        ("crash", 0, 2),
        ("full", 0, 2),
        pytest.param("crash", 2, 2, marks=pytest.mark.slow),
        pytest.param("full", 2, 2, marks=pytest.mark.slow),
        pytest.param("clocks", 0, 4, marks=pytest.mark.slow),
        pytest.param("absence", 0, 4, marks=pytest.mark.slow),
        pytest.param("clones", 0, 4, marks=pytest.mark.slow),
        pytest.param("reuse", 0, 4, marks=pytest.mark.slow),
        pytest.param("large", 0, 3, marks=pytest.mark.slow),
        pytest.param("disks", 0, 3, marks=pytest.mark.slow),
        pytest.param("isolation", 0, 3, marks=pytest.mark.slow),
        pytest.param("placement", 0, 3, marks=pytest.mark.slow),
        pytest.param("views", 0, 4, marks=pytest.mark.slow),
        # Found later, and mended.
        pytest.param("full", 7302, 1, marks=pytest.mark.slow),
        pytest.param("full", 770132, 1, marks=pytest.mark.slow),
        pytest.param("calm", 0, 30, marks=pytest.mark.slow),
        pytest.param("crash", 4, 33, marks=pytest.mark.slow),
        pytest.param("crash", 37, 33, marks=pytest.mark.slow),
        pytest.param("clocks", 4, 33, marks=pytest.mark.slow),
        pytest.param("clones", 4, 33, marks=pytest.mark.slow),
        pytest.param("reuse", 4, 33, marks=pytest.mark.slow),
        pytest.param("large", 3, 20, marks=pytest.mark.slow),
        pytest.param("isolation", 3, 30, marks=pytest.mark.slow),
        pytest.param("placement", 3, 20, marks=pytest.mark.slow),
        pytest.param("full", 4, 33, marks=pytest.mark.slow),
        pytest.param("full", 37, 34, marks=pytest.mark.slow),
        pytest.param("full", 71, 34, marks=pytest.mark.slow),
    ],
)
async def test_no_seed_breaks_an_invariant(profile: str, start: int, seeds: int) -> None:
    code, output = await simulate("--profile", profile, "--start", str(start), "--seeds", str(seeds))
    assert code == 0, output


@pytest.mark.slow
async def test_a_seed_goes_the_same_way_every_time() -> None:
    code, output = await simulate("--profile", "full", "--seeds", "4", "--twice")
    assert code == 0, output


@pytest.mark.parametrize("name", sorted(mutants()))
def test_every_mistake_can_be_planted(name: str) -> None:
    with planted(name):
        pass


def test_a_mistake_that_is_planted_is_gone_afterwards() -> None:
    before = {each: dict(vars(each)) for each in (TaskRecord, Task)}
    for name in mutants():
        with planted(name):
            pass
    assert before == {each: dict(vars(each)) for each in before}


@pytest.mark.slow
async def test_absence_that_is_computed_from_a_calendar_is_found() -> None:
    mutant = "absence-by-the-calendar"
    code, output = await simulate("--profile", "absence", "--seeds", "4", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "whose work is not done" in output, output


@pytest.mark.slow
async def test_claims_that_are_due_by_the_clock_of_their_worker_are_found() -> None:
    mutant = "claims-due-by-the-clock-of-their-worker"
    code, output = await simulate("--profile", "claims", "--seeds", "12", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "has not ended" in output, output


@pytest.mark.slow
async def test_a_clone_whose_list_is_applied_while_its_original_is_alive_is_found() -> None:
    mutant = "clone-believed"
    code, output = await simulate("--profile", "clones", "--seeds", "16", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "is declared lost, and runs on" in output, output


@pytest.mark.slow
async def test_large_tasks_and_gangs_that_no_agent_is_kept_free_for_are_found() -> None:
    mutant = "no-agent-kept-free"
    code, output = await simulate("--profile", "large", "--seeds", "4", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "large tasks began after the last of the small ones" in output, output


@pytest.mark.slow
async def test_a_new_task_that_an_agent_takes_for_an_earlier_one_with_its_id_is_found() -> None:
    mutant = "outcomes-forget-their-offer"
    code, output = await simulate("--profile", "reuse", "--seeds", "2", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and ("never ran" in output or "is not done" in output), output
    code, output = await simulate("--profile", "reuse", "--seeds", "8")
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "start", "words"),
    [
        ("outcomes-of-an-earlier-process-count-as-acknowledged", 9, "deletes the sandbox of"),
        ("short-disk-forgotten-by-the-next-process", 15, "and its disk is short"),
    ],
)
async def test_an_agent_that_forgets_its_disk_or_its_outcomes_over_a_restart_is_found(
    mutant: str, start: int, words: str
) -> None:
    seeds = ("--start", str(start), "--seeds", "20", "--keep-going", "1")
    code, output = await simulate("--profile", "disks", *seeds, "--mutant", mutant)
    assert code == 1 and words in output, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "words"),
    [("demands-forgotten", "and does not hold it to"), ("memory-ends-untold", "for its memory, and nobody says so")],
)
async def test_a_demand_that_is_not_met_and_a_memory_end_that_is_not_told_are_found(mutant: str, words: str) -> None:
    code, output = await simulate("--profile", "isolation", "--seeds", "8", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and words in output, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "words"),
    [("limits-forgotten-by-a-new-owner", "is started beside"), ("ports-told-twice", "is told the ports")],
)
async def test_a_limit_that_is_forgotten_and_a_port_that_is_told_twice_are_found(mutant: str, words: str) -> None:
    code, output = await simulate("--profile", "placement", "--seeds", "4", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and words in output, output


@pytest.mark.slow
async def test_change_numbers_of_agents_that_lack_the_term_are_found() -> None:
    mutant = "change-numbers-without-a-term"
    code, output = await simulate("--profile", "views", "--seeds", "12", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "knows" in output, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "words"),
    [("history-forgotten-by-the-next-owner", "and its history has"), ("attempts-not-kept", "are not kept")],
)
async def test_what_tasks_have_been_through_and_is_forgotten_is_found(mutant: str, words: str) -> None:
    code, output = await simulate("--profile", "crash", "--seeds", "12", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and words in output, output


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    "mutant", ["outbox-published-before-commit", "resources-freed-twice", "acknowledged-without-commit"]
)
async def test_a_planted_mistake_is_found(mutant: str) -> None:
    code, output = await simulate("--profile", "full", "--seeds", "6", "--mutant", mutant, "--keep-going", "1")
    assert code == 1 and "fails:" in output, output
