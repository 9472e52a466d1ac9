"""Settings that a command cannot keep are refused in one line, and not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_mesos.cli import main

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("empty_place")


def refused(capsys: Captured, *words: str) -> str:
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_a_cluster_in_one_process_takes_no_policy(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    policy = empty_place / "policy.toml"
    policy.write_text('[principal.ann]\nactions = ["view"]\n')
    monkeypatch.setenv("BMESOS_POLICY", str(policy))
    monkeypatch.setenv("BMESOS_SECURITY", "on")
    said = refused(capsys, "local", "--port", "0")
    assert "policy.toml: `bmesos local` is one process for one person" in said and "BMESOS_POLICY" in said


def test_agents_are_not_simulated_where_each_must_be_its_user(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BMESOS_SECURITY", "on")
    monkeypatch.setenv("BMESOS_BROKER_URL", "amqp://127.0.0.1:1/")
    said = refused(capsys, "simulate", "agents", "--count", "2")
    assert "security=on: simulated agents share one connection" in said and "security=off" in said
