"""The process of a container, with an engine that fails at every point in turn: a container ends once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.containerizer.images import container_run, record
from broker_mesos.containerizer.images.container_run import ContainerRun
from broker_mesos.containerizer.images.record import Outcome, Used
from tests.containerizer.images.fake_engine import NEVER, FakeEngine, refused

NAME = "bmesos-a"
CONFIG: dict[str, Any] = {"Image": "i", "Labels": {"launch": "1"}, "HostConfig": {"Memory": 64 << 20}}
MAX_REQUESTS = 8
"""The requests of a run without faults."""


class Time:
    """A clock that pauses move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def prepared(folder: Path, engine: FakeEngine, **more: object) -> ContainerRun:
    request = {"socket": "s", "name": NAME, "config": CONFIG, "grace": 3.0, "oom_ignored": False, **more}
    record.write(str(folder), record.REQUEST, request)
    time = Time()
    return ContainerRun(str(folder), client_of=engine.client, clock=time, pause=time.pause)


def faults() -> Iterator[dict[int, str]]:
    """None, and each of one or two faults."""
    yield {}
    yield from ({number: "restart"} for number in range(MAX_REQUESTS))
    single = list(itertools.product(range(MAX_REQUESTS), ("before", "after")))
    yield from ({number: kind} for number, kind in single)
    yield from (dict(pair) for pair in itertools.combinations(single, 2) if pair[0][0] != pair[1][0])


def ends_once(folder: Path) -> str:
    """What is wrong with the end of a container under all faults; empty if nothing is."""
    for fault in faults():
        engine = FakeEngine(fault, steps=2)
        outcome = prepared(folder, engine).run()
        expected = [Outcome(5), Outcome(143)] if "restart" in fault.values() else [Outcome(5)]
        if engine.starts != [NAME]:
            return f"{fault}: started {len(engine.starts)} times"
        if outcome not in expected or record.read_outcome(str(folder)) != outcome:
            return f"{fault}: ended with {outcome}"
        if engine.containers:
            return f"{fault}: left"
    return ""


def test_a_container_is_started_once_ends_once_and_is_removed_whatever_request_fails(tmp_path: Path) -> None:
    assert ends_once(tmp_path) == ""


def start_without_a_look(run: ContainerRun) -> None:
    while True:
        try:
            if run._state(NAME) is None:
                run._api().create_container_from_config(CONFIG, NAME)
            run._api().start(NAME)
            return
        except Exception as error:
            run._back_off(error)


def lost_at_once(run: ContainerRun, error: Exception) -> None:
    raise container_run.Lost(str(error))


def remove_once(run: ContainerRun) -> None:
    try:
        run._api().remove_container(NAME, force=True, v=True)
    except OSError:
        pass


@pytest.mark.parametrize(
    ("method", "bug", "found"),
    [
        ("_start", start_without_a_look, "started 2 times"),
        ("_back_off", lost_at_once, "ended with"),
        ("_remove", remove_once, "left"),
    ],
)
def test_planted_bugs_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, bug: Callable[..., None], found: str
) -> None:
    monkeypatch.setattr(ContainerRun, method, bug)
    assert found in ends_once(tmp_path)


def test_a_container_of_an_earlier_launch_with_the_same_name_is_replaced(tmp_path: Path) -> None:
    engine = FakeEngine({})
    state = {"Running": True, "StartedAt": "2025-01-01T00:00:00Z", "ExitCode": 0}
    engine.containers[NAME] = {"Id": "old", "Config": {"Labels": {"launch": "0"}}, "State": state}
    assert prepared(tmp_path, engine).run() == Outcome(5)
    assert (engine.starts, engine.removed) == ([NAME], [NAME, NAME])


def test_a_container_that_was_started_before_is_waited_for_and_not_started_again(tmp_path: Path) -> None:
    engine = FakeEngine({})
    state = {"Running": False, "StartedAt": "2025-01-01T00:00:00Z", "ExitCode": 9}
    engine.containers[NAME] = {"Id": "old", "Config": CONFIG, "State": state}
    assert prepared(tmp_path, engine).run() == Outcome(9)
    assert engine.starts == []


def test_an_engine_that_stays_away_loses_its_container_only_after_the_time_for_reconnection(tmp_path: Path) -> None:
    engine = FakeEngine({}, away=60)
    assert prepared(tmp_path, engine).run() == Outcome(5)
    engine = FakeEngine({}, away=10_000)
    assert prepared(tmp_path, engine).run() == Outcome(None)
    assert container_run.RECONNECT_SECONDS / container_run.MAX_PAUSE_SECONDS < engine.requests < 200


def test_a_refusal_at_the_start_is_told_with_the_words_of_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine({})
    engine.start = lambda _name: (_ for _ in ()).throw(refused(400, "no such\n  user"))  # type: ignore[method-assign]
    assert prepared(tmp_path, engine).run() == Outcome(None, "image i: no such user", "launch")
    assert engine.containers == {}


@pytest.mark.parametrize(
    ("ignored", "code", "outcome"),
    [(False, 0, "memory"), (False, 137, "memory"), (True, 0, ""), (True, 137, "memory")],
)
def test_a_kill_for_memory_is_told_unless_the_task_ignores_that_of_a_child(
    tmp_path: Path, ignored: bool, code: int, outcome: str
) -> None:
    engine = FakeEngine({})
    state = {"Running": False, "StartedAt": "2025-01-01T00:00:00Z", "ExitCode": code, "OOMKilled": True}
    engine.containers[NAME] = {"Id": "old", "Config": CONFIG, "State": state}
    found = prepared(tmp_path, engine, oom_ignored=ignored).run()
    assert (found.exit_code, found.kind) == (code, outcome)
    assert ("mem:64 MB" in found.text) == bool(outcome)


def test_a_task_that_is_killed_before_its_container_is_started_is_not_started(tmp_path: Path) -> None:
    engine = FakeEngine({})
    run = prepared(tmp_path, engine)
    run.terminate()
    assert run.run().exit_code == 143 and engine.starts == []


@pytest.mark.parametrize(("grace", "signals"), [(5.0, ["SIGTERM"]), (0.0, ["SIGKILL"])])
def test_a_kill_sends_the_signal_of_its_grace_also_if_the_engine_does_not_take_it_at_once(
    tmp_path: Path, grace: float, signals: list[str]
) -> None:
    engine = FakeEngine({})
    run = prepared(tmp_path, engine)
    engine.create_container_from_config(CONFIG, NAME)
    engine.start(NAME)
    record.write(str(tmp_path), record.GRACE, grace)
    run.terminate()
    engine.away = 1
    run._kill_if_due()
    assert engine.signals == []
    run._clock.now += container_run.RETRY_KILL_SECONDS  # type: ignore[attr-defined]
    run._kill_if_due()
    assert engine.signals == signals


def test_usage_is_that_of_the_programs_without_the_page_cache() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 100, "stats": {"total_inactive_file": 30}},
    }
    assert record.usage_of(stats, Used()) == Used(1.5, 70, 70)
    assert record.usage_of({}, Used(1.5, 70, 90)) == Used(1.5, 0, 90)


@pytest.mark.parametrize("text", ["", "[", "[1]", '[1,"",""', "{}", '["x", 1, 2]'])
def test_damaged_records_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / record.OUTCOME).write_text(text)
    (tmp_path / record.USAGE).write_text(text)
    assert record.read_outcome(str(tmp_path)) in (None, Outcome(None, "1", "2"))
    assert record.read_usage(str(tmp_path)) is None


def test_the_state_of_a_container_that_was_never_started_says_so() -> None:
    assert not container_run.has_started({"StartedAt": NEVER, "Running": False})
    assert not container_run.has_started({})
