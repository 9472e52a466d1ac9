"""What ``import broker_mesos`` gives to the authors of frameworks and clients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import broker_mesos
from broker_mesos import FrameworkInfo, InvalidInput, Scheduler, SchedulerDriver

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "hello_framework.py"


def run_python(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BMESOS_")} | variables
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=50
    )


def test_every_name_that_the_package_promises_is_there():
    assert set(broker_mesos._MODULE_OF) | {"__version__"} == set(broker_mesos.__all__)
    for name in broker_mesos.__all__:
        assert getattr(broker_mesos, name) is not None
    assert set(broker_mesos.__all__) <= set(dir(broker_mesos))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        broker_mesos.Nonsense  # noqa: B018


@pytest.mark.parametrize("module", ["broker_mesos", "broker_mesos.cli"])
def test_importing_the_package_does_not_load_what_is_heavy(module: str, tmp_path: Path):
    # Ctrl-C is handled once `broker_mesos.cli` is loaded: until then Python prints a traceback.
    heavy = ("pydantic", "asyncio", "pika", "redis", "typing", "pathlib")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    done = run_python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_driver_without_a_broker_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BMESOS_BROKER_URL", raising=False)
    driver = SchedulerDriver(Scheduler(), FrameworkInfo(framework_id="lost"))
    for begin in (driver.run, driver.start):
        with pytest.raises(InvalidInput, match="set BMESOS_BROKER_URL"):
            begin()


@pytest.mark.parametrize("url", ["http://h", "amqp://u:p@h:x/", "nonsense", "amqp://"])
def test_a_framework_with_a_wrong_url_of_the_broker_ends_with_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
):
    monkeypatch.setenv("BMESOS_BROKER_URL", url)
    assert SchedulerDriver(Scheduler(), FrameworkInfo(framework_id="lost")).main() == InvalidInput.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lost: BMESOS_BROKER_URL: ")


def test_the_example_framework_runs_as_it_stands(tmp_path: Path):
    done = run_python(str(EXAMPLE), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ended = {line for line in done.stdout.splitlines() if "finished" in line}
    assert ended == {f"hello-{number} finished on agent-1" for number in (1, 2, 3)}
    assert done.stderr == ""
