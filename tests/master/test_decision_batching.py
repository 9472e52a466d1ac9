"""When an owner leaves gaps between its decisions."""

from __future__ import annotations

import pytest

from broker_mesos.master.decision_batching import (
    BUSY_GAP_SECONDS,
    BUSY_WRITES,
    BUSY_WRITES_PER_SECOND,
    SAMPLED_DECISIONS,
    DecisionBatching,
)


def paced(count: int, writes: int, apart: float) -> tuple[DecisionBatching, float]:
    pace, now = DecisionBatching(), 100.0
    for _ in range(count):
        now += apart
        pace.decided(now, writes)
    return pace, now


def test_a_quiet_cell_decides_at_once() -> None:
    assert DecisionBatching().pause(100.0, 0.0) == 0.0
    pace, now = paced(SAMPLED_DECISIONS, writes=BUSY_WRITES, apart=1.3 * BUSY_GAP_SECONDS)
    assert pace.pause(now, 0.0) == 0.0


def test_a_busy_cell_leaves_a_gap_between_two_decisions() -> None:
    pace, now = paced(SAMPLED_DECISIONS, writes=BUSY_WRITES, apart=0.9 * BUSY_GAP_SECONDS)
    assert pace.pause(now, 0.0) == pytest.approx(BUSY_GAP_SECONDS)
    assert 0 < pace.pause(now + BUSY_GAP_SECONDS / 5, 0.0) < BUSY_GAP_SECONDS
    assert pace.pause(now + BUSY_GAP_SECONDS, 0.0) == 0.0


def test_a_cell_that_calms_down_decides_at_once_again() -> None:
    pace, now = paced(SAMPLED_DECISIONS, writes=1_000, apart=0.001)
    for _ in range(SAMPLED_DECISIONS):
        now += BUSY_GAP_SECONDS
        pace.decided(now, 1)
    assert pace.pause(now, 0.0) == 0.0


def test_a_large_cell_leaves_gaps_of_half_the_time_between_its_rounds() -> None:
    pace, now = paced(SAMPLED_DECISIONS, writes=BUSY_WRITES, apart=0.9 * BUSY_WRITES / BUSY_WRITES_PER_SECOND)
    assert pace.pause(now, 0.2) == pytest.approx(0.1)
    pace, now = paced(SAMPLED_DECISIONS, writes=BUSY_WRITES, apart=1.3 * BUSY_WRITES / BUSY_WRITES_PER_SECOND)
    assert pace.pause(now, 0.2) == 0.0
