"""`bmesos token`, `bmesos policy check` and `bmesos whoami`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.cli import main
from broker_mesos.core.api.access import token_digest
from broker_mesos.runtime.policy_file import read_policy
from tests.cli.embedded import Embedded, embedded

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def running() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


def test_a_token_is_shown_once_and_its_entry_fits_the_policy_file(capsys: Captured, tmp_path: Path) -> None:
    assert main(["token", "create", "ann", "--ttl", "30d"]) == 0
    out, err = capsys.readouterr()
    token = out.strip()
    assert token not in err and token_digest(token) in err and "[principal.ann]" in err
    path = tmp_path / "policy.toml"
    path.write_text(f"[principal.ann]\nactions = ['view']\ntokens = [{err.splitlines()[-1].strip()}]\n")
    policy = read_policy(path)
    (entry,) = policy.principal["ann"].tokens
    day = 86_400
    assert policy.authenticate(token, entry.expires.timestamp() - 30 * day + 1) == "ann"
    assert main(["token", "create", "ann"]) == 0
    assert capsys.readouterr().out.strip() != token
    assert main(["policy", "check", str(path)]) == 0
    assert "ann" in capsys.readouterr().out


def test_a_join_token_is_for_agents_and_its_entry_is_that_of_nobody(capsys: Captured, tmp_path: Path) -> None:
    assert main(["token", "create", "--join", "--ttl", "1d"]) == 0
    out, err = capsys.readouterr()
    token = out.strip()
    assert token.startswith("bj1_") and token not in err and "the tokens of [join]" in err
    path = tmp_path / "policy.toml"
    path.write_text(f"[join]\ntokens = [{err.splitlines()[-1].strip()}]\n")
    policy = read_policy(path)
    (entry,) = policy.join.tokens
    assert policy.admit(token, entry.expires.timestamp() - 1) == entry.id
    assert main(["policy", "check", str(path)]) == 0
    assert f"agents enrol with the join token {entry.id} until" in capsys.readouterr().err
    for words in ([], ["ann", "--join"]):
        assert main(["token", "create", *words]) == 2
        assert "give either the NAME of a principal, or --join" in capsys.readouterr().err


def test_a_token_in_json_has_its_entry(capsys: Captured) -> None:
    assert main(["-o", "json", "token", "create", "ann"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert token_digest(found["token"]) in found["entry"] and found["principal"] == "ann"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["token", "create", "a.b"], "and no dot"),
        (["token", "create", "ann", "--ttl", "0s"], "more than 0 seconds"),
        (["token", "create", "ann", "--ttl", "99999d"], "at most 10 years"),
        (["token", "create", "ann", "--ttl", "soon"], "is no time"),
        (["policy", "check", "none.toml"], "No such file"),
        (["policy", "check", "/"], "Is a directory"),
    ],
)
def test_what_is_wrong_is_one_line(capsys: Captured, words: list[str], reason: str) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out and reason in err and len(err.splitlines()) == 1


def test_a_cluster_without_a_policy_allows_everything(
    running: Embedded, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMESOS_URL", running.url)
    assert main(["whoami"]) == 0
    assert "everybody may do everything" in capsys.readouterr().out
    monkeypatch.setenv("BMESOS_TOKEN", "bm1_aaaaaaaa_" + "a" * 43)
    assert main(["-o", "json", "whoami"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] is False
