"""Which cell is given away, and when not."""

from __future__ import annotations

import itertools

import pytest

from broker_mesos.core.protocol.records import Lease
from broker_mesos.master.rebalancing import MAX_PAUSE_SECONDS, PAUSE_SECONDS, Rebalancing


class Look:
    """A master m1 that owns all four cells, and looks each second; ``takes`` says whether the other one,
    which counts as alive, can really own a cell."""

    def __init__(self, *, takes: bool) -> None:
        self.sharing = Rebalancing()
        self.owners = ["m1"] * 4
        self.takes = takes
        self.now = 0.0
        self.given: list[tuple[float, int]] = []

    def seconds(self, count: int) -> list[tuple[float, int]]:
        """The step-downs (time, cell) of the next seconds."""
        self.given = []
        for _ in range(count):
            self.now += 1
            leases = [Lease(cell, 1, "n", owner, 1, 0.0) for cell, owner in enumerate(self.owners)]
            mine = [cell for cell, owner in enumerate(self.owners) if owner == "m1"]
            chosen = self.sharing.choose("m1", {"m1", "m2"}, leases, mine, self.now)
            if chosen is not None:
                self.given.append((self.now, chosen))
                self.owners[chosen] = "m2" if self.takes else "m1"
        return self.given


def test_cells_are_shared_one_at_a_time_until_nobody_owns_two_more():
    assert Look(takes=True).seconds(20) == [(2.0, 3), (4.0, 2)]


def test_a_cell_that_comes_straight_back_is_held_for_longer_each_time():
    look = Look(takes=False)
    given = look.seconds(2_000)
    for cell in range(4):
        times = [at for at, each in given if each == cell]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps[0] >= PAUSE_SECONDS and gaps == sorted(gaps) and gaps[-1] >= MAX_PAUSE_SECONDS
    # In a minute that follows nothing is tried more often than each cell once in five.
    assert len(look.seconds(300)) <= 4


def test_after_a_step_down_in_vain_no_other_cell_is_tried_for_a_while():
    times = [at for at, _ in Look(takes=False).seconds(30)]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > PAUSE_SECONDS


def test_a_master_that_can_take_cells_after_all_gets_its_share():
    look = Look(takes=False)
    look.seconds(60)
    look.takes = True
    look.seconds(120)
    assert sorted(look.owners) == ["m1", "m1", "m2", "m2"]


@pytest.mark.parametrize("owner", ["", "gone"])
def test_nothing_is_given_while_a_cell_has_no_owner(owner: str):
    look = Look(takes=True)
    look.owners[0] = owner
    assert look.seconds(10) == []
