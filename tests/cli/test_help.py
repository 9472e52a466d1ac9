"""What ``--help`` prints, for every command and group."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from broker_mesos.cli import app, main
from broker_mesos.cli.argv_parser import read
from broker_mesos.cli.commands import COMMANDS, Command, Group

Captured = pytest.CaptureFixture[str]


def _places(members: tuple[Command | Group, ...], *above: str) -> Iterator[tuple[tuple[str, ...], Command | Group]]:
    for each in members:
        yield (*above, each.name), each
        if isinstance(each, Group):
            yield from _places(each.members, *above, each.name)


PLACES = list(_places(COMMANDS))


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", [(), *[path for path, each in PLACES if isinstance(each, Group)]], ids=" ".join)
def test_a_list_of_commands_cuts_no_sentence_short(path: tuple[str, ...], capsys: Captured) -> None:
    assert main([*path, "--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("path", [path for path, each in PLACES if isinstance(each, Command)], ids=" ".join)
def test_help_names_arguments_without_types_and_braces(path: tuple[str, ...], capsys: Captured) -> None:
    assert main([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: bmesos {' '.join(path)} [OPTIONS]")
    usage = shown.partition("\n\n")[0]
    assert "{" not in usage and "[[" not in usage
    assert [mark for mark in ("<str>", "<list", "<int", "<float", "[required]") if mark in shown] == []


@pytest.mark.parametrize(
    "line",
    [
        *(f"{' '.join(path)} --help".strip() for path in ((), *(path for path, _ in PLACES))),
        "",
        "agents",
        "certs",
        "sbumit -- true",
        "--url http://127.0.0.1:1 agents drian a1",
        "role se",
        "submit --cpus many -- true",
        "help",
        "--nope",
        "agents drain",
    ],
)
def test_what_typer_says_does_not_depend_on_commands_that_no_word_names(
    line: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = line.split()
    said = (main(words), capsys.readouterr())
    every = app.application
    monkeypatch.setattr(app, "application", lambda words=None: every())
    assert said == (main(words), capsys.readouterr())


@pytest.mark.parametrize(
    ("path", "example"),
    [(path, example) for path, each in PLACES if isinstance(each, Command) for example in each.examples],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_an_example_is_a_right_command_line_of_its_command(
    path: tuple[str, ...], example: str, capsys: Captured
) -> None:
    assert main([*path, "--help"]) == 0
    assert f"\n    {example}\n" in capsys.readouterr().out
    name, *words = shlex.split(example)
    found = read(words[: words.index("--")] if "--" in words else words)
    assert name == "bmesos" and found is not None
    assert found.command.name == path[-1] and example.startswith(f"bmesos {' '.join(path)}")
    assert "--" not in words or found.command.takes_command


def test_commands_that_take_a_program_show_where_it_goes(capsys: Captured) -> None:
    for name in ("submit", "run", "plan"):
        assert main([name, "--help"]) == 0
        assert "[-- CMD ARG…]\n" in capsys.readouterr().out
