"""`bmesos history`, `retry` and `kill` by a filter, on an embedded cluster."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_mesos.cli import main
from broker_mesos.cli.job_filters import moment
from broker_mesos.client import Client
from broker_mesos.errors import InvalidInput
from tests.cli.embedded import embedded

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    with embedded() as running:
        yield running.url


@pytest.fixture
def client(shared: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Client]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BMESOS_URL", shared)
    monkeypatch.setenv("LOGNAME", "ann")
    with Client(shared) as client:
        yield client


def test_history_lists_ended_jobs_by_state_name_user_and_time(client: Client, capsys: Captured) -> None:
    good = client.submit("true", name="sort-1")
    bad = client.submit("exit 3", name="sort-2")
    good.wait(20), bad.wait(20)
    waiting = client.submit("true", name="sort-3", cpus=900)

    def listed(*flags: str) -> list[str]:
        assert main(["history", "-o", "json", "--name", "sort-*", *flags]) == 0
        return [each["job_id"] for each in json.loads(capsys.readouterr().out)]

    assert listed() == [bad.id, good.id]
    assert listed("--state", "failed,killed") == [bad.id]
    assert listed("--user", "me") == [bad.id, good.id]
    assert listed("--user", "nobody-else") == []
    assert listed("--role", "eng") == [] and listed("--role", "*") == [bad.id, good.id]
    below = client.submit("true", name="sort-4", role="eng/db")
    below.wait(20)
    assert listed("--role", "eng") == listed("--role", "eng/db") == [below.id]
    assert listed("--role", "eng/dbase") == listed("--role", "en") == []
    assert listed("--since", "1h", "--until", "0s", "--role", "*") == [bad.id, good.id]
    assert listed("--until", "2020-01-01") == []
    assert main(["history", "--name", "sort-[12]", "--limit", "1"]) == 0
    captured = capsys.readouterr()
    assert bad.id in captured.out and good.id not in captured.out
    (after,) = [word for word in captured.err.replace(",", " ").split() if word.isdecimal()]
    assert listed("--after", after) == [good.id]
    assert main(["history", "--name", "sort-[12]", "--limit", "1", "-o", "json"]) == 0
    captured = capsys.readouterr()
    (last,) = json.loads(captured.out)
    assert f"--after {last['seq']}" in captured.err and listed("--after", str(last["seq"])) == [good.id]
    assert listed("--after", "1") == []
    waiting.kill()


def test_retry_runs_the_failed_tasks_of_an_array_again_and_no_others(
    client: Client, capsys: Captured, tmp_path: Path
) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    job = client.submit(f"echo $BMESOS_ARRAY_INDEX >> {seen}; test $BMESOS_ARRAY_INDEX != 2 || test -e {gate}", array=3)
    assert job.wait(20).state == "failed"
    gate.touch()
    assert main(["retry", "--wait", job.id]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"job {job.id} runs 1 failed task again\n"
    assert sorted(seen.read_text().split()) == ["1", "2", "2", "3"]
    assert main(["retry", job.id]) == 1
    assert "no failed task to run again" in capsys.readouterr().err
    assert main(["retry", "nowhere"]) == 3
    capsys.readouterr()
    assert main(["status", f"{job.id}.2.1"]) == 0
    earlier = capsys.readouterr().out
    assert "failed" in earlier and f"the latest attempt is {job.id}.2.2\n" in earlier
    assert main(["status", f"{job.id}.2.7"]) == 3
    assert capsys.readouterr().err == (
        f"bmesos: task {job.id}.2.7 was replaced by {job.id}.2.2 (finished); ask for that\n"
    )
    assert main(["status", f"{job.id}.2.2"]) == main(["status", f"{job.id}.2"]) == 0
    latest = capsys.readouterr().out
    assert "Other attempts" in latest and f"{job.id}.2.1 " in latest
    assert "What it has been through" in latest and "staging" in latest


def test_kill_by_a_filter_ends_the_jobs_that_match_and_says_how_many(client: Client, capsys: Captured) -> None:
    # More than one request carries, so that the pages of the list are followed.
    waiting = [client.submit("true", name=f"bulk-{number}", cpus=900) for number in range(103)]
    other = client.submit("true", name="other", cpus=900)
    assert main(["kill", "--name", "bulk-*", "--state", "running"]) == 0
    assert capsys.readouterr().out == "no job matches\n"
    assert main(["kill", "--name", "bulk-*", "--state", "pending", "--user", "me", "--yes"]) == 0
    assert capsys.readouterr().out == "killing 103 jobs\n"
    assert {job.status().state for job in waiting} == {"killed"}
    assert other.status().state == "pending"
    roles = [client.submit("true", cpus=900, role=role) for role in ("ops", "ops/db", "opsi")]
    assert main(["kill", "--role", "ops"]) == 0
    assert capsys.readouterr().out == "killing 2 jobs\n"
    assert [job.status().state for job in roles] == ["killed", "killed", "pending"]
    roles[2].kill()
    assert main(["kill", "--name", "other", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"job_ids": [other.id]}


@pytest.mark.parametrize(("answer", "state"), [("n\n", "pending"), ("", "pending"), ("y\n", "killed")])
def test_kill_by_a_filter_asks_on_a_terminal(
    answer: str, state: str, client: Client, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    job = client.submit("true", name="asked", cpus=900)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["kill", "--name", "asked"]) == (0 if state == "killed" else 1)
    assert "end 1 job? [y/N]" in capsys.readouterr().err
    assert job.status().state == state
    job.kill()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kill"], "name a job or a task"),
        (["kill", "j", "--name", "x*"], "not both"),
        (["kill", "--state", "finished"], "the states are pending, running"),
        (["kill", "--name", ""], "--name is empty"),
        (["kill", "--role", ""], "--role is empty"),
        (["history", "--role", "a b"], "'a b' is not a role"),
        (["history", "--state", "running"], "the states are finished, failed, killed"),
        (["history", "--since", "yesterday"], "--since 'yesterday': write how long ago"),
        (["history", "--limit", "0"], "--limit"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_in_one_line(words: list[str], message: str, capsys: Captured) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1


def test_the_client_kills_nothing_without_a_filter() -> None:
    with Client() as client, pytest.raises(InvalidInput, match="choose jobs"):
        client.kill_jobs()


def test_a_time_of_a_filter_is_a_time_ago_or_a_date() -> None:
    now = time.time()
    assert moment("--since", "2h", now) == now - 7_200
    assert moment("--since", "01:00:00", now) == now - 3_600
    assert moment("--since", "2031-05-04T22:00+00:00", now) == 1_935_698_400
