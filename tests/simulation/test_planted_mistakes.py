"""Mistakes that are planted on purpose: the simulation finds them."""

from __future__ import annotations

import pytest

from tests.simulation.running import LIMIT, simulate

pytestmark = pytest.mark.timeout(LIMIT + 20)


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
