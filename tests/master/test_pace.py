"""When an owner leaves gaps between its decisions."""

from __future__ import annotations

import pytest

from broker_mesos.master.pace import DECISIONS, GAP, WITHIN, WRITES, Pace


def paced(count: int, writes: int, apart: float) -> tuple[Pace, float]:
    pace, now = Pace(), 100.0
    for _ in range(count):
        now += apart
        pace.decided(now, writes)
    return pace, now


def test_a_quiet_cell_decides_at_once() -> None:
    assert Pace().pause(100.0) == 0.0
    pace, now = paced(DECISIONS, writes=3, apart=0.001)
    assert pace.pause(now) == 0.0


def test_a_busy_cell_leaves_a_gap_between_two_decisions() -> None:
    pace, now = paced(DECISIONS, writes=WRITES // DECISIONS, apart=0.001)
    assert pace.pause(now) == pytest.approx(GAP)
    assert 0 < pace.pause(now + GAP / 2) < GAP
    assert pace.pause(now + GAP) == 0.0


def test_many_records_seldom_need_no_gap() -> None:
    pace, now = paced(DECISIONS, writes=1_000, apart=2 * WITHIN / DECISIONS)
    assert pace.pause(now) == 0.0


def test_a_cell_that_calms_down_decides_at_once_again() -> None:
    pace, now = paced(DECISIONS, writes=1_000, apart=0.001)
    for _ in range(DECISIONS):
        pace.decided(now, 1)
    assert pace.pause(now) == 0.0
