"""What the benchmark of many agents is made of, without servers."""

from __future__ import annotations

import os
from types import SimpleNamespace

from benchmarks.agents import Grown, growth
from benchmarks.agents_rig import Program, even, within
from benchmarks.record import Record

TALK = """
import sys
print('{"running": 3}\\nbringing up nodes...\\n{"running": 4, "refills": [0.1]}', flush=True)
print('{"runn', end='', flush=True)
sys.stdin.read()
"""


def test_cells_are_shared_evenly_when_all_are_owned_and_no_master_has_two_more() -> None:
    assert even({1: [0, 1, 2, 3]})
    assert even({1: [0, 1], 2: [2], 3: [3]})
    assert not even({1: [0, 1, 2], 2: [3]})
    assert not even({1: [0, 1], 2: [2]})
    assert not even({})


def test_waiting_ends_with_the_time_and_takes_an_error_for_not_yet() -> None:
    answers = iter([ZeroDivisionError, False, True])

    def check() -> bool:
        answer = next(answers)
        if answer is ZeroDivisionError:
            raise ZeroDivisionError
        return bool(answer)

    assert within(30, check, 0.001)
    assert not within(0, lambda: False, 0.001)


def test_a_programs_whole_lines_are_read_once_and_anything_else_is_passed_over(tmp_path) -> None:
    (tmp_path / "talk.py").write_text(TALK)
    cluster = SimpleNamespace(tmp=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    program = Program(cluster, "talk", "talk")  # type: ignore[arg-type]
    try:
        program.process.wait(30)
        assert program.last("running") == 4 and program.last("ended") == 0
        assert len(program.lines()) == 2
    finally:
        program.end()


def test_growth_shows_what_was_measured_and_leaves_the_rest_out(tmp_path) -> None:
    grown = Grown()
    Grown.put(grown.memory, "one owner of all cells", 500, 20.0)
    Grown.put(grown.memory, "one owner of all cells", 2_000, 80.0)
    with Record("agents", "Many agents", "small", tmp_path) as record:
        growth(record, grown)
    drawn = [line for line in record.lines if "growth" in line]
    assert [line["exponents"] for line in drawn] == [{"one owner of all cells": 1.0}]
