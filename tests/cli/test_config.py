"""``bmesos config``: the settings of this machine, and what is wrong with them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from broker_mesos.cli import main
from broker_mesos.runtime.secrets import masked
from broker_mesos.runtime.settings import SECRETS, Settings
from tests.operator.fakes import FakeCluster, Stage
from tests.servers import RabbitMQServer, RedisServer

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("empty_place")


def shown(capsys: Captured, *words: str) -> dict[str, list[str]]:
    """The printed rows by setting."""
    assert main(["config", "show", *words]) == 0
    return {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}


def checked(capsys: Captured, *words: str) -> tuple[int, list[str]]:
    """The exit code, and the printed lines."""
    code = main(["config", "check", *words])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out.splitlines()


def test_every_setting_is_shown_with_its_value_and_its_origin(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (empty_place / "bmesos.toml").write_text(
        '# of this machine\noffer_timeout = 20\nstore_url = "redis://me:hush-hush@redis/0"\n\n[weights]\nprod = 2\n'
    )
    (empty_place / "broker").write_text("amqp://me:hush-hush@rabbit/\n")
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(empty_place / "broker"))
    monkeypatch.setenv("BMESOS_RESERVE", "eng=cpus:2;mem:10 ops=cpus:1")
    monkeypatch.setenv("BMESOS_OVERSUBSCRIBE", "1")
    rows = shown(capsys, "--origin", "--cluster", "lab")
    assert rows.keys() == {"SETTING", *Settings.model_fields}
    assert rows["cluster"] == ["lab", "--cluster"]
    assert rows["offer_timeout"] == ["20", "bmesos.toml:2"]
    assert rows["store_url"] == ["redis://me:***@redis/0", "bmesos.toml:3"]
    assert rows["weights"] == ["prod:2", "bmesos.toml:5"]
    assert rows["broker_url"] == ["amqp://me:***@rabbit/", "BMESOS_BROKER_URL_FILE"]
    assert rows["reserve"] == ["eng=cpus:2;mem:10", "ops=cpus:1", "BMESOS_RESERVE"]
    assert rows["oversubscribe"] == ["true", "BMESOS_OVERSUBSCRIBE"]
    assert rows["cells"] == ["-", "default"]


def test_without_origin_only_values_are_shown_and_json_has_both(capsys: Captured) -> None:
    assert shown(capsys)["log_level"] == ["info"]
    assert main(["config", "show", "-o", "json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [each["setting"] for each in entries] == list(Settings.model_fields)
    assert {"setting": "offer_timeout", "value": 10.0, "origin": "default"} in entries


def test_a_value_that_is_shown_can_be_given_again(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    given = {"BMESOS_WEIGHTS": "a:2;b/c:0.5", "BMESOS_RESERVE": "x=cpus:1;mem:2 y=disk:3", "BMESOS_CELLS": "7"}
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    rows = shown(capsys)
    assert {f"BMESOS_{name.upper()}": " ".join(row) for name, row in rows.items() if name in ("weights", "reserve")} | {
        "BMESOS_CELLS": rows["cells"][0]
    } == given


def test_settings_that_are_wrong_are_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("BMESOS_CELLS", "0")
    assert main(["config", "show"]) == 2
    assert capsys.readouterr().err.startswith("bmesos: BMESOS_CELLS: write at least 1")


def test_the_check_reports_every_problem_in_one_line_each(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (empty_place / "bmesos.toml").write_text('ofer_timeout = 3\nkill_grace = -1\nlog_level = "loud"\nhorse = 1\n')
    monkeypatch.setenv("BMESOS_CELLS", "0")
    monkeypatch.setenv("BMESOS_STORE_URL", "http://x")
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(empty_place / "absent"))
    code, lines = checked(capsys, "--cluster", "a/b")
    assert code == 2
    assert sorted(lines) == [
        "error: --cluster: use 1 to 40 letters, digits, '-' or '_', as in 'lab-2'",
        f"error: BMESOS_BROKER_URL_FILE: cannot read {empty_place / 'absent'}: No such file or directory",
        "error: BMESOS_CELLS: write at least 1",
        "error: BMESOS_STORE_URL: not a redis:// or rediss:// URL: write it as redis://:password@host:6379/0",
        "error: bmesos.toml: unknown setting 'horse'",
        "error: bmesos.toml: unknown setting 'ofer_timeout'; did you mean 'offer_timeout'?",
        "error: bmesos.toml:2: kill_grace: write more than 0.0",
        "error: bmesos.toml:3: log_level: write 'debug', 'info', 'warning' or 'error'",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"cells = \n", "bmesos.toml is not TOML: Invalid value (at line 1, column 9)"),
        (b"\xff\xfe", "bmesos.toml is not TOML: byte 0 is no text in UTF-8"),
    ],
)
def test_a_settings_file_that_is_none_is_one_problem(
    text: bytes, found: str, empty_place: Path, capsys: Captured
) -> None:
    (empty_place / "bmesos.toml").write_bytes(text)
    assert checked(capsys) == (2, [f"error: {found}"])


def test_another_settings_file_can_be_checked_before_it_is_installed(empty_place: Path, capsys: Captured) -> None:
    (empty_place / "bmesos.toml").write_text("cells = 0\n")
    (empty_place / "new.toml").write_text("cells = 3\n")
    assert checked(capsys, "--file", "new.toml") == (0, ["ok: the settings are valid: new.toml:1"])
    assert shown(capsys, "--file", "new.toml")["cells"] == ["3"]
    assert checked(capsys, "--file", "none.toml") == (2, ["error: no such settings file: none.toml"])


@pytest.mark.parametrize("text", ["", " \n", "x" * 70_000])
def test_a_secret_file_without_a_secret_is_named(
    text: str, empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    for name in SECRETS:
        (empty_place / name).write_text(text)
        monkeypatch.setenv(f"BMESOS_{name.upper()}_FILE", name)
    code, lines = checked(capsys)
    assert code == 2 and len(lines) == len(SECRETS) == 9
    for name, line in zip(SECRETS, lines, strict=True):
        assert line.startswith(f"error: BMESOS_{name.upper()}_FILE: cannot read {name}: it is ")


def test_a_password_that_everybody_may_read_is_a_warning(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    settings, secret = empty_place / "bmesos.toml", empty_place / "broker"
    settings.write_text('store_url = "redis://:hush-hush@redis/0"\n')
    secret.write_text("amqp://me:hush-hush@rabbit/")
    monkeypatch.setenv("BMESOS_BROKER_URL_FILE", str(secret))
    for path in (settings, secret):
        path.chmod(0o644)
    code, lines = checked(capsys)
    assert code == 0
    for path in ("bmesos.toml", str(secret)):
        assert f"warning: {path}: every user of this machine can read the password in it: chmod 600 {path}" in lines
    for path in (settings, secret):
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert checked(capsys) == (0, ["ok: the settings are valid: BMESOS_BROKER_URL_FILE, bmesos.toml:1"])
    settings.write_text('store_url = "redis://redis/0"\n')  # a URL without a password is no secret
    settings.chmod(0o644)
    assert len(checked(capsys)[1]) == 1


def test_a_variable_with_a_misspelt_name_is_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("BMESOS_BROKER_ULR", "amqp://x/")
    monkeypatch.setenv("BMESOS_STOREURL_FILE", "/x")
    monkeypatch.setenv("BMESOS_CLUSTER_FILE", "/x")
    monkeypatch.setenv("BMESOS_TASK_ID", "a variable of tasks")
    monkeypatch.setenv("BMESOS_DEBUG", "1")
    assert checked(capsys) == (
        0,
        [
            "warning: BMESOS_BROKER_ULR is ignored: there is no such setting; did you mean BMESOS_BROKER_URL?",
            "warning: BMESOS_CLUSTER_FILE is ignored: only secrets come from files; set BMESOS_CLUSTER",
            "warning: BMESOS_STOREURL_FILE is ignored: there is no such setting; did you mean BMESOS_STORE_URL_FILE?",
            "ok: the settings are valid: all have their defaults",
        ],
    )


def test_servers_that_do_not_answer_are_reported_with_exit_code_4(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BMESOS_CONNECT_TIMEOUT", "0.1")
    monkeypatch.setenv("BMESOS_BROKER_URL", "amqp://me:hush-hush@127.0.0.1:1/")
    monkeypatch.setenv("BMESOS_STORE_URL", "redis://:hush-hush@127.0.0.1:1/0")
    code, lines = checked(capsys, "--connect", "--url", "http://127.0.0.1:1", "--timeout", "1")
    assert code == 4
    assert [line.partition(" ")[0] for line in lines] == ["ok:", "error:", "error:", "error:"]
    assert "RabbitMQ at 127.0.0.1:1" in lines[1] and "Redis at 127.0.0.1:1" in lines[2] and "url: " in lines[3]


def test_a_server_that_answers_is_ok_and_without_any_that_is_a_warning(stage: Stage, capsys: Captured) -> None:
    stage.cluster = FakeCluster()
    assert checked(capsys, "--connect", "--url", stage.url) == (
        0,
        ["ok: the settings are valid: --url", "ok: url: the cluster answers"],
    )
    code, lines = checked(capsys, "--connect")
    assert code == 0 and lines[-1].startswith("warning: no server is named")


def test_real_servers_answer(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("BMESOS_BROKER_URL", rabbitmq_server.url)
    monkeypatch.setenv("BMESOS_STORE_URL", redis_server.url)
    code, lines = checked(capsys, "--connect")
    assert code == 0, lines
    assert lines[1].startswith("ok: broker_url: RabbitMQ") and lines[2].startswith("ok: store_url: Redis")


def test_a_token_is_shown_in_no_part_and_its_file_is_a_secret(
    empty_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("broker_mesos.runtime.secrets._known", set())
    token = "bm1_k3t9x2ab_hush-hush-hush"
    file = empty_place / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o644)
    monkeypatch.setenv("BMESOS_TOKEN_FILE", str(file))
    assert shown(capsys)["token"] == ["***"]
    assert "every user of this machine can read the password" in "".join(checked(capsys)[1])
    # And a library that prints it prints it to nobody.
    assert "hush" not in masked(f"a line with {token}.")
