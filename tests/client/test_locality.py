"""Preferred agents, in the words of ``submit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from broker_mesos.cli import jobfile
from broker_mesos.client.spec import build_spec
from broker_mesos.core.model.job import JobSpec
from broker_mesos.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("500ms", 0.5), ("1m", 60.0), (".5h", 1_800.0), ("7", 7.0), (7, 7.0), (0, 0.0)],
)
def test_a_wait_is_a_number_of_seconds_or_a_time(text: str | float, seconds: float) -> None:
    assert build_spec("true", prefer="rack==r1", locality_wait=text).locality_wait == seconds


def test_hosts_are_preferred_beside_what_else_is() -> None:
    spec = build_spec("true", prefer=["rack==r1"], prefer_hosts=["h1", "h2"])
    assert [str(each) for each in spec.prefer] == ["rack==r1", "hostname==h1", "hostname==h2"]
    assert spec.locality_wait == 5.0, "the default"
    assert spec.prefers({"rack": "r1"}, "h9", "a") and spec.prefers({}, "h2", "a") and not spec.prefers({}, "h9", "a")


def test_nothing_is_waited_for_where_nothing_is_preferred() -> None:
    spec = build_spec("true")
    assert spec.prefer == () and spec.locality_wait == 0.0


def test_a_gang_that_prefers_agents_does_not_wait_for_them() -> None:
    assert build_spec("true", prefer="rack==r1", array=4, gang=True).locality_wait == 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"locality_wait": "5s"}, "a locality wait without a preferred agent: add --prefer"),
        ({"prefer": "rack==r1", "locality_wait": "soon"}, "locality wait 'soon': write seconds"),
        ({"prefer": "rack==r1", "locality_wait": True}, "write seconds"),
        ({"prefer": "rack==r1", "locality_wait": -1}, "write seconds"),
        ({"prefer": "rack==r1", "locality_wait": "25h"}, "at most 24h"),
        ({"prefer": "rack=r1"}, "is not a constraint"),
        ({"prefer_hosts": [""]}, "constraint hostname=="),
        ({"prefer_hosts": [f"h{number}" for number in range(21)]}, "at most 20"),
    ],
)
def test_a_wrong_preference_is_refused_in_one_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_spec("true", **words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_request_that_waits_for_nothing_is_refused_as_well() -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate({"command": {"arguments": ["true"]}, "locality_wait": 5})


def test_a_job_file_says_it_too(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("command: x\nprefer: [rack==r1]\nprefer_hosts: h1\nlocality_wait: 500ms\n")
    spec = build_spec(**jobfile.read(file))
    assert [str(each) for each in spec.prefer] == ["rack==r1", "hostname==h1"] and spec.locality_wait == 0.5
