"""When an owner leaves gaps between its decisions."""

from __future__ import annotations

import pytest

from broker_mesos.master.decision_batching import DECISIONS, GAP, RATE, WRITES, Pace


def paced(count: int, writes: int, apart: float) -> tuple[Pace, float]:
    pace, now = Pace(), 100.0
    for _ in range(count):
        now += apart
        pace.decided(now, writes)
    return pace, now


def test_a_quiet_cell_decides_at_once() -> None:
    assert Pace().pause(100.0, 0.0) == 0.0
    pace, now = paced(DECISIONS, writes=WRITES, apart=1.3 * GAP)
    assert pace.pause(now, 0.0) == 0.0


def test_a_busy_cell_leaves_a_gap_between_two_decisions() -> None:
    pace, now = paced(DECISIONS, writes=WRITES, apart=0.9 * GAP)
    assert pace.pause(now, 0.0) == pytest.approx(GAP)
    assert 0 < pace.pause(now + GAP / 5, 0.0) < GAP
    assert pace.pause(now + GAP, 0.0) == 0.0


def test_a_cell_that_calms_down_decides_at_once_again() -> None:
    pace, now = paced(DECISIONS, writes=1_000, apart=0.001)
    for _ in range(DECISIONS):
        now += GAP
        pace.decided(now, 1)
    assert pace.pause(now, 0.0) == 0.0


def test_a_large_cell_leaves_gaps_of_half_the_time_between_its_rounds() -> None:
    pace, now = paced(DECISIONS, writes=WRITES, apart=0.9 * WRITES / RATE)
    assert pace.pause(now, 0.2) == pytest.approx(0.1)
    pace, now = paced(DECISIONS, writes=WRITES, apart=1.3 * WRITES / RATE)
    assert pace.pause(now, 0.2) == 0.0
