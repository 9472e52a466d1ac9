"""The texts for tasks that were killed for memory."""

from __future__ import annotations

import pytest

from broker_mesos.containerizer.cgroups.limits import LAUNCHER_BYTES, MB, Limits
from broker_mesos.containerizer.cgroups.memory_end import memory_end
from broker_mesos.containerizer.cgroups.usage import Counters, Usage

LIMITS = Limits(memory=64 * MB)
TOGETHER = "killed for memory on n1: all tasks together reached what the agent lends"


def usage(peak: int, *, kills: int = 1, own: int = 0) -> Usage:
    return Usage(Counters(oom_kills=kills, own_ooms=own), 0, peak, 0)


def test_a_task_at_its_own_limit_is_named_with_the_figures() -> None:
    text = "used more than its mem:64 MB (peak 64 MB) on n1; killed by the kernel"
    assert memory_end(LIMITS, usage(64 * MB + LAUNCHER_BYTES), 1, "n1") == (True, text)
    assert memory_end(LIMITS, usage(64 * MB + LAUNCHER_BYTES, own=1), 2, "n1") == (True, text)
    assert memory_end(LIMITS, usage(0, own=1), 2, "n1") == (True, text), "a kernel without memory.peak"


def test_a_task_below_its_limit_was_killed_for_all_together() -> None:
    assert memory_end(LIMITS, usage(20 * MB), 1, "n1") == (False, TOGETHER)
    assert memory_end(LIMITS, usage(65 * MB), 2, "n1") == (False, TOGETHER)


@pytest.mark.parametrize("version", [1, 2])
def test_a_task_without_a_limit_was_killed_for_all_together(version: int) -> None:
    assert memory_end(Limits(), usage(500 * MB, own=1), version, "n1") == (False, TOGETHER)


@pytest.mark.parametrize("version", [1, 2])
def test_a_peak_at_the_limit_alone_means_nothing(version: int) -> None:
    assert memory_end(LIMITS, usage(65 * MB, kills=0), version, "n1") is None
