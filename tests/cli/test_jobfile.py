"""What a job file says reaches the job as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.cli import jobfile
from broker_mesos.client.spec import build_spec
from broker_mesos.errors import InvalidInput


def written(folder: Path, text: str, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read_env(path: Path) -> dict[str, str]:
    words = jobfile.read(path)
    return build_spec(words.pop("command"), **words).command.environment


@pytest.mark.parametrize(
    "text",
    [
        "3.10",
        "0755",
        "0o17",
        "0x1F",
        "0b11",
        "12:30:45",
        "1_000",
        "1e3",
        "+5",
        "007",
        "2024-01-01",
        ".5",
        "5.",
        "-0",
        "fast",
    ],
)
def test_a_value_of_env_is_text_as_it_is_written(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"command: x\nenv: {{A: {text}}}\n")
    assert read_env(path) == {"A": text}


def test_values_of_env_that_come_from_an_anchor_are_text_as_well(tmp_path: Path) -> None:
    text = "command: x\ncpus: &n 2.50\nenv: {<<: &base {A: 3.10}, B: *n}\n"
    path = written(tmp_path, text)
    assert read_env(path) == {"A": "3.10", "B": "2.50"}
    assert jobfile.read(path)["cpus"] == 2.5


@pytest.mark.parametrize("value", ["true", "no", "~", "[1]", "{}", ""])
def test_a_value_of_env_that_is_no_text_is_refused_with_its_line(value: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"command: x\nenv:\n  A: fine\n  B: {value}\n")
    with pytest.raises(InvalidInput, match=r"job.yaml: line 4: env B: .* is not text; put it in quotes"):
        jobfile.read(path)


@pytest.mark.parametrize("value", ["3.10", "0x1F", "true", "2024-01-01"])
def test_in_toml_a_value_of_env_has_quotes(value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"job.toml: env A: .* is not text; put it in quotes"):
        jobfile.read(written(tmp_path, f"command = 'x'\nenv = {{A = {value}}}\n", "job.toml"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("command: x\ncpus: 1\ncpus: 2\n", 3),
        ("command: x\nenv:\n  A: 1\n  B: 2\n  A: 3\n", 5),
        ("command: x\n'command': y\n", 2),
    ],
)
def test_a_key_that_is_given_twice_is_refused_with_its_line(text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"job.yaml: line {line}: '.*' is given twice"):
        jobfile.read(written(tmp_path, text))


@pytest.mark.parametrize("value", ["010", "1:30", "0x10"])
def test_a_number_in_an_odd_notation_is_not_taken_for_another_one(value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"retries is a number, not '{value}'"):
        jobfile.read(written(tmp_path, f"command: x\nretries: {value}\n"))


@pytest.mark.parametrize(("text", "value"), [("2", 2), ("-3", -3), ("0", 0)])
def test_decimal_numbers_are_numbers(text: str, value: int, tmp_path: Path) -> None:
    assert jobfile.read(written(tmp_path, f"command: x\npriority: {text}\ncpus: 1.5\n")) == {
        "command": "x",
        "priority": value,
        "cpus": 1.5,
    }


@pytest.mark.parametrize("name", ["my.setting", "with-dash", "_A1"])
def test_names_of_variables_may_have_dots_and_dashes(name: str) -> None:
    assert build_spec("x", env={name: "1"}).command.environment == {name: "1"}


@pytest.mark.parametrize("name", ["", "1A", "-A", ".A", "A B", "A=B", "Ä", "A\n"])
def test_other_names_of_variables_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="a variable's name has letters"):
        build_spec("x", env={name: "1"})
