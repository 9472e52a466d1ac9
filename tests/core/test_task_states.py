"""The table of task transitions, walked pair by pair."""

from __future__ import annotations

from itertools import product

import pytest

from broker_mesos.core.model.task_states import NEVER_STORED, TERMINAL, TRANSITIONS, TaskState, may_move


@pytest.mark.parametrize(("old", "new"), list(product(sorted(TERMINAL), TaskState)))
def test_nothing_leaves_a_terminal_state(old, new):
    assert not may_move(old, new)


@pytest.mark.parametrize("old", [each for each in TaskState if not each.terminal and each not in NEVER_STORED])
def test_every_other_state_can_end_and_never_moves_to_itself(old):
    assert may_move(old, TaskState.FINISHED) and may_move(old, TaskState.LOST)
    assert not may_move(old, old)


def test_table_names_exactly_the_states_that_are_stored_and_not_final():
    assert set(TRANSITIONS) == set(TaskState) - TERMINAL - NEVER_STORED


def test_only_a_task_that_may_not_have_been_launched_can_be_dropped():
    dropped = {old for old in TaskState if may_move(old, TaskState.DROPPED)}
    assert dropped == {TaskState.STAGING, TaskState.UNREACHABLE}


def test_a_running_task_never_goes_back_to_staging():
    assert not [old for old in TaskState if may_move(old, TaskState.STAGING)]
