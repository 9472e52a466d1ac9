"""One task of an array, scripts on stdin, and the shapes of JSON."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.cli import main
from broker_mesos.cli.script import SCRIPT_MAX_BYTES
from tests.operator.fakes import FakeCluster, Stage


@pytest.fixture
def cluster(stage: Stage, empty_place: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setenv("BMESOS_URL", stage.url)
    stage.cluster = cluster = FakeCluster()
    return cluster


Captured = pytest.CaptureFixture[str]


def submitted(cluster: FakeCluster, capsys: Captured, *words: str) -> str:
    assert main(["submit", *words, "--", "true"]) == 0
    capsys.readouterr()
    return list(cluster.specs)[-1]


def test_logs_of_an_array_say_which_index_they_are_of(cluster: FakeCluster, capsys: Captured) -> None:
    job_id = submitted(cluster, capsys, "--array", "4-6")
    assert main(["logs", job_id]) == 0
    captured = capsys.readouterr()
    assert captured.out == "out\n"
    assert captured.err == f"bmesos: index 4, the first of 3 tasks; for others: bmesos logs {job_id}.INDEX\n"


def test_logs_of_one_task_need_no_note(cluster: FakeCluster, capsys: Captured) -> None:
    array, single = submitted(cluster, capsys, "--array", "3"), submitted(cluster, capsys)
    for ident in (f"{array}.2", f"{array}.2.1", single):
        assert main(["logs", ident]) == 0
        assert capsys.readouterr().err == ""


def test_wait_for_one_task_of_an_array(cluster: FakeCluster, capsys: Captured) -> None:
    cluster.exit_codes = {2: 7}
    job_id = submitted(cluster, capsys, "--array", "3")
    assert main(["wait", f"{job_id}.1"]) == 0
    assert f"task {job_id}.1.1 finished" in capsys.readouterr().err
    assert main(["wait", f"{job_id}.2"]) == 7
    assert f"task {job_id}.2.1 failed, exit code 7" in capsys.readouterr().err
    assert main(["wait", f"{job_id}.2", "-o", "json"]) == 7
    assert json.loads(capsys.readouterr().out)["task_id"] == f"{job_id}.2.1"
    assert main(["wait", f"{job_id}.9"]) == 3
    assert main(["wait", "nope.1"]) == 3


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


def test_a_script_comes_from_stdin(cluster: FakeCluster, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("echo a\necho b\n", "#!/bin/sh\necho a\n"):
        monkeypatch.setattr(sys, "stdin", Stdin(text.encode()))
        assert main(["submit", "--cpus", "2", "-"]) == 0
        spec = list(cluster.specs.values())[-1]
        assert spec.command.shell and spec.command.arguments == (text,) and spec.name == "script"


def test_a_script_is_run_by_the_interpreter_that_it_names(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = f"#!{sys.executable}\nimport sys\nprint('50%s', '\\\\n', sys.argv[1:])\nsys.exit(3)\n"
    monkeypatch.setattr(sys, "stdin", Stdin(text.encode()))
    assert main(["submit", "-"]) == 0
    (spec,) = cluster.specs.values()
    done = subprocess.run(spec.command.arguments, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "50%s \\n []\n")


@pytest.mark.parametrize(
    ("data", "words", "message"),
    [
        (b" \n", ["submit", "-"], "the script on stdin is empty"),
        (b"\xff", ["submit", "-"], "not UTF-8"),
        (b"a\0b", ["submit", "-"], "zero byte"),
        (b"#" * (SCRIPT_MAX_BYTES + 1), ["submit", "-"], "more than 100000 bytes"),
        (b"true", ["submit", "-", "--", "true"], "given twice"),
        (b"true", ["submit", "--shell", "x", "-"], "given twice"),
    ],
)
def test_a_script_that_cannot_run_is_refused(
    data: bytes,
    words: list[str],
    message: str,
    cluster: FakeCluster,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not cluster.specs


def test_status_has_jobs_as_a_list_in_json(cluster: FakeCluster, capsys: Captured) -> None:
    for _ in range(21):
        submitted(cluster, capsys)
    assert main(["status", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["job_id"] for each in shown["jobs"]] == list(reversed(cluster.specs))[:20]
    assert shown["truncated"] == ["jobs"]
    assert main(["status", "--all", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["truncated"] == []
