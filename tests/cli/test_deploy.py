"""`bmesos deploy`: what it prints and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_mesos.cli import main


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def deploy(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["deploy", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_passwords_are_made_once_and_only_their_hashes_are_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = deploy(capsys, "rabbitmq-definitions", "--secrets", "s", "--agent", "agent-1", "--person", "ann")
    assert code == 0
    assert [each["name"] for each in json.loads(out)["users"]] == ["master", "batch", "web", "agent-1", "ann"]
    made = {path.name: path.read_text() for path in (tmp_path / "s").iterdir()}
    assert set(made) == {f"rabbitmq-{user}" for user in ("master", "batch", "web", "agent-1", "ann")}
    assert len(set(made.values())) == 5 and all(len(each.strip()) >= 43 for each in made.values())
    assert not any(each.strip() in out for each in made.values())
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "s").iterdir()} == {0o600}
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    code, out, _ = deploy(capsys, "user", "agent-2", "--secrets", "s")
    assert code == 0 and [each["name"] for each in json.loads(out)["users"]] == ["agent-2"]
    assert {name: (tmp_path / "s" / name).read_text() for name in made} == made


def test_redis_has_its_own_passwords(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = deploy(capsys, "redis-acl", "--secrets", "s")
    assert code == 0 and out.startswith("user default off resetpass ~* &* +@all\nuser bmesos-master on #")
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"redis-bmesos-master", "redis-bmesos-batch"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["user", "ann"], "add --framework or --person"),
        (["user", "a.2", "--person"], "and no dot"),
        (["user", "agent-1", "--person"], "cannot be that of a person"),
        (["user", "ann", "--person", "--framework"], "not both"),
        (["rabbitmq-definitions", "--agent", "one"], "agents' users begin with 'agent-'"),
        (["rabbitmq-definitions", "--person", "web"], "named twice"),
    ],
)
def test_a_wrong_name_is_refused_before_any_file_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], reason: str
) -> None:
    code, out, err = deploy(capsys, *words, "--secrets", "s")
    assert (code, out) == (2, "") and reason in err and len(err.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_a_password_that_others_may_read_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    path = folder / "rabbitmq-agent-1"
    path.write_text("known\n")
    path.chmod(0o644)
    code, _, err = deploy(capsys, "user", "agent-1", "--secrets", "s")
    assert code == 2 and "others may read this password" in err
    path.chmod(0o600)
    path.write_text("\n")
    code, _, err = deploy(capsys, "user", "agent-1", "--secrets", "s")
    assert code == 2 and "the password is empty" in err
