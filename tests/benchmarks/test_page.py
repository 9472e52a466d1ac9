"""What benchmarks store, and the page that is made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.growth import Growth
from benchmarks.record import Record, percentile
from benchmarks.targets import TARGETS, Target


def stored(folder: Path, bench: str = "tasks", size: str = "usual") -> None:
    with Record(bench, f"About {bench}", size, folder) as record:
        record.section("One array", "Some words.")
        record.add("against Celery", "×", [1.1, 1.5, 1.3], "a note", key="celery")
        record.skip("HyperQueue", "no wheel\nfor this machine")
        record.growth(Growth("Whole array", "tasks", "s", {"ours": [(10, 1.0), (100, 100.0), (1000, 1e4)]}))


def test_every_figure_is_a_json_line_on_stdout_and_in_the_file(tmp_path, capsys) -> None:
    stored(tmp_path)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kept = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    assert kept[1:] == said and kept[0]["bench"] == "tasks"
    assert said[1] == {
        "figure": "against Celery",
        "value": 1.3,
        "unit": "×",
        "min": 1.1,
        "max": 1.5,
        "runs": 3,
        "about": "a note",
        "key": "celery",
    }


def test_a_benchmark_that_fails_leaves_the_results_of_its_last_run(tmp_path) -> None:
    stored(tmp_path)
    before = (tmp_path / "tasks.jsonl").read_text()
    with pytest.raises(ZeroDivisionError), Record("tasks", "again", "small", tmp_path) as record:
        record.add("half", "s", [1 / 0])
    assert (tmp_path / "tasks.jsonl").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.jsonl"]


def test_the_page_has_a_section_of_every_result_in_order_and_the_verdicts(tmp_path) -> None:
    for bench in ("zebra", "latency", "tasks"):
        stored(tmp_path, bench)
    text, pictures = page.render(page.load(tmp_path))
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["To reach", "About tasks", "About latency", "About zebra", "How it is measured"]
    assert "| process tasks a second, against Celery | 1.2 × | next line | 1.30 × | met |" in text
    assert "not measured" in text
    assert "| against Celery | 1.30 × | 1.10 – 1.50 | a note |" in text
    assert "Left out: HyperQueue (no wheel for this machine)." in text
    assert "worse than n log n" in text
    assert sorted(pictures) == [f"bench-{each}-whole-array.svg" for each in ("latency", "tasks", "zebra")]
    assert all(f"(images/{name})" in text for name in pictures)


@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_RR])
def test_the_page_says_when_what_was_measured_had_a_real_time_priority(tmp_path, monkeypatch, policy: int) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: policy)
    stored(tmp_path)
    text, _ = page.render(page.load(tmp_path))
    assert ("`chrt -r 1 make bench BENCH=tasks SIZE=usual`" in text) == (policy == os.SCHED_RR)
    assert ("real-time priority" in text) == (policy == os.SCHED_RR)


def test_the_page_removes_the_pictures_of_results_that_are_gone(tmp_path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "bench-old.svg").write_text("")
    (images / "other.svg").write_text("")
    stored(tmp_path / "results")
    page.write(tmp_path, tmp_path / "results")
    assert sorted(each.name for each in images.iterdir()) == ["bench-tasks-whole-array.svg", "other.svg"]


def test_the_page_in_the_docs_is_made_of_the_stored_results() -> None:
    text, pictures = page.render(page.load())
    assert (page.DOCS / "benchmarks.md").read_text() == text, "run: python -m benchmarks.page"
    for name, picture in pictures.items():
        assert (page.DOCS / "images" / name).read_text() == picture


def test_a_verdict_goes_by_the_direction_of_its_figure() -> None:
    less = Target("t", "b", "k", "ms", least=20, aim=8)
    more = Target("t", "b", "k", "×", least=0.45, aim=0.8, more=True)
    assert [less.verdict(value) for value in (5, 20, 21, None)] == [
        "aim met",
        "met",
        "**not met**",
        "not measured",
    ]
    assert [more.verdict(value) for value in (0.9, 0.5, 0.4)] == ["aim met", "met", "**not met**"]


def test_a_small_run_meets_no_target(tmp_path) -> None:
    stored(tmp_path, size="small")
    text, _ = page.render(page.load(tmp_path))
    line = next(line for line in text.splitlines() if "against Celery | 1.2" in line)
    assert line.endswith("| 1.30 × | a trial, too small to tell |")


def test_an_aim_without_a_least_is_met_or_not() -> None:
    target = Target("t", "b", "k", "×", least=None, aim=1.0, more=True)
    assert [target.verdict(value) for value in (1.1, 0.9)] == ["aim met", "aim not met"]


def test_no_two_targets_are_measured_by_one_figure() -> None:
    assert len({(each.bench, each.key) for each in TARGETS}) == len(TARGETS)


@pytest.mark.parametrize(("part", "value"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(part, value) -> None:
    assert percentile(list(range(100, 0, -1)), part) == value


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
