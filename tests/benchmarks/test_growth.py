"""The exponent of a cost, and its picture."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from benchmarks.growth import Growth, fit, medians

SIZES = (250, 1_000, 4_000, 16_000)


def test_the_exponent_of_a_power_law_is_found() -> None:
    law = fit([(n, 3e-4 * n**1.5) for n in SIZES])
    assert law.exponent == pytest.approx(1.5)
    assert law.factor == pytest.approx(3e-4)
    assert law.error == pytest.approx(0, abs=1e-6)
    assert law.at(100) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("cost", "worse"),
    [
        (lambda n: 5.0, False),
        (lambda n: 0.2 + 0.001 * n, False),
        (lambda n: n, False),
        (lambda n: n * math.log(n), False),
        (lambda n: n**1.3, True),
        (lambda n: n * n, True),
    ],
)
def test_only_what_is_worse_than_n_log_n_is_flagged(cost, worse) -> None:
    assert fit([(n, cost(n)) for n in SIZES]).worse is worse


def test_noise_alone_is_not_flagged() -> None:
    points = [(n, n * noise) for n, noise in zip(SIZES, (1.0, 1.9, 0.8, 1.7), strict=True)]
    assert not fit(points).worse


def test_several_runs_of_a_size_count_as_their_median() -> None:
    points = [(10, 1.0), (100, 10.0), (10, 1.0), (10, 50.0)]
    assert medians(points) == [(10, 1.0), (100, 10.0)]
    assert fit(points).exponent == pytest.approx(1.0)


@pytest.mark.parametrize("points", [[], [(10, 1.0)], [(10, 1.0), (10, 2.0)], [(10, 1.0), (20, 0.0)]])
def test_too_few_sizes_and_costs_of_nothing_are_refused(points) -> None:
    with pytest.raises(ValueError, match=r"two sizes|above 0"):
        fit(points)


def test_the_table_and_the_picture_name_every_series_and_the_flag() -> None:
    growth = Growth(
        "A <cycle>",
        "agents",
        "s",
        {"fine": [(n, n / 1e3) for n in SIZES], "steep": [(n, n * n) for n in SIZES], "one": [(250, 1.0)]},
    )
    assert growth.worse() == ["steep"]
    table = growth.table()
    assert [line.split(" | ")[0] for line in table] == ["| agents", "|---|---:|---:|---:|---:|---|"] + [
        f"| {name}" for name in ("fine", "steep", "one")
    ]
    assert "n^2.00" in table[3] and "worse than n log n" in table[3] and "worse" not in table[2]
    picture = ElementTree.fromstring(growth.svg())
    text = " ".join(picture.itertext())
    assert "A <cycle>, s" in text and "steep" in text and "n^1.00" in text
    circles = [each for each in picture.iter() if each.tag.endswith("circle")]
    assert len(circles) == 9
    assert all(0 < float(each.attrib["cx"]) < 800 and 0 < float(each.attrib["cy"]) < 400 for each in circles)


def test_a_picture_of_a_single_level_point_can_be_drawn() -> None:
    assert "<svg" in Growth("t", "n", "s", {"one": [(1, 1.0)]}).svg()
    assert "<svg" in Growth("t", "n", "s", {"zero": [(1, 0.0), (2, 0.0)]}).svg()
