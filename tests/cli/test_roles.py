"""`bmesos roles`, `role` and `policy` on an embedded cluster, over HTTP."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.cli import main
from tests.cli.embedded import Embedded, embedded

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def running() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_set(running: Embedded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured) -> Iterator[None]:
    """The cluster as at its beginning (4 cpus, 4096 MB)."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BMESOS_URL", running.url)
    yield
    main(["policy", "set", "drf", "--exclude-none"])
    main(["role", "quota", "show", "-o", "json"])
    capsys.readouterr()
    found = read(capsys, "roles")
    for each in found:
        main(["role", "quota", "clear", each["role"]])
        main(["role", "weight", "clear", each["role"]])
        main(["role", "preempt", each["role"], "off"])


def read(capsys: Captured, *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) != 0
    error = capsys.readouterr().err
    assert error.startswith("bmesos: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eng", "-3"], "weight '-3': write a number above 0"),
        (["eng", "nan"], "weight 'nan': write a number above 0"),
        (["eng=x"], "weight 'x': write a number above 0"),
        (["eng=1e300"], "at most 1000000"),
        (["eng=1", "eng=2"], "the weight of eng is given twice"),
    ],
)
def test_a_weight_that_is_none_is_told_as_such(capsys: Captured, words: list[str], told: str) -> None:
    assert told in refused(capsys, "role", "weight", "set", *words)


@pytest.mark.parametrize("group", ["role", "policy", "volume", "maintenance"])
def test_a_group_without_a_command_shows_its_help_as_it_is(capsys: Captured, group: str) -> None:
    capsys.readouterr()
    assert main([group]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"Usage: bmesos {group}") and "Commands:" in lines


def test_a_role_beside_a_file_of_roles_is_refused(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text("ops: {weight: 2}")
    assert "leave eng out" in refused(capsys, "role", "quota", "set", "eng", "--file", "q.yaml")


def test_weights_are_set_shown_and_cleared(capsys: Captured) -> None:
    assert main(["role", "weight", "set", "prod", "3"]) == 0
    assert main(["role", "weight", "set", "prod=4", "eng/db=0.5"]) == 0
    assert read(capsys, "role", "weight", "show") == {"eng/db": {"weight": 0.5}, "prod": {"weight": 4.0}}
    assert main(["role", "weight", "clear", "prod", "eng/db"]) == 0
    assert read(capsys, "role", "weight", "show") == {}
    assert "write `set ROLE N`" in refused(capsys, "role", "weight", "set", "prod")
    assert "above 0" in refused(capsys, "role", "weight", "set", "prod", "0")


def test_quota_is_set_for_several_roles_or_for_none(capsys: Captured) -> None:
    words = ["--guarantee", "eng=cpus:2;mem:100", "--limit", "eng=cpus:3", "--limit", "ops=cpus:0"]
    assert main(["role", "quota", "set", *words]) == 0
    assert read(capsys, "role", "quota", "show") == {
        "eng": {"guarantee": "cpus:2;mem:100", "limit": "cpus:3"},
        "ops": {"guarantee": "", "limit": "cpus:0"},
    }
    both = ["--limit", "eng=cpus:4", "--guarantee", "ops=mem:999999"]
    assert "cluster has" in refused(capsys, "role", "quota", "set", *both)
    assert read(capsys, "role", "quota", "show", "eng")["eng"]["limit"] == "cpus:3"
    assert main(["role", "quota", "set", *both, "--force"]) == 0
    assert read(capsys, "role", "quota", "show", "eng")["eng"]["limit"] == "cpus:4"
    assert "is guaranteed in it" in refused(capsys, "role", "quota", "set", "eng", "--limit", "cpus:1", "--force")
    assert main(["role", "quota", "clear", "eng", "ops"]) == 0
    assert read(capsys, "role", "quota", "show") == {}


def test_quota_comes_from_a_file(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "quota.yaml"
    file.write_text("eng: {guarantee: 'cpus:1', limit: 'cpus:2', weight: 2, preempts: true}\nops: {limit: 'cpus:1'}")
    assert main(["role", "quota", "set", "--file", str(file)]) == 0
    file.write_text("ops: {limit: null}")
    assert main(["role", "quota", "set", "-f", str(file)]) == 0
    found = {each["role"]: each for each in read(capsys, "roles")}
    assert (found["eng"]["limit"], found["eng"]["weight"], found["eng"]["preempts"]) == ("cpus:2", 2.0, True)
    assert "ops" not in found
    file.write_text("eng: {limt: 'cpus:2'}")
    assert "unknown key 'limt'" in refused(capsys, "role", "quota", "set", "-f", str(file))
    file.write_text("eng: {weight: heavy}")
    assert "weight" in refused(capsys, "role", "quota", "set", "-f", str(file))


def test_quota_that_says_nothing_is_refused(capsys: Captured) -> None:
    assert "give a ROLE" in refused(capsys, "role", "quota", "set")
    assert "nothing is said about eng" in refused(capsys, "role", "quota", "set", "eng", "--limit", "a=cpus:1")
    assert "whose?" in refused(capsys, "role", "quota", "set", "--limit", "cpus:1")
    assert "is not a role" in refused(capsys, "role", "quota", "set", "a//b", "--limit", "cpus:1")


def test_roles_are_listed_below_the_ones_above_them(capsys: Captured) -> None:
    assert main(["role", "quota", "set", "eng/db", "--limit", "cpus:2"]) == 0
    assert main(["role", "preempt", "eng/db", "on"]) == 0
    capsys.readouterr()
    assert main(["roles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:1]] == ["ROLE"]
    (eng,) = [line for line in lines if line.startswith("eng ")]
    (below,) = [line for line in lines if line.startswith("  eng/db ")]
    assert eng.split()[-1] == "no" and below.split()[-2:] == ["cpus:2", "yes"]


def test_the_policy_is_chosen_from_those_that_are_installed(capsys: Captured) -> None:
    assert main(["policy", "set", "priority", "--exclude", "gpus"]) == 0
    found = read(capsys, "policy", "show")
    assert (found["policy"], found["exclude"]) == ("priority", ["gpus"])
    assert {"drf", "priority", "random"} <= set(found["policies"])
    assert "choose one of" in refused(capsys, "policy", "set", "fair")
    assert main(["policy", "set", "drf", "--exclude-none"]) == 0
    capsys.readouterr()
    assert main(["policy", "show"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["policy:    drf", "excluded:  nothing"]


def test_the_http_face_shows_what_is_set(running: Embedded) -> None:
    main(["role", "quota", "set", "eng", "--limit", "cpus:2"])
    with urllib.request.urlopen(f"{running.url}/api/v1/config") as answer:
        found = json.loads(answer.read())
    assert found["roles"]["eng"]["limit"] == "cpus:2" and found["policy"] == "drf"
