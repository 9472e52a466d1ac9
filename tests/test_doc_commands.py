"""Every command line of the docs is one that the command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.cli import jobfile
from broker_mesos.cli.argv_parser import read
from broker_mesos.cli.commands import COMMANDS, Command, Group, find
from broker_mesos.cli.declare import Option, parameters
from broker_mesos.cli.options import COMMON
from broker_mesos.client.spec import build_spec
from tests.doc_commands import PAGES, ROOT, Shown, blocks, commands, named, words_of


def shown() -> list[tuple[str, Shown]]:
    return [(str(page.relative_to(ROOT)), each) for page in PAGES for each in commands(page.read_text())]


def mentioned() -> list[tuple[str, str]]:
    return sorted({(str(page.relative_to(ROOT)), each) for page in PAGES for each in named(page.read_text())})


def test_the_docs_show_commands():
    pages = {page for page, _ in shown()}
    assert {"README.md", "docs/quickstart.md", "docs/jobs.md", "docs/operations.md"} <= pages
    assert len(shown()) > 100


@pytest.mark.parametrize(("page", "each"), shown(), ids=lambda each: each if isinstance(each, str) else each.line)
def test_a_command_line_in_a_block_is_read(page: str, each: Shown):
    words = words_of(each.line)
    if words[-1] == "--help":
        words.pop()
    program = "--" in words
    found = read(words[: words.index("--")] if program else words)
    assert found is not None, f"{page}: {each.line}"
    assert found.command.takes_command or not program


@pytest.mark.parametrize("page", ["docs/jobs.md", "docs/reference/cli.md"])
def test_a_job_file_of_a_page_describes_a_job(page: str, tmp_path: Path):
    files = blocks((ROOT / page).read_text(), "yaml")
    assert files
    for text in files:
        (tmp_path / "job.yaml").write_text(text)
        options = jobfile.read(tmp_path / "job.yaml")
        spec = build_spec(options.pop("command"), **options)
        assert spec.array == (1, 100) and spec.retries == 2


@pytest.mark.parametrize(("page", "line"), mentioned(), ids=" ".join)
def test_a_command_that_a_sentence_names_exists_with_its_flags(page: str, line: str):
    words = line.split()[1:]
    place: Command | Group | None = None
    members = COMMANDS
    while words and not words[0].startswith("-"):
        below = find(members, words[0]) if members else None
        if below is None:
            # The rest are arguments, or part of the name of a group is missing.
            assert isinstance(place, Command) or words[0].isupper() or not words[0].isalpha(), f"{page}: {line}"
            break
        place, members = below, below.members if isinstance(below, Group) else ()
        words.pop(0)
    command = place.alone if isinstance(place, Group) else place
    taken = [*COMMON, *(parameters(command.function()) if command is not None else ())]
    options = [each.declared for each in taken if isinstance(each.declared, Option)]
    known = {
        "--help",
        "--install-completion",
        *(part for each in options for flag in each.flags for part in flag.split("/")),
    }
    given = words[: words.index("--")] if "--" in words else words
    flags = {word.partition("=")[0] for word in given if word.startswith("-") and word != "-"}
    assert flags - known == set(), f"{page}: {line}"
