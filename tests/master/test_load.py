"""What an owner tells of its work."""

from __future__ import annotations

from broker_mesos.master.load import MAX_SAMPLES, Load


def test_only_decisions_that_held_a_round_count_for_its_time() -> None:
    load = Load(3)
    assert load.report(0.0).round_p50 is None
    load.decided(9.0, 0)
    for rounds in (1, 2, 3):
        load.decided(rounds / 10, rounds)
        load.decided(9.0, rounds)
    told = load.report(1.5)
    assert (told.cell, told.behind, told.decisions, told.rounds) == (3, 1.5, 7, 3)
    assert (told.round_p50, told.round_p99) == (0.2, 0.3)


def test_times_are_those_of_the_latest_rounds() -> None:
    load = Load(0)
    for rounds in range(MAX_SAMPLES):
        load.decided(1.0, 1 + rounds)
    for rounds in range(MAX_SAMPLES):
        load.decided(0.01, 1 + MAX_SAMPLES + rounds)
    assert load.report(0.0).round_p99 == 0.01
