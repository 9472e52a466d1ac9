"""Mistakes that are planted on purpose: the simulation finds each of them."""

from __future__ import annotations

import pytest

from tests.simulation.running import LIMIT, simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT + 20)]

FOUND = (
    ("absence-by-the-calendar", "absence", 0, 4, "whose work is not done"),
    ("claims-due-by-the-clock-of-their-worker", "claims", 0, 12, "has not ended"),
    ("clone-believed", "clones", 0, 16, "is declared lost, and runs on"),
    ("no-agent-kept-free", "large", 0, 4, "large tasks began after the last of the small ones"),
    ("outcomes-forget-their-offer", "reuse", 0, 2, "never ran|is not done"),
    ("outcomes-of-an-earlier-process-count-as-acknowledged", "disks", 9, 20, "deletes the sandbox of"),
    ("short-disk-forgotten-by-the-next-process", "disks", 15, 20, "and its disk is short"),
    ("demands-forgotten", "isolation", 0, 8, "and does not hold it to"),
    ("memory-ends-untold", "isolation", 0, 8, "for its memory, and nobody says so"),
    ("limits-forgotten-by-a-new-owner", "placement", 0, 4, "is started beside"),
    ("ports-told-twice", "placement", 0, 4, "is told the ports"),
    ("change-numbers-without-a-term", "views", 0, 12, "knows"),
    ("history-forgotten-by-the-next-owner", "crash", 0, 12, "and its history has"),
    ("attempts-not-kept", "crash", 0, 12, "are not kept"),
    ("outbox-published-before-commit", "full", 0, 6, "fails:"),
    ("resources-freed-twice", "full", 0, 6, "fails:"),
    ("acknowledged-without-commit", "full", 0, 6, "fails:"),
)
"""The mistake, the profile that finds it, the first seed, the number of seeds, and the words of the finding, or one of
several with ``|``."""


@pytest.mark.parametrize(("mutant", "profile", "start", "seeds", "words"), FOUND, ids=[each[0] for each in FOUND])
async def test_a_planted_mistake_is_found(mutant: str, profile: str, start: int, seeds: int, words: str) -> None:
    options = ("--profile", profile, "--start", str(start), "--seeds", str(seeds), "--keep-going", "1")
    code, output = await simulate(*options, "--mutant", mutant)
    assert code == 1 and any(each in output for each in words.split("|")), output
