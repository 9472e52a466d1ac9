"""A few seeds with every quick run, a few hundred with `make test`; `make simulate SEEDS=10000` runs more.
See docs/simulation.md.

Mistakes that are planted, and found, are in ``test_planted_mistakes.py``: another process runs that at the same time.
"""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.protocol.task_record import TaskRecord
from tests.simulation.planting import mutants, planted
from tests.simulation.running import LIMIT, simulate

pytestmark = pytest.mark.timeout(LIMIT + 20)


@pytest.mark.parametrize(
    ("profile", "start", "seeds"),
    [
        ("crash", 0, 2),
        ("full", 0, 2),
        pytest.param("crash", 2, 2, marks=pytest.mark.slow),
        pytest.param("full", 2, 2, marks=pytest.mark.slow),
        pytest.param("clocks", 0, 4, marks=pytest.mark.slow),
        pytest.param("absence", 0, 4, marks=pytest.mark.slow),
        pytest.param("clones", 0, 4, marks=pytest.mark.slow),
        pytest.param("reuse", 0, 4, marks=pytest.mark.slow),
        pytest.param("large", 0, 3, marks=pytest.mark.slow),
        pytest.param("disks", 0, 3, marks=pytest.mark.slow),
        pytest.param("isolation", 0, 3, marks=pytest.mark.slow),
        pytest.param("placement", 0, 3, marks=pytest.mark.slow),
        pytest.param("views", 0, 4, marks=pytest.mark.slow),
        # Found later, and mended.
        pytest.param("full", 7302, 1, marks=pytest.mark.slow),
        pytest.param("full", 770132, 1, marks=pytest.mark.slow),
        pytest.param("calm", 0, 30, marks=pytest.mark.slow),
        pytest.param("crash", 4, 33, marks=pytest.mark.slow),
        pytest.param("crash", 37, 33, marks=pytest.mark.slow),
        pytest.param("clocks", 4, 33, marks=pytest.mark.slow),
        pytest.param("clones", 4, 33, marks=pytest.mark.slow),
        pytest.param("reuse", 4, 33, marks=pytest.mark.slow),
        pytest.param("large", 3, 20, marks=pytest.mark.slow),
        pytest.param("isolation", 3, 30, marks=pytest.mark.slow),
        pytest.param("placement", 3, 20, marks=pytest.mark.slow),
        pytest.param("full", 4, 33, marks=pytest.mark.slow),
        pytest.param("full", 37, 34, marks=pytest.mark.slow),
        pytest.param("full", 71, 34, marks=pytest.mark.slow),
    ],
)
async def test_no_seed_breaks_an_invariant(profile: str, start: int, seeds: int) -> None:
    code, output = await simulate("--profile", profile, "--start", str(start), "--seeds", str(seeds))
    assert code == 0, output


@pytest.mark.slow
async def test_a_seed_goes_the_same_way_every_time() -> None:
    code, output = await simulate("--profile", "full", "--seeds", "4", "--twice")
    assert code == 0, output


@pytest.mark.parametrize("name", sorted(mutants()))
def test_every_mistake_can_be_planted(name: str) -> None:
    with planted(name):
        pass


def test_a_mistake_that_is_planted_is_gone_afterwards() -> None:
    before = {each: dict(vars(each)) for each in (TaskRecord, Task)}
    for name in mutants():
        with planted(name):
            pass
    assert before == {each: dict(vars(each)) for each in before}
