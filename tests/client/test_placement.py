"""The options of a job about ports and tasks beside each other, as people write them."""

from __future__ import annotations

import pytest

from broker_mesos.client import placement
from broker_mesos.client.spec import build_spec, describe
from broker_mesos.core.model import port_numbers
from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.job import PLACEMENT_GUARD, JobSpec
from broker_mesos.errors import InvalidInput


def test_the_options_are_those_of_the_model() -> None:
    spec = build_spec(["true"], array=4, ports=3, port_names=["http", "admin"], most=2, per="rack")
    assert (spec.ports, spec.port_names, spec.most, spec.per) == (3, ("http", "admin"), 2, "rack")
    assert build_spec(["true"], port_names="http,admin").ports == 2
    assert build_spec(["true"], array=2, most=1).per == "agent"
    assert str(PLACEMENT_GUARD) == placement.GUARD and placement.MAX_PORTS == port_numbers.MAX_PORTS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ports": -1}, "ports -1: write a number of ports from 0 to 1000"),
        ({"ports": 1001}, "ports 1001: write a number of ports"),
        ({"ports": True}, "ports True: write a number of ports"),
        ({"port_names": ["1"]}, "port name '1': write letters"),
        ({"port_names": ["a", "A"]}, "port name 'a' is given twice"),
        ({"ports": 1, "port_names": ["a", "b"]}, "2 port names for 1 ports"),
        ({"ports": 1, "revocable": True}, "ports are not lent a second time"),
        ({"ports": 1, "resources": "ports:[1-2]"}, "by number in resources and by their count: keep one"),
        ({"most": 0, "array": 2}, "most 0: write a number of tasks of at least 1"),
        ({"most": 1}, "most is for an array"),
        ({"per": "rack", "array": 2}, "is given without most"),
        ({"most": 1, "per": "no name", "array": 2}, "is not an attribute's name"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput) as found:
        build_spec(["true"], **options)
    assert words in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("options", [{"ports": 1}, {"most": 1, "array": 2}, {"constraints": "agent!=a1"}])
def test_a_worker_of_an_earlier_release_never_runs_a_job_whose_options_it_does_not_know(
    options: dict[str, object],
) -> None:
    described = describe(["true"], **options)
    assert described["constraints"][-1] == str(PLACEMENT_GUARD)
    spec = JobSpec.model_validate(described)
    assert PLACEMENT_GUARD in spec.constraints and PLACEMENT_GUARD not in spec.own_constraints
    # So it is if a client has stated it as JSON without the guard.
    described["constraints"] = described["constraints"][:-1]
    assert JobSpec.model_validate(described).constraints == spec.constraints
    if "constraints" not in options:
        kept = spec.model_copy(update={"ports": 0, "most": 0})  # as that release would store it
        assert not all(each.matches({}, "h", "a") for each in kept.own_constraints)


def test_jobs_without_these_options_have_no_guard() -> None:
    assert "constraints" not in describe(["true"])
    assert build_spec(["true"], constraints="rack==agent").constraints == (Constraint.parse("rack==agent"),)
