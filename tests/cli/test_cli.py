"""The command line against a real HTTP server with a cluster behind it that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_mesos.cli import main
from broker_mesos.core.api.files import ReadLog
from broker_mesos.core.api.jobs import SubmitJob
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.model.job import Dependency
from broker_mesos.errors import BrokerMesosError, TimedOut, Unavailable
from tests.operator.fakes import FakeCluster

pytestmark = pytest.mark.usefixtures("empty_place")


Captured = pytest.CaptureFixture[str]


def one_line(text: str) -> str:
    """The one line of an error."""
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert text.startswith("bmesos: ")
    return text


# -- submit, wait, run ----------------------------------------------------------------------------------


def test_submit_prints_the_id(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    assert main(["submit", "--", "echo", "a b", "--wait", "--", "-o"]) == 0
    out = capsys.readouterr().out
    (job_id,) = cluster.specs
    assert out == f"{job_id}\n"
    # All that stands after the first -- is the command's own.
    assert cluster.specs[job_id].command.arguments == ("echo", "a b", "--wait", "--", "-o")


def test_submit_says_it_in_json(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    assert main(["-o", "json", "submit", "--", "true"]) == 0
    (job_id,) = cluster.specs
    assert json.loads(capsys.readouterr().out) == {"job_id": job_id}


def test_every_flag_reaches_the_job(url: str, cluster: FakeCluster) -> None:
    flags = "--name n --cpus 0.5 --mem 1G --disk 10 --gpus 1 --array 50 --env A=1 --env B=x=y --retries 2"
    more = "--priority 5 --constraint rack==r1 --constraint !old --resources licences:2"
    more += " --prefer zone==z1 --prefer-host h1 --prefer-host h2 --locality-wait 500ms"
    assert main(["submit", *flags.split(), *more.split(), "--shell", "echo $A"]) == 0
    (spec,) = cluster.specs.values()
    assert spec.name == "n" and spec.command.shell and spec.command.arguments == ("echo $A",)
    assert str(spec.resources) == "cpus:0.5;mem:1024;disk:10;gpus:1;licences:2"
    assert spec.array == (1, 50) and spec.command.environment == {"A": "1", "B": "x=y"}
    assert (spec.retries, spec.priority) == (2, 5)
    assert [str(each) for each in spec.constraints] == ["rack==r1", "!old"]
    assert [str(each) for each in spec.prefer] == ["zone==z1", "hostname==h1", "hostname==h2"]
    assert spec.locality_wait == 0.5


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        ("--array 1-10:3,20", {"array": (1, 20), "ranges": ((1, 10, 3), (20, 20, 1)), "max_running": 0}),
        ("--array 100%5", {"array": (1, 100), "ranges": (), "max_running": 5}),
        ("--time-limit 30s", {"time_limit": 30.0}),
        ("--time-limit 5m", {"time_limit": 300.0}),
        ("--time-limit 2h", {"time_limit": 7_200.0}),
        ("--time-limit 01:30:05", {"time_limit": 5_405.0}),
        ("--time-limit 45", {"time_limit": 45.0}),
        ("--max-output 64", {"max_output": 64}),
        ("--max-output 2G", {"max_output": 2048}),
        ("--after a,any:b", {"after": (Dependency(job_id="a"), Dependency(job_id="b", any_end=True))}),
        ("--retries 2 --retry-on 75,137", {"retries": 2, "retry_on": (75, 137)}),
    ],
)
def test_a_flag_means_what_users_of_other_batch_systems_expect(
    flags: str, fields: dict[str, object], url: str, cluster: FakeCluster
) -> None:
    assert main(["submit", *flags.split(), "--", "true"]) == 0
    (spec,) = cluster.specs.values()
    assert {name: getattr(spec, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--array 1-10:0", "STEP >= 1"),
        ("--array 5%0", "at least one task runs at a time"),
        ("--time-limit soon", "time limit 'soon': write up to 366 days, as in 30s"),
        ("--time-limit 0", "time limit '0'"),
        ("--time-limit 9999d", "time limit '9999d'"),
        ("--max-output 0", "max_output '0': write whole megabytes, at least 1, as in 64 or 2G"),
        ("--max-output 512K", "max_output '512K': write whole megabytes"),
        ("--max-output much", "max_output 'much'"),
        ("--max-output 9999999999", "max_output"),
        ("--after never:j", "any:JOB"),
        ("--after a,,b", "any:JOB"),
        ("--retries 1 --retry-on 0", "exit codes '0': write codes from 1 to 255"),
        ("--retries 1 --retry-on x", "exit codes 'x'"),
    ],
)
def test_a_flag_that_means_nothing_is_refused_in_one_line(
    flags: str, message: str, url: str, cluster: FakeCluster, capsys: Captured
) -> None:
    assert main(["submit", *flags.split(), "--", "true"]) == 2
    assert message in one_line(capsys.readouterr().err) and not cluster.specs


def test_a_job_file_has_time_limits_dependencies_and_exit_codes(
    url: str, cluster: FakeCluster, empty_place: Path
) -> None:
    (empty_place / "a.yaml").write_text(
        "command: ['true']\narray: 1-9:2%2\ntime_limit: 00:01:30\nafter: [a, 'any:b']\nretries: 1\nretry_on: 75,137\n"
    )
    assert main(["submit", "a.yaml"]) == 0
    (spec,) = cluster.specs.values()
    assert (spec.total, spec.max_running, spec.time_limit, spec.retry_on) == (5, 2, 90.0, (75, 137))
    assert [(each.job_id, each.any_end) for each in spec.after] == [("a", False), ("b", True)]


def test_a_locality_wait_for_nothing_is_refused_in_one_line(url: str, capsys: Captured) -> None:
    assert main(["submit", "--locality-wait", "5s", "--", "true"]) == 2
    assert "without a preferred agent: add --prefer" in one_line(capsys.readouterr().err)


def test_a_job_may_run_on_slack_only(url: str, cluster: FakeCluster, empty_place: Path) -> None:
    (empty_place / "slack.yaml").write_text("command: [sweep]\nrevocable: true\n")
    assert main(["submit", "--revocable", "--", "true"]) == 0
    assert main(["submit", "slack.yaml"]) == 0
    assert main(["submit", "--no-revocable", "slack.yaml"]) == 0
    assert [spec.revocable for spec in cluster.specs.values()] == [True, True, False]


def test_waiting_ends_with_the_first_failing_code(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    cluster.exit_codes = {3: 7, 5: 9}
    assert main(["submit", "--array", "4-6", "--wait", "--", "true"]) == 9
    assert main(["submit", "--array", "10", "--wait", "--", "true"]) == 7
    captured = capsys.readouterr()
    assert "8 finished, 2 failed of 10 tasks, exit code 7" in captured.err
    assert main(["submit", "--wait", "-o", "json", "--", "true"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == 0 and captured.err == ""
    job_id = list(cluster.specs)[1]
    assert main(["wait", job_id]) == 7
    assert main(["wait", "--for", "0.5m", job_id, "-o", "json"]) == 7
    assert json.loads(capsys.readouterr().out)["state"] == "failed"


def test_run_passes_both_streams_and_the_code_on(
    url: str, cluster: FakeCluster, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cluster.exit_codes = {0: 3}
    cluster.output = {"stdout": b"out \xff\n", "stderr": b"err\n"}
    assert main(["run", "--", "cat", "x"]) == 3
    captured = capfdbinary.readouterr()
    assert captured.out == b"out \xff\n" and captured.err == b"err\n"
    assert main(["run", "-o", "json", "--", "true"]) == 2


# -- job files ------------------------------------------------------------------------------------------

YAML = """
name: from-file
command: [echo, hello]
cpus: 2
mem: 1G
array: 1-3
env: {LEVEL: 1, MODE: fast}
retries: 1
priority: 4
constraints: [rack==r1]
wait: true
"""

TOML = """
name = "from-file"
command = "echo $LEVEL"
env = {LEVEL = "1"}
"""


def test_a_job_file_says_what_flags_say_and_flags_go_before_it(
    url: str, cluster: FakeCluster, empty_place: Path, capsys: Captured
) -> None:
    (empty_place / "job.yaml").write_text(YAML)
    (empty_place / "job.toml").write_text(TOML)
    cluster.exit_codes = {2: 5}
    assert main(["submit", "job.yaml", "--cpus", "4", "--env", "MODE=slow"]) == 5
    assert main(["submit", "--no-wait", "job.yaml", "--", "other"]) == 0
    assert main(["submit", "job.toml"]) == 0
    first, second, third = cluster.specs.values()
    assert first.name == "from-file" and first.command.arguments == ("echo", "hello")
    assert str(first.resources) == "cpus:4;mem:1024" and first.array == (1, 3)
    assert first.command.environment == {"LEVEL": "1", "MODE": "slow"}
    assert second.command.arguments == ("other",)
    assert third.command.shell and third.command.arguments == ("echo $LEVEL",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "comand: x", "unknown key 'comand'; did you mean 'command'?"),
        ("a.yaml", "zzz: x", "unknown key 'zzz'; there are command, name"),
        ("a.yaml", "command: x\ncpus: lots", "cpus is a number, not 'lots'"),
        ("a.yaml", "command: x\ncpus: true", "cpus is a number, not True"),
        ("a.yaml", "command: [sleep, 5]", "command is a list of texts"),
        ("a.yaml", "command: x\narray: 1.5", "array is a number or text"),
        ("a.yaml", "- x", "is a table of keys"),
        ("a.yaml", "", "is a table of keys"),
        ("a.yaml", "command: [x", "not YAML"),
        ("a.yaml", "command: !!python/object/apply:os.getcwd []", "not YAML"),
        ("a.yaml", "command: x\nenv: {A: true}", "in quotes"),
        ("a.yaml", "name: x", "no command is given"),
        ("a.toml", "command =", "not TOML"),
        ("absent.yaml", None, "cannot read absent.yaml: No such file"),
    ],
)
def test_a_wrong_job_file_is_refused_in_one_line(
    name: str, text: str | None, message: str, empty_place: Path, capsys: Captured
) -> None:
    if text is not None:
        (empty_place / name).write_text(text)
    assert main(["submit", name]) == 2
    assert message in one_line(capsys.readouterr().err)


# -- status and lists -----------------------------------------------------------------------------------


def test_status_shows_the_cluster(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    assert main(["status"]) == 0
    assert "no jobs yet; try: bmesos submit -- echo hello" in capsys.readouterr().out
    main(["submit", "--", "true"])
    capsys.readouterr()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    (job_id,) = cluster.specs
    lines = [line.split() for line in out.splitlines()]
    assert ["0", "m1", "h", "11", "42", "0.1", "s", "ago", "0.0", "s", "4.2ms"] in lines
    assert ["1", "no", "owner", "-", "-", "7", "-", "-", "-"] in lines
    assert ["cpus", "4", "1", "2", "1"] in lines
    assert ["mem", "4", "GB", "0", "MB", "1", "GB", "3", "GB"] in lines
    assert job_id in out
    assert main(["status", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["cluster"]["masters"][0]["master_id"] == "m1"
    assert shown["loads"][0]["rounds"] == 4
    assert shown["resources"]["total"] == {"cpus": 4, "mem": 4096, "ports": 10}
    assert shown["jobs"][0]["job_id"] == job_id


def test_status_shows_what_it_can_when_a_part_is_away(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    cluster.missing = (MissingCell(cell=1, reason="nobody answers"),)
    cluster.failing["GET_JOBS"] = Unavailable("nobody answers")
    assert main(["status"]) == 0
    captured = capsys.readouterr()
    assert "Cells" in captured.out
    assert "cell 1 did not answer" in captured.err and "bmesos framework batch" in captured.err
    cluster.failing["GET_STATE"] = Unavailable("no cell answers")
    assert main(["status", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["agents"] is None and shown["jobs"] is None


def test_status_of_a_job_shows_its_tasks(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    cluster.exit_codes = {90: 3}
    main(["submit", "--array", "100", "--", "sh", "-c", "exit 3"])
    (job_id,) = cluster.specs
    capsys.readouterr()
    assert main(["status", job_id]) == 0
    out = capsys.readouterr().out
    assert "sh -c 'exit 3'" in out and "failed, exit code 3" in out and "99 finished, 1 failed" in out
    # The one that failed is among the few shown.
    assert f"{job_id}.90.1" in out and "20 of 100 tasks; see all with --all" in out
    assert main(["status", job_id, "--all"]) == 0
    assert capsys.readouterr().out.count(f"{job_id}.") == 100
    assert main(["status", "-o", "json", job_id]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["tasks"]) == 100 and shown["job"]["exit_code"] == 3
    assert main(["status", f"{job_id}.90"]) == 0
    assert f"{job_id}.90.1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["agents", "frameworks", "tasks", "offers", "roles"])
def test_lists_are_tables_or_one_json_value(name: str, url: str, capsys: Captured) -> None:
    assert main([name]) == 0
    assert capsys.readouterr().out.strip()
    assert main([name, "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == (1 if name == "agents" else 0)


def test_what_a_terminal_would_obey_is_not_passed_on(url: str, capsys: Captured) -> None:
    assert main(["agents"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_missing_cells_are_a_warning(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    cluster.missing = (MissingCell(cell=2, reason="nobody answers"), MissingCell(cell=3, reason="x"))
    assert main(["agents", "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 1
    assert "cells 2, 3 did not answer" in one_line(captured.err)


def test_logs_and_kill(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    main(["submit", "--", "true"])
    (job_id,) = cluster.specs
    capsys.readouterr()
    assert main(["logs", job_id]) == 0
    assert main(["logs", "-f", "--stderr", job_id]) == 0
    assert capsys.readouterr().out == "out\nerr\n"
    assert [each.name for each in cluster.asked if isinstance(each, ReadLog)][-1] == "stderr"
    assert main(["logs", job_id, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "out\n"
    assert main(["kill", job_id]) == 0
    assert "has ended" in capsys.readouterr().out
    assert main(["kill", job_id, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "job"


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit"], "no command is given; it goes after --"),
        (["submit", "ls"], "'ls' is not a job file"),
        (["submit", "echo", "a"], "unexpected word 'a'; a command goes after --: bmesos submit -- echo hello"),
        (["run", "sleep", "5"], "unexpected word 'sleep'; a command goes after --: bmesos run -- echo hello"),
        (["run"], "no command is given; it goes after --: bmesos run -- echo hello"),
        (["status", "a", "b"], "unexpected word 'b'; see `bmesos status --help`"),
        (["submit", "--job-id", "", "--", "true"], "'' is not an id"),
        (["submit", "--after", "", "--", "true"], "after '': write JOB"),
        (["submit", "--", "--"], ""),
        (["submit", "--shell", "a", "--", "b"], "given twice"),
        (["submit", "--cpus", "-1", "--", "true"], "cpus -1.0: write a number"),
        (["submit", "--cpus", "x", "--", "true"], "see `bmesos submit --help`"),
        (["submit", "--env", "X", "--", "true"], "--env 'X': write NAME=VALUE"),
        (["submit", "--array", "9-1", "--", "true"], "array 9-1"),
        (["submit", "--resources", "cpus:-1", "--", "true"], "-1 is negative"),
        (["status", "--nope"], "see `bmesos status --help`"),
        (["status", "--", "x"], "status takes nothing after --"),
        (["wait", "--for", "soon", "j"], "'soon' is no time; write it as 90s"),
        (["plan", "job.yaml", "more"], "unexpected word 'more'; a command goes after --: bmesos plan -- echo hello"),
        (["plan", "--shell", "a", "--", "b"], "given twice"),
        (["nope"], "No such command 'nope'"),
        (["-o", "yaml", "status"], "'-o': 'yaml' is not one of 'table', 'wide', 'json'; see `bmesos --help`"),
        (["history", "--limit", "0"], "'--limit': write at least 1; see"),
        (["local", "--port", "70000"], "'--port': write at most 65535; see"),
        *[([name, "a b"], "bmesos: 'a b' is not an id: ") for name in ("status", "logs", "wait", "kill", "explain")],
        (["status", "--url", "host:5050"], "--url: not a http:// or https://"),
        (["status", "--cluster", "a/b"], "--cluster: use 1 to 40 letters"),
        (["logs", "-f", "-o", "json", "x"], "leave out -o json"),
        (["master"], "BMESOS_BROKER_URL"),
        (["master", "--broker-url", "amqp://localhost/"], "BMESOS_STORE_URL"),
        (["framework", "cron"], "there is no framework 'cron'"),
        (["agent", "--broker-url", "amqp://localhost/", "--resources", "cpus:x"], "cpus"),
        (["agent", "--broker-url", "amqp://localhost/", "--attributes", "rack"], "is not an attribute"),
        (["local", "--resources", "cpus:-4"], "-4 is negative"),
        (["volume", "create", "a", "eng", "x", "y"], "'MB': write a whole number; see"),
        (["web", "--broker-url", "amqp://localhost/", "--host", "0.0.0.0"], "with TLS only: give --cert and --key"),
        (["web", "--broker-url", "amqp://localhost/", "--key", "x"], "--key without --cert"),
        (["web", "--broker-url", "amqp://localhost/", "--cert", "x"], "--cert: cannot read x: No such file"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(
    words: list[str], message: str, url: str, cluster: FakeCluster, capsys: Captured
) -> None:
    if words == ["submit", "--", "--"]:  # "--" alone is a strange command, and a command
        assert main(words) == 0
        return
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in one_line(captured.err) and captured.out == ""
    assert not any(isinstance(each, SubmitJob) for each in cluster.asked)


def test_exit_codes_tell_what_went_wrong(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    for words in (["status", "nope"], ["logs", "nope"], ["wait", "nope"], ["kill", "nope"]):
        assert main(words) == 3
        assert "no job nope" in one_line(capsys.readouterr().err)
    cluster.failing["GET_CLUSTER"] = TimedOut("no answer to GET_CLUSTER")
    assert main(["status"]) == 4
    assert "no answer" in one_line(capsys.readouterr().err)
    cluster.failing["GET_CLUSTER"] = BrokerMesosError("odd")
    assert main(["status"]) == 1
    cluster.failing["GET_CLUSTER"] = RuntimeError("inner")
    assert main(["status"]) == 1
    assert "inner" not in one_line(capsys.readouterr().err.splitlines(keepends=True)[-1])


def test_without_a_server_the_next_step_is_named(capsys: Captured) -> None:
    assert main(["status", "--url", "http://127.0.0.1:1", "--timeout", "1"]) == 4
    line = one_line(capsys.readouterr().err)
    assert "127.0.0.1:1" in line and "bmesos local" in line and "--url" in line


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("broker_mesos.client.jobs.connect", broken)
    assert main(["status"]) == 1
    assert "unexpected RuntimeError: two lines" in one_line(capsys.readouterr().err)
    monkeypatch.setenv("BMESOS_DEBUG", "1")
    assert main(["status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_options_go_before_or_after_the_command(capsys: Captured) -> None:
    for words in (
        ["-o", "json", "version"],
        ["version", "-o", "json"],
        ["-o", "table", "version", "-o", "json"],
    ):
        assert main(words) == 0
        assert "version" in json.loads(capsys.readouterr().out)
    assert main(["--version"]) == 0
    assert main([]) == 0
    assert "Usage: bmesos" in capsys.readouterr().out


# -- as a process ---------------------------------------------------------------------------------------


def bmesos(*words: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from broker_mesos.cli import main; sys.exit(main())", *words]


def test_help_waits_for_nothing_heavy() -> None:
    program = (
        "import sys\nfrom broker_mesos.cli import main\n"
        "heavy = {'pydantic', 'pika', 'redis', 'rich', 'asyncio', 'structlog', 'fastapi', 'psutil', 'yaml'}\n"
        "main(['--help'])\nprint(*sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        # Typer reads the values of options with pydantic; the rest still has to wait.
        "main(['submit', '--help'])\nprint(*sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    before, after = done.stderr.splitlines()
    assert before == "" and after in ("", "pydantic") and "Commands:" in done.stdout


def test_a_reader_that_leaves_is_no_error(url: str, cluster: FakeCluster) -> None:
    assert main(["submit", "--array", "2000", "--", "true"]) == 0
    (job_id,) = cluster.specs
    process = subprocess.Popen(
        bmesos("status", "--all", job_id), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


def test_completion_offers_the_commands() -> None:
    environment = {
        **os.environ,
        "_BMESOS_COMPLETE": "complete_bash",
        "COMP_WORDS": "bmesos st",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(bmesos(), capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.stdout.split() == ["status"]


def test_control_characters_in_an_error_are_not_passed_on(url: str, cluster: FakeCluster, capsys: Captured) -> None:
    cluster.failing["GET_CLUSTER"] = Unavailable("host \x1b[31mred\x07 is away")
    assert main(["status"]) == 4
    assert "\x1b" not in one_line(capsys.readouterr().err)
    assert main(["submit", "--name", "a\nb", "--", "true"]) == 2
    assert "is a control character" in one_line(capsys.readouterr().err)
