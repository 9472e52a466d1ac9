"""A plain command line is read without typer, and as typer reads it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from broker_mesos.cli import app
from broker_mesos.cli.argv_parser import Found, read
from broker_mesos.cli.commands import COMMANDS, Command, Group
from broker_mesos.cli.declare import Argument, Parameter, parameters
from broker_mesos.cli.options import COMMON, Call

_SAMPLES = {"int": "7", "float": "0.5", "str": "te=xt", "Path": "some/file", "Output": "json"}


def _leaves(members: tuple[Command | Group, ...], *above: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    for each in members:
        if isinstance(each, Command):
            yield (*above, each.name), each
        else:
            if each.alone is not None:
                yield (*above, each.name), each.alone
            yield from _leaves(each.members, *above, each.name)


_build = app.application


@functools.cache
def _application() -> Any:
    return typer.main.get_command(_build())


LEAVES = list(_leaves(COMMANDS))


def by_typer(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Command, dict[str, Any], Call]:
    """What typer makes of a command line."""
    found: list[Any] = []

    def note(call: Call, command: Command, function: Callable[..., Any], values: dict[str, Any]) -> None:
        found.extend([command, call.common(values) if command.common else values, call])

    with monkeypatch.context() as patch:
        patch.setattr(Call, "run", note)
        patch.setattr(app, "application", lambda words: _application())
        app.run(words, Call())
    command, values, call = found
    return command, values, call


def by_line(found: Found) -> tuple[Command, dict[str, Any], Call]:
    """The same of what was read without it."""
    call = Call()
    call.common(found.above)
    values = dict(found.values)
    return found.command, call.common(values) if found.command.common else values, call


def _same(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(words)
    assert found is not None, words
    mine, theirs = by_line(found), by_typer(words, monkeypatch)
    assert mine[0] == theirs[0]
    # Typer says [] for some lists of which nothing is given, and None for others.
    assert {key: value or None for key, value in mine[1].items() if value != 0} == {
        key: value or None for key, value in theirs[1].items() if value != 0
    }
    assert {key: value for key, value in vars(mine[2]).items() if key != "_close"} == {
        key: value for key, value in vars(theirs[2]).items() if key != "_close"
    }


def _words(taken: list[Parameter], *, options: bool, equals: bool = False) -> list[str]:
    words = []
    for each in taken:
        kind = getattr(each.kind, "__name__", "")
        name = next((name for name in _SAMPLES if name in str(each.kind)), kind)
        sample = "9" if each.declared.min else _SAMPLES.get(name, "")
        if isinstance(each.declared, Argument):
            words.append(sample)
        elif options and "bool" in str(each.kind):
            words.append(each.declared.flags[0].split("/")[-1].strip())
        elif options:
            flag = each.declared.flags[0]
            words += [f"{flag}={sample}"] if equals else [flag, sample]
    return words


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_a_line_with_every_option_means_the_same(
    path: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [*parameters(command.function()), *(COMMON if command.common else ())]
    for options, equals in ((False, False), (True, False), (True, True)):
        words = [*path, *_words(taken, options=options, equals=equals)]
        _same(words, monkeypatch)
        _same(["--cluster", "lab", "--url=http://h:1", "-o", "table", *words], monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "--version",
        "nope",
        "submit --help",
        "submit --nope",
        "submit --cpu 1",
        "submit --cpus",
        "submit --cpus x",
        "submit --cpus -1",
        "submit --cpus 1_0",
        "submit --cpus nan",
        "submit --wait=yes",
        "submit --name -x",
        "submit a b",
        "wait",
        "wait a b",
        "wait --for -1 a",
        "wait -o xml a",
        "wait -ojson a",
        "wait --timeout 0.01 a",
        "role",
        "role weight",
        "role weight set a -3",
        "agents nope",
        "agents drain",
        "local --agents 1.5",
        "local --port 70000",
    ],
)
def test_whatever_is_in_doubt_is_left_to_typer(line: str) -> None:
    assert read(line.split()) is None


@pytest.mark.parametrize(
    "line",
    [
        "submit --env A=1 job.yaml --env B=2 --name x --name y --gang --no-gang",
        "agents --url http://a:1 drain x y --url http://b:1 --grace 0",
    ],
)
def test_repeated_options_gather_or_replace(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _same(line.split(), monkeypatch)


@pytest.mark.parametrize("line", ["submit -it --gang", "logs -fx JOB", "logs -f=yes JOB"])
def test_letters_together_are_read_only_if_all_of_them_are_switches(line: str) -> None:
    assert read(line.split()) is None


def test_a_plain_line_needs_no_typer() -> None:
    program = (
        "import sys\nfrom broker_mesos.cli import main\nmain(['version', '-o', 'json'])\n"
        "print(*sorted({'typer', 'click', 'pydantic', 'inspect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1:] == [""]
